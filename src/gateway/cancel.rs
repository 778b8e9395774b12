//! How a run is told from other threads to stop.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

/// Why a run is to stop early; written from other threads, read by the run.
pub(crate) struct Cancel {
    reason: AtomicU8,
    wake: Arc<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    ClientGone = 1,
    Shutdown = 2,
    Operator = 3,
}

impl Cancel {
    /// `wake` is an eventfd that the run polls.
    pub(crate) fn new(wake: Arc<OwnedFd>) -> Arc<Self> {
        Arc::new(Cancel {
            reason: AtomicU8::new(0),
            wake,
        })
    }

    /// Stops the run; the first reason counts.
    pub(crate) fn fire(&self, reason: Reason) {
        if self
            .reason
            .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            // An eventfd that is full wakes its reader all the same.
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }

    /// Has the run look up, without an order to stop.
    pub(super) fn nudge(&self) {
        // As above.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        match self.reason.load(Ordering::Acquire) {
            1 => Some(Reason::ClientGone),
            2 => Some(Reason::Shutdown),
            3 => Some(Reason::Operator),
            _ => None,
        }
    }
}

/// Empties the eventfd; why it was written stands in [`Cancel`].
pub(super) fn clear(wake: &OwnedFd) {
    let mut count = [0; 8];
    // Empty already is what is wanted.
    let _ = rustix::io::read(wake, &mut count[..]);
}
