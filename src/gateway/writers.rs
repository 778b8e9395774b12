//! One run of a conversation at a time, where `session.parallel` says so: the later request waits, and goes
//! on from what the earlier one made of the conversation if its history says so.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::cancel::Cancel;
use crate::session::Key;

/// The conversations that are answered now.
#[derive(Default)]
pub(crate) struct Writers {
    lines: Mutex<Lines>,
    left: Condvar,
}

/// Who answers in a conversation, and who waits to, in the order in which they came.
#[derive(Default)]
struct Lines {
    of: HashMap<Key, VecDeque<u64>>,
    /// So many came.
    count: u64,
}

/// The right to answer in a conversation; dropping it lets the next one in.
pub(super) struct Writer<'a> {
    writers: &'a Writers,
    key: Key,
    own: u64,
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
        let mut lines = self.lock();
        let own = lines.count;
        lines.count += 1;
        lines.of.entry(key).or_default().push_back(own);
        let writer = Writer {
            writers: self,
            key,
            own,
        };
        while lines.of.get(&key).and_then(VecDeque::front) != Some(&own) {
            let waited = self.left.wait_timeout(lines, LOOK);
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            if cancel.reason().is_some() {
                return None;
            }
            sign_of_life();
            lines = self.lock();
        }
        drop(lines);
        Some(writer)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // It is whole between any two of its statements.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut lines = self.writers.lock();
        if let Some(line) = lines.of.get_mut(&self.key) {
            line.retain(|it| *it != self.own);
            if line.is_empty() {
                lines.of.remove(&self.key);
            }
        }
        drop(lines);
        self.writers.left.notify_all();
    }
}
