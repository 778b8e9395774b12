//! How many threads make connections. A connection may be given up while its thread still waits for a name server, so
//! threads are counted and not connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One tenant's.
#[derive(Default)]
pub(super) struct Dials(Arc<AtomicUsize>);

/// A thread's place among them, until this is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Dials {
    /// `None` when there are so many already.
    pub(super) fn begin(&self, max: usize) -> Option<Place> {
        let place = Place(Arc::clone(&self.0));
        let others = self.0.fetch_add(1, Ordering::AcqRel);
        // One that is not given is dropped, and not counted.
        (others < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_free_when_its_thread_is_over() {
        let dials = Dials::default();
        let first = dials.begin(2).unwrap();
        let second = dials.begin(2).unwrap();
        assert!(dials.begin(2).is_none() && dials.begin(2).is_none());
        let (go, may_end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _place = first;
            may_end.recv().unwrap_err();
            panic!("as a bug would");
        });
        // Whatever else becomes of what it was for.
        assert!(dials.begin(2).is_none());
        drop(go);
        assert!(thread.join().is_err());
        let third = dials.begin(2).unwrap();
        assert!(dials.begin(2).is_none());
        drop((second, third));
        assert_eq!(dials.0.load(Ordering::Acquire), 0);
    }
}
