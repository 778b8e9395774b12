//! One request on its way through the workers, and the right and duty to answer it once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Body;
use super::hangup::HangUp;
use super::head::{Head, Persistence};
use super::mailbox::{End, Mailbox};
use super::response::Response;
use super::slab::Key;
use super::socket::Socket;
use super::stream::Stream;
use super::{ErrorBody, Refused};

/// A complete request.
pub(crate) struct Request {
    pub(crate) head: Arc<Head>,
    pub(crate) body: Body,
    pub(crate) peer: SocketAddr,
    pub(crate) reply: Reply,
    /// Held until a worker is done with the request: the answer is out, or somebody else sees to it.
    pub(super) _in_hand: Arc<()>,
}

/// The one answer to one request. Dropped unanswered, as by a panic, it answers 500.
pub(crate) struct Reply {
    /// `None` once the answer has begun.
    exchange: Option<Exchange>,
    hang_up: HangUp,
}

/// What it takes to answer one request and to give its connection back to the loop.
pub(super) struct Exchange {
    pub(super) socket: Arc<Socket>,
    pub(super) head: Arc<Head>,
    pub(super) hang_up: HangUp,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: Key,
    pub(super) peer: SocketAddr,
    /// What the client asked for and the connection's age allows.
    pub(super) persistence: Persistence,
    pub(super) write_timeout: Duration,
    pub(super) error_body: ErrorBody,
}

impl Reply {
    pub(super) fn new(exchange: Exchange) -> Reply {
        Reply {
            hang_up: exchange.hang_up.clone(),
            exchange: Some(exchange),
        }
    }

    /// Sends a whole answer, without waiting for the client: what the socket does not take at
    /// once, the loop sends later. HEAD gets the head only.
    pub(crate) fn send(mut self, response: Response) {
        if let Some(exchange) = self.exchange.take() {
            exchange.answer(&response);
        }
    }

    /// Begins an answer whose end is not known yet. The head leaves with the first write.
    pub(crate) fn stream(mut self, status: u16, headers: &[(&str, &str)]) -> Stream {
        Stream::new(self.exchange.take(), self.hang_up.clone(), status, headers)
    }

    pub(crate) fn hangup(&self) -> &HangUp {
        &self.hang_up
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            // Who left, or closed the sending side, called the request off; nobody else's mistake.
            let (status, message) = match exchange.hang_up.is_gone() {
                true => (
                    400,
                    "the client closed its side of the connection before the answer; keep it open",
                ),
                false => (
                    500,
                    "the request was dropped without an answer; this is a bug of the gateway",
                ),
            };
            let response = (exchange.error_body)(&Refused {
                status,
                message,
                head: Some(&exchange.head),
                peer: exchange.peer,
            });
            exchange.answer(&response);
        }
    }
}

impl Exchange {
    fn answer(self, response: &Response) {
        let then = self.persistence();
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        response.encode(&mut bytes, Some(&self.head), then);
        self.send_last(bytes, then);
    }

    /// Whether the connection lives on, as far as can be said before the answer's head leaves.
    pub(super) fn persistence(&self) -> Persistence {
        match self.mailbox.is_draining() {
            true => Persistence::Close,
            false => self.persistence,
        }
    }

    /// Sends the last bytes of an answer, or lets the loop do it, and gives the connection back.
    pub(super) fn send_last(self, bytes: Vec<u8>, then: Persistence) {
        let end = match self.socket.send(&bytes) {
            Ok(sent) if sent == bytes.len() => End::Sent(then),
            Ok(sent) => End::Rest { bytes, sent, then },
            Err(_) => End::Reset,
        };
        self.conclude(end);
    }

    pub(super) fn conclude(self, end: End) {
        self.hang_up.finish();
        if matches!(end, End::Reset) {
            self.socket.reset_on_close();
        }
        let Exchange { mailbox, key, .. } = self;
        mailbox.give_back(key, end);
    }
}
