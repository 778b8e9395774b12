//! One connection's socket: non-blocking for ever, one fd, shared by the loop and one worker.
//!
//! Nobody may switch O_NONBLOCK off: it belongs to the open file description, so a worker that did
//! would freeze the loop. Who wants to wait, waits in `poll` with a deadline.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

pub(super) struct Socket(OwnedFd);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Bytes(usize),
    /// Nothing has come yet.
    Nothing,
    /// The peer has sent its last byte.
    End,
}

/// How long a write may wait for the peer to take it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience<'a> {
    None,
    Until {
        deadline: Instant,
        /// Ends the wait as soon as it is readable.
        wake: Option<BorrowedFd<'a>>,
    },
}

impl Socket {
    /// Takes a connected socket that is non-blocking already.
    pub(super) fn new(fd: OwnedFd) -> Socket {
        Socket(fd)
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match rustix::io::retry_on_intr(|| net::recv(&self.0, &mut *buffer, RecvFlags::empty())) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => Ok(Received::Bytes(count)),
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what the socket takes now, in one system call, and says how much that was.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        taken(rustix::io::retry_on_intr(|| {
            net::send(&self.0, bytes, SendFlags::NOSIGNAL)
        }))
    }

    /// Sends all of `parts`: in one system call where the socket takes that much.
    pub(super) fn send_all(
        &self,
        mut parts: &mut [IoSlice<'_>],
        patience: Patience<'_>,
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.send_parts(parts)? {
                0 => self.wait_for_room(patience)?,
                count => IoSlice::advance_slices(&mut parts, count),
            }
        }
        Ok(())
    }

    /// Says that no more will come from here; the peer may go on sending.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        Ok(net::shutdown(&self.0, Shutdown::Write)?)
    }

    /// Makes the end, when the last owner lets go, a reset: the peer cannot take it for the regular
    /// end of an answer that has no length, and what it did not read is not kept for it.
    pub(super) fn reset_on_close(&self) {
        // Fails only on a socket that is dead already, which is what is wanted.
        let _ = net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }

    fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut control = SendAncillaryBuffer::default();
        taken(rustix::io::retry_on_intr(|| {
            net::sendmsg(&self.0, parts, &mut control, SendFlags::NOSIGNAL)
        }))
    }

    fn wait_for_room(&self, patience: Patience<'_>) -> io::Result<()> {
        let Patience::Until { deadline, wake } = patience else {
            return Err(io::Error::new(
                ErrorKind::WouldBlock,
                "the client does not take the data",
            ));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "the client stopped reading",
            ));
        }
        let mut fds = vec![PollFd::new(&self.0, PollFlags::OUT)];
        fds.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
        match rustix::event::poll(&mut fds, timespec(left).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match fds.get(1).is_some_and(|wake| !wake.revents().is_empty()) {
            true => Err(io::Error::new(
                ErrorKind::Interrupted,
                "the write was called off",
            )),
            false => Ok(()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kernel's form of a timeout; one too long for it means no timeout.
pub(super) fn timespec(timeout: Duration) -> Option<Timespec> {
    Timespec::try_from(timeout).ok()
}

/// A full send buffer is not an error: nothing was taken.
fn taken(result: rustix::io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(Errno::AGAIN) => Ok(0),
        other => Ok(other?),
    }
}
