//! Opening what a path names, over no link: whoever can write near it may have put one there. Where an operator may have
//! links of its own, those of others are told from them by who owns them and the directory that they are in.
//!
//! openat2(2) does that at once. It is not there in kernels before 5.6, nor under systemd's `RestrictSUIDSGID=`, which
//! cannot look into its arguments; then the path is walked, one directory held open after the other.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat,
        statat,
    },
    io::{Errno, Result},
};

const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

/// Opens a path from the root, or from the working directory.
///
/// # Errors
/// `LOOP` where it leads over a link, and as open(2).
pub(crate) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match openat2(CWD, path, flags, Mode::empty(), NO_LINKS) {
        Err(Errno::NOSYS) if path.is_absolute() => walk(from(CWD, "/")?, path, flags),
        Err(Errno::NOSYS) => walk(from(CWD, ".")?, path, flags),
        other => other,
    }
}

/// Opens a path in a directory, and nothing outside of it.
///
/// # Errors
/// As [`open`], and where it leads out.
pub(crate) fn open_below(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let resolve = NO_LINKS.union(ResolveFlags::BENEATH);
    match openat2(&root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) if path.is_absolute() => Err(Errno::XDEV),
        Err(Errno::NOSYS) => walk(from(&root, ".")?, path, flags),
        other => other,
    }
}

/// Opens a path from the root, over links only that nobody but root and this process's user can have put there: both they
/// and the directories that they are in belong to these.
///
/// # Errors
/// `LOOP` where it leads over another link, or over too many, and as open(2).
pub(crate) fn open_over_own_links(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match open(path, flags) {
        // What was no link when it was looked at may be one now.
        Err(Errno::LOOP) => open(&without_own_links(path)?, flags),
        other => other,
    }
}

/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The same path without a link in it.
fn without_own_links(path: &Path) -> Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let is_own = |uid: u32| uid == 0 || uid == user;
    let (mut dir, mut real) = (from(CWD, "/")?, PathBuf::from("/"));
    let mut links = 0;
    // The next one is the last.
    let mut names: Vec<OsString> = names_backwards(path).collect();
    while let Some(name) = names.pop() {
        let found = openat(&dir, &name, LINK_ITSELF, Mode::empty())?;
        let stat = fstat(&found)?;
        if !is_link(stat.st_mode) {
            match name == ".." {
                true => drop(real.pop()),
                false => real.push(name),
            }
            dir = found;
            continue;
        }
        links += 1;
        if links > LINKS_MAX || !is_own(stat.st_uid) || !is_own(fstat(&dir)?.st_uid) {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&found, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            (dir, real) = (from(CWD, "/")?, PathBuf::from("/"));
        }
        names.extend(names_backwards(target));
    }
    Ok(real)
}

fn names_backwards(path: &Path) -> impl Iterator<Item = OsString> {
    let is_step = |it: &Component<'_>| matches!(it, Component::Normal(_) | Component::ParentDir);
    let steps = path.components().filter(is_step).rev();
    steps.map(|it| it.as_os_str().to_owned())
}

const LINK_ITSELF: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn from(root: impl AsFd, path: &str) -> Result<OwnedFd> {
    openat(root, path, DIRECTORY, Mode::empty())
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn walk(mut dir: OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            // Where it leads depends on what lies before it.
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    let Some((last, above)) = names.split_last() else {
        return openat(&dir, ".", flags, Mode::empty());
    };
    for name in above {
        dir = step(&dir, Path::new(name), DIRECTORY)?;
    }
    step(&dir, Path::new(last), flags | OFlags::NOFOLLOW)
}

/// One name further.
fn step(dir: &OwnedFd, name: &Path, flags: OFlags) -> Result<OwnedFd> {
    match openat(dir, name, flags, Mode::empty()) {
        // Of a link itself, which is what `PATH` opens.
        Ok(opened) if is_link(fstat(&opened)?.st_mode) => Err(Errno::LOOP),
        Err(Errno::NOTDIR) => match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_link(stat.st_mode) => Err(Errno::LOOP),
            _ => Err(Errno::NOTDIR),
        },
        other => other,
    }
}

