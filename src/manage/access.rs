//! The inside of one instance: its files and its `openclaw` command, on this machine or through the engine.
//!
//! Whatever an instance can write is hostile here: no link is followed, sizes are bounded, and a
//! container's files go through the engine, which never leaves the container.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{host_file, local_command};
use crate::{
    docker::{self, Engine},
    openclaw::instance::{Instance, Place},
    replace::{self, Owner},
};

/// An instance, and the engine that holds it when it is a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) instance: &'a Instance,
    engine: Option<&'a Engine>,
}

/// How an `openclaw` command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Larger than any configuration; OpenClaw's own schema is 2.4 MB.
const FILE_MAX: u64 = 4 << 20;

/// `openclaw` takes 1 to 3 s, and a small host is busy.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How `openclaw` is called in a container, and the file that must be there for it: as OpenClaw's images
/// and npm have it.
const LAUNCHERS: &[(&str, &[&str])] = &[
    ("/usr/local/bin/openclaw", &["openclaw"]),
    ("/usr/bin/openclaw", &["openclaw"]),
    ("/app/openclaw.mjs", &["node", "/app/openclaw.mjs"]),
    ("/app/dist/index.js", &["node", "/app/dist/index.js"]),
];

impl<'a> Access<'a> {
    pub(crate) fn new(instance: &'a Instance, engine: Option<&'a Engine>) -> Self {
        Access { instance, engine }
    }

    /// The engine that holds it, for a container.
    pub(crate) fn engine(&self) -> Option<&'a Engine> {
        self.engine
    }

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
    fn file_in_container(
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
                let ran = run_in(engine, id, &["rm", "-f", &text], b"").map_err(failed)?;
                match ran.code {
                    0 => Ok(()),
                    _ => Err(failed(ran.stderr)),
                }
            }
        }
    }

    /// Renames within a directory of a container.
    ///
    /// # Errors
    /// When it cannot be done; the old name stays then.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), String> {
        let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
        self.tool(&["mv", "-T", &from, &to])
    }

    /// Removes a directory of a container with all that is in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), String> {
        self.tool(&["rm", "-rf", "--", &path.to_string_lossy()])
    }

    /// The user and group of a directory in a container.
    pub(crate) fn owner_of_directory(&self, dir: &Path) -> (u64, u64) {
        match self.container() {
            Ok(Some((engine, id))) => {
                let (uid, gid, _) = owner_in_container(engine, id, &dir.join("x"));
                (uid, gid)
            }
            _ => (0, 0),
        }
    }

    fn tool(&self, argv: &[&str]) -> Result<(), String> {
        let Some((engine, id)) = self.container()? else {
            return Ok(());
        };
        let ran = run_in(engine, id, argv, b"")?;
        match ran.code {
            0 => Ok(()),
            code => Err(format!(
                "{} failed with {code}: {}",
                argv[0],
                ran.stderr.trim()
            )),
        }
    }

    /// Runs `openclaw` with these words; `None` when the instance has no such command.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(crate) fn openclaw(&self, words: &[&str], stdin: &[u8]) -> Result<Option<Ran>, String> {
        match self.container()? {
            None => self.local_openclaw(words, stdin),
            Some((engine, id)) => {
                let Some(launcher) = launcher(engine, id)? else {
                    return Ok(None);
                };
                let argv: Vec<&str> = launcher.iter().chain(words).copied().collect();
                // Its files stay its own, whoever the container runs as.
                let owner = self.file_in_container(engine, id, &self.instance.config_path)?;
                let owner = owner.map(|it| format!("{}:{}", it.uid, it.gid));
                let given = (stdin, owner.as_deref(), COMMAND_TIMEOUT);
                let ran = run(engine, id, &argv, given)?;
                // Its file is there, and it cannot be run: no command either.
                Ok(Some(ran).filter(|ran| !matches!(ran.code, 126 | 127)))
            }
        }
    }

    fn local_openclaw(&self, words: &[&str], stdin: &[u8]) -> Result<Option<Ran>, String> {
        let owner = self.file(&self.instance.config_path)?.map(|it| it.uid);
        let us = rustix::process::geteuid().as_raw();
        // What it writes would become ours, mode 0600, and the instance could not read it any more.
        if owner.is_some_and(|owner| owner != u64::from(us)) {
            return Ok(None);
        }
        let env: [(&str, &OsStr); 2] = [
            ("OPENCLAW_STATE_DIR", self.instance.state_dir.as_os_str()),
            (
                "OPENCLAW_CONFIG_PATH",
                self.instance.config_path.as_os_str(),
            ),
        ];
        local_command::run("openclaw", words, &env, (stdin, COMMAND_TIMEOUT))
    }

    /// Runs a command in the container; `None` for an instance of this machine.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(crate) fn command(
        &self,
        argv: &[&str],
        (stdin, timeout): (&[u8], Duration),
    ) -> Result<Option<Ran>, String> {
        match self.container()? {
            None => Ok(None),
            Some((engine, id)) => run(engine, id, argv, (stdin, None, timeout)).map(Some),
        }
    }

    /// All regular files below a directory; `None` when there is no such directory.
    ///
    /// # Errors
    /// When it cannot be read, or holds more than the limits allow.
    pub(crate) fn read_tree(
        &self,
        dir: &Path,
        limits: docker::TreeLimits,
    ) -> Result<Option<Vec<docker::TreeFile>>, String> {
        match self.container()? {
            None => super::skills::local_tree(dir, limits)
                .map_err(|error| format!("{}: {error}", dir.display())),
            Some((engine, id)) => engine
                .read_tree(id, dir, limits)
                .map_err(|error| error.to_string()),
        }
    }

    /// Whether there is anything at a path; a link counts, wherever it leads.
    ///
    /// # Errors
    /// When that cannot be told.
    pub(crate) fn has(&self, path: &Path) -> Result<bool, String> {
        match self.container()? {
            None => Ok(path.symlink_metadata().is_ok()),
            Some((engine, id)) => engine.has(id, path).map_err(|error| error.to_string()),
        }
    }

    fn container(&self) -> Result<Option<(&'a Engine, &'a str)>, String> {
        match (&self.instance.place, self.engine) {
            (Place::Local, _) => Ok(None),
            (Place::Docker(container), Some(engine)) => Ok(Some((engine, &container.id))),
            (Place::Docker(_), None) => Err("the Docker Engine is out of reach".to_owned()),
        }
    }
}

