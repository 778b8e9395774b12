//! Responses that a later one may go on from (`previous_response_id`): in memory, each tenant's its
//! own, for `session.ttl` after their last use, the least recently used forgotten first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{api::responses::Exchange, scheduler::TenantId};

/// How much of one tenant is kept. The host is small, and most clients send all of a conversation.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// So many responses back a conversation is followed; a bound for a walk under a lock.
const LENGTH_MAX: usize = 4096;

/// What an entry takes beside its texts: its ids, twice, and its place in the map.
const ENTRY_BYTES: usize = 256;

/// Every tenant's responses.
pub(crate) struct Kept {
    shelves: Vec<Arc<Mutex<Shelf>>>,
    ttl: Duration,
}

/// One tenant's.
#[derive(Default)]
struct Shelf {
    responses: HashMap<String, Entry>,
    bytes: usize,
}

struct Entry {
    previous: Option<String>,
    exchange: Arc<Exchange>,
    used: Instant,
}

/// The place that a response will have, once it is known.
pub(crate) struct Place {
    pub(super) kept: Arc<Kept>,
    pub(super) tenant: TenantId,
    pub(super) id: String,
    pub(super) previous: Option<String>,
    pub(super) input: String,
}

impl Kept {
    pub(super) fn new(ttl: Duration) -> Self {
        Kept {
            shelves: Vec::new(),
            ttl,
        }
    }

    /// The same responses under a new configuration; a tenant that is not served loses its own, and whoever
    /// gets its name later does not find them.
    pub(super) fn for_tenants(
        &self,
        count: usize,
        ttl: Duration,
        is_served: impl Fn(TenantId) -> bool,
    ) -> Kept {
        let shelf = |id: TenantId| match self.shelves.get(id) {
            Some(shelf) if is_served(id) => Arc::clone(shelf),
            _ => Arc::default(),
        };
        Kept {
            shelves: (0..count).map(shelf).collect(),
            ttl,
        }
    }

    /// All that was said up to a response, oldest first; `None` when any of it is not kept.
    pub(super) fn conversation(&self, tenant: TenantId, id: &str) -> Option<Vec<Arc<Exchange>>> {
        let now = Instant::now();
        let mut shelf = self.shelf(tenant);
        shelf.expire(now, self.ttl);
        shelf.conversation(id, now)
    }

    /// Forgets what nobody used for long.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        for tenant in 0..self.shelves.len() {
            self.shelf(tenant).expire(now, self.ttl);
        }
    }

    fn shelf(&self, tenant: TenantId) -> MutexGuard<'_, Shelf> {
        // A shelf is whole between any two of its statements, or holds less than it could.
        self.shelves[tenant]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Keeps the response under its id.
    pub(super) fn fill(self, answer: String) {
        let exchange = Exchange {
            input: self.input,
            answer,
        };
        let now = Instant::now();
        let mut shelf = self.kept.shelf(self.tenant);
        shelf.expire(now, self.kept.ttl);
        shelf.put((self.id, self.previous), exchange, now);
    }
}

impl Shelf {
    fn expire(&mut self, now: Instant, ttl: Duration) {
        let is_old = |entry: &Entry| now.duration_since(entry.used) > ttl;
        let old = self.responses.iter().filter(|(_, entry)| is_old(entry));
        let old: Vec<String> = old.map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| self.forget(id));
    }

    fn conversation(&mut self, id: &str, now: Instant) -> Option<Vec<Arc<Exchange>>> {
        let mut found = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let entry = self.responses.get_mut(&id)?;
            entry.used = now;
            found.push(Arc::clone(&entry.exchange));
            next = entry.previous.clone();
            if found.len() > LENGTH_MAX {
                return None;
            }
        }
        found.reverse();
        Some(found)
    }

    fn put(&mut self, (id, previous): (String, Option<String>), exchange: Exchange, now: Instant) {
        let bytes = size(&exchange);
        if bytes > BYTES_MAX {
            return;
        }
        self.make_room(bytes);
        // What it goes on from may have made that room; then nobody could read it.
        if previous
            .as_ref()
            .is_some_and(|it| !self.responses.contains_key(it))
        {
            return;
        }
        self.bytes += bytes;
        let entry = Entry {
            previous,
            exchange: Arc::new(exchange),
            used: now,
        };
        self.responses.insert(id, entry);
    }

    /// Forgets what was not used for longest, a quarter more than needed so that it is rare, and what
    /// went on from it, which nobody could read any more.
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes <= BYTES_MAX {
            return;
        }
        let aim = (BYTES_MAX - bytes).min(BYTES_MAX / 4 * 3);
        let mut by_use: Vec<(Instant, String)> = self
            .responses
            .iter()
            .map(|(id, entry)| (entry.used, id.clone()))
            .collect();
        by_use.sort_unstable();
        for (_, id) in by_use {
            if self.bytes <= aim {
                break;
            }
            self.forget(&id);
        }
        self.forget_orphans();
    }

    fn forget_orphans(&mut self) {
        loop {
            let here: HashSet<&String> = self.responses.keys().collect();
            let is_orphan = |it: &Entry| it.previous.as_ref().is_some_and(|it| !here.contains(it));
            let orphans: Vec<String> = self
                .responses
                .iter()
                .filter(|(_, entry)| is_orphan(entry))
                .map(|(id, _)| id.clone())
                .collect();
            if orphans.is_empty() {
                return;
            }
            orphans.iter().for_each(|id| self.forget(id));
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(entry) = self.responses.remove(id) {
            self.bytes -= size(&entry.exchange);
        }
    }
}

