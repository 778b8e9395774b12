//! The owner's handle on the listener: start, stop, close.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::accept::{Acceptor, MAX_TURNED_AWAY, Seats};
use super::budget::Budget;
use super::conn::Service;
use super::event_loop::{EventLoop, max_places};
use super::head::Head;
use super::mailbox::{Mailbox, Order};
use super::reply::Request;
use super::response::Response;
use super::{Account, ListenerConfig, Tunable};

/// Bodies on their way may take this many times the largest body together.
const BODIES_AT_ONCE: usize = 4;

/// A running listener. [`Listener::close`] ends it in order; dropping it cuts everybody off.
pub(crate) struct Listener {
    local_addr: SocketAddr,
    max_connections: usize,
    mailbox: Arc<Mailbox>,
    /// `None` once it is being waited for.
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Listener {
    /// Listens, and sends every complete request that `admit` lets pass into `requests`.
    ///
    /// `admit` runs in the loop thread for every head, before any of the body is kept: it must be
    /// quick. When `requests` is full or closed, the answer is 503.
    pub(crate) fn start(
        config: ListenerConfig,
        admit: impl Fn(&Head, SocketAddr) -> Result<Account, Response> + Send + 'static,
        requests: Sender<Box<Request>>,
    ) -> io::Result<Listener> {
        let mut limits = config.limits;
        let places = places_within_fds(max_places(limits.max_connections), &config);
        // The same part of the places as with plenty of them goes to those turned away.
        let turned_away = MAX_TURNED_AWAY.min(places / 8);
        limits.max_connections = limits.max_connections.min(places - turned_away);
        let acceptor = Acceptor::new(config.socket, &limits)?;
        let local_addr = acceptor.local_addr()?;
        let (mailbox, inbox) = Mailbox::new(max_places(limits.max_connections))?;
        let mailbox = Arc::new(mailbox);
        let seats = Seats::new(&limits, turned_away);
        let service = Service {
            limits,
            admit: Box::new(admit),
            requests,
            error_body: config.error_body,
            answer_headers: config.answer_headers,
            is_proxy: config.is_proxy,
            seats,
            mailbox: Arc::clone(&mailbox),
            bodies: Budget::new(limits.max_body_bytes.saturating_mul(BODIES_AT_ONCE)),
            in_hand: Arc::new(()),
            now: Instant::now(),
            output: Vec::new(),
        };
        let event_loop = EventLoop::new(acceptor, service, inbox)?;
        let thread = thread::Builder::new()
            .name("loop".into())
            .spawn(|| event_loop.run())?;
        Ok(Listener {
            local_addr,
            max_connections: limits.max_connections,
            mailbox,
            thread: Some(thread),
        })
    }

    /// Where it listens; the port is the real one if the config said 0.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Connections that there can be at a time: fewer than configured where the process may not
    /// have so many file descriptors.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// A way to change limits while it listens.
    pub(crate) fn tuner(&self) -> Tuner {
        Tuner(Arc::clone(&self.mailbox))
    }

    /// What tells whether it still works.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.mailbox))
    }

    /// Takes no more connections and closes idle ones. Requests under way are answered, and then
    /// their connections are closed. A new connection has a second to send its request. The channel
    /// closes when no request is on its way any more, and the workers have passed on what they had.
    pub(crate) fn stop_accepting(&self) -> Receiver<()> {
        let (arriving, arrived) = bounded(0);
        self.mailbox.order(Order::StopAccepting(arriving));
        arrived
    }

    /// Ends as soon as everything under way is answered, and at `deadline` in any case; requests
    /// not answered by then are told that their client is gone.
    ///
    /// # Errors
    /// What made the loop end before its time, if anything did.
    pub(crate) fn close(mut self, deadline: Instant) -> io::Result<()> {
        self.mailbox.order(Order::Close(deadline));
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the listener's thread panicked")),
        }
    }
}

/// Changes a listener's limits.
pub(crate) struct Tuner(Arc<Mailbox>);

impl Tuner {
    pub(crate) fn tune(&self, limits: Tunable) {
        self.0.order(Order::Limits(limits));
    }
}

/// Feels whether a listener still works.
pub(crate) struct Pulse(Arc<Mailbox>);

impl Pulse {
    /// Whether the loop goes round in this time.
    pub(crate) fn beats_within(&self, time: Duration) -> bool {
        let (ping, gone) = bounded(0);
        self.0.offer(Order::Ping(ping))
            && gone.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.mailbox.order(Order::Close(Instant::now()));
            // Nobody is left to hear of an error.
            let _ = self.join();
        }
    }
}

/// How many of `wanted` connections the process has file descriptors for beside those that are needed elsewhere, and
/// the reserved ones as far as half of what is left. Raises the soft limit to the hard one if they need it.
fn places_within_fds(wanted: usize, config: &ListenerConfig) -> usize {
    make_room_for_files(wanted.saturating_add(config.reserved_fds));
    let spare = open_files_max().saturating_sub(config.needed_fds);
    let reserved = config.reserved_fds.saturating_sub(config.needed_fds);
    wanted.min(spare - reserved.min(spare / 2))
}

/// How many files the process may have open.
pub(crate) fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX))
}

/// Raises the soft limit on file descriptors to the hard one if so many need it.
pub(crate) fn make_room_for_files(needed: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed as u64) {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        // Where it cannot be raised there are fewer, which whoever opens them notices.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
