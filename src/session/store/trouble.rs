//! What is told of a log that cannot be read or written; one that cannot be read stays, under another name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::log;

/// More are not kept; then the next one stays where it is.
const KEPT_MAX: usize = 9;

/// Renames a log that cannot be read, so that a new one is not written over it, and tells both names.
///
/// # Errors
/// When it cannot be renamed: then it is where it was.
pub(super) fn keep_aside(path: &Path, why: &dyn std::fmt::Display) -> io::Result<PathBuf> {
    let kept = free_name(path).ok_or_else(|| {
        let text = format!(
            "it cannot be read ({why}), and {KEPT_MAX} such logs are kept beside it; remove those that nobody needs"
        );
        io::Error::new(io::ErrorKind::AlreadyExists, text)
    })?;
    fs::rename(path, &kept)?;
    log::warn(
        "the sessions' log cannot be read and is kept under another name; conversations go on from what the client sends. To \
         have it back, mend what stands against it and rename it while the gateway is stopped",
        &[
            ("path", &path.display()),
            ("kept_as", &kept.display()),
            ("why", why),
        ],
    );
    Ok(kept)
}

/// Nobody else writes in the directory: the state has one daemon.
fn free_name(path: &Path) -> Option<PathBuf> {
    let name = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".unreadable-{number}"));
        PathBuf::from(name)
    };
    let is_free = |it: &PathBuf| {
        let found = fs::symlink_metadata(it);
        found.is_err_and(|it| it.kind() == io::ErrorKind::NotFound)
    };
    (1..=KEPT_MAX).map(name).find(is_free)
}

/// With each answer, as long as it lasts.
static FULL: log::Sparing = log::Sparing::new();

const CANNOT_WRITE: &str =
    "cannot write the sessions' log; conversations will not survive a restart";

/// There will be no log.
pub(super) fn cannot_write(path: &Path, error: &io::Error) {
    log::warn(CANNOT_WRITE, &[("path", &path.display()), ("why", error)]);
}

/// A line is not in it.
pub(super) fn cannot_append(path: &Path, error: &io::Error) {
    FULL.warn(CANNOT_WRITE, &[("path", &path.display()), ("why", error)]);
}

/// What nothing leads to any more stays in it.
pub(super) fn cannot_shorten(path: &Path, error: &io::Error) {
    log::warn(
        "the sessions' log cannot be written anew and grows; that is tried again in a minute",
        &[("path", &path.display()), ("why", error)],
    );
}
