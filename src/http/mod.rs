//! The public listener: connections in, complete requests out, answers back.
//!
//! One thread, `loop`, owns every connection that is idle or still sending, all limits and all
//! deadlines; it never blocks on a peer. A complete [`Request`] goes over a bounded channel to
//! worker threads, which answer through its [`Reply`]. No routes and no tenants in here.
//!
//! Reading order: `head` and `body` (what a peer may say), `conn` (one connection's life),
//! `event_loop` (all of them), `reply` and `stream` (the workers' side).

mod accept;
mod body;
mod budget;
mod conn;
mod event_loop;
mod fields;
mod hangup;
mod head;
mod introduction;
mod listener;
mod mailbox;
mod receive;
mod reply;
mod response;
mod slab;
mod socket;
mod stream;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

pub(crate) use hangup::HangUp;
pub(crate) use head::{AnswerHeader, Head};
pub(crate) use introduction::MISSING as NOT_INTRODUCED;
pub(crate) use listener::{Listener, Pulse, Tuner, make_room_for_files, open_files_max};
pub(crate) use reply::{Reply, Request};
pub(crate) use response::Response;
pub(crate) use stream::{Limit, Stream};

/// Where to listen, and what to bear from peers.
pub(crate) struct ListenerConfig {
    pub(crate) socket: TcpListener,
    pub(crate) limits: Limits,
    /// Makes the answers that the listener gives on its own.
    pub(crate) error_body: ErrorBody,
    pub(crate) answer_headers: AnswerHeaders,
    pub(crate) is_proxy: IsProxy,
    /// File descriptors to leave for the rest of the process, up to half of what it may have.
    pub(crate) reserved_fds: usize,
    /// Those of them without which nothing can be served: no connection gets one.
    pub(crate) needed_fds: usize,
}

/// Makes the answer to what the listener refuses by itself.
pub(crate) type ErrorBody = fn(&Refused<'_>) -> Response;

/// Tells by a request's head which headers every answer to it carries, errors and streams included.
pub(crate) type AnswerHeaders = Box<dyn Fn(&Head) -> Vec<AnswerHeader> + Send>;

/// Tells whether connections from an address begin with the PROXY protocol.
pub(crate) type IsProxy = Box<dyn Fn(IpAddr) -> bool + Send>;

/// A request, or a connection, that the listener refuses by itself.
pub(crate) struct Refused<'a> {
    pub(crate) status: u16,
    pub(crate) message: &'a str,
    /// `None` if it could not be read that far.
    pub(crate) head: Option<&'a Head>,
    pub(crate) peer: SocketAddr,
}

/// Whom a request's memory is counted under. The listener knows nothing else of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Account(pub(crate) usize);

/// Decides on the head alone, before a byte of the body is kept, whether a request is served.
pub(crate) type Admit = Box<dyn Fn(&Head, SocketAddr) -> Result<Account, Response> + Send>;

/// What one peer, and all of them together, may take. Every deadline is absolute: a byte a second
/// does not extend it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_head_bytes: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_connections: usize,
    /// IPv6 peers count by their /64.
    pub(crate) max_connections_per_ip: usize,
    /// From the first byte of a request, or from the connection, to the end of the head.
    pub(crate) head_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub(crate) body_timeout: Duration,
    /// For one write of a streamed answer, or for 64 KiB of a whole one.
    pub(crate) write_timeout: Duration,
    /// Between the end of an answer and the next request.
    pub(crate) idle_timeout: Duration,
}

/// The limits that may change while it listens; the others decide how large things were made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tunable {
    pub(crate) max_connections_per_ip: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
}

impl Limits {
    fn tune(&mut self, to: Tunable) {
        let Tunable {
            max_connections_per_ip,
            head_timeout,
            body_timeout,
            write_timeout,
        } = to;
        self.max_connections_per_ip = max_connections_per_ip;
        self.head_timeout = head_timeout;
        self.body_timeout = body_timeout;
        self.write_timeout = write_timeout;
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_head_bytes: 32 * 1024,
            max_body_bytes: 32 * 1024 * 1024,
            max_connections: 1024,
            max_connections_per_ip: 256,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
        }
    }
}
