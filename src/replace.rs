//! Puts a file's new content in its place at once: whoever reads sees the old or the new, never a part.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::ids;

/// Whose a file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits.
    pub(crate) mode: u32,
}

impl Owner {
    pub(crate) fn of(metadata: &Metadata) -> Owner {
        Owner {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }

    /// Makes the file this one's. A group that has no rights in it is no reason to fail.
    pub(crate) fn give(self, file: &File) -> io::Result<()> {
        let now = Owner::of(&file.metadata()?);
        if now.uid != self.uid {
            fchown(file, Some(self.uid), None)?;
        }
        if now.gid != self.gid {
            let given = fchown(file, None, Some(self.gid));
            if self.mode & 0o070 != 0 {
                given?;
            }
        }
        // Last, because a change of the owner may change the mode.
        file.set_permissions(fs::Permissions::from_mode(self.mode))
    }
}

/// Writes a new file beside the old one, makes sure that it is on the disk, and renames it.
///
/// # Errors
/// When any of it fails, a full disk for example: then the old file is as it was, and nothing is left
/// beside it. An owner that only root could set is an error too: the file's reader may be somebody else.
pub(crate) fn atomically(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    put(path, (bytes, owner), |aside| fs::rename(aside, path))
}

/// As [`atomically`], but only in the place of what was read: a file that somebody else has saved
/// meanwhile, in the last moment too, stays.
///
/// # Errors
/// As [`atomically`]; `ResourceBusy` when something else is there.
pub(crate) fn in_place_of(
    path: &Path,
    (read, bytes): (&[u8], &[u8]),
    owner: Owner,
) -> io::Result<()> {
    let is_still = |at: &Path| fs::read(at).is_ok_and(|now| now == read);
    let swap = |aside: &Path| renameat_with(CWD, aside, CWD, path, RenameFlags::EXCHANGE);
    put(path, (bytes, owner), |aside| match swap(aside) {
        Ok(()) if is_still(aside) => {
            // It was read, and is in the backup; what cannot be removed now is removed by the next edit.
            let _ = fs::remove_file(aside);
            Ok(())
        }
        Ok(()) => {
            swap(aside)?;
            Err(io::ErrorKind::ResourceBusy.into())
        }
        // Some file systems do not know it.
        Err(Errno::INVAL | Errno::NOSYS) if is_still(path) => fs::rename(aside, path),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOENT) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(error) => Err(error.into()),
    })
}

/// Makes a file where there is none, at once too.
///
/// # Errors
/// As [`atomically`]; `AlreadyExists` when something is there.
pub(crate) fn write_new(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    put(path, (bytes, owner), |aside| {
        match renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE) {
            // Some file systems do not know it; then it is looked for before.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(path).is_err() => {
                fs::rename(aside, path)
            }
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            renamed => Ok(renamed?),
        }
    })
}

/// Writes a file aside and renames it.
fn put(
    path: &Path,
    (bytes, owner): (&[u8], Owner),
    rename: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let aside = aside_of(path);
    let written = write(&aside, bytes, owner).and_then(|()| rename(&aside));
    if written.is_err() {
        // The first error says more than one about cleaning up.
        let _ = fs::remove_file(&aside);
        return written;
    }
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty());
    // The names are changed already: an error would claim that they are not.
    let _ = File::open(dir.unwrap_or(Path::new("."))).and_then(|it| it.sync_all());
    Ok(())
}

fn write(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        // Nobody else's until it has its owner.
        .mode(0o600)
        .open(path)?;
    owner.give(&file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new name beside a file, for what shall take its place.
pub(crate) fn aside_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}{}", aside_prefix(path), ids::random_hex::<6>()))
}

/// Whether a name is one that was made for a file of this name.
pub(crate) fn is_aside(name: &str, of: &str) -> bool {
    let random = name.strip_prefix('.').and_then(|it| it.strip_prefix(of));
    let random = random.and_then(|it| it.strip_prefix(".ccgw-"));
    random.is_some_and(|it| it.len() == 12 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// How all such names begin.
pub(crate) fn aside_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.ccgw-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let name = |it: io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
        entries.map(name).collect()
    }

    #[test]
    fn content_changes_and_owner_and_mode_stay() {
        let dir = std::env::temp_dir().join(format!("ccgw-replace-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("x.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = Owner::of(&fs::metadata(&path).unwrap());
        atomically(&path, b"new", before).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(Owner::of(&fs::metadata(&path).unwrap()), before);
        assert_eq!(names(&dir), ["x.json"]);

        in_place_of(&path, (b"new", b"newer"), before).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        let late = in_place_of(&path, (b"new", b"lost"), before).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(names(&dir), ["x.json"]);
        atomically(&path, b"new", before).unwrap();
        assert!(write_new(&path, b"other", before).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(is_aside(
            &aside_of(&path).file_name().unwrap().to_string_lossy(),
            "x.json"
        ));
        assert!(!is_aside("x.json", "x.json") && !is_aside(".x.json.ccgw-", "x.json"));

        // A directory in the way cannot be replaced by a file.
        let occupied = dir.join("occupied");
        fs::create_dir(&occupied).unwrap();
        fs::write(occupied.join("y"), "").unwrap();
        assert!(atomically(&occupied, b"new", before).is_err());
        let mut left = names(&dir);
        left.sort();
        assert_eq!(left, ["occupied", "x.json"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
