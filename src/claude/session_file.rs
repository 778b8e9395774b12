//! The files in which the CLI keeps its sessions: whether one still holds what it must, and its end, with what the CLI
//! has put beside it.
//!
//! They belong to the CLI, and a tenant's run may have written to them. So below the directory of all sessions no link
//! is followed, no more of one is read than a session can have, and nothing is done there but reading and removing.

mod backwards;
mod folder;

use std::{
    ffi::{CString, OsString},
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use memchr::memmem;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, unlinkat};
use serde::Deserialize;

use self::backwards::Backwards;
pub(crate) use self::folder::folder;
use crate::{
    no_links,
    session::{Place, Uuid},
};

/// A session of more is not gone on from. The API takes 32 MB at once, and the CLI writes some of it twice.
const SESSION_MAX: u64 = 96 << 20;

/// No session has as many lines: a turn has some ten, and two more with each tool.
const LINES_MAX: usize = 100_000;

/// Working directories in which sessions began. A run can make more; then its sessions are not found.
const DIRECTORIES_MAX: usize = 10_000;

/// Where a CLI with this environment keeps its sessions.
pub(crate) fn projects(env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let value = |name: &str| {
        let set = env.iter().rfind(|(known, _)| known == name);
        set.map(|(_, value)| Path::new(value))
            .filter(|it| !it.as_os_str().is_empty())
    };
    let dir = match value("CLAUDE_CONFIG_DIR") {
        Some(dir) => dir.to_owned(),
        None => value("HOME")?.join(".claude"),
    };
    dir.is_absolute().then(|| dir.join("projects"))
}

/// Whether a session can be gone on from at a line: the line is there, and so is every one before it.
/// A file that lost some of it would make the model forget without a word.
pub(crate) fn holds(place: &Place, leaf: Uuid) -> bool {
    let file = find(place).and_then(|it| open(it).ok());
    file.is_some_and(|it| chain_is_whole(it, leaf).unwrap_or(false))
}

/// Removes a session. One that is gone is as good.
pub(crate) fn remove(place: &Place) {
    let found = find(place);
    // Only a CLI that has put the file there names its directories as it is thought to.
    let folder = found.as_ref().filter(|it| it.is_in_folder);
    let folder = folder.and(place.folder.as_deref());
    for copies in copies(place.session, folder) {
        let _ = fs::remove_dir_all(copies);
    }
    // What cannot be removed is the CLI's own, and its own clean-up gets it.
    if let Some(it) = found {
        let _ = unlinkat(it.directory, it.name, AtFlags::empty());
    }
}

/// Where the CLI writes images that it was sent, for tools to read: `claude-UID/FOLDER/SESSION` in the directory for
/// temporary files. A run in a sandbox has one of its own there, which ends with it.
///
/// What ends without its gateway leaves its folder there for ever, so there may be thousands: they are looked through
/// only where the one is not known.
fn copies(session: Uuid, folder: Option<&str>) -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let own = std::env::temp_dir().join(format!("claude-{user}"));
    // Others may put something there under that name.
    if !fs::symlink_metadata(&own).is_ok_and(|it| it.is_dir() && it.uid() == user) {
        return Vec::new();
    }
    let is_dir = |it: &PathBuf| fs::symlink_metadata(it).is_ok_and(|it| it.is_dir());
    let folders: Vec<PathBuf> = match folder {
        Some(folder) => vec![own.join(folder)],
        None => {
            let entries = fs::read_dir(own).into_iter().flatten().flatten();
            entries.map(|it| it.path()).collect()
        }
    };
    let folders = folders.into_iter().filter(is_dir);
    let copies = folders.map(|it| it.join(session.to_string()));
    copies.filter(is_dir).collect()
}

/// A session's file.
struct Found {
    directory: OwnedFd,
    /// In that directory.
    name: CString,
    /// The directory is the one that it was expected in.
    is_in_folder: bool,
}

