//! One CLI process with its pipes: feed it, read its lines, watch it, end it.
//!
//! One thread does all of it with `poll`: stdin is written only as far as the pipe takes it, so a CLI
//! that fills stdout while it is being fed cannot block the worker, and stderr is always drained.

mod lines;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

pub(crate) use self::lines::LineTooLong;
use self::lines::{Fill, Lines, Pipe};
use super::{
    input::INTERRUPT,
    keeper::{Ended, Excess, Exit, Keeper, Launch, NotStarted, Running},
};

/// A running CLI. End it with [`Worker::end`]; dropping it ends it too.
#[derive(Debug)]
pub(crate) struct Worker {
    running: Running,
    unsent: Vec<u8>,
    sent: usize,
    stdout: Pipe,
    lines: Lines,
    stderr: Pipe,
    stderr_tail: Vec<u8>,
    exit: Option<Exit>,
}

/// Why [`Worker::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// stdout said something; take it with [`Worker::next_line`].
    Output,
    /// Somebody wrote to the wake descriptor.
    Woken,
    /// The time is up.
    Timeout,
    /// The CLI has exited or closed its output, and every line of it was handed out.
    Ended,
}

/// What is kept of stderr: its end. Far more than is shown, so that no secret shown is cut in two.
const STDERR_TAIL_MAX: usize = 64 << 10;

impl Worker {
    /// Starts the CLI and begins to feed it `input`.
    ///
    /// # Errors
    /// When it cannot be started, with the keeper.
    pub(crate) fn start(
        keeper: Keeper,
        launch: &Launch,
        input: Vec<u8>,
    ) -> Result<Self, Box<NotStarted>> {
        let (running, sent) = keeper.spawn_fed(launch, &input)?;
        let mut worker = Worker {
            running,
            unsent: input,
            sent,
            stdout: Pipe::Open,
            lines: Lines::default(),
            stderr: Pipe::Open,
            stderr_tail: Vec::new(),
            exit: None,
        };
        worker.write_stdin();
        Ok(worker)
    }

    /// Waits until something happens, at most until `until`.
    ///
    /// # Errors
    /// When `poll` itself fails, which only lack of memory can cause.
    pub(crate) fn wait(&mut self, wake: BorrowedFd<'_>, until: Instant) -> io::Result<Step> {
        loop {
            if self.exit.is_some() || self.stdout == Pipe::Ended {
                return Ok(self.read_what_is_left());
            }
            let ready = self.poll(Some(wake), until)?;
            if ready.stderr {
                self.read_stderr();
            }
            if ready.stdin {
                self.write_stdin();
            }
            if ready.keeper {
                self.exit = self.running.try_exit();
            }
            if ready.stdout && self.read_stdout() {
                return Ok(Step::Output);
            }
            if ready.wake {
                return Ok(Step::Woken);
            }
            if Instant::now() >= until {
                return Ok(Step::Timeout);
            }
        }
    }