fn is_link(mode: rustix::fs::RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::Symlink
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    type Opened = std::result::Result<u64, Errno>;

    /// Which file it is, by both ways.
    fn both(dir: &Path, path: &str, flags: OFlags) -> [Opened; 2] {
        let root = || from(CWD, dir.to_str().unwrap()).unwrap();
        let inode = |it: Result<OwnedFd>| it.map(|it| fstat(&it).unwrap().st_ino);
        [
            inode(open_below(root(), Path::new(path), flags)),
            inode(walk(root(), Path::new(path), flags)),
        ]
    }

    #[test]
    fn a_walk_opens_what_the_kernel_opens() {
        let dir = std::env::temp_dir().join(format!("ccgw-walk-{}", crate::ids::random_hex::<8>()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "x").unwrap();
        symlink("b", dir.join("a/link")).unwrap();
        symlink("file", dir.join("a/b/other")).unwrap();
        symlink("nowhere", dir.join("a/dangling")).unwrap();
        let file = Ok(fs::metadata(dir.join("a/b/file"))
            .map(|it| std::os::unix::fs::MetadataExt::ino(&it))
            .unwrap());
        for flags in [OFlags::PATH, OFlags::RDONLY] {
            let flags = flags | OFlags::CLOEXEC;
            for (path, expect) in [
                ("a/b/file", file),
                ("./a/./b//file", file),
                ("a/link/file", Err(Errno::LOOP)),
                ("a/b/other", Err(Errno::LOOP)),
                ("a/dangling", Err(Errno::LOOP)),
                ("a/none", Err(Errno::NOENT)),
                ("none/file", Err(Errno::NOENT)),
                ("a/b/file/below", Err(Errno::NOTDIR)),
            ] {
                assert_eq!(both(&dir, path, flags), [expect; 2], "{path} {flags:?}");
            }
            for out in ["../file", "a/../../file"] {
                assert_eq!(both(&dir, out, flags), [Err(Errno::XDEV); 2], "{out}");
            }
            let folder = both(&dir, "a/link", flags | OFlags::DIRECTORY);
            assert_eq!(folder, [Err(Errno::LOOP); 2]);
        }
        fs::remove_dir_all(dir).unwrap();
    }
    #[test]
    fn links_are_followed_only_where_nobody_else_can_have_put_them() {
        let dir = std::env::temp_dir().join(format!("ccgw-own-{}", crate::ids::random_hex::<8>()));
        // What the temporary directory is a link to, is not looked at here.
        let made = fs::create_dir_all(dir.join("disk/a/b")).map(|()| dir.canonicalize());
        let dir = made.unwrap().unwrap();
        fs::create_dir_all(dir.join("home")).unwrap();
        for (target, link) in [
            ("../disk/a", "home/below"),
            ("below/../../disk", "home/over"),
            (dir.join("disk").to_str().unwrap(), "home/absolute"),
            ("circle", "home/circle"),
            ("nowhere", "home/dangling"),
        ] {
            symlink(target, dir.join(link)).unwrap();
        }
        let opened = |path: &str| {
            let file = open_over_own_links(&dir.join(path), OFlags::PATH | OFlags::CLOEXEC);
            file.map(|it| fstat(&it).unwrap().st_ino)
        };
        let inode = |path: &str| {
            let stat = fs::metadata(dir.join(path)).unwrap();
            Ok(std::os::unix::fs::MetadataExt::ino(&stat))
        };
        let own = [
            ("disk/a/b", inode("disk/a/b")),
            ("home/below", inode("disk/a")),
            ("home/below/b", inode("disk/a/b")),
            ("home/over/a/b", inode("disk/a/b")),
            ("home/absolute/a", inode("disk/a")),
            ("home/circle", Err(Errno::LOOP)),
            ("home/dangling", Err(Errno::NOENT)),
        ];
        for (path, expect) in own {
            assert_eq!(opened(path), expect, "{path}");
        }
        // Only root can give something to somebody else.
        if rustix::process::geteuid().is_root() {
            let give = |path: &str| std::os::unix::fs::lchown(dir.join(path), Some(61_099), None);
            give("home/over").unwrap();
            assert_eq!(opened("home/over/a"), Err(Errno::LOOP));
            assert_eq!(opened("home/absolute/a"), inode("disk/a"));
            give("home").unwrap();
            assert_eq!(opened("home/absolute/a"), Err(Errno::LOOP));
            // Where a link leads may be anybody's.
            give("disk").unwrap();
            symlink(dir.join("disk"), dir.join("top")).unwrap();
            assert_eq!(opened("top/a"), inode("disk/a"));
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
