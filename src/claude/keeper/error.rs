//! Why a program could not be started, in words that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Launch;

/// A program that could not be started. Never holds an argument or the environment.
#[derive(Debug)]
pub(crate) enum SpawnError {
    NotFound {
        program: PathBuf,
    },
    /// It is there, but the kernel does not execute it: permissions, a directory, no program, or
    /// an interpreter (the `#!` line, the dynamic loader) that is missing.
    NotExecutable {
        program: PathBuf,
        error: io::Error,
    },
    /// Arguments and environment are more than the kernel takes, or one of them alone is: 131071
    /// bytes are the limit of one (execve(2), MAX_ARG_STRLEN).
    ArgumentsTooLong {
        program: PathBuf,
    },
    BadWorkingDir {
        cwd: PathBuf,
        error: io::Error,
    },
    /// The keeper was killed, and so was the one started in its place.
    KeeperGone {
        program: PathBuf,
    },
    /// Its control group does not take what it may cost.
    NoLimits(io::Error),
    Other(io::Error),
}

impl SpawnError {
    /// What an errno of the attempt means. The kernel says ENOENT and EACCES for the program and
    /// for the working directory alike, so the directory is looked at again.
    pub(super) fn new(launch: &Launch, errno: Errno) -> SpawnError {
        let program = launch.program.clone();
        if errno == Errno::TOOBIG {
            return SpawnError::ArgumentsTooLong { program };
        }
        if let Err(error) = enter(launch) {
            return SpawnError::BadWorkingDir {
                cwd: launch.cwd.clone(),
                error,
            };
        }
        match errno {
            Errno::NOENT if !launch.cwd.join(&program).exists() => SpawnError::NotFound { program },
            Errno::NOENT | Errno::ACCESS | Errno::NOEXEC | Errno::NOTDIR | Errno::PERM => {
                SpawnError::NotExecutable {
                    program,
                    error: errno.into(),
                }
            }
            _ => SpawnError::Other(errno.into()),
        }
    }

    pub(super) fn keeper_gone(launch: &Launch) -> SpawnError {
        SpawnError::KeeperGone {
            program: launch.program.clone(),
        }
    }
}

/// Whether the working directory could be entered.
fn enter(launch: &Launch) -> io::Result<()> {
    if !launch.cwd.metadata()?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    Ok(rustix::fs::access(
        &launch.cwd,
        rustix::fs::Access::EXEC_OK,
    )?)
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotFound { program } => write!(
                f,
                "{} does not exist; install the Claude Code CLI \
                 (npm install -g @anthropic-ai/claude-code) or set cli.bin to where it is",
                program.display()
            ),
            SpawnError::NotExecutable { program, error } => write!(
                f,
                "{} cannot be executed: {error}; check that it is a program for this machine, that \
                 its mode has x for this user, and that the interpreter it names exists",
                program.display()
            ),
            SpawnError::ArgumentsTooLong { program } => write!(
                f,
                "the arguments and environment of {} are longer than the kernel takes \
                 (131071 bytes each); shorten the tenant's env",
                program.display()
            ),
            SpawnError::BadWorkingDir { cwd, error } => write!(
                f,
                "the working directory {} cannot be entered: {error}; create it or set \
                 the tenant's working_dir to another",
                cwd.display()
            ),
            SpawnError::KeeperGone { program } => write!(
                f,
                "the process that starts {} ended twice in a row; look for what kills `{}` \
                 on this machine, the out-of-memory killer for one",
                program.display(),
                super::NAME
            ),
            SpawnError::NoLimits(error) => write!(
                f,
                "the limits of its control group cannot be set: {error}; sandbox.memory_bytes, max_processes and \
                 cpu_weight are in config.yaml"
            ),
            SpawnError::Other(error) => write!(
                f,
                "{error}; the machine may be short of memory, processes or open files"
            ),
        }
    }
}

impl std::error::Error for SpawnError {}
