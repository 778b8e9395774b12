//! A streamed answer: every write is one chunk that leaves at once, in one system call.

use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::hangup::HangUp;
use super::head::Persistence;
use super::mailbox::End;
use super::reply::Exchange;
use super::response::{self, StreamFraming};
use super::socket::Patience;

/// An answer under way. Dropped before [`Stream::finish`], it ends so that the client can tell
/// that something is missing: without a last chunk, or for HTTP/1.0 with a reset.
pub(crate) struct Stream {
    /// `None` once the stream is over, well or badly.
    exchange: Option<Exchange>,
    hang_up: HangUp,
    /// The head, until it leaves with the first bytes.
    unsent_head: Vec<u8>,
    framing: StreamFraming,
    then: Persistence,
}

/// What ends the wait for a client that does not read before the write timeout does.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Limit<'a> {
    pub(crate) until: Option<Instant>,
    /// Readable when the write is to be called off.
    pub(crate) wake: Option<BorrowedFd<'a>>,
}

impl Stream {
    pub(super) fn new(
        exchange: Option<Exchange>,
        hang_up: HangUp,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Stream {
        let mut stream = Stream {
            exchange,
            hang_up,
            unsent_head: Vec::new(),
            framing: StreamFraming::HeadOnly,
            then: Persistence::Close,
        };
        if let Some(exchange) = &stream.exchange {
            let then = exchange.persistence();
            let head = response::stream_head(&exchange.head, status, headers, then);
            stream.unsent_head = head.bytes;
            stream.framing = head.framing;
            stream.then = head.then;
        }
        stream
    }

    /// Sends `data` as one chunk, and waits for the client up to the write timeout, and no longer
    /// than `limit` allows. Nothing but the head leaves if `data` is empty, because an empty chunk
    /// would end the answer.
    ///
    /// After an error the connection is dead, and every further write fails.
    pub(crate) fn write(&mut self, data: &[u8], limit: Limit<'_>) -> io::Result<()> {
        let timeout = self
            .exchange
            .as_ref()
            .map(|exchange| exchange.write_timeout);
        let patience = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let deadline = [patience, limit.until].into_iter().flatten().min();
        self.send(
            data,
            deadline.map_or(Patience::None, |deadline| Patience::Until {
                deadline,
                wake: limit.wake,
            }),
        )
    }

    /// As [`Stream::write`], without ever waiting: if the socket does not take all of it at once,
    /// this fails and the connection is dead, because half a chunk cannot be taken back.
    pub(crate) fn write_now(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(data, Patience::None)
    }

    /// Ends the answer, without waiting for the client, and gives its connection back.
    pub(crate) fn finish(mut self) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let mut bytes = mem::take(&mut self.unsent_head);
        if self.framing == StreamFraming::Chunked {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        exchange.send_last(bytes, self.then);
    }

    pub(crate) fn hangup(&self) -> &HangUp {
        &self.hang_up
    }

    fn send(&mut self, data: &[u8], patience: Patience<'_>) -> io::Result<()> {
        let Some(exchange) = &self.exchange else {
            return Err(io::Error::new(
                ErrorKind::BrokenPipe,
                "the answer is over already",
            ));
        };
        let mut before = mem::take(&mut self.unsent_head);
        let (data, after): (&[u8], &[u8]) = match self.framing {
            StreamFraming::Chunked if !data.is_empty() => {
                response::put(&mut before, format_args!("{:x}\r\n", data.len()));
                (data, b"\r\n")
            }
            StreamFraming::Chunked | StreamFraming::HeadOnly => (b"", b""),
            StreamFraming::UntilClose => (data, b""),
        };
        let mut parts = [
            IoSlice::new(&before),
            IoSlice::new(data),
            IoSlice::new(after),
        ];
        let sent = exchange.socket.send_all(&mut parts, patience);
        if sent.is_err() {
            self.give_up(End::Reset);
        }
        sent
    }

    fn give_up(&mut self, end: End) {
        if let Some(exchange) = self.exchange.take() {
            exchange.conclude(end);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A regular close after a body without a last chunk is seen as truncated, and unlike a
        // reset it lets the client read what was sent. An end by close has only the reset.
        self.give_up(match self.framing {
            StreamFraming::Chunked => End::Sent(Persistence::Close),
            StreamFraming::UntilClose | StreamFraming::HeadOnly => End::Reset,
        });
    }
}
