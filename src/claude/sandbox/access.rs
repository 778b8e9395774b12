//! What a user can reach of this machine's files, told from their owners and modes.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::RunUser;

/// What is wanted of a file or directory, as bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Only the way to it.
    Way,
    Read,
    /// Also to go into a directory, or to run a program.
    Use,
}

/// Makes sure that a user gets at a path.
///
/// # Errors
/// Which file or directory is in the way, as a part of a sentence.
pub(super) fn ensure_open(path: &Path, user: RunUser, need: Need) -> Result<(), String> {
    let shown = path.display();
    let real = fs::canonicalize(path).map_err(|it| format!("{shown}: {it}"))?;
    if let Some(closed) = closed_directory(path, user).or_else(|| closed_directory(&real, user)) {
        return Err(format!(
            "{shown} lies in {}, which user {} cannot go through",
            closed.display(),
            user.uid
        ));
    }
    let wanted = match need {
        Need::Way => 0,
        Need::Read => 0o4,
        Need::Use => 0o5,
    };
    let metadata = fs::metadata(&real).map_err(|it| format!("{shown}: {it}"))?;
    match bits(&metadata, user) & wanted == wanted {
        true => Ok(()),
        false => Err(format!("user {} cannot use {shown}", user.uid)),
    }
}

/// Makes sure that a user can do nothing with a path. What is not there is closed.
///
/// # Errors
/// That it can, as a part of a sentence.
pub(crate) fn ensure_closed(path: &Path, user: RunUser) -> Result<(), String> {
    match is_open(path, user) {
        false => Ok(()),
        true => {
            let shown = path.display();
            Err(format!(
                "other users can get at {shown}; close it: `chmod o-rwx {shown}`"
            ))
        }
    }
}

fn is_open(path: &Path, user: RunUser) -> bool {
    let Ok(real) = fs::canonicalize(path) else {
        return false;
    };
    closed_directory(&real, user).is_none()
        && fs::metadata(&real).is_ok_and(|it| bits(&it, user) != 0)
}

/// The first directory above a path that a user cannot go through.
fn closed_directory(path: &Path, user: RunUser) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let open = |it: &&Path| fs::metadata(it).is_ok_and(|it| bits(&it, user) & 0o1 != 0);
    // A relative path ends above in nothing.
    let mut above = above.into_iter().filter(|it| *it != Path::new(""));
    above.find(|it| !open(it)).map(Path::to_owned)
}

/// Read, write and search, as three bits.
fn bits(metadata: &Metadata, user: RunUser) -> u32 {
    let shift = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    metadata.mode() >> shift & 0o7
}
