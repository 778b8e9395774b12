//! The files in which the CLI keeps its sessions: whether one still holds what it must, and its end, with what the CLI
//! has put beside it.
//!
//! They belong to the CLI, and a tenant's run may have written to them. So below the directory of all sessions no link
//! is followed, no more of one is read than a session can have, and nothing is done there but reading and removing.

mod backwards;

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
use crate::session::{Place, Uuid};

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
    // What cannot be removed is the CLI's own, and its own clean-up gets it.
    if let Some((directory, name)) = find(place) {
        let _ = unlinkat(directory, name, AtFlags::empty());
    }
    for copies in copies(place.session) {
        let _ = fs::remove_dir_all(copies);
    }
}

/// Where the CLI writes images that it was sent, for tools to read: `claude-UID/WORKING-DIR/SESSION` in the directory for
/// temporary files. A run in a sandbox has one of its own there, which ends with it.
fn copies(session: Uuid) -> impl Iterator<Item = PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let own = std::env::temp_dir().join(format!("claude-{user}"));
    // Others may put something there under that name.
    let is_own = fs::symlink_metadata(&own).is_ok_and(|it| it.is_dir() && it.uid() == user);
    let directories = is_own.then(|| fs::read_dir(own).ok()).flatten();
    let directories = directories.into_iter().flatten().flatten();
    let directories = directories.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    let copies = directories.map(move |it| it.path().join(session.to_string()));
    copies.filter(|it| fs::symlink_metadata(it).is_ok_and(|it| it.is_dir()))
}

/// The directory that a session's file is in, and its name there. The CLI names the directory after the working
/// directory, in a way of its own.
fn find(place: &Place) -> Option<(OwnedFd, CString)> {
    let name = CString::new(format!("{}.jsonl", place.session)).ok()?;
    // Where all sessions are may be a link: of an operator's, to another disk.
    let root = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let projects = rustix::fs::open(&*place.projects, root, Mode::empty()).ok()?;
    let entries = Dir::read_from(&projects).ok()?.take(DIRECTORIES_MAX);
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    let mut directories = entries
        .flatten()
        .filter(|it| !matches!(it.file_name().to_bytes(), b"." | b".."))
        .filter_map(|it| openat(&projects, it.file_name(), flags, Mode::empty()).ok());
    let is_there = |directory: &OwnedFd| {
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile)
    };
    let directory = directories.find(is_there)?;
    Some((directory, name))
}

/// With its length.
fn open((directory, name): (OwnedFd, CString)) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
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
    fn a_session_of_more_lines_than_any_has_is_not_read_to_its_beginning() {
        let name = format!("ccgw-session-file-long-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let project = dir.join("-some-dir");
        fs::create_dir_all(&project).unwrap();
        let place = Place {
            session: Uuid::random(),
            projects: dir.as_path().into(),
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
