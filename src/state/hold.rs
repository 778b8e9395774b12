//! That one daemon only has a state directory: what it remembers and removes there is its own.

use std::{io, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
};

use super::StateDir;
use crate::log;

/// Locked by the daemon that has the directory; its process number is in it, for whoever comes second.
const LOCK: &str = "lock";

/// Why a daemon cannot have a state directory.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// Another one has it, of this process number where that is known.
    ByAnother(Option<i32>),
    Failed(io::Error),
}

/// Takes it from others to list or change one that somebody else has made. To go through it to what is theirs may stay.
pub(super) fn make_private(root: &OwnedFd) -> io::Result<()> {
    const OPEN: Mode = Mode::from_raw_mode(0o066);
    let stat = rustix::fs::fstat(root)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if stat.st_uid != rustix::process::geteuid().as_raw() || !mode.intersects(OPEN) {
        return Ok(());
    }
    log::info(
        "the state directory was open to others, and is private now",
        &[],
    );
    Ok(rustix::fs::fchmod(root, mode.difference(OPEN))?)
}

impl StateDir {
    /// Opens the directory for a daemon, as the only one. The lock goes with the process, however that ends; nothing
    /// that it starts inherits it.
    ///
    /// # Errors
    /// When another daemon has it, and as [`StateDir::open`].
    pub(crate) fn hold(path: &Path) -> Result<StateDir, NotHeld> {
        let mut state = StateDir::open(path).map_err(NotHeld::Failed)?;
        let failed = |error: Errno| {
            let text = format!("{}: {}", path.join(LOCK).display(), io::Error::from(error));
            NotHeld::Failed(io::Error::other(text))
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = rustix::fs::openat(&state.root, LOCK, flags, mode).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(NotHeld::ByAnother(written_in(&lock))),
            // A network's file system may know no locks, and such a directory served before there was one.
            Err(Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP) => {}
            other => other.map_err(failed)?,
        }
        // A full disk keeps nobody from serving; then the number is not told.
        let own = format!("{}\n", std::process::id());
        let _ = rustix::fs::ftruncate(&lock, 0);
        let _ = rustix::io::pwrite(&lock, own.as_bytes(), 0);
        state._lock = Some(lock);
        Ok(state)
    }
}

fn written_in(lock: &OwnedFd) -> Option<i32> {
    let mut text = [0; 16];
    let length = rustix::io::pread(lock, &mut text[..], 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_at_a_time_has_it_and_others_may_look() {
        let path = std::env::temp_dir().join(format!("ccgw-hold-{}", std::process::id()));
        let first = StateDir::hold(&path).unwrap();
        let second = StateDir::hold(&path);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(second, Err(NotHeld::ByAnother(Some(pid))) if pid == own));
        StateDir::open(&path).unwrap();
        drop(first);
        StateDir::hold(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
