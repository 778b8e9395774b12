//! Runs a program so that ending it ends everything it started: the daemon's side of a keeper.
//!
//! A keeper is a small process, this same binary, that starts the CLI, is the parent that every
//! orphan below it comes back to, and kills the whole tree when it is told to or when the daemon
//! is gone, SIGKILL included. Killing the CLI or its process group is not enough: its Bash tool
//! runs in a session of its own. A CLI worker keeps its keeper for life, because starting one takes
//! longer than the gateway may add to a request.
//!
//! Guarantees: after [`Running::end`] nothing the run started lives, or `left_over` says how many
//! do (another user's processes, or such in an uninterruptible wait). Within a few seconds of the
//! daemon's death, however it died, the same holds. When a keeper is killed from outside, the run
//! ends with [`Exit::Unknown`], the daemon kills the orphans (see [`adopt_orphans`]), and the next
//! [`Keeper::spawn`] starts a fresh keeper.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::io::{Errno, ioctl_fionbio};

pub(crate) use error::SpawnError;
pub(crate) use family::{adopt_orphans, end_left_over};
pub(crate) use group::{Excess, Limits};
pub(crate) use groups::{
    controlled, count_processes, end_left_over as end_left_over_groups, set_up as set_up_groups,
};
use link::{Gone, Link};
pub(crate) use process::main;
use wire::News;

mod error;
mod family;
mod group;
mod groups;
mod inherited;
mod link;
mod maker;
mod process;
mod tree;
mod wire;

/// What a keeper calls itself, in ps and for pkill.
const NAME: &str = "cc-keeper";

/// How long a keeper may take to start a program. Only a stopped keeper, or a disk that does not
/// answer, takes longer than milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long a keeper may take to end a run: its own bound of three seconds, and some air.
const END_LIMIT: Duration = Duration::from_secs(4);

/// What to run. Nothing is added: the environment is exactly `env`.
///
/// A `program` without a slash is looked up in the `PATH` of `env`; a relative one starts at `cwd`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
    /// How many processes of the program's own kind stand between it and what it runs: a sandbox's. The
    /// program is then the first of a chain.
    pub(crate) wrapped_in: usize,
    /// What it may take of the machine, where that can be limited.
    pub(crate) limits: Limits,
}

/// Without the values of the environment: they are where the secrets are.
impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// Nobody saw it: its keeper was killed, or it would not die.
    Unknown,
}

/// The end of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// Descendants that SIGKILL did not end in time; zero but for the rarest cases.
    pub(crate) left_over: usize,
}

/// A keeper process, which runs one program after the other. Dropping it ends the process, and
/// whatever it runs.
#[derive(Debug)]
pub(crate) struct Keeper {
    link: Link,
}

/// A program that runs, with its keeper. [`Running::end`] is how it should end, and gives the keeper
/// back; dropping it ends both.
#[derive(Debug)]
pub(crate) struct Running {
    link: Link,
    /// Does not block. Take it to close it.
    pub(crate) stdin: Option<PipeWriter>,
    /// Does not block.
    pub(crate) stdout: PipeReader,
    /// Does not block.
    pub(crate) stderr: PipeReader,
    pid: i32,
    wrapped_in: usize,
    exit: Option<Exit>,
    /// As the kernel counted before it was started.
    excess_before: Excess,
}

/// A program that could not be started, and the keeper, which can start another.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) keeper: Keeper,
    pub(crate) error: SpawnError,
}

impl Keeper {
    /// Starts a keeper.
    ///
    /// # Errors
    /// When the machine has no process or descriptor left, or /proc is not mounted.
    pub(crate) fn start() -> io::Result<Keeper> {
        Ok(Keeper {
            link: Link::start()?,
        })
    }

    /// Runs a program; returns when it has been executed. A keeper that was killed meanwhile is
    /// replaced.
    ///
    /// # Errors
    /// When it cannot be executed, with the keeper.
    pub(crate) fn spawn(self, launch: &Launch) -> Result<Running, Box<NotStarted>> {
        self.spawn_fed(launch, &[]).map(|(running, _)| running)
    }

    /// The same for a program that has something to read: as much of `input` as its pipe takes is there before it
    /// is started, so that it waits for nobody. Returns how many bytes that were.
    ///
    /// # Errors
    /// As [`Keeper::spawn`].
    pub(crate) fn spawn_fed(
        mut self,
        launch: &Launch,
        input: &[u8],
    ) -> Result<(Running, usize), Box<NotStarted>> {
        match self.started(launch, input) {
            Ok(Started { pid, pipes, fed }) => {
                let running = Running {
                    excess_before: self.link.counted(),
                    link: self.link,
                    stdin: Some(pipes.stdin),
                    stdout: pipes.stdout,
                    stderr: pipes.stderr,
                    pid,
                    wrapped_in: launch.wrapped_in,
                    exit: None,
                };
                Ok((running, fed))
            }
            Err(error) => Err(Box::new(NotStarted {
                keeper: self,
                error,
            })),
        }
    }

