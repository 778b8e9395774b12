//! The keeper process itself: runs one CLI at a time and ends every descendant when told, or when
//! the daemon is gone.
//!
//! It is a child subreaper, so a grandchild that left its session or lost its parent comes back to
//! it. It has one thread and waits for two things: an order on the socket, which is its stdin, and
//! the end of a child. Whatever it does not understand is the end of the daemon to it: it kills
//! what it started and leaves, and the daemon sees the socket close.

use std::io::{self, Stdin, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus};
use signal_hook::consts as signals;

use super::wire::{Inbox, News, Order, Received, Start};
use super::{Exit, NAME, inherited, tree};

/// How long descendants may take to die of SIGKILL before the rest is reported as left over. Only
/// a process in an uninterruptible wait or of another user takes longer than milliseconds.
const END_LIMIT: Duration = Duration::from_secs(3);

/// When to look again although nobody has ended: what was forked during a round gives no sign.
const ROUND_LIMIT: Duration = Duration::from_millis(20);

/// Signals that a keeper outlives, because it ends by its socket, after it has cleaned up. They
/// are caught and not ignored: execve turns a caught signal back to its default, so the CLI gets
/// defaults even where the daemon's own parent had ignored some (nohup does).
const OUTLIVED: [i32; 13] = [
    signals::SIGHUP,
    signals::SIGINT,
    signals::SIGQUIT,
    signals::SIGTERM,
    signals::SIGUSR1,
    signals::SIGUSR2,
    signals::SIGALRM,
    signals::SIGTSTP,
    signals::SIGTTIN,
    signals::SIGTTOU,
    signals::SIGXCPU,
    signals::SIGXFSZ,
    signals::SIGWINCH,
];

/// The hidden command `keeper`: serves the daemon on stdin until that closes.
pub(crate) fn main() -> ExitCode {
    match Process::new().and_then(Process::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when even stderr is closed.
            let _ = writeln!(
                io::stderr(),
                "{NAME}: {error}; this command is for ccgw itself, which starts it with a socket"
            );
            ExitCode::from(2)
        }
    }
}

struct Process {
    /// The daemon's socket.
    daemon: Stdin,
    inbox: Inbox,
    /// Readable when a child has ended since it was last drained.
    child_ended: OwnedFd,
    /// The CLI process, until it is reaped. Its pid cannot be reused before that, and we are the
    /// one who reaps it.
    cli: Option<Pid>,
}

/// What reaping found.
#[derive(PartialEq, Eq)]
enum Descendants {
    Some,
    None,
}

impl Process {
    fn new() -> io::Result<Process> {
        for signal in OUTLIVED {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let (child_ended, tell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        signal_hook::low_level::pipe::register(signals::SIGCHLD, tell)?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        rustix::thread::set_name(c"cc-keeper")?;
        // For everything that it starts: a core would hold the tenant's keys.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        rustix::process::setrlimit(Resource::Core, none)?;
        inherited::close_on_exec()?;
        // No terminal, so that Ctrl-C there reaches neither us nor the CLI. It only fails for a
        // process group's leader, whose session already is its shell's affair.
        let _ = rustix::process::setsid();
        Ok(Process {
            daemon: io::stdin(),
            inbox: Inbox::default(),
            child_ended,
            cli: None,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let result = self.obey();
        self.end_descendants();
        result
    }

    /// Returns when the daemon is gone, or makes no sense.
    fn obey(&mut self) -> io::Result<()> {
        loop {
            let (order, child_ended) = self.wait()?;
            if child_ended {
                drain(&self.child_ended);
                self.reap();
            }
            if !order {
                continue;
            }
            if self.inbox.receive(&self.daemon)? == Received::Eof {
                return Ok(());
            }
            while let Some(order) = self.inbox.next_order().map_err(|_| Errno::PROTO)? {
                match order {
                    // One at a time: a second start means that the daemon has lost count.
                    Order::Start(_) if self.cli.is_some() => return Err(Errno::PROTO.into()),
                    Order::Start(start) => self.start(*start),
                    Order::Interrupt => self.interrupt(),
                    Order::End => {
                        let left = self.end_descendants();
                        self.tell(News::Clean(i32::try_from(left).unwrap_or(i32::MAX)));
                    }
                }
            }
        }
    }

    /// Which of the two has something: the socket, the children.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut fds = [
            PollFd::new(&self.daemon, PollFlags::IN),
            PollFd::new(&self.child_ended, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut fds, None))?;
        Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty()))
    }

    fn start(&mut self, start: Start) {
        match spawn(start) {
            Ok(pid) => {
                self.cli = Some(pid);
                self.tell(News::Started(pid.as_raw_nonzero().get()));
            }
            Err(errno) => self.tell(News::Failed(errno.raw_os_error())),
        }
    }

    fn interrupt(&self) {
        if let Some(cli) = self.cli {
            // It cannot be someone else, and when it just ended there is nothing to stop.
            let _ = rustix::process::kill_process(cli, Signal::INT);
        }
    }

    /// Kills and reaps until nobody is left or the time is up; returns how many are left.
    fn end_descendants(&mut self) -> usize {
        let deadline = Instant::now() + END_LIMIT;
        let mut left = 0;
        while self.reap() == Descendants::Some {
            if Instant::now() >= deadline {
                left = tree::alive(&[]);
                break;
            }
            tree::kill_round(&[]).wait(ROUND_LIMIT);
        }
        // Whoever would not die is not this run's CLI any more.
        self.cli = None;
        left
    }

    /// Takes in every child that has ended, orphans included, and reports the CLI's end.
    fn reap(&mut self) -> Descendants {
        loop {
            match retry_on_intr(|| rustix::process::wait(WaitOptions::NOHANG)) {
                Ok(Some((pid, status))) if self.cli == Some(pid) => {
                    self.cli = None;
                    self.tell(News::Exited(exit(status)));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Descendants::Some,
                // ECHILD is the only error it can have here, and the kernel's word that nobody,
                // not even an orphan's orphan, is left.
                Err(_) => return Descendants::None,
            }
        }
    }

    fn tell(&self, news: News) {
        // A daemon that does not take it is gone, which the next wait finds out.
        let _ = retry_on_intr(|| {
            rustix::net::send(&self.daemon, &news.to_record(), SendFlags::NOSIGNAL)
        });
    }
}

/// Starts the CLI in a process group of its own. Without a hook between fork and exec, this is a
/// posix_spawn. The child's ends of the pipes close here with the `Command`, so that the daemon
/// sees the end of the CLI's output.
fn spawn(start: Start) -> Result<Pid, Errno> {
    let Start {
        launch,
        stdio: [stdin, stdout, stderr],
    } = start;
    let child = Command::new(&launch.program)
        .args(&launch.args)
        .env_clear()
        .envs(launch.env)
        .current_dir(&launch.cwd)
        .process_group(0)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn();
    // Our own `wait` reaps it; the handle only carries the pid.
    child.map(|child| Pid::from_child(&child)).map_err(|error| {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        errno.unwrap_or(Errno::INVAL)
    })
}

fn exit(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

fn drain(pipe: &OwnedFd) {
    // Each ended child is at least one byte; the pipe holds 64 KiB, so this ends.
    let mut bytes = [0; 256];
    while matches!(rustix::io::read(pipe, &mut bytes), Ok(1..)) {}
}
