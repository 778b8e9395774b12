//! One run of a conversation at a time, where `session.parallel` says so: the later request waits, and goes
//! on from what the earlier one made of the conversation if its history says so.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::cancel::Cancel;
use crate::session::Key;

/// The conversations that are answered now.
#[derive(Default)]
pub(crate) struct Writers {
    busy: Mutex<HashSet<Key>>,
    left: Condvar,
}

/// The right to answer in a conversation; dropping it lets the next one in.
pub(super) struct Writer<'a> {
    writers: &'a Writers,
    key: Key,
}

/// How often one that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl Writers {
    /// Waits until nobody else answers in a conversation, and gives signs of life meanwhile; none when the run
    /// was called off.
    pub(super) fn enter(
        &self,
        (key, cancel): (Key, &Cancel),
        mut sign_of_life: impl FnMut(),
    ) -> Option<Writer<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while !busy.insert(key) {
            if cancel.reason().is_some() {
                return None;
            }
            let waited = self.left.wait_timeout(busy, LOOK);
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            sign_of_life();
            busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        }
        Some(Writer { writers: self, key })
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut busy = self
            .writers
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.key);
        drop(busy);
        self.writers.left.notify_all();
    }
}
