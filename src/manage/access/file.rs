//! Single files of an instance: read, put in their places at once, removed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Access, command::run_in, tree::owner_in_container};
use crate::{
    docker::{self, Engine},
    manage::host_file,
    openclaw::instance::Place,
    replace::{self, Owner},
};

/// Larger than any configuration; OpenClaw's own schema is 2.4 MB.
const FILE_MAX: u64 = 4 << 20;

impl Access<'_> {
    /// A regular file with its owner and mode; `None` when there is no such file.
    ///
    /// # Errors
    /// When it is no regular file, too large or out of reach.
    pub(crate) fn file(&self, path: &Path) -> Result<Option<docker::File>, String> {
        match self.container()? {
            None => read_local(path).map_err(|error| format!("{}: {error}", path.display())),
            Some((engine, id)) => self.file_in_container(engine, id, path),
        }
    }

    /// By the mount that holds it where this process can, which takes no process of the engine's; else
    /// through the engine.
    pub(super) fn file_in_container(
        &self,
        engine: &Engine,
        id: &str,
        path: &Path,
    ) -> Result<Option<docker::File>, String> {
        if let Some((mount, below)) = self.instance.mount_of(path)
            && engine.is_here()
        {
            match host_file::read(mount, &below, FILE_MAX) {
                Ok(file) => return Ok(Some(file)),
                // Beside a file of the instance's that is there, and so in the right directory.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && host_file::read(mount, &self.sibling(&below), FILE_MAX).is_ok() =>
                {
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
        let file = engine.read_file(id, path, FILE_MAX);
        file.map_err(|error| error.to_string())
    }

    /// The instance's configuration, if it is in the same directory.
    fn sibling(&self, below: &Path) -> PathBuf {
        let name = self.instance.config_path.file_name().unwrap_or_default();
        below.with_file_name(name)
    }

    /// Puts `bytes` in the place of a file at once, with its owner and mode. A new file gets the
    /// owner of its directory and mode 0600. `before` is what was there when it was read.
    ///
    /// # Errors
    /// When the file has changed since, or cannot be written; then it is as it was.
    pub(crate) fn replace(
        &self,
        path: &Path,
        before: Option<&[u8]>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let old = self.file(path)?;
        if old.as_ref().map(|it| it.bytes.as_slice()) != before {
            return Err(format!(
                "{} was changed by somebody else just now; run this again",
                path.display()
            ));
        }
        let (uid, gid, mode) = match (&old, self.container()?) {
            (Some(old), _) => (old.uid, old.gid, old.mode),
            (None, None) => owner_of_directory(path)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?,
            (None, Some((engine, id))) => owner_in_container(engine, id, path),
        };
        let bytes = bytes.to_vec();
        self.put(
            path,
            &docker::File {
                bytes,
                uid,
                gid,
                mode,
            },
        )
    }

    /// Puts a file with this owner and mode in the place of what is there, at once.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is as it was.
    pub(crate) fn put(&self, path: &Path, file: &docker::File) -> Result<(), String> {
        match self.container()? {
            None => put_local(path, file)
                .map_err(|error| format!("cannot write {}: {error}", path.display())),
            Some((engine, id)) => put_in_container((engine, id), path, file),
        }
    }

    /// Removes what a killed ccgw left beside a file. In a container whose files this process does not reach,
    /// it stays: its name says whose it is.
    pub(crate) fn sweep(&self, path: &Path) {
        let place = match self.instance.place {
            Place::Local => path
                .parent()
                .map(|dir| (dir, PathBuf::from(path.file_name().unwrap_or_default()))),
            Place::Docker(_) => self.instance.mount_of(path),
        };
        let is_here = self.engine.is_none_or(Engine::is_here);
        if let (Some((root, below)), true) = (place, is_here) {
            // It is tidying, of which nothing depends.
            let _ = host_file::sweep(root, &below);
        }
    }

    /// Removes a file that was not there before.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), String> {
        let failed = |why: String| format!("cannot remove {}: {why}", path.display());
        match self.container()? {
            None => std::fs::remove_file(path).map_err(|it| failed(it.to_string())),
            Some((engine, id)) => {
                let text = path.to_string_lossy();
                let ran = run_in(engine, id, &["rm", "-f", &text]).map_err(failed)?;
                match ran.code {
                    0 => Ok(()),
                    _ => Err(failed(ran.stderr)),
                }
            }
        }
    }
}

fn read_local(path: &Path) -> io::Result<Option<docker::File>> {
    let opened = OpenOptions::new()
        .read(true)
        // Neither a link nor a pipe that waits for a writer.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(io::Error::other("it is a link, and not a regular file"));
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Some(docker::File {
        bytes: bounded(file)?,
        uid: metadata.uid().into(),
        gid: metadata.gid().into(),
        mode: metadata.mode() & 0o7777,
    }))
}

fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_MAX {
        true => Err(io::Error::other(format!(
            "it is larger than {FILE_MAX} bytes"
        ))),
        false => Ok(bytes),
    }
}

fn put_local(path: &Path, file: &docker::File) -> io::Result<()> {
    let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
    let owner = Owner {
        uid: id(file.uid)?,
        gid: id(file.gid)?,
        mode: file.mode,
    };
    replace::atomically(path, &file.bytes, owner)
}

/// Of a new file on this machine.
fn owner_of_directory(path: &Path) -> io::Result<(u64, u64, u32)> {
    let dir = std::fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    Ok((dir.uid().into(), dir.gid().into(), 0o600))
}

/// The engine writes a file beside the old one, and `mv` in the container puts it in its place at
/// once. An image without `mv` gets it over the old one, which the engine unlinks first.
fn put_in_container(
    (engine, id): (&Engine, &str),
    path: &Path,
    new: &docker::File,
) -> Result<(), String> {
    let failed = |error: docker::DockerError| error.to_string();
    let aside = replace::aside_of(path);
    engine.write_file(id, &aside, new).map_err(failed)?;
    let words = [
        "mv",
        "-f",
        &aside.to_string_lossy(),
        &path.to_string_lossy(),
    ];
    let moved = run_in(engine, id, &words)?;
    match moved.code {
        0 => Ok(()),
        126 | 127 => {
            let written = engine.write_file(id, path, new).map_err(failed);
            // Without `mv` there is hardly a `rm`; empty, it holds no key at least.
            let empty = docker::File {
                bytes: Vec::new(),
                ..new.clone()
            };
            written.and(engine.write_file(id, &aside, &empty).map_err(failed))
        }
        _ => {
            // What could not be moved can hardly be removed; its name says whose it is.
            let _ = run_in(engine, id, &["rm", "-f", &aside.to_string_lossy()]);
            Err(format!(
                "cannot write {}: {}",
                path.display(),
                moved.stderr.trim()
            ))
        }
    }
}
