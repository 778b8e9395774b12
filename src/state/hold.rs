//! That one daemon only has a state directory: what it remembers and removes there is its own.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    process::geteuid,
};

use super::{StateDir, let_in::as_its_directory};
use crate::log;

/// Locked by the daemon that has the directory; its process number is in it, for whoever comes second.
const LOCK: &str = "lock";

/// Why a daemon cannot have a state directory.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// Another one has it, of this process number where that is known.
    ByAnother(Option<i32>),
    /// Why, with the way out.
    Failed(String),
}

/// Takes it from others to list or change one that somebody else has made. To go through it to what is theirs may stay.
pub(super) fn make_private(root: &OwnedFd) -> io::Result<()> {
    const OPEN: Mode = Mode::from_raw_mode(0o066);
    let stat = rustix::fs::fstat(root)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if stat.st_uid != geteuid().as_raw() || !mode.intersects(OPEN) {
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
        let failed =
            |path: &Path, error: &io::Error| NotHeld::Failed(Hindrance::at(path).told(error));
        let mut state = StateDir::open(path).map_err(|it| failed(path, &it))?;
        let failed = |error: Errno| failed(&path.join(LOCK), &error.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = rustix::fs::openat(&state.root, LOCK, flags, mode).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(NotHeld::ByAnother(written_in(&lock))),
            // A network's file system may know no locks, and such a directory served before there was one.
            Err(Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP) => {}
            other => other.map_err(failed)?,
        }
        if geteuid().is_root() {
            warn_of_owner(&state);
            // Whose the directory is can start his own ccgw there. Where root may not, it stays as it was.
            let _ = as_its_directory(&lock, &state.root);
        }
        // A full disk keeps nobody from serving; then the number is not told.
        let own = format!("{}\n", std::process::id());
        let _ = rustix::fs::ftruncate(&lock, 0);
        let _ = rustix::io::pwrite(&lock, own.as_bytes(), 0);
        state._lock = Some(lock);
        Ok(state)
    }
}

/// What is in the way of a state directory.
struct Hindrance<'p> {
    wanted: &'p Path,
    /// The nearest that is there, of what is wanted and what it lies in.
    found: &'p Path,
    /// Whose that is.
    owner: u32,
    /// Who wants it.
    own: u32,
}

impl<'p> Hindrance<'p> {
    fn at(wanted: &'p Path) -> Hindrance<'p> {
        let mut above = wanted.ancestors();
        let found = above.find_map(|it| Some((it, fs::symlink_metadata(it).ok()?.uid())));
        let (found, owner) = found.unwrap_or((wanted, 0));
        Hindrance {
            wanted,
            found,
            owner,
            own: geteuid().as_raw(),
        }
    }

    /// The error, and what can be done.
    fn told(&self, error: &io::Error) -> String {
        let (wanted, found) = (self.wanted.display(), self.found.display());
        let Hindrance { owner, own, .. } = self;
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => format!(
                "{wanted}: {error}; ccgw keeps its state there: mount it for writing (in a unit of systemd: ReadWritePaths=), or name another directory with STATE_DIRECTORY"
            ),
            io::ErrorKind::PermissionDenied if owner != own => format!(
                "{wanted}: {error}; {found} belongs to user {owner}, and this ccgw runs as user {own}: as root, `chown {own}: {found}` if it is ccgw's alone, or start ccgw as user {owner}, or name another directory with STATE_DIRECTORY"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{wanted}: {error}; {found} belongs to this user ({own}), so its mode is in the way: `chmod u+rwX {found}`"
            ),
            _ => format!("{wanted}: {error}"),
        }
    }
}

/// The lock is not all that root makes there.
fn warn_of_owner(state: &StateDir) {
    let owner = rustix::fs::fstat(&state.root).map_or(0, |it| it.st_uid);
    if owner != 0 {
        let path = state.path.display();
        let way_out = format!("chown -R {owner}: {path}");
        log::warn(
            "root uses the state directory of another user, whose own gateway can not use what root makes there; give it back then",
            &[("path", &path), ("owner", &owner), ("run", &way_out)],
        );
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
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_told_with_the_way_out() {
        let of = |owner| Hindrance {
            wanted: Path::new("/s/lock"),
            found: Path::new("/s/lock"),
            owner,
            own: 998,
        };
        for (errno, owner, expect) in [
            (
                Errno::ROFS,
                0,
                "/s/lock: Read-only file system (os error 30); ccgw keeps its state there: mount it for writing",
            ),
            (
                Errno::ACCESS,
                0,
                "/s/lock belongs to user 0, and this ccgw runs as user 998: as root, `chown 998: /s/lock`",
            ),
            (Errno::ACCESS, 998, "`chmod u+rwX /s/lock`"),
            (Errno::ISDIR, 998, "/s/lock: Is a directory"),
        ] {
            let told = of(owner).told(&errno.into());
            assert!(told.contains(expect), "{told}");
        }
        let nowhere = Path::new("/nowhere/at/all");
        assert_eq!(Hindrance::at(nowhere).found, Path::new("/"));
    }
}
