//! Files in and out of a container, as tar: it works whatever the image holds, in stopped containers
//! too, and keeps owner and mode.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{DockerError, Engine, engine::encoded};

/// A regular file of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mode: u32,
}

impl Engine {
    /// Reads one file of at most `max` bytes; `None` when there is none.
    ///
    /// # Errors
    /// As any request; when it is larger, or no regular file: a link is not followed.
    pub(crate) fn read_file(
        &self,
        container: &str,
        path: &Path,
        max: u64,
    ) -> Result<Option<File>, DockerError> {
        let what = format!("read {}", path.display());
        let query = archive_path(container, path);
        let stream = match self.stream(&what, &query) {
            Ok(stream) => stream,
            Err(error) if error.is_no_such_file() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut archive = tar::Archive::new(stream);
        let unreadable = |error: std::io::Error| odd(path, &error.to_string());
        let Some(entry) = archive.entries().map_err(unreadable)?.next() else {
            return Err(odd(path, "an empty archive"));
        };
        let mut entry = entry.map_err(unreadable)?;
        let header = entry.header();
        let kind = header.entry_type();
        if !kind.is_file() {
            return Err(odd(path, "it is no regular file"));
        }
        if entry.size() > max {
            return Err(odd(path, &format!("larger than {max} bytes")));
        }
        let (uid, gid) = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let mode = header.mode().unwrap_or(0o600) & 0o7777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(File {
            bytes,
            uid,
            gid,
            mode,
        }))
    }

    /// Whether there is anything at a path; a link counts, wherever it leads.
    ///
    /// # Errors
    /// As any request.
    pub(crate) fn has(&self, container: &str, path: &Path) -> Result<bool, DockerError> {
        let what = format!("look for {}", path.display());
        match self.head(&what, &archive_path(container, path)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_no_such_file() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts one file into a directory that exists, over one of its name.
    ///
    /// # Errors
    /// As any request; 403 where the container's file system is read-only.
    pub(crate) fn write_file(
        &self,
        container: &str,
        path: &Path,
        file: &File,
    ) -> Result<(), DockerError> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(odd(path, "not the path of a file"));
        };
        let size = file.bytes.len() as u64;
        // A file of 1970 would look like an old one to whoever watches it.
        let mut header = header_of((file.mode, size), (file.uid, file.gid), now());
        let mut builder = tar::Builder::new(Vec::new());
        let packed = builder
            .append_data(&mut header, name, file.bytes.as_slice())
            .and_then(|()| builder.into_inner());
        let tar = packed.map_err(|error| odd(path, &error.to_string()))?;
        let what = format!("write {}", path.display());
        self.put(&what, &archive_path(container, dir), &tar)
    }
}

/// A file below a directory that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeFile {
    /// Below the directory.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_executable: bool,
    /// When it was written, in seconds since 1970.
    pub(crate) mtime: u64,
}

/// How much of a directory is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeLimits {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

impl TreeLimits {
    /// Of anything: directories, links and devices are looked at too.
    pub(crate) fn entries(self) -> usize {
        self.files * 4
    }
}

impl Engine {
    /// All regular files below a directory, in one request; `None` when there is no such directory.
    /// Links and everything else are left out.
    ///
    /// # Errors
    /// As any request, and when there is more than the limits allow.
    pub(crate) fn read_tree(
        &self,
        container: &str,
        dir: &Path,
        limits: TreeLimits,
    ) -> Result<Option<Vec<TreeFile>>, DockerError> {
        let what = format!("read {}", dir.display());
        // With `/.` a link to a directory is the directory.
        let query = archive_path(container, &dir.join("."));
        let stream = match self.stream(&what, &query) {
            Ok(stream) => stream,
            Err(error) if error.is_no_such_file() => return Ok(None),
            Err(error) => return Err(error),
        };
        let unreadable = |error: std::io::Error| odd(dir, &error.to_string());
        let mut archive = tar::Archive::new(stream);
        let mut files = Vec::new();
        let mut left = limits.bytes;
        for (index, entry) in archive.entries().map_err(unreadable)?.enumerate() {
            let mut entry = entry.map_err(unreadable)?;
            if index >= limits.entries() {
                return Err(odd(dir, &format!("more than {} entries", limits.entries())));
            }
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if files.len() >= limits.files || entry.size() > left {
                let (most, mib) = (limits.files, limits.bytes >> 20);
                return Err(odd(dir, &format!("more than {most} files or {mib} MiB")));
            }
            left -= entry.size();
            let path = entry.path().map_err(unreadable)?.into_owned();
            if !has_whole_name(&mut entry) {
                let shown = path.display();
                let why = format!("the name of {shown:?} has a line break; give it another");
                return Err(odd(dir, &why));
            }
            let path = path.strip_prefix(".").unwrap_or(&path).to_owned();
            let mode = entry.header().mode().unwrap_or(0);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(unreadable)?;
            files.push(TreeFile {
                path,
                bytes,
                is_executable: mode & 0o111 != 0,
                mtime: entry.header().mtime().unwrap_or(0),
            });
        }
        Ok(Some(files))
    }

    /// Puts files into a new directory `below` one that exists, with the directories on the way.
    ///
    /// # Errors
    /// As any request.
    pub(crate) fn write_tree(
        &self,
        container: &str,
        dir: &Path,
        (below, files): (&Path, &[TreeFile]),
        (uid, gid): (u64, u64),
    ) -> Result<(), DockerError> {
        let mut builder = tar::Builder::new(Vec::new());
        let packed = (|| {
            let mut made: Vec<PathBuf> = Vec::new();
            for file in files {
                let path = below.join(&file.path);
                let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
                above.pop();
                for dir in above.into_iter().rev() {
                    if !made.iter().any(|it| it == dir) {
                        let mut header = header_of((0o755, 0), (uid, gid), now());
                        header.set_entry_type(tar::EntryType::Directory);
                        builder.append_data(&mut header, dir, &[][..])?;
                        made.push(dir.to_owned());
                    }
                }
                let mode = if file.is_executable { 0o755 } else { 0o644 };
                let size = file.bytes.len() as u64;
                let mut header = header_of((mode, size), (uid, gid), file.mtime);
                builder.append_data(&mut header, path, file.bytes.as_slice())?;
            }
            builder.into_inner()
        })();
        let tar = packed.map_err(|error: std::io::Error| odd(dir, &error.to_string()))?;
        let what = format!("write {}", dir.join(below).display());
        self.put(&what, &archive_path(container, dir), &tar)
    }
}

/// Names with a line break get lost on the way through the archive's reader, which has them cut then.
fn has_whole_name(entry: &mut tar::Entry<'_, impl Read>) -> bool {
    match entry.pax_extensions() {
        Ok(Some(mut extensions)) => extensions.all(|it| it.is_ok()),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn header_of((mode, size): (u32, u64), (uid, gid): (u64, u64), mtime: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(mtime);
    header
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |it| it.as_secs())
}

fn archive_path(container: &str, path: &Path) -> String {
    let path = encoded(&path.to_string_lossy());
    format!("/containers/{}/archive?path={path}", encoded(container))
}

fn odd(path: &Path, why: &str) -> DockerError {
    DockerError::Odd {
        what: format!("copy {}", path.display()),
        why: why.to_owned(),
    }
}
