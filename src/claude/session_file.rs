//! The files in which the CLI keeps its sessions: whether one still holds what it must, and its end, with what the CLI
//! has put beside it.
//!
//! They belong to the CLI, and a tenant's run may have written to them. So no link is followed to one, no
//! more of one is read than a session can have, and nothing is done there but reading and removing.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::session::{Place, Uuid};

/// A session of more is not gone on from: reading it would take longer than asking anew.
const SESSION_MAX: u64 = 256 << 20;

/// A line repeats at most an answer, or a tool's result with images.
const LINE_MAX: u64 = 64 << 20;

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
    let file = find(place).and_then(|path| open(&path).ok());
    file.is_some_and(|file| chain_is_whole(file, leaf).unwrap_or(false))
}

/// Removes a session. One that is gone is as good.
pub(crate) fn remove(place: &Place) {
    // What cannot be removed is the CLI's own, and its own clean-up gets it.
    if let Some(path) = find(place) {
        let _ = fs::remove_file(path);
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
    let copies = directories.map(move |it| it.path().join(session.to_string()));
    copies.filter(|it| fs::symlink_metadata(it).is_ok_and(|it| it.is_dir()))
}

/// The CLI names a session's directory after the working directory, in a way of its own.
fn find(place: &Place) -> Option<PathBuf> {
    let name = format!("{}.jsonl", place.session);
    let directories = fs::read_dir(&place.projects).ok()?;
    let mut paths = directories.flatten().map(|it| it.path().join(&name));
    paths.find(|it| fs::symlink_metadata(it).is_ok_and(|it| it.is_file()))
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    let flags = flags.bits().cast_signed();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() && metadata.len() <= SESSION_MAX {
        true => Ok(file),
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

fn chain_is_whole(file: File, leaf: Uuid) -> io::Result<bool> {
    let mut parents: HashMap<Uuid, Option<Uuid>> = HashMap::new();
    let mut reader = BufReader::with_capacity(64 << 10, file.take(SESSION_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            break;
        }
        // The CLI would skip it too; what hangs on it is not found below.
        if let Ok(Link {
            uuid: Some(uuid),
            parent,
        }) = serde_json::from_slice(&line)
        {
            parents.insert(uuid, parent);
        }
    }
    let mut at = Some(leaf);
    // Each line is passed once, so a circle ends too.
    while let Some(uuid) = at {
        match parents.remove(&uuid) {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
    Ok(true)
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
        fs::rename(&file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(!holds(&place, c));
        remove(&place);
        assert!(elsewhere.exists());
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
