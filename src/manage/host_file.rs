//! A file below a directory that somebody hostile may write to: no link is followed on the way, and none
//! leads out of it.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::docker;

/// Reads a regular file of at most `max` bytes, with its owner and mode.
///
/// # Errors
/// When there is none, it is anything else, or a link is on the way.
pub(super) fn read(root: &Path, below: &Path, max: u64) -> io::Result<docker::File> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // A pipe would wait for somebody to write.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat2(&root, below, flags, Mode::empty(), resolve)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(docker::File {
        bytes,
        uid: metadata.uid().into(),
        gid: metadata.gid().into(),
        mode: metadata.mode() & 0o7777,
    })
}

/// Whether there is a directory, with no link on the way to it.
pub(super) fn is_dir(root: &Path, below: &Path) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let below = match below.as_os_str().is_empty() {
        true => Path::new("."),
        false => below,
    };
    let root = openat(CWD, root, flags, Mode::empty());
    root.is_ok_and(|root| openat2(&root, below, flags, Mode::empty(), resolve).is_ok())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_lead_nowhere() {
        let dir = std::env::temp_dir().join(format!("ccgw-host-file-{}", std::process::id()));
        let root = dir.join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(dir.join("secret"), "s").unwrap();
        fs::write(root.join("sub/plain"), "p").unwrap();
        symlink(dir.join("secret"), root.join("link")).unwrap();
        symlink(&dir, root.join("up")).unwrap();
        symlink("sub", root.join("inside")).unwrap();
        let get = |below: &str| read(&root, Path::new(below), 10).map(|it| it.bytes);
        assert_eq!(get("sub/plain").unwrap(), b"p");
        for below in [
            "link",
            "up/secret",
            "inside/plain",
            "../secret",
            "sub",
            "none",
        ] {
            assert!(get(below).is_err(), "{below}");
        }
        assert!(read(&root, Path::new("sub/plain"), 0).is_err());
        let dirs = ["sub", "", "up", "inside", "sub/plain"];
        let is_dir = dirs.map(|below| is_dir(&root, Path::new(below)));
        assert_eq!(is_dir, [true, true, false, false, false]);
        fs::remove_dir_all(dir).unwrap();
    }
}
