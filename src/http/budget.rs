//! The memory that the bodies of all requests may take together, from the first byte received
//! until a worker has parsed them.
//!
//! Everybody may use all of it, as long as it suffices. Then who holds more than a fair share gets
//! no more, so that nobody's unfinished uploads keep others from being served. What was given is
//! not taken back: n accounts hold at most 1 + 1/2 + ... + 1/n times the budget.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Account;

pub(super) struct Budget {
    used: Arc<Mutex<Used>>,
    max: usize,
}

#[derive(Default)]
struct Used {
    total: usize,
    /// Only accounts that use any.
    accounts: HashMap<Account, usize>,
}

/// One body's part; given back by dropping it.
pub(super) struct Charge {
    used: Arc<Mutex<Used>>,
    account: Account,
    bytes: usize,
}

/// A request's complete body. Its memory counts until it is dropped.
pub(crate) struct Body {
    bytes: Vec<u8>,
    _charge: Charge,
}

impl Budget {
    pub(super) fn new(max: usize) -> Budget {
        Budget {
            used: Arc::default(),
            max,
        }
    }

    pub(super) fn open(&self, account: Account) -> Charge {
        Charge {
            used: Arc::clone(&self.used),
            account,
            bytes: 0,
        }
    }

    /// Whether a charge may stay as large as it is.
    pub(super) fn allows(&self, charge: &Charge) -> bool {
        let used = lock(&self.used);
        let own = used.accounts.get(&charge.account).copied().unwrap_or(0);
        used.total <= self.max || own <= self.max / used.accounts.len().max(1)
    }
}

impl Charge {
    pub(super) fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            let mut used = lock(&self.used);
            used.total += more;
            *used.accounts.entry(self.account).or_default() += more;
            self.bytes += more;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = lock(&self.used);
        used.total -= self.bytes;
        if let Some(own) = used.accounts.get_mut(&self.account) {
            *own -= self.bytes;
            if *own == 0 {
                used.accounts.remove(&self.account);
            }
        }
    }
}

impl Body {
    pub(super) fn new(bytes: Vec<u8>, charge: Charge) -> Body {
        Body {
            bytes,
            _charge: charge,
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Nothing panics while it is held; its numbers are right at any time.
fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(budget: &Budget, account: usize, bytes: usize) -> Charge {
        let mut charge = budget.open(Account(account));
        charge.grow_to(bytes);
        charge
    }

    #[test]
    fn dropped_charge_makes_room_again() {
        let budget = Budget::new(100);
        let a = charge(&budget, 0, 60);
        let mut b = charge(&budget, 0, 40);
        b.grow_to(30);
        assert!(budget.allows(&b));
        b.grow_to(41);
        assert!(!budget.allows(&b));
        drop(a);
        assert!(budget.allows(&b));
        drop(b);
        assert!(lock(&budget.used).accounts.is_empty());
    }

    #[test]
    fn account_that_holds_all_of_it_locks_nobody_out() {
        let budget = Budget::new(100);
        let mut greedy = charge(&budget, 0, 100);
        let mut other = charge(&budget, 1, 50);
        assert!(budget.allows(&other));
        greedy.grow_to(101);
        assert!(!budget.allows(&greedy));
        other.grow_to(51);
        assert!(!budget.allows(&other));
        assert!(budget.allows(&charge(&budget, 2, 33)));
    }
}
