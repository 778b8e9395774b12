//! [`Store`]: config.yaml on disk while it is edited: one editor at a time, a backup, and the new
//! text whole or not at all.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{
    config::{self, FILE_BYTES_MAX, Problems},
    replace::{self, Owner},
};

mod backups;
#[cfg(test)]
mod tests;

/// The file, read and locked. Nobody else who asks for this lock writes it until this is dropped.
/// There is no `Debug`: the text holds keys.
pub(crate) struct Store {
    /// As it was asked for, possibly a link.
    asked: PathBuf,
    /// The file itself.
    path: PathBuf,
    before: Option<Before>,
    /// Its lock is given back by the kernel when it is closed, however the process ends.
    _lock: File,
}

/// What a replacement left.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// The file as it was before; `None` when there was none, or nothing to change.
    pub(crate) backup: Option<PathBuf>,
}

struct Before {
    /// With its byte order mark.
    text: String,
    owner: Owner,
}

/// An edit takes milliseconds, and some may wait for each other on a slow disk.
const LOCK_WAIT: Duration = Duration::from_secs(15);
const LOCK_RETRY: Duration = Duration::from_millis(20);

impl Store {
    /// Locks the file and reads it, if it is there. What a link points to is edited, so that the
    /// link stays one.
    ///
    /// # Errors
    /// When another process is editing it, or it is not a file that can be read.
    pub(crate) fn open(path: &Path) -> Result<Store, String> {
        Store::open_within(path, LOCK_WAIT)
    }

    fn open_within(asked: &Path, wait: Duration) -> Result<Store, String> {
        let path = resolved(asked).map_err(|error| failed(asked, "found", &error))?;
        let lock = lock_within(&path, wait)?;
        forget_leftovers(&path);
        let before = read(&path)?;
        Ok(Store {
            asked: asked.to_owned(),
            path,
            before,
            _lock: lock,
        })
    }

    /// The text of the file; `None` when there is no file.
    pub(crate) fn text(&self) -> Option<&str> {
        self.before.as_ref().map(|before| before.text.as_str())
    }

    /// Writes a text that is a valid configuration, after a backup of the old one. The file then
    /// belongs to whom it belonged to, and only that user can read it.
    ///
    /// # Errors
    /// When the text has problems (all are named), when the file is not any more what was read, or
    /// when it cannot be written. The file is then as it was.
    pub(crate) fn replace(self, text: &str) -> Result<Replaced, String> {
        let path = &self.path;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!(
                "{} would be larger than {FILE_BYTES_MAX} bytes, so nothing was changed",
                path.display()
            ));
        }
        check(path, text).map_err(|problems| {
            format!("the new configuration would not be valid, so nothing was changed:\n{problems}")
        })?;
        self.check_unchanged()?;
        let owner = match &self.before {
            Some(before) if before.text == text => return Ok(Replaced { backup: None }),
            Some(before) => before.owner,
            None => owner_of_folder(path).map_err(|error| failed(path, "written", &error))?,
        };
        let backup = self.back_up(owner)?;
        let replaced = match &self.before {
            Some(before) => {
                let bytes = (before.text.as_bytes(), text.as_bytes());
                replace::in_place_of(path, bytes, owner)
            }
            None => replace::write_new(path, text.as_bytes(), owner),
        };
        if let Err(error) = replaced {
            if let Some(backup) = &backup {
                // Nothing was changed, so there is nothing to go back to.
                let _ = fs::remove_file(backup);
            }
            return Err(match error.kind() {
                ErrorKind::ResourceBusy | ErrorKind::AlreadyExists => changed(path),
                _ => failed(path, "written", &error),
            });
        }
        backups::prune(path, backup.as_deref());
        Ok(Replaced { backup })
    }

    fn back_up(&self, owner: Owner) -> Result<Option<PathBuf>, String> {
        let Some(before) = &self.before else {
            return Ok(None);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |elapsed| elapsed.as_millis());
        for path in backups::names(&self.path, now) {
            match replace::write_new(&path, before.text.as_bytes(), owner) {
                Ok(()) => return Ok(Some(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, "written", &error)),
            }
        }
        let path = self.path.display();
        Err(format!(
            "{path} cannot be backed up, because the names of its backups are taken; look at what is \
             beside it and named so"
        ))
    }

    /// Editors do not ask for our lock.
    fn check_unchanged(&self) -> Result<(), String> {
        let now = resolved(&self.asked).map_err(|_| changed(&self.path))?;
        let text = read(&now)?.map(|before| before.text);
        if now != self.path || text.as_deref() != self.text() {
            return Err(changed(&self.path));
        }
        Ok(())
    }
}

