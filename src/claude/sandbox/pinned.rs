//! Which directory a path of the configuration is, told once and over no link: whoever can write near it may exchange
//! it, or a directory above it, at any moment.

use std::{
    ffi::OsString,
    fs, io,
    path::{Component, Path},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::no_links;

/// What was at a path when it was looked at. What is mounted in its name must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pinned {
    device: u64,
    inode: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Pinned {
    /// Looks once: all that is said of it is true of one and the same thing.
    ///
    /// # Errors
    /// When it is not there, or the path leads over a link: where to, and what to write.
    pub(crate) fn at(path: &Path) -> Result<Pinned, String> {
        let stat = looked_at(path).map_err(|error| refused(path, error))?;
        Ok(Pinned::from(&stat))
    }

    /// As [`Pinned::at`], but nothing where this user finds nothing.
    ///
    /// # Errors
    /// When the path leads over a link.
    pub(crate) fn found(path: &Path) -> Result<Option<Pinned>, String> {
        match looked_at(path) {
            Ok(stat) => Ok(Some(Pinned::from(&stat))),
            Err(Errno::LOOP) => Err(refused(path, Errno::LOOP)),
            Err(_) => Ok(None),
        }
    }

    /// A directory in the state directory, which may be reached over a link: nobody else writes above it.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn ours(path: &Path) -> Result<Pinned, String> {
        let real = fs::canonicalize(path).map_err(|it| format!("{}: {it}", path.display()))?;
        Pinned::at(&real)
    }

    /// As [`Pinned::at`], a folder in this one, which is made where it is missing.
    ///
    /// # Errors
    /// As [`Pinned::at`], and when it cannot be made.
    pub(crate) fn made_in(path: &Path, name: &str) -> Result<Pinned, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = no_links::open(path, flags);
        let above = above.map_err(|error| refused(path, error))?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => Pinned::at(&path.join(name)),
            Err(error) => Err(refused(&path.join(name), error)),
        }
    }

    /// As `ccgw enter` reads it.
    pub(super) fn word(self) -> OsString {
        format!("{}:{}", self.device, self.inode).into()
    }

    /// Whether both are one thing by two names.
    pub(super) fn is(self, other: Pinned) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&Stat> for Pinned {
    fn from(stat: &Stat) -> Pinned {
        Pinned {
            device: stat.st_dev,
            inode: stat.st_ino,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

fn looked_at(path: &Path) -> rustix::io::Result<Stat> {
    // What lies in another way is not what mounts are compared with.
    if path.components().any(|it| it == Component::ParentDir) {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = no_links::open(path, flags)?;
    rustix::fs::fstat(&file)
}

fn refused(path: &Path, error: Errno) -> String {
    let shown = path.display();
    // Only to be shown: it may be another by now.
    match fs::canonicalize(path) {
        Ok(real) if error == Errno::LOOP => format!(
            "{shown} leads over a link to {}; if that is meant, write that path into config.yaml",
            real.display()
        ),
        _ => format!("{shown}: {}", io::Error::from(error)),
    }
}

/// A file that a variable names, as it is now; none where there is nothing. No link's target is meant: the file may lie
/// where an instance can exchange it. A socket could be spoken to, and a folder holds more than one file.
///
/// # Errors
/// When it is anything else than a file, or a folder where one may be named.
pub(super) fn named_file(path: &Path, may_be_folder: bool) -> Result<Option<Pinned>, String> {
    match looked_at(path) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(Pinned::from(&stat))),
            FileType::Directory if may_be_folder => Ok(Some(Pinned::from(&stat))),
            _ => Err(format!(
                "{} is no file, and a variable names it",
                path.display()
            )),
        },
        Err(Errno::LOOP) => Err(refused(path, Errno::LOOP)),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_found_over_a_link() {
        let dir = std::env::temp_dir().join(crate::ids::random_hex::<8>());
        fs::create_dir_all(dir.join("above/folder")).unwrap();
        symlink("above", dir.join("link")).unwrap();
        symlink("folder", dir.join("above/last")).unwrap();
        let real = Pinned::at(&dir.join("above/folder")).unwrap();
        assert!(real.is(Pinned::made_in(&dir.join("above"), "folder").unwrap()));
        for path in ["link/folder", "above/last", "above/../above/folder"] {
            let refused = Pinned::at(&dir.join(path)).unwrap_err();
            assert!(refused.contains("leads over a link to"), "{refused}");
            assert!(Pinned::found(&dir.join(path)).is_err(), "{path}");
            assert!(real.is(Pinned::ours(&dir.join(path)).unwrap()));
        }
        assert!(Pinned::made_in(&dir.join("link"), "new").is_err());
        assert!(!dir.join("above/new").exists());
        assert!(Pinned::at(&dir.join("none")).is_err());
        assert_eq!(Pinned::found(&dir.join("none")), Ok(None));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn variables_name_files_and_neither_links_nor_sockets() {
        let dir =
            std::env::temp_dir().join(format!("ccgw-named-{}", crate::ids::random_hex::<8>()));
        fs::create_dir(&dir).unwrap();
        let dir = fs::canonicalize(dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("file"), "x").unwrap();
        symlink(at("file"), at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(named_file(&at("file"), false).unwrap().is_some());
        assert!(named_file(&at("none"), false).unwrap().is_none());
        assert!(named_file(&dir, true).unwrap().is_some());
        for (name, part) in [("link", "leads over a link"), ("socket", "is no file")] {
            let why = named_file(&at(name), true).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        assert!(named_file(&dir, false).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