/// The file of a session: where it was expected, or in whichever directory the CLI has it.
fn find(place: &Place) -> Option<Found> {
    let name = CString::new(format!("{}.jsonl", place.session)).ok()?;
    let root = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    // Where all sessions are may be a link of an operator's, to another disk.
    let projects = no_links::open_over_own_links(&place.projects, root).ok()?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    let is_there = |directory: &OwnedFd| {
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile)
    };
    let folder = place.folder.as_deref();
    let folder = folder.and_then(|it| openat(&projects, it, flags, Mode::empty()).ok());
    if let Some(directory) = folder.filter(is_there) {
        let is_in_folder = true;
        return Some(Found {
            directory,
            name,
            is_in_folder,
        });
    }
    let entries = Dir::read_from(&projects).ok()?.take(DIRECTORIES_MAX);
    let mut directories = entries
        .flatten()
        .filter(|it| !matches!(it.file_name().to_bytes(), b"." | b".."))
        .filter_map(|it| openat(&projects, it.file_name(), flags, Mode::empty()).ok());
    let directory = directories.find(is_there)?;
    Some(Found {
        directory,
        name,
        is_in_folder: false,
    })
}

/// With its length.
fn open(found: Found) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(found.directory, found.name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let length = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    match FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && length <= SESSION_MAX {
        true => Ok((file.into(), length)),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What of a line makes the chain; lines of other kinds have no `uuid`.
#[derive(Deserialize)]
struct Link {
    uuid: Option<Uuid>,
    #[serde(rename = "parentUuid")]
    parent: Option<Uuid>,
}

/// The CLI only ever appends, so each line is after the one that it follows.
fn chain_is_whole((file, length): (File, u64), leaf: Uuid) -> io::Result<bool> {
    let mut lines = Backwards::of(file, length);
    let mut wanted = leaf;
    let mut text = wanted.to_string();
    for _ in 0..LINES_MAX {
        let Some(line) = lines.next_line()? else {
            return Ok(false);
        };
        if memmem::find(&line, text.as_bytes()).is_none() {
            continue;
        }
        // The CLI would skip what is no JSON too; what hangs on it is not found above.
        match serde_json::from_slice(&line) {
            Ok(Link {
                uuid: Some(uuid),
                parent,
            }) if uuid == wanted => match parent {
                Some(parent) => wanted = parent,
                None => return Ok(true),
            },
            _ => continue,
        }
        text = wanted.to_string();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(uuid: Uuid, parent: Option<Uuid>) -> String {
        let parent = parent.map_or("null".to_owned(), |it| format!("\"{it}\""));
        format!(
            "{{\"parentUuid\":{parent},\"uuid\":\"{uuid}\",\"type\":\"user\",\"message\":{{}}}}\n"
        )
    }

    #[test]
    fn a_session_is_whole_or_not_gone_on_from() {
        let name = format!("ccgw-session-file-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let project = dir.join("-some-dir");
        fs::create_dir_all(&project).unwrap();
        let place = Place {
            session: Uuid::random(),
            projects: dir.as_path().into(),
            folder: None,
        };
        let file = project.join(format!("{}.jsonl", place.session));
        let [a, b, c] = [(); 3].map(|()| Uuid::random());
        let other = "{\"type\":\"queue-operation\"}\nno json\n";
        let whole = [
            line(a, None),
            line(b, Some(a)),
            other.to_owned(),
            line(c, Some(b)),
        ];
        assert!(!holds(&place, c));
        fs::write(&file, whole.concat()).unwrap();
        assert!(holds(&place, c) && holds(&place, b));
        assert!(!holds(&place, Uuid::random()));
        // Cut off, with a hole, in a circle, as a link.
        fs::write(&file, &whole.concat()[..whole.concat().len() - 3]).unwrap();
        assert!(!holds(&place, c) && holds(&place, b));
        fs::write(&file, [&*whole[0], &whole[3]].concat()).unwrap();
        assert!(!holds(&place, c));
        fs::write(&file, [line(a, Some(c)), line(c, Some(a))].concat()).unwrap();
        assert!(!holds(&place, c));
        let elsewhere = dir.join("elsewhere");
        fs::write(&file, whole.concat()).unwrap();
        assert!(holds(&place, c));
        fs::rename(&file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(!holds(&place, c));
        remove(&place);
        assert!(elsewhere.exists());
        // In a directory that is a link to one elsewhere.
        fs::remove_dir_all(&project).unwrap();
        let foreign = dir.with_extension("foreign");
        fs::create_dir_all(&foreign).unwrap();
        let own = foreign.join(file.file_name().unwrap());
        fs::rename(&elsewhere, &own).unwrap();
        std::os::unix::fs::symlink(&foreign, &project).unwrap();
        assert!(!holds(&place, c));
        remove(&place);
        assert!(own.exists());
        // And as it was.
        fs::remove_file(&project).unwrap();
        fs::rename(&foreign, &project).unwrap();
        assert!(holds(&place, c));
        remove(&place);
        assert!(!file.exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn copies_of_images_are_looked_for_where_the_session_began() {
        let folder = format!("-ccgw-copies-{}", crate::ids::random_hex::<8>());
        let projects = std::env::temp_dir().join(&folder);
        let user = rustix::process::geteuid().as_raw();
        let temporary = std::env::temp_dir().join(format!("claude-{user}"));
        let place = Place {
            session: Uuid::random(),
            projects: projects.as_path().into(),
            folder: Some(folder.as_str().into()),
        };
        let file = projects
            .join(&folder)
            .join(format!("{}.jsonl", place.session));
        let copies = [folder.clone(), format!("{folder}-other")].map(|it| temporary.join(it));
        let make = || {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            for copies in &copies {
                let images = copies.join(place.session.to_string()).join("images");
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
                builder.create(images).unwrap();
            }
        };
        let are_there = || {
            let is_there = |it: &PathBuf| it.join(place.session.to_string()).exists();
            copies.each_ref().map(is_there)
        };
        make();
        remove(&place);
        assert!(!file.exists());
        assert_eq!(are_there(), [false, true]);
        // Where it began elsewhere, or nobody knows where, or it is gone.
        make();
        fs::rename(file.parent().unwrap(), projects.join("special")).unwrap();
        remove(&place);
        assert!(
            !projects
                .join("special")
                .join(file.file_name().unwrap())
                .exists()
        );
        assert_eq!(are_there(), [false, false]);
        make();
        let unknown = Place {
            folder: None,
            ..place.clone()
        };
        remove(&unknown);
        assert!(!file.exists());
        assert_eq!(are_there(), [false, false]);
        make();
        fs::remove_dir_all(&projects).unwrap();
        remove(&place);
        assert_eq!(are_there(), [false, false]);
        copies.iter().for_each(|it| fs::remove_dir(it).unwrap());
    }

    #[test]
    fn a_session_of_more_lines_than_any_has_is_not_read_to_its_beginning() {
        let name = format!("ccgw-session-file-long-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let project = dir.join("-some-dir");
        fs::create_dir_all(&project).unwrap();
        let place = Place {
            session: Uuid::random(),
            projects: dir.as_path().into(),
            folder: None,
        };
        let file = project.join(format!("{}.jsonl", place.session));
        let [a, b] = [(); 2].map(|()| Uuid::random());
        let long = |between: usize| [line(a, None), "{}\n".repeat(between), line(b, Some(a))];
        fs::write(&file, long(LINES_MAX - 3).concat()).unwrap();
        assert!(holds(&place, b));
        fs::write(&file, long(LINES_MAX - 2).concat()).unwrap();
        assert!(!holds(&place, b));
        // As large as no session is; the space takes no room on the disk.
        fs::write(&file, line(a, None)).unwrap();
        assert!(holds(&place, a));
        let sparse = File::options().write(true).open(&file).unwrap();
        sparse.set_len(SESSION_MAX + 1).unwrap();
        assert!(!holds(&place, a));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn sessions_are_where_the_environment_says() {
        let env = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let check = |pairs: &[(&str, &str)], expect: Option<&str>| {
            assert_eq!(projects(&env(pairs)).as_deref(), expect.map(Path::new));
        };
        check(&[("HOME", "/h")], Some("/h/.claude/projects"));
        check(
            &[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/c")],
            Some("/c/projects"),
        );
        check(
            &[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "")],
            Some("/h/.claude/projects"),
        );
        check(&[("CLAUDE_CONFIG_DIR", "relative")], None);
        check(&[], None);
    }
}
