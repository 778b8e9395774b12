//! One run at a time that may renew the login which several tenants share: two at once would leave all of them
//! logged out.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::cancel::Cancel;

/// Who may renew the login, and who waits to, in the order in which they came.
#[derive(Default)]
pub(crate) struct Renewals {
    line: Mutex<Line>,
    left: Condvar,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<u64>,
    /// So many came.
    count: u64,
}

/// The right to renew; dropping it lets the next one in.
pub(super) struct Renewing<'a> {
    renewals: &'a Renewals,
    own: u64,
}

/// How often one that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl Renewals {
    /// Waits until nobody else may renew it, and gives signs of life meanwhile; none when the run was called off.
    pub(super) fn enter(
        &self,
        cancel: &Cancel,
        mut sign_of_life: impl FnMut(),
    ) -> Option<Renewing<'_>> {
        let mut line = self.lock();
        let own = line.count;
        line.count += 1;
        line.waiting.push_back(own);
        let renewing = Renewing {
            renewals: self,
            own,
        };
        while line.waiting.front() != Some(&own) {
            let waited = self.left.wait_timeout(line, LOOK);
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            if cancel.reason().is_some() {
                return None;
            }
            sign_of_life();
            line = self.lock();
        }
        drop(line);
        Some(renewing)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // It is whole between any two of its statements.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        let own = self.own;
        self.renewals.lock().waiting.retain(|it| *it != own);
        self.renewals.left.notify_all();
    }
}
