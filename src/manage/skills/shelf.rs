//! Directories of skills on this machine: read without following links, and written so that a skill is the
//! old one or the new one at any time.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    docker::{TreeFile, TreeLimits},
    ids,
};

const DEPTH_MAX: usize = 10;

/// What is on its way into a place, or out of it, has this in its name, and a dot before it.
pub(super) const ASIDE: &str = ".ccgw-";

/// As [`crate::docker::Engine::read_tree`], of a directory of this machine.
pub(crate) fn local_tree(dir: &Path, limits: TreeLimits) -> io::Result<Option<Vec<TreeFile>>> {
    match fs::symlink_metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(metadata) if metadata.is_symlink() => {
            return Err(io::Error::other("it is a link, which is not followed"));
        }
        Ok(_) => return Err(io::Error::other("it is no directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut files = Vec::new();
    let mut left = limits.bytes;
    let mut entries = 0;
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            // Of a link itself, not of what it leads to.
            let metadata = entry.metadata()?;
            entries += 1;
            if entries > limits.entries() {
                let most = limits.entries();
                return Err(io::Error::other(format!("it has more than {most} entries")));
            }
            if metadata.is_dir() && path.components().count() <= DEPTH_MAX {
                open.push(path);
            } else if metadata.is_file() {
                if files.len() >= limits.files || metadata.len() > left {
                    return Err(too_much(limits));
                }
                left -= metadata.len();
                let mut bytes = Vec::new();
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                    .open(dir.join(&path))?;
                file.take(metadata.len()).read_to_end(&mut bytes)?;
                files.push(TreeFile {
                    path,
                    bytes,
                    is_executable: metadata.permissions().mode() & 0o111 != 0,
                    mtime: metadata.mtime().try_into().unwrap_or(0),
                });
            }
        }
    }
    Ok(Some(files))
}

fn too_much(limits: TreeLimits) -> io::Error {
    io::Error::other(format!(
        "it has more than {} files or {} MiB, which no skills are",
        limits.files,
        limits.bytes >> 20
    ))
}

/// Whose the files become; the process's own where it cannot give them away.
pub(super) type Owner = Option<(u32, u32)>;

/// What is where a skill is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    /// An old one, which is kept somewhere.
    Old,
}

/// Puts a skill's files at a path below a directory.
///
/// # Errors
/// When it cannot be written; then what was there is as it was. [`io::ErrorKind::AlreadyExists`] when
/// something is there and should not be.
pub(super) fn put(
    dir: &Path,
    (at, over): (&Path, Over),
    (files, owner): (&[TreeFile], Owner),
) -> io::Result<()> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        own(dir, owner)?;
    }
    let name = at.file_name().unwrap_or_default().to_string_lossy();
    let aside = aside(dir, &name);
    let how = match over {
        Over::Nothing => RenameFlags::NOREPLACE,
        Over::Old => RenameFlags::EXCHANGE,
    };
    let done = write_files(&aside, files, owner)
        .and_then(|()| Ok(renameat_with(CWD, &aside, CWD, dir.join(at), how)?));
    // The old one after an exchange, what there is of the new one after an error.
    let _ = fs::remove_dir_all(&aside);
    done
}

/// Removes a skill. Who is killed at it leaves it whole, or what the next command removes.
///
/// # Errors
/// When it cannot be moved; then it is as it was.
pub(super) fn remove(dir: &Path, (name, at): (&str, &Path)) -> io::Result<()> {
    let aside = aside(dir, name);
    fs::rename(dir.join(at), &aside)?;
    fs::remove_dir_all(aside)
}

fn aside(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}{ASIDE}{}", ids::random_hex::<6>()))
}

/// Writes a skill's files into a directory that is not there yet.
fn write_files(dir: &Path, files: &[TreeFile], owner: Owner) -> io::Result<()> {
    make_dir(dir, owner)?;
    for file in files {
        let mut at = dir.to_owned();
        for part in file.path.parent().into_iter().flatten() {
            at.push(part);
            if !at.exists() {
                make_dir(&at, owner)?;
            }
        }
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        let path = dir.join(&file.path);
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        out.write_all(&file.bytes)?;
        own(&path, owner)?;
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(file.mtime);
        // Which side of a difference is newer shall still be told afterwards.
        out.set_modified(written)?;
    }
    fs::File::open(dir)?.sync_all()
}

fn make_dir(dir: &Path, owner: Owner) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    own(dir, owner)
}

fn own(path: &Path, owner: Owner) -> io::Result<()> {
    match owner {
        Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// Whose the new files in a directory are to be: the directory's owner, where that is not us.
pub(super) fn owner_like(dir: &Path) -> Owner {
    let metadata = dir.metadata().ok()?;
    let own = rustix::process::geteuid().as_raw();
    (metadata.uid() != own).then(|| (metadata.uid(), metadata.gid()))
}

/// Removes what a killed command left on its way.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn sweep(dir: &Path) -> io::Result<usize> {
    let mut swept = 0;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.contains(ASIDE) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TreeLimits = TreeLimits {
        files: 10,
        bytes: 1000,
    };

    fn skill(text: &str) -> Vec<TreeFile> {
        let file = |path: &str| TreeFile {
            path: path.into(),
            bytes: text.into(),
            is_executable: path.ends_with(".sh"),
            mtime: 1_000_000_000,
        };
        vec![file("SKILL.md"), file("bin/run.sh")]
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn skill_is_replaced_whole_and_read_as_it_was_written() {
        let root = std::env::temp_dir().join(format!("ccgw-shelf-{}", std::process::id()));
        let dir = root.join("skills");
        let put_at = |at: &str, over, files: &[TreeFile]| {
            put(&dir, (Path::new(at), over), (files, None)).map_err(|it| it.kind())
        };
        let taken = Err(io::ErrorKind::AlreadyExists);
        put_at("a", Over::Nothing, &skill("old")).unwrap();
        assert_eq!(put_at("a", Over::Nothing, &skill("other")), taken);
        put_at("a", Over::Old, &skill("new")).unwrap();
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode();
        assert_eq!(
            (mode("a/SKILL.md") & 0o111, mode("a/bin/run.sh") & 0o111),
            (0, 0o111)
        );
        let mut files = local_tree(&dir.join("a"), LIMITS).unwrap().unwrap();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(files, skill("new"));
        let twice = [skill("x"), skill("x")].concat();
        assert_eq!(put_at("a", Over::Old, &twice), taken);
        assert_eq!(put_at("b", Over::Nothing, &twice), taken);
        put_at("c", Over::Nothing, &skill("x")).unwrap();
        remove(&dir, ("c", Path::new("c"))).unwrap();
        assert_eq!(names(&dir), ["a"]);

        fs::create_dir(dir.join(".a.ccgw-0123")).unwrap();
        fs::create_dir(dir.join(".mine")).unwrap();
        assert_eq!(sweep(&dir).unwrap(), 1);
        assert_eq!(names(&dir), [".mine", "a"]);

        let small = TreeLimits {
            files: 1,
            bytes: 1000,
        };
        assert!(local_tree(&dir, small).is_err());
        std::os::unix::fs::symlink(&dir, root.join("link")).unwrap();
        assert!(local_tree(&root.join("link"), LIMITS).is_err());
        assert!(local_tree(&root.join("none"), LIMITS).unwrap().is_none());
        fs::remove_dir_all(root).unwrap();
    }
}
