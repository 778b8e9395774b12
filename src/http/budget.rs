//! The memory that all bodies being received may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// One body's part; given back by dropping it.
pub(super) struct Charge {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Budget {
        Budget {
            used: Arc::default(),
            max,
        }
    }

    pub(super) fn open(&self) -> Charge {
        Charge {
            used: Arc::clone(&self.used),
            bytes: 0,
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        // Only the loop thread counts; the atomic is there to let the loop move into its thread.
        self.used.load(Ordering::Relaxed) > self.max
    }
}

impl Charge {
    pub(super) fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_charge_makes_room_again() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.open(), budget.open());
        a.grow_to(60);
        b.grow_to(40);
        b.grow_to(30);
        assert!(!budget.is_exceeded());
        b.grow_to(41);
        assert!(budget.is_exceeded());
        drop(a);
        assert!(!budget.is_exceeded());
    }
}
