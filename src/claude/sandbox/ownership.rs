//! Folders that become a run's user's, or are closed to others: never through a link, and never what is somebody
//! else's already.

use std::{ffi::CStr, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
    process::{Gid, Uid},
};

use super::RunUser;
use crate::log;
use crate::no_links;

/// Closes to others a file or folder that the configuration names. Whether it is closed then is for the caller to
/// look at.
pub(crate) fn close(path: &Path) {
    let Ok((file, stat)) = opened(path) else {
        return;
    };
    if (Mode::from_raw_mode(stat.st_mode) & Mode::RWXO).is_empty() {
        return;
    }
    let mode = Mode::from_raw_mode(stat.st_mode) & !Mode::RWXO;
    match rustix::fs::fchmod(&file, mode) {
        Ok(()) => log::info(
            "closed to other users, because runs are such",
            &[("path", &path.display())],
        ),
        Err(error) => log::warn(
            "cannot be closed to other users",
            &[("path", &path.display()), ("why", &error)],
        ),
    }
}

/// Makes an empty folder of root's this user's. One that is the user's already stays as it is, but for what root left
/// in it, where the folder is for the CLI.
///
/// # Errors
/// When it is somebody else's, as a part of a sentence.
pub(crate) fn take(path: &Path, user: RunUser, inside: Inside) -> Result<(), String> {
    let shown = path.display();
    let failed = |it: io::Error| format!("{shown}: {it}");
    let (directory, stat) = opened(path).map_err(failed)?;
    if stat.st_uid != user.uid {
        if stat.st_uid != 0 || !is_empty(&directory).map_err(failed)? {
            return Err(not_its_own(path, user));
        }
        let owner = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
        rustix::fs::fchmod(&directory, Mode::RWXU).map_err(|it| failed(it.into()))?;
        rustix::fs::fchown(&directory, owner.0, owner.1).map_err(|it| failed(it.into()))?;
        log::info(
            "an empty folder is its tenant's now",
            &[("path", &shown), ("user", &user.uid)],
        );
    }
    let depth = match inside {
        Inside::Left => return Ok(()),
        Inside::Top => 1,
        Inside::Tree => DEPTH_MAX,
    };
    let mut tree = Tree {
        user,
        of: Of::Root,
        left: ENTRIES_MAX,
    };
    tree.adopt(&directory, depth).map_err(failed)
}

/// How much of what root left in a folder becomes its user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Left,
    /// A sign-in as root.
    Top,
    /// Runs as root.
    Tree,
}

/// Each level is an open directory.
const DEPTH_MAX: usize = 64;

/// A folder of more takes longer than a request may wait; what is left over stays root's.
const ENTRIES_MAX: usize = 1_000_000;

pub(super) fn not_its_own(path: &Path, user: RunUser) -> String {
    let (shown, RunUser { uid, gid }) = (path.display(), user);
    format!("{shown} is not its user's; `chown -R {uid}:{gid} {shown}` makes it so")
}

/// Gives all that is in a tenant's own directory to its user, whoever its runs were before.
///
/// # Errors
/// When it cannot be read, or the kernel refuses.
pub(crate) fn adopt_all(directory: &OwnedFd, user: RunUser) -> io::Result<()> {
    let mut tree = Tree {
        user,
        of: Of::Anybody,
        left: ENTRIES_MAX,
    };
    tree.adopt(directory, DEPTH_MAX)
}

/// Whose files become the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Root,
    Anybody,
}

/// A directory tree on its way to its user.
struct Tree {
    user: RunUser,
    of: Of,
    /// Entries that may still be looked at.
    left: usize,
}

impl Tree {
    fn adopt(&mut self, directory: &OwnedFd, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(());
            };
            self.left = left;
            match self.adopt_one(directory, entry.file_name())? {
                Some(below) if depth > 1 => self.adopt(&below, depth - 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What it is stays pinned by its descriptor meanwhile. A file with a second name may be anybody's, and is left.
    /// Returns the directory that it is.
    fn adopt_one(&self, directory: &OwnedFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
        let open = |flags: OFlags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(directory, name, flags, Mode::empty())
        };
        let file = match open(OFlags::PATH) {
            Ok(file) => file,
            // Its user may just have removed it.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_plain = match kind {
            FileType::RegularFile => stat.st_nlink == 1,
            FileType::Directory => true,
            _ => false,
        };
        let is_meant = match self.of {
            Of::Root => stat.st_uid == 0,
            Of::Anybody => stat.st_uid != self.user.uid,
        };
        if is_meant && is_plain {
            let RunUser { uid, gid } = self.user;
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&file, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
        }
        match kind {
            FileType::Directory => Ok(open(OFlags::RDONLY | OFlags::DIRECTORY).ok()),
            _ => Ok(None),
        }
    }
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    let mut entries = Dir::read_from(directory)?;
    let other = entries.find(|it| {
        it.as_ref()
            .is_ok_and(|it| !matches!(it.file_name().to_bytes(), b"." | b".."))
    });
    Ok(other.is_none())
}

/// Over no link at all.
fn opened(path: &Path) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = no_links::open(path, flags)?;
    let stat = rustix::fs::fstat(&file)?;
    Ok((file, stat))
}
