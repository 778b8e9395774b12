//! One CLI process with its pipes: feed it, read its lines, watch it, end it.
//!
//! One thread does all of it with `poll`: stdin is written only as far as the pipe takes it, so a CLI
//! that fills stdout while it is being fed cannot block the worker, and stderr is always drained.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    input::INTERRUPT,
    keeper::{Ended, Exit, Keeper, Launch, Running, SpawnError},
};

/// A running CLI. End it with [`Worker::end`]; dropping it ends it too.
pub(crate) struct Worker<'k> {
    running: Running<'k>,
    unsent: Vec<u8>,
    sent: usize,
    stdout: Pipe,
    lines: Lines,
    stderr: Pipe,
    stderr_tail: Vec<u8>,
    exit: Option<Exit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Open,
    Ended,
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

/// A line is longer than this gateway takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// The biggest line seen repeats a whole answer (1 MB for 1 MB of text); an answer of 128,000
/// tokens stays below 2 MB, a tool result with images can reach tens. Beyond this, something is wrong.
const LINE_MAX: usize = 64 << 20;

/// What is kept of stderr: its end. Far more than is shown, so that no secret shown is cut in two.
const STDERR_TAIL_MAX: usize = 64 << 10;

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;

impl<'k> Worker<'k> {
    /// Starts the CLI and begins to feed it `input`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        keeper: &'k mut Keeper,
        launch: &Launch,
        input: Vec<u8>,
    ) -> Result<Self, SpawnError> {
        let mut worker = Worker {
            running: keeper.spawn(launch)?,
            unsent: input,
            sent: 0,
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

    /// Asks the CLI to stop its turn and its tools: by a control request, or by SIGINT while it has
    /// not even read its prompt or closed its input.
    pub(crate) fn interrupt(&mut self) {
        if self.sent < self.unsent.len() || self.running.stdin.is_none() {
            self.running.interrupt();
        } else {
            self.unsent.extend_from_slice(INTERRUPT);
            self.write_stdin();
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.running.pid()
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
    pub(crate) fn end(self) -> Ended {
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

/// Bytes into lines. Each byte is looked at once, however the pipe cuts it.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    /// Where the first line not yet handed out begins.
    start: usize,
    /// Up to where no newline was found.
    scanned: usize,
}

enum Fill {
    More,
    Nothing,
    End,
}

impl Lines {
    fn fill(&mut self, fd: BorrowedFd<'_>) -> Fill {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.reserve(READ_SIZE);
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => Fill::End,
            Ok(_) => Fill::More,
            Err(Errno::AGAIN | Errno::INTR) => Fill::Nothing,
            Err(_) => Fill::End,
        }
    }

    /// Whether a call of `next` would hand something out.
    fn has_any(&mut self) -> bool {
        self.newline().is_some() || self.buffer.len() - self.start > LINE_MAX
    }

    fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    fn newline(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
        self.scanned = found.unwrap_or(self.buffer.len());
        found
    }

    fn next(&mut self, pipe: Pipe) -> Result<Option<&[u8]>, LineTooLong> {
        let line = match self.newline() {
            Some(end) => {
                let line = self.start..end;
                self.start = end + 1;
                self.scanned = self.start;
                line
            }
            None if self.buffer.len() - self.start > LINE_MAX => return Err(LineTooLong),
            // Half a line at the end is handed out too: its reader decides what it is worth.
            None if pipe == Pipe::Ended && self.start < self.buffer.len() => {
                let line = self.start..self.buffer.len();
                self.start = self.buffer.len();
                line
            }
            None => return Ok(None),
        };
        Ok(Some(&self.buffer[line]))
    }

    /// Whether a whole line that is waiting satisfies this; takes lines as it goes.
    fn any(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        while let Ok(Some(line)) = self.next(Pipe::Open) {
            if wanted(line) {
                return true;
            }
        }
        false
    }

    /// Forgets what nobody will read, a line without an end beyond reason included.
    fn drop_whole_lines(&mut self) {
        while let Ok(Some(_)) = self.next(Pipe::Open) {}
        if self.buffer.len() - self.start > LINE_MAX {
            *self = Lines::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Feeds `pieces` one read at a time and collects the lines.
    #[track_caller]
    fn check(pieces: &[&str], expect: &[&str]) {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for piece in pieces {
            writer.write_all(piece.as_bytes()).unwrap();
            assert!(matches!(lines.fill(reader.as_fd()), Fill::More));
            while let Some(line) = lines.next(Pipe::Open).unwrap() {
                got.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        drop(writer);
        assert!(matches!(lines.fill(reader.as_fd()), Fill::End));
        while let Some(line) = lines.next(Pipe::Ended).unwrap() {
            got.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(got, expect);
    }

    #[test]
    fn lines_are_the_same_wherever_the_pipe_cuts_them() {
        let whole = "one\ntwo\n\nfour";
        for cut in 0..=whole.len() {
            let (a, b) = whole.split_at(cut);
            let pieces: Vec<&str> = [a, b].into_iter().filter(|it| !it.is_empty()).collect();
            check(&pieces, &["one", "two", "", "four"]);
        }
    }
}
