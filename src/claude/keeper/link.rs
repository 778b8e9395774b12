//! One keeper process as the daemon sees it: its socket, its pid, and the news it sends.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::group::{Excess, Group, Limits};
use super::wire::{self, News};
use super::{END_LIMIT, START_LIMIT, family, groups};

/// A started keeper. It ends when this is dropped, and everything below it with it.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    process: Child,
    /// The beginning of a record. In practice a record comes whole; the socket does not promise it.
    record: [u8; 8],
    received: usize,
    state: State,
    /// `None` where there are none, and when it is over. Removed after the process is.
    group: Option<Group>,
    /// What was held to its limits before the present run.
    counted: Excess,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The process is reaped, and what it left behind is dead.
    Buried,
}

/// The keeper does not answer any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Link {
    pub(super) fn start() -> io::Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        // A keeper that is stopped must not hold us for ever in the middle of a long order.
        ours.set_write_timeout(Some(START_LIMIT))?;
        let group = groups::make()?;
        let process = family::start(Stdio::from(OwnedFd::from(theirs)))?;
        let mut link = Link {
            socket: ours,
            process,
            record: [0; 8],
            received: 0,
            state: State::Open,
            group,
            counted: Excess::default(),
        };
        // It starts nothing before it is told to.
        let pid = link.pid();
        if let Some(group) = &mut link.group {
            group.take_in(pid)?;
            group.expect_the_same();
        }
        Ok(link)
    }

    /// Has everything below the keeper keep to these, where there is a group for it.
    pub(super) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        match &mut self.group {
            Some(group) => group.limit(limits),
            None => Ok(()),
        }
    }

    /// How often something below the keeper was held to its limits, since the keeper was started.
    pub(super) fn excess(&self) -> Excess {
        self.group.as_ref().map_or(Excess::default(), Group::excess)
    }

    /// The same, as it was when a run ended last.
    pub(super) fn counted(&self) -> Excess {
        self.counted
    }

    /// A run has ended.
    pub(super) fn count_excess(&mut self) {
        self.counted = self.excess();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Buried
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub(super) fn send_start(&self, frame: &[u8], stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        wire::send_start(&self.socket, frame, stdio)
    }

    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.socket.write_all(frame)
    }

    /// The next news, waiting for it until `deadline`; `None` when there is none by then.
    pub(super) fn news(&mut self, deadline: Instant) -> Result<Option<News>, Gone> {
        loop {
            let rest = &mut self.record[self.received..];
            match rustix::net::recv(&self.socket, rest, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(Gone),
                Ok((_, count)) => self.received += count,
                Err(Errno::AGAIN) if self.wait(deadline) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
            if self.received == self.record.len() {
                self.received = 0;
                return News::from_record(self.record).map(Some).ok_or(Gone);
            }
        }
    }

    /// Kills the keeper, reaps it, and kills what it leaves behind. Returns how many would not die.
    pub(super) fn bury(&mut self) -> usize {
        if self.state == State::Buried {
            return 0;
        }
        self.state = State::Buried;
        family::bury(&mut self.process)
    }

    /// Whether there may be something to read.
    fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        !left.is_zero() && readable(self.socket.as_fd(), left)
    }

    /// Lets the keeper clean up and leave by itself, in its bounded time.
    fn close(&self) {
        // Fails only when the keeper is gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Ok(pidfd) = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty()) {
            readable(pidfd.as_fd(), END_LIMIT);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.close();
            self.bury();
        }
    }
}

fn readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // The limits are seconds, so they always fit.
        let left = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            // The reader finds out what is wrong with it.
            Err(_) => return true,
        }
    }
}
