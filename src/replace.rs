//! Puts a file's new content in its place at once: whoever reads sees the old or the new, never a part.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
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
}

/// Writes a new file beside the old one, makes sure that it is on the disk, and renames it.
///
/// # Errors
/// When any of it fails, a full disk for example: then the old file is as it was, and nothing is left
/// beside it. An owner that only root could set is an error too: the file's reader may be somebody else.
pub(crate) fn atomically(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let aside = aside_of(path);
    let written = write(&aside, bytes, owner).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // The first error says more than one about cleaning up.
        let _ = fs::remove_file(&aside);
        return written;
    }
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        // Nobody else's until it has its owner.
        .mode(0o600)
        .open(path)?;
    let now = Owner::of(&file.metadata()?);
    if (now.uid, now.gid) != (owner.uid, owner.gid) {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(owner.mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new name beside a file, for what shall take its place.
pub(crate) fn aside_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}{}", aside_prefix(path), ids::random_hex::<6>()))
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
