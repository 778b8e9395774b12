//! Two connections whose bytes go to each other. Nothing here waits: what one side does not take yet is kept, and
//! no more is read from the other until it has gone.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
};

/// So much is read at once, and is the most that is kept in a direction beside what a pair begins with.
pub(crate) const SCRATCH: usize = 32 << 10;

/// A pair that moves gives way to the others after so many reads.
const ROUNDS: usize = 4;

pub(crate) struct Pair {
    ends: [OwnedFd; 2],
    /// Each from the end of its number to the other one.
    flows: [Flow; 2],
    /// Ends whose peer is gone for good.
    hung: [bool; 2],
    /// When a byte last moved.
    pub(crate) moved: Instant,
}

struct Flow {
    /// Read, and not taken yet from here on.
    kept: Vec<u8>,
    taken: usize,
    is_over: bool,
    /// What has come of the first line, while that is waited for.
    line: Option<Vec<u8>>,
}

/// A longer first line is no answer's.
const LINE_MAX: usize = 8 << 10;

const LAST: &[u8] = b"Connection: close\r\n";

impl Pair {
    /// What each end is to get before anything of the other's.
    pub(crate) fn new(ends: [OwnedFd; 2], [first, second]: [Vec<u8>; 2], now: Instant) -> Pair {
        let flow = |kept| Flow {
            kept,
            taken: 0,
            is_over: false,
            line: None,
        };
        Pair {
            ends,
            flows: [flow(second), flow(first)],
            hung: [false; 2],
            moved: now,
        }
    }

    /// Has the second end's answer say that no other comes on this connection, whatever that end thinks of it.
    pub(crate) fn with_one_answer(mut self) -> Pair {
        self.flows[1].line = Some(Vec::new());
        self
    }

    /// What is to be waited for, and where. Of an end that has nothing to say or to hear no more, nothing is.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        let interest = |end: usize| {
            let (from, to) = (&self.flows[end], &self.flows[1 - end]);
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !from.is_over && from.is_empty());
            flags.set(PollFlags::OUT, !to.is_over && !to.is_empty());
            // Without a flag there is still word of a peer that has gone; once is enough.
            let is_done = flags.is_empty() && (self.hung[end] || from.is_over && to.is_over);
            (!is_done).then(|| (end, self.ends[end].as_fd(), flags))
        };
        [0, 1].into_iter().filter_map(interest)
    }

    /// Notes that the peer of an end is gone, if that is what it was.
    pub(crate) fn heard(&mut self, end: usize, flags: PollFlags) {
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            self.hung[end] = true;
        }
    }

    /// Moves what can be moved now.
    pub(crate) fn advance(&mut self, scratch: &mut [u8], now: Instant) {
        for from in [0, 1] {
            if self.pump(from, scratch) {
                self.moved = now;
            }
        }
        // Nobody reads there any more. What the peer said last may still be on its way to the other.
        for gone in [0, 1] {
            if self.hung[gone] {
                self.end(1 - gone);
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.flows.iter().all(|it| it.is_over)
    }

    /// Whether anything moved.
    fn pump(&mut self, from: usize, scratch: &mut [u8]) -> bool {
        let to = 1 - from;
        let mut has_moved = false;
        for _ in 0..ROUNDS {
            if self.flows[from].is_over {
                break;
            }
            if !self.flows[from].is_empty() {
                match sent(&self.ends[to], self.flows[from].rest()) {
                    Ok(count) => {
                        has_moved |= count > 0;
                        self.flows[from].take(count);
                    }
                    Err(_) => self.end(from),
                }
                if !self.flows[from].is_empty() {
                    break;
                }
                continue;
            }
            match received(&self.ends[from], scratch) {
                Ok(Some(0)) | Err(_) => self.end(from),
                Ok(Some(count)) => {
                    has_moved = true;
                    if let Some(line) = self.flows[from].line.take() {
                        self.flows[from].open(line, &scratch[..count]);
                        continue;
                    }
                    match sent(&self.ends[to], &scratch[..count]) {
                        Ok(taken) => self.flows[from].keep(&scratch[taken..count]),
                        Err(_) => self.end(from),
                    }
                }
                Ok(None) => break,
            }
        }
        has_moved
    }

    fn end(&mut self, from: usize) {
        let flow = &mut self.flows[from];
        if !flow.is_over {
            *flow = Flow {
                kept: Vec::new(),
                taken: 0,
                is_over: true,
                line: None,
            };
            // A socket that is closed already needs no closing.
            let _ = shutdown(&self.ends[1 - from], Shutdown::Write);
            let _ = shutdown(&self.ends[from], Shutdown::Read);
        }
    }
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.taken == self.kept.len()
    }

    fn rest(&self) -> &[u8] {
        &self.kept[self.taken..]
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept = bytes.to_vec();
        self.taken = 0;
    }

    /// More of the first line, and when it is whole, what is said after it.
    fn open(&mut self, mut line: Vec<u8>, bytes: &[u8]) {
        line.extend_from_slice(bytes);
        match memchr::memchr(b'\n', &line) {
            None if line.len() <= LINE_MAX => self.line = Some(line),
            Some(end) if line.starts_with(b"HTTP/1.") => {
                line.splice(end + 1..end + 1, LAST.iter().copied());
                self.keep(&line);
            }
            _ => self.keep(&line),
        }
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            // A connection that waits has no memory.
            self.kept = Vec::new();
            self.taken = 0;
        }
    }
}

