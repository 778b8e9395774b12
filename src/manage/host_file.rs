//! A file below a directory that somebody hostile may write to: no link is followed on the way, and none
//! leads out of it.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, openat, statat, unlinkat,
};

use crate::{docker, no_links, replace};

/// Reads a regular file of at most `max` bytes, with its owner and mode.
///
/// # Errors
/// When there is none, it is anything else, or a link is on the way.
pub(super) fn read(root: &Path, below: &Path, max: u64) -> io::Result<docker::File> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    // A pipe would wait for somebody to write.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(no_links::open_below(&root, below, flags)?);
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
    enter(root, below).is_ok()
}

/// Goes into a directory, with no link on the way to it.
///
/// # Errors
/// When there is none, or this user may not.
pub(super) fn enter(root: &Path, below: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    let dir = match below.as_os_str().is_empty() {
        true => root,
        false => no_links::open_below(&root, below, flags)?,
    };
    Ok(accessat(&dir, ".", Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Removes what a killed ccgw left beside a file, on its way to take the file's place. What is not a minute
/// old may be another's that still works.
///
/// # Errors
/// When the directory cannot be read or written.
pub(super) fn sweep(root: &Path, below: &Path) -> io::Result<()> {
    let dir = match below.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    let dir = no_links::open_below(&root, dir, flags | OFlags::RDONLY)?;
    let prefix = replace::aside_prefix(below);
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = now.map_or(0, |it| it.as_secs().cast_signed() - stat.st_mtime);
        if age > LEFT_AFTER_S && FileType::from_raw_mode(stat.st_mode).is_file() {
            unlinkat(&dir, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Writing a file takes far less.
const LEFT_AFTER_S: i64 = 60;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_old_leftovers_are_swept() {
        let dir = std::env::temp_dir().join(format!("ccgw-sweep-{}", std::process::id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        let old = SystemTime::now() - std::time::Duration::from_secs(600);
        for (name, age) in [
            ("openclaw.json", Some(old)),
            (".openclaw.json.ccgw-0123456789ab", Some(old)),
            (".openclaw.json.ccgw-ba9876543210", None),
            (".openclaw.json.bak", Some(old)),
            ("..env.ccgw-0123456789ab", Some(old)),
        ] {
            let file = File::create(dir.join("sub").join(name)).unwrap();
            file.set_modified(age.unwrap_or_else(SystemTime::now))
                .unwrap();
        }
        sweep(&dir, Path::new("sub/openclaw.json")).unwrap();
        sweep(&dir.join("sub"), Path::new(".env")).unwrap();
        symlink("sub", dir.join("link")).unwrap();
        assert!(sweep(&dir, Path::new("link/openclaw.json")).is_err());
        let entries = fs::read_dir(dir.join("sub")).unwrap();
        let mut left: Vec<_> = entries.map(|it| it.unwrap().file_name()).collect();
        left.sort();
        let expect = [
            ".openclaw.json.bak",
            ".openclaw.json.ccgw-ba9876543210",
            "openclaw.json",
        ];
        assert_eq!(left, expect);
        fs::remove_dir_all(dir).unwrap();
    }

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