    /// The next whole line without its newline, in the order the CLI wrote them.
    ///
    /// # Errors
    /// [`LineTooLong`] instead of running out of memory.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        self.lines.next(self.stdout)
    }

    /// The first line of a program that is asked for no more, without the space around it; `None` when there is none
    /// by then, or it is no line for people.
    pub(crate) fn first_line(&mut self, until: Instant) -> Option<String> {
        const LONGEST: usize = 200;
        // Nobody writes to it: this wait ends by output, exit or time.
        let never = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?;
        loop {
            match self.wait(never.as_fd(), until).ok()? {
                Step::Output => {
                    if let Some(line) = self.next_line().ok()? {
                        let text = String::from_utf8_lossy(line).trim().to_owned();
                        return (!text.is_empty() && text.len() <= LONGEST).then_some(text);
                    }
                }
                Step::Woken => {}
                Step::Timeout | Step::Ended => return None,
            }
        }
    }

    /// Asks the CLI to stop its turn and its tools: by a control request, or by SIGINT while it has
    /// not even read its prompt or closed its input.
    pub(crate) fn interrupt(&mut self) {
        if self.sent < self.unsent.len() || self.running.stdin.is_none() {
            self.running.interrupt();
        } else {
            self.send(INTERRUPT);
        }
    }

    /// Feeds the CLI more, after what it has not taken yet.
    pub(crate) fn send(&mut self, input: &[u8]) {
        self.unsent.extend_from_slice(input);
        self.write_stdin();
    }

    /// How often it was held to its limits.
    pub(crate) fn excess(&self) -> Excess {
        self.running.excess()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// Whether nothing that it started lives on beside it.
    pub(crate) fn is_alone(&self) -> bool {
        self.running.is_alone()
    }

    /// Makes it small, for the time that it waits for its next turn. False when it has said something after its
    /// last.
    pub(crate) fn rest(&mut self) -> bool {
        let is_quiet = self.lines.is_empty();
        self.lines = Lines::default();
        self.stderr_tail = Vec::new();
        is_quiet
    }

    /// Whether it waits for its next turn: it lives, and has said nothing since its last.
    pub(crate) fn is_resting(&mut self) -> bool {
        let Ok(ready) = self.poll(None, Instant::now()) else {
            return false;
        };
        if ready.keeper {
            self.exit = self.running.try_exit();
        }
        if ready.stderr {
            self.read_stderr();
        }
        self.exit.is_none() && !ready.stdout && self.lines.is_empty() && self.stdout == Pipe::Open
    }

    /// Says that nothing more will come; the CLI exits when its turn is over.
    pub(crate) fn close_stdin(&mut self) {
        self.running.stdin = None;
    }

    /// Waits for the CLI to close its turn (or to exit) after [`Worker::interrupt`], while
    /// throwing away what it says.
    pub(crate) fn wait_turn_end(&mut self, wait: Duration) {
        self.discard_until(wait, |lines| {
            // Only this line type ends a turn, and its key order is not stable.
            lines.any(|line| memchr::memmem::find(line, b"\"type\":\"result\"").is_some())
        });
    }

    /// Waits for the CLI's own exit while throwing away what it still says.
    pub(crate) fn wait_exit(&mut self, wait: Duration) {
        self.discard_until(wait, |_| false);
    }

    fn discard_until(&mut self, wait: Duration, mut stop: impl FnMut(&mut Lines) -> bool) {
        let until = Instant::now() + wait;
        while self.exit.is_none() && Instant::now() < until {
            let Ok(ready) = self.poll(None, until) else {
                return;
            };
            if ready.stdin {
                self.write_stdin();
            }
            if ready.stderr {
                self.read_stderr();
            }
            if ready.keeper {
                self.exit = self.running.try_exit();
            }
            if ready.stdout {
                self.read_stdout();
                if stop(&mut self.lines) {
                    return;
                }
                self.lines.drop_whole_lines();
            }
        }
    }

    /// Kills what is left of the process tree and waits until it is gone.
    pub(crate) fn end(self) -> (Ended, Keeper) {
        self.running.end()
    }

    /// How the CLI ended, once it did.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// The end of what the CLI wrote to stderr.
    pub(crate) fn stderr_tail(&self) -> &[u8] {
        &self.stderr_tail
    }

    fn poll(&self, wake: Option<BorrowedFd<'_>>, until: Instant) -> io::Result<Ready> {
        let keeper = self.running.fd();
        let stdin = self
            .running
            .stdin
            .as_ref()
            .filter(|_| self.sent < self.unsent.len());
        let open = |pipe: Pipe, fd| (pipe == Pipe::Open).then_some((fd, PollFlags::IN));
        let wanted: [Option<(BorrowedFd<'_>, PollFlags)>; 5] = [
            Some((keeper, PollFlags::IN)),
            open(self.stdout, self.running.stdout.as_fd()),
            open(self.stderr, self.running.stderr.as_fd()),
            stdin.map(|fd| (fd.as_fd(), PollFlags::OUT)),
            wake.map(|fd| (fd, PollFlags::IN)),
        ];
        let mut fds: Vec<PollFd<'_>> = wanted
            .iter()
            .flatten()
            .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let mut fired = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |wanted: bool| wanted && fired.next().unwrap_or(false);
        Ok(Ready {
            keeper: next(true),
            stdout: next(self.stdout == Pipe::Open),
            stderr: next(self.stderr == Pipe::Open),
            stdin: next(stdin.is_some()),
            wake: next(wake.is_some()),
        })
    }

    /// Reads what is there, at most one buffer; tells whether that made a line or an end.
    fn read_stdout(&mut self) -> bool {
        if self.stdout == Pipe::Ended {
            return true;
        }
        match self.lines.fill(self.running.stdout.as_fd()) {
            Fill::More => self.lines.has_any(),
            Fill::Nothing => false,
            Fill::End => {
                self.stdout = Pipe::Ended;
                true
            }
        }
    }

    /// After the CLI's exit its pipe may still hold much, or be held open by a grandchild: what is
    /// there now is all that counts.
    fn read_what_is_left(&mut self) -> Step {
        while self.stdout == Pipe::Open {
            match self.lines.fill(self.running.stdout.as_fd()) {
                Fill::More if self.lines.has_any() => return Step::Output,
                Fill::More => {}
                Fill::Nothing | Fill::End => self.stdout = Pipe::Ended,
            }
        }
        if self.lines.is_empty() {
            Step::Ended
        } else {
            Step::Output
        }
    }

    fn read_stderr(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.running.stderr, &mut buffer[..]) {
            Ok(0) => self.stderr = Pipe::Ended,
            Ok(n) => {
                self.stderr_tail.extend_from_slice(&buffer[..n]);
                // Moved only now and then: a flood comes in small pieces.
                if self.stderr_tail.len() > 2 * STDERR_TAIL_MAX {
                    let excess = self.stderr_tail.len() - STDERR_TAIL_MAX;
                    self.stderr_tail.drain(..excess);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.stderr = Pipe::Ended,
        }
    }

    fn write_stdin(&mut self) {
        while self.sent < self.unsent.len() {
            let Some(fd) = &self.running.stdin else {
                return;
            };
            match rustix::io::write(fd, &self.unsent[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The CLI closed its input; how it ended will tell why.
                Err(_) => {
                    self.running.stdin = None;
                    return;
                }
            }
        }
        // The prompt may be megabytes and is not needed again.
        self.unsent = Vec::new();
        self.sent = 0;
    }
}

#[derive(Default)]
struct Ready {
    keeper: bool,
    stdout: bool,
    stderr: bool,
    stdin: bool,
    wake: bool,
}

fn timespec(duration: Duration) -> Timespec {
    // A day is longer than any deadline here, and fits every kind of clock.
    let duration = duration.min(Duration::from_secs(86_400));
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