fn size(exchange: &Exchange) -> usize {
    exchange.input.len() + exchange.answer.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn kept(tenants: usize) -> Kept {
        Kept::new(HOUR).for_tenants(tenants, HOUR, |_| true)
    }

    fn put(kept: &Arc<Kept>, tenant: TenantId, id: &str, previous: Option<&str>, input: &str) {
        let place = Place {
            kept: Arc::clone(kept),
            tenant,
            id: id.to_owned(),
            previous: previous.map(str::to_owned),
            input: input.to_owned(),
        };
        place.fill(format!("to {id}"));
    }

    fn answers(kept: &Kept, tenant: TenantId, id: &str) -> Option<Vec<String>> {
        let said = kept.conversation(tenant, id)?;
        Some(said.iter().map(|it| it.answer.clone()).collect())
    }

    #[test]
    fn conversation_comes_oldest_first_and_may_fork() {
        let kept = Arc::new(kept(1));
        put(&kept, 0, "a", None, "1");
        put(&kept, 0, "b", Some("a"), "2");
        put(&kept, 0, "c", Some("a"), "3");
        assert_eq!(answers(&kept, 0, "b").unwrap(), ["to a", "to b"]);
        assert_eq!(answers(&kept, 0, "c").unwrap(), ["to a", "to c"]);
    }

    #[test]
    fn another_tenants_response_is_not_there() {
        let kept = Arc::new(kept(2));
        put(&kept, 0, "a", None, "1");
        assert!(answers(&kept, 1, "a").is_none());
        put(&kept, 1, "b", Some("a"), "2");
        assert!(answers(&kept, 1, "b").is_none());
    }

    #[test]
    fn responses_outlive_a_configuration_and_not_their_tenant() {
        let first = Arc::new(kept(2));
        put(&first, 0, "a", None, "1");
        put(&first, 1, "b", None, "1");
        let second = Arc::new(first.for_tenants(3, HOUR, |id| id != 1));
        // From a run that began before.
        put(&first, 0, "c", Some("a"), "2");
        assert_eq!(answers(&second, 0, "c").unwrap(), ["to a", "to c"]);
        assert!(answers(&second, 1, "b").is_none());
        let third = second.for_tenants(3, HOUR, |_| true);
        assert!(answers(&third, 1, "b").is_none());
    }

    #[test]
    fn least_recently_used_conversation_is_forgotten_whole() {
        let kept = Arc::new(kept(1));
        let third = "x".repeat(BYTES_MAX / 3);
        put(&kept, 0, "a", None, "1");
        put(&kept, 0, "b", None, &third);
        put(&kept, 0, "c", Some("a"), &third);
        // In use again, and all before it.
        assert!(answers(&kept, 0, "c").is_some());
        put(&kept, 0, "d", None, &third);
        assert_eq!(answers(&kept, 0, "b"), None);
        assert_eq!(answers(&kept, 0, "c").unwrap(), ["to a", "to c"]);
        assert!(answers(&kept, 0, "d").is_some());
        put(&kept, 0, "e", Some("c"), &third);
        put(&kept, 0, "f", None, &third);
        assert!(kept.shelf(0).bytes <= BYTES_MAX);
    }

    #[test]
    fn what_went_on_from_the_forgotten_takes_no_room() {
        let kept = Arc::new(kept(1));
        let half = "x".repeat(BYTES_MAX / 2 - 2 * ENTRY_BYTES);
        put(&kept, 0, "a", None, &half);
        put(&kept, 0, "b", Some("a"), "2");
        put(&kept, 0, "c", Some("b"), "3");
        put(&kept, 0, "d", None, &half);
        assert_eq!(kept.shelf(0).responses.len(), 1);
    }

    #[test]
    fn too_large_a_response_displaces_nothing() {
        let kept = Arc::new(kept(1));
        put(&kept, 0, "a", None, "1");
        put(&kept, 0, "b", None, &"x".repeat(BYTES_MAX));
        assert!(answers(&kept, 0, "a").is_some());
        assert!(answers(&kept, 0, "b").is_none());
    }

    #[test]
    fn unused_responses_expire_and_used_ones_do_not() {
        let mut shelf = Shelf::default();
        let start = Instant::now();
        let exchange = |text: &str| Exchange {
            input: text.to_owned(),
            answer: String::new(),
        };
        shelf.put(("a".to_owned(), None), exchange("1"), start);
        shelf.put(("b".to_owned(), None), exchange("2"), start);
        assert!(shelf.conversation("b", start + HOUR).is_some());
        shelf.expire(start + HOUR + HOUR / 2, HOUR);
        assert!(shelf.conversation("a", start + HOUR).is_none());
        assert!(shelf.conversation("b", start + HOUR).is_some());
    }
}