/// How much was taken.
fn sent(end: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::io::retry_on_intr(|| send(end, bytes, flags)) {
        Err(Errno::AGAIN) => Ok(0),
        other => other,
    }
}

/// `None` when there is nothing yet, 0 at the end.
fn received(end: &OwnedFd, into: &mut [u8]) -> Result<Option<usize>, Errno> {
    match rustix::io::retry_on_intr(|| recv(end, &mut *into, RecvFlags::DONTWAIT)) {
        Ok((count, _)) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    fn pair(first: &str) -> (UnixStream, Pair, UnixStream) {
        let ((left, one), (two, right)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let pair = Pair::new(
            [one.into(), two.into()],
            [first.into(), Vec::new()],
            Instant::now(),
        );
        (left, pair, right)
    }

    fn advance(pair: &mut Pair) {
        pair.advance(&mut [0; SCRATCH], Instant::now());
    }

    #[test]
    fn bytes_go_both_ways_and_ends_one_by_one() {
        let (mut left, mut pair, mut right) = pair("hello ");
        left.write_all(b"from left").unwrap();
        right.write_all(b"from right").unwrap();
        left.shutdown(std::net::Shutdown::Write).unwrap();
        advance(&mut pair);
        let mut text = String::new();
        right.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from left");
        assert!(!pair.is_over());
        right.write_all(b", late").unwrap();
        drop(right);
        advance(&mut pair);
        text.clear();
        left.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello from right, late");
        assert!(pair.is_over());
    }

    #[test]
    fn answer_says_that_it_is_the_only_one() {
        for pieces in [
            &["HTTP/1.1 200 OK\r\nA: b\r\n\r\n"][..],
            &["HT", "TP/1.1 200 OK\r", "\nA: b\r\n\r\n"],
        ] {
            let (left, pair, right) = pair("");
            let mut pair = pair.with_one_answer();
            for piece in pieces {
                (&right).write_all(piece.as_bytes()).unwrap();
                advance(&mut pair);
            }
            let mut said = [0; 99];
            let count = (&left).read(&mut said).unwrap();
            let said = std::str::from_utf8(&said[..count]).unwrap();
            assert_eq!(said, "HTTP/1.1 200 OK\r\nConnection: close\r\nA: b\r\n\r\n");
        }
    }

    #[test]
    fn who_does_not_read_is_not_read_for() {
        let (mut left, mut pair, right) = pair("");
        left.set_nonblocking(true).unwrap();
        let mut written = 0;
        // More than all buffers hold.
        for _ in 0..10_000 {
            written += left.write(&[0; 1024]).unwrap_or(0);
            advance(&mut pair);
        }
        assert!(written < 5 << 20, "{written}");
        assert!(pair.flows[0].kept.len() <= SCRATCH);
        let flags: Vec<_> = pair.interests().map(|(_, _, flags)| flags).collect();
        assert_eq!(flags, [PollFlags::empty(), PollFlags::IN | PollFlags::OUT]);
        right.set_nonblocking(true).unwrap();
        let (mut read, mut buffer) = (0, vec![0; 64 << 10]);
        while let Ok(count @ 1..) = (&right).read(&mut buffer) {
            read += count;
            advance(&mut pair);
        }
        assert_eq!(read, written);
    }

    #[test]
    fn peer_that_is_gone_is_heard_of_once() {
        let (left, mut pair, mut right) = pair("");
        right.shutdown(std::net::Shutdown::Write).unwrap();
        advance(&mut pair);
        drop(left);
        pair.heard(0, PollFlags::HUP);
        advance(&mut pair);
        assert!(pair.is_over());
        assert_eq!(right.read(&mut [0; 8]).unwrap(), 0);
    }
}