fn changed(path: &Path) -> String {
    let path = path.display();
    format!("{path} was changed by somebody else meanwhile, try again")
}

/// The file that `path` leads to, which need not be there; its folder must.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            let path = std::path::absolute(path)?;
            let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
            let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
            Ok(fs::canonicalize(folder)?.join(name))
        }
        found => found,
    }
}

/// Takes the lock of the file at `path`, a file beside it. That one is never removed: who waits
/// for the removed file would hold another lock than who makes it anew.
///
/// # Errors
/// When another program has it for long, or it cannot be made.
pub(super) fn lock(path: &Path) -> Result<File, String> {
    lock_within(path, LOCK_WAIT)
}

fn lock_within(path: &Path, wait: Duration) -> Result<File, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.lock"));
    let lock = open_lock(path, &beside).map_err(|error| failed(&beside, "opened", &error))?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK) if start.elapsed() < wait => std::thread::sleep(LOCK_RETRY),
            Err(Errno::WOULDBLOCK) => {
                let path = path.display();
                return Err(format!(
                    "{path} is being edited by another ccgw, finish that one and try again"
                ));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(&beside, "locked", &error.into())),
        }
    }
}

/// What an edit that was killed left beside the file, with keys in it. Whoever holds the lock is the only
/// one that makes such.
fn forget_leftovers(path: &Path) {
    let (Some(folder), Some(own)) = (path.parent(), path.file_name()) else {
        return;
    };
    let own = own.to_string_lossy();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of_backup = || backups::of_aside(&name, &own);
        if replace::is_aside(&name, &own)
            || of_backup().is_some_and(|it| replace::is_aside(&name, it))
        {
            // One that stays is tried again with the next edit.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A new lock file belongs to whom the configuration belongs to, so that this user can edit it
/// after root did.
fn open_lock(path: &Path, beside: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let create = flags | OFlags::CREATE | OFlags::EXCL;
    let lock = match rustix::fs::open(beside, create, Mode::RUSR | Mode::WUSR) {
        Ok(lock) => {
            let owner = match fs::metadata(path) {
                Ok(file) => private(Owner::of(&file)),
                Err(_) => owner_of_folder(path)?,
            };
            // Who may not give it away keeps it, and can go on.
            let lock = File::from(lock);
            let _ = owner.give(&lock);
            lock
        }
        Err(Errno::EXIST) => File::from(rustix::fs::open(beside, flags, Mode::empty())?),
        Err(error) => return Err(error.into()),
    };
    if !lock.metadata()?.is_file() {
        return Err(not_a_file());
    }
    Ok(lock)
}

/// A file that is made new belongs to the owner of its folder: root sets up what others run.
fn owner_of_folder(path: &Path) -> io::Result<Owner> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    Ok(private(Owner::of(&fs::metadata(folder)?)))
}

/// The file holds keys.
fn private(owner: Owner) -> Owner {
    Owner {
        mode: 0o600,
        ..owner
    }
}

/// The file at `path`, which is no link; `None` when there is none. Never blocks.
fn read(path: &Path) -> Result<Option<Before>, String> {
    let (bytes, metadata) = match read_bytes(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read", &error)),
    };
    let shown = path.display();
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "{shown}: larger than {FILE_BYTES_MAX} bytes, this cannot be the configuration"
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("{shown}: not UTF-8, save the file as UTF-8"))?;
    let owner = private(Owner::of(&metadata));
    Ok(Some(Before { text, owner }))
}

fn read_bytes(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    // Opening a device can do things, so it is looked at before, and again after.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(not_a_file());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    let mut bytes = Vec::new();
    // One byte more tells a file of just this size from a larger one.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes, metadata))
}

fn not_a_file() -> io::Error {
    io::Error::other("not a regular file, write the path of one")
}

/// The overrides in the environment of whoever edits are not the daemon's, so only `HOME` counts.
fn check(path: &Path, text: &str) -> Result<(), Problems> {
    config::check_text(path, text, &|name| match name {
        "HOME" => std::env::var(name).ok(),
        _ => None,
    })
}

/// What went wrong with a file, and the way out.
pub(super) fn failed(path: &Path, what: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::NotFound => ", check the path",
        ErrorKind::PermissionDenied => ", do it as its owner or as root",
        ErrorKind::ReadOnlyFilesystem => ", it is mounted so that nothing can be changed",
        ErrorKind::ResourceBusy => ", it is mounted by itself: mount its folder instead",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ", make room on the disk",
        _ => "",
    };
    let path = path.display();
    format!("{path} cannot be {what} ({error}){advice}")
}