/// How `openclaw` is called in this container: looked up, since starting it takes half a second.
fn launcher(engine: &Engine, id: &str) -> Result<Option<&'static [&'static str]>, String> {
    for (file, launcher) in LAUNCHERS {
        let has = engine.has(id, Path::new(file));
        if has.map_err(|error| error.to_string())? {
            return Ok(Some(launcher));
        }
    }
    Ok(None)
}

fn run_in(engine: &Engine, id: &str, argv: &[&str], stdin: &[u8]) -> Result<Ran, String> {
    run(engine, id, argv, (stdin, None, COMMAND_TIMEOUT))
}

/// What a command gets: its input, the user it runs as (the container's own when `None`), and its time.
type Given<'a> = (&'a [u8], Option<&'a str>, Duration);

fn run(
    engine: &Engine,
    id: &str,
    argv: &[&str],
    (stdin, user, timeout): Given<'_>,
) -> Result<Ran, String> {
    let command = docker::Command {
        argv,
        user,
        stdin,
        timeout,
    };
    let output = match engine.exec(id, &command) {
        Ok(output) => output,
        // Some engines refuse to start what is not there, others start it and report 126 or 127.
        Err(docker::DockerError::Refused {
            status: 400 | 500,
            message,
            ..
        }) if message.contains("executable file not found") => {
            return Ok(Ran {
                code: 127,
                stdout: String::new(),
                stderr: message,
            });
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(Ran {
        code: output.code,
        stdout: output.text(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
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
            return Err(io::Error::other(
                "it is a link; OpenClaw wants a regular file here",
            ));
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
    let moved = run_in(engine, id, &words, b"")?;
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
            let _ = run_in(engine, id, &["rm", "-f", &aside.to_string_lossy()], b"");
            Err(format!(
                "cannot write {}: {}",
                path.display(),
                moved.stderr.trim()
            ))
        }
    }
}

/// Of a new file: that of the user who runs the container, who must be able to read it.
fn owner_in_container(engine: &Engine, id: &str, path: &Path) -> (u64, u64, u32) {
    let dir = path.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let asked = run_in(engine, id, &["stat", "-c", "%u %g", &dir], b"");
    let text = asked.map(|ran| ran.stdout).unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|it| it.parse().ok());
    // OpenClaw's image runs as node, 1000.
    let uid = numbers.next().unwrap_or(1000);
    (uid, numbers.next().unwrap_or(uid), 0o600)
}