    fn started(&mut self, launch: &Launch, input: &[u8]) -> Result<Started, SpawnError> {
        let frame = wire::start_frame(launch).map_err(|errno| SpawnError::new(launch, errno))?;
        match self.try_spawn(launch, &frame, input)? {
            Some(started) => Ok(started),
            // Twice in a row is no accident, and a third try would not help.
            None => self
                .try_spawn(launch, &frame, input)?
                .ok_or_else(|| SpawnError::keeper_gone(launch)),
        }
    }

    /// `None` when the keeper is gone. Nothing of the program is left then, and it has answered
    /// nothing, so trying again is safe.
    fn try_spawn(
        &mut self,
        launch: &Launch,
        frame: &[u8],
        input: &[u8],
    ) -> Result<Option<Started>, SpawnError> {
        if self.link.is_gone() {
            self.link = Link::start().map_err(SpawnError::Other)?;
        }
        self.link
            .limit(&launch.limits)
            .map_err(SpawnError::NoLimits)?;
        let (pipes, theirs) = pipes().map_err(SpawnError::Other)?;
        let stdio = [theirs.0.as_fd(), theirs.1.as_fd(), theirs.2.as_fd()];
        if self.link.send_start(frame, stdio).is_err() {
            self.link.bury();
            return Ok(None);
        }
        // While the keeper starts it. Before the pipe's other end is closed here, so that there is one.
        let fed = match input {
            [] => 0,
            // What could not be written is written when it takes more.
            _ => rustix::io::write(&pipes.stdin, input).unwrap_or(0),
        };
        drop(theirs);
        match self.link.news(Instant::now() + START_LIMIT) {
            Ok(Some(News::Started(pid))) => Ok(Some(Started { pid, pipes, fed })),
            Ok(Some(News::Failed(errno))) => {
                Err(SpawnError::new(launch, Errno::from_raw_os_error(errno)))
            }
            // Silence, and an answer to another question, are as good as gone.
            Ok(Some(_) | None) | Err(Gone) => {
                self.link.bury();
                Ok(None)
            }
        }
    }
}

/// A program that was just started.
struct Started {
    pid: i32,
    pipes: Pipes,
    /// How much of its input is in its pipe.
    fed: usize,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether nothing that the program started lives on beside it.
    pub(crate) fn is_alone(&self) -> bool {
        // Parents come first: what wraps it, then itself, then what it started.
        let below = tree::below(self.link.pid(), &[]);
        let first = below.first().map(|it| it.as_raw_nonzero().get());
        below.len() == 1 + self.wrapped_in && first == Some(self.pid)
    }

    /// How often it was held to its limits.
    pub(crate) fn excess(&self) -> Excess {
        self.link.excess().since(self.excess_before)
    }

    /// Readable when [`Running::try_exit`] may have something new. Nothing new comes after an
    /// exit, and a dead keeper's socket stays readable: whoever knows the exit polls it no more.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    /// How the program ended, once it has. Its descendants may still live, and its output may not
    /// be read yet. Never blocks.
    pub(crate) fn try_exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match self.link.news(Instant::now()) {
                Ok(Some(News::Exited(exit))) => Some(exit),
                Ok(None) => None,
                Ok(Some(_)) | Err(Gone) => Some(Exit::Unknown),
            };
        }
        self.exit
    }

    /// Asks the program, and not its children, to end (SIGINT); whether it did,
    /// [`Running::try_exit`] tells.
    pub(crate) fn interrupt(&mut self) {
        // A keeper that cannot be told is gone, and `try_exit` says so.
        let _ = self.link.send(&wire::interrupt_frame());
    }

    /// Kills the program and everything it started, and waits until all of it is gone: at once when
    /// nothing is left, milliseconds otherwise, and seconds at most.
    pub(crate) fn end(mut self) -> (Ended, Keeper) {
        let left = match self.link.send(&wire::end_frame()) {
            Ok(()) => self.await_clean(),
            Err(_) => None,
        };
        let left_over = left.unwrap_or_else(|| self.link.bury());
        // Now, and not when the next run waits for it.
        self.link.count_excess();
        let ended = Ended {
            exit: self.exit.unwrap_or(Exit::Unknown),
            left_over,
        };
        (ended, Keeper { link: self.link })
    }

    /// How many the keeper could not end; `None` when it is gone or does not answer.
    fn await_clean(&mut self) -> Option<usize> {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            match self.link.news(deadline) {
                Ok(Some(News::Exited(exit))) => self.exit = Some(exit),
                Ok(Some(News::Clean(left))) => return Some(usize::try_from(left).unwrap_or(0)),
                Ok(Some(_) | None) | Err(Gone) => return None,
            }
        }
    }
}

/// Our ends.
struct Pipes {
    stdin: PipeWriter,
    stdout: PipeReader,
    stderr: PipeReader,
}

/// Our ends, which do not block, and the program's, which do.
fn pipes() -> io::Result<(Pipes, (PipeReader, PipeWriter, PipeWriter))> {
    let (their_stdin, stdin) = io::pipe()?;
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    ioctl_fionbio(&stdin, true)?;
    ioctl_fionbio(&stdout, true)?;
    ioctl_fionbio(&stderr, true)?;
    Ok((
        Pipes {
            stdin,
            stdout,
            stderr,
        },
        (their_stdin, their_stdout, their_stderr),
    ))
}

#[cfg(test)]
mod tests;
