//! The part of the state directory that a tenant's own user gets at: its folders, and the way to them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{Mode, OFlags, Stat},
    io::Errno,
    process::{Gid, Uid},
};

use super::{MANIFEST_DIR, MANIFEST_FILE, PLUGIN, SEEDS, StateDir, subdirectory};
use crate::claude::sandbox::{RunUser, adopt_all};

/// A tenant's own folders, which are its user's.
const OWN: [&str; 5] = ["home", "claude", TEMPORARY, "workspace", SEEDS];

const TEMPORARY: &str = "tmp";

/// Others go through, and see no names. What lies beside the way is closed by itself.
const WAY: Mode = Mode::from_raw_mode(0o711);

impl StateDir {
    /// Gives a tenant's folders to its user, and nobody else. The first time, also what root left in them.
    ///
    /// # Errors
    /// As [`StateDir::workspace`], and when the kernel refuses.
    pub(crate) fn let_in(&self, tenant: &str, user: RunUser, first: First) -> io::Result<()> {
        set_mode(&self.root, WAY)?;
        for name in ["bin", "relay"] {
            if let Some(directory) = existing(&self.root, (name, OFlags::DIRECTORY))? {
                set_mode(&directory, WAY)?;
            }
        }
        let tenants = subdirectory(&self.root, "tenants")?;
        set_mode(&tenants, WAY)?;
        let of_tenant = subdirectory(&tenants, tenant)?;
        let group = Gid::from_raw(user.gid);
        show_to(&of_tenant, (group, Mode::from_raw_mode(0o710)))?;
        for name in OWN {
            let directory = subdirectory(&of_tenant, name)?;
            let stat = rustix::fs::fstat(&directory)?;
            if stat.st_uid != user.uid || first == First::Yes {
                adopt_all(&directory, user)?;
                let owner = (Some(Uid::from_raw(user.uid)), Some(group));
                rustix::fs::fchown(&directory, owner.0, owner.1)?;
            }
            set_mode(&directory, Mode::RWXU)?;
        }
        self.show_plugin((&of_tenant, group))
    }

    /// Where a tenant's runs put what they need for a while.
    pub(crate) fn temporary(&self, tenant: &str) -> PathBuf {
        self.path.join("tenants").join(tenant).join(TEMPORARY)
    }

    /// Removes what runs of an earlier life left there.
    pub(crate) fn remove_temporary(&self) {
        let tenants = std::fs::read_dir(self.path.join("tenants"));
        for tenant in tenants.into_iter().flatten().flatten() {
            // Not there, as a rule. The way to it is ours, and links in it are not followed.
            let _ = std::fs::remove_dir_all(tenant.path().join(TEMPORARY));
        }
    }

    /// The plugin stays ours; its user reads it.
    fn show_plugin(&self, (of_tenant, group): (&OwnedFd, Gid)) -> io::Result<()> {
        let directory = OFlags::DIRECTORY;
        let Some(plugin) = existing(of_tenant, (PLUGIN, directory))? else {
            return Ok(());
        };
        show_to(&plugin, (group, Mode::from_raw_mode(0o750)))?;
        let Some(manifest) = existing(&plugin, (MANIFEST_DIR, directory))? else {
            return Ok(());
        };
        show_to(&manifest, (group, Mode::from_raw_mode(0o750)))?;
        match existing(&manifest, (MANIFEST_FILE, OFlags::NONBLOCK))? {
            Some(file) => show_to(&file, (group, Mode::from_raw_mode(0o640))),
            None => Ok(()),
        }
    }
}

/// Whether it is the first time in this life that a tenant's runs are that user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Yes,
    No,
}

fn existing(parent: &OwnedFd, (name, kind): (&str, OFlags)) -> io::Result<Option<OwnedFd>> {
    let flags = kind | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lets a group use what stays its owner's. Nothing is written where nothing would change.
fn show_to(file: &OwnedFd, (group, mode): (Gid, Mode)) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if stat.st_gid != group.as_raw() {
        rustix::fs::fchown(file, None, Some(group))?;
    }
    set_mode(file, mode)
}

fn set_mode(file: &OwnedFd, mode: Mode) -> io::Result<()> {
    let stat: Stat = rustix::fs::fstat(file)?;
    match Mode::from_raw_mode(stat.st_mode) == mode {
        true => Ok(()),
        false => Ok(rustix::fs::fchmod(file, mode)?),
    }
}

/// Gives a file that was just made to whom its directory belongs.
pub(super) fn as_its_directory(file: impl AsFd, directory: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(directory)?;
    if stat.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::fchown(file, Some(owner.0), Some(owner.1))?)
}
