//! The way into the loop for other threads: connections given back, and the owner's orders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::Tunable;
use super::head::Persistence;
use super::slab::Key;

pub(super) struct Mailbox {
    returns: Sender<Return>,
    orders: Sender<Order>,
    wake: OwnedFd,
    draining: AtomicBool,
}

/// The loop's ends of the channels.
pub(super) struct Inbox {
    pub(super) returns: Receiver<Return>,
    pub(super) orders: Receiver<Order>,
}

/// A connection whose answer is over, or over but for its last bytes.
pub(super) struct Return {
    pub(super) key: Key,
    pub(super) end: End,
}

pub(super) enum End {
    /// Everything is sent.
    Sent(Persistence),
    /// The client was slower than the worker: the loop sends what follows `sent` of `bytes`.
    Rest {
        bytes: Vec<u8>,
        sent: usize,
        then: Persistence,
    },
    /// The connection is unusable.
    Reset,
}

pub(super) enum Order {
    /// For what comes from now on.
    Limits(Tunable),
    /// Take no more connections; the sender goes when no request is on its way any more.
    StopAccepting(Sender<()>),
    /// Show that the loop still goes round, by letting the sender go.
    Ping(Sender<()>),
    /// Stop accepting, and end when all is answered or at this time.
    Close(Instant),
}

/// Orders waiting at once; each is one call of the listener's owner.
const MAX_ORDERS: usize = 8;

impl Mailbox {
    /// For at most `connections` connections at a time.
    pub(super) fn new(connections: usize) -> io::Result<(Mailbox, Inbox)> {
        let (returns, returns_in) = bounded(connections);
        let (orders, orders_in) = bounded(MAX_ORDERS);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let draining = AtomicBool::new(false);
        let mailbox = Mailbox {
            returns,
            orders,
            wake,
            draining,
        };
        Ok((
            mailbox,
            Inbox {
                returns: returns_in,
                orders: orders_in,
            },
        ))
    }

    pub(super) fn give_back(&self, key: Key, end: End) {
        // Never full: each connection has at most one answer, and the channel holds as many as
        // there are connections. Closed: the loop has ended and so have its connections.
        let _ = self.returns.try_send(Return { key, end });
        self.wake();
    }

    pub(super) fn order(&self, order: Order) {
        // Closed: the loop has ended, which is all that any order asks for.
        let _ = self.orders.send(order);
        self.wake();
    }

    /// As [`Mailbox::order`], for who must not wait; false when there is no room, or no loop.
    pub(super) fn offer(&self, order: Order) -> bool {
        let taken = self.orders.try_send(order).is_ok();
        self.wake();
        taken
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes back all wake-ups so far. The inbox must be read after this, not before.
    pub(super) fn clear_wake(&self) {
        let mut count = [0; size_of::<u64>()];
        // Nothing to read means nothing to clear.
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the loop is as good as woken.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
