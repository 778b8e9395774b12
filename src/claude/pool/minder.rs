//! The thread that looks after processes that wait: it ends those that are of no use, starts new ones, and weighs them.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    Ahead, Budget, Inner, Kept, Order, Pool, USUAL_KIB, Work, allowed_kib,
    room::{self, For, Most, Waits},
};
use crate::{
    claude::{command::Session, keeper::Keeper, worker::Worker},
    log, processes,
    session::Uuid,
};

/// The thread of a pool.
pub(crate) struct Minder {
    pool: Arc<Pool>,
    thread: JoinHandle<()>,
}

/// How often those that wait are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// Memory is looked at more seldom: that reads all of /proc.
const ROUNDS_PER_WEIGHING: u32 = 5;

/// How long a process that is started ahead lets others go first: starting one takes a processor some 350 ms, and a
/// conversation's second turn often follows its first at once.
const AHEAD_WAIT: Duration = Duration::from_millis(500);

/// What to start ahead, and when: one for each tenant.
#[derive(Default)]
struct Later(Vec<(Instant, Box<Ahead>)>);

impl Later {
    /// One that is wanted again and again waits no longer for that.
    fn add(&mut self, ahead: Box<Ahead>, now: Instant) {
        match self.0.iter_mut().find(|(_, it)| it.tenant == ahead.tenant) {
            Some((_, known)) => *known = ahead,
            None => self.0.push((now + AHEAD_WAIT, ahead)),
        }
    }

    /// When the next one is due.
    fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self) -> Vec<Ahead> {
        let now = Instant::now();
        let due = self.0.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, ahead)| *ahead).collect()
    }
}

/// How long the CLI may take to exit by itself; it takes about 60 ms.
const EXIT_WAIT: Duration = Duration::from_millis(500);

impl Pool {
    /// The thread.
    fn mind(&self, orders: &Receiver<Order>) {
        let mut round = 0_u32;
        let mut next_round = Instant::now() + ROUND;
        let mut later = Later::default();
        loop {
            // Whatever is locked in a match stays so to its end.
            let is_empty = self.lock().kept.is_empty();
            let wake = match (is_empty, later.next()) {
                (true, due) => due,
                (false, due) => Some(due.map_or(next_round, |it| it.min(next_round))),
            };
            let order = match wake {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wake) => orders.recv_deadline(wake),
            };
            match order {
                Ok(Order::End(kept)) => end(vec![*kept]),
                Ok(Order::Start(ahead)) => later.add(ahead, Instant::now()),
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Order::Look) | Err(RecvTimeoutError::Timeout) => {}
            }
            for ahead in later.take_due() {
                self.started_ahead(ahead);
            }
            // However many orders come.
            if Instant::now() < next_round {
                continue;
            }
            next_round = Instant::now() + ROUND;
            round = round.wrapping_add(1);
            let useless = self.lock().take_useless();
            end(useless);
            if round.is_multiple_of(ROUNDS_PER_WEIGHING) {
                self.weigh();
            }
        }
        let mut inner = self.lock();
        inner.budget = Budget { limits: None };
        let mut left = std::mem::take(&mut inner.kept);
        drop(inner);
        for order in orders.try_iter() {
            if let Order::End(kept) = order {
                left.push(*kept);
            }
        }
        end(left);
    }

    /// Ends the longest unused until the rest fits the memory they may have.
    fn weigh(&self) {
        let Some(limits) = self.lock().budget.limits else {
            return;
        };
        let resident = processes::resident_of_trees(&self.pids());
        let mut total: u64 = resident.values().sum();
        let allowed = allowed_kib(limits, total);
        let mut heavy = Vec::new();
        let mut inner = self.lock();
        while total > allowed
            && let Some(kept) = inner.take_oldest()
        {
            let own = resident.get(&kept.worker.pid()).copied();
            total = total.saturating_sub(own.unwrap_or_default());
            heavy.push(kept);
        }
        drop(inner);
        if !heavy.is_empty() {
            log::info(
                "processes that waited were ended to save memory",
                &[("ended", &heavy.len()), ("allowed_kib", &allowed)],
            );
        }
        end(heavy);
    }

    fn started_ahead(&self, ahead: Ahead) {
        let Some(limits) = self.lock().budget.limits else {
            return;
        };
        let resident = processes::resident_of_trees(&self.pids());
        let most = Most {
            processes: limits.max_processes,
            kib: allowed_kib(limits, resident.values().sum()),
        };
        let Some(given_up) = self.lock().make_room(&ahead, &resident, most) else {
            return;
        };
        // First, so that there are never more than there may be.
        end(given_up);
        let Ahead {
            tenant,
            print,
            mut launch,
            generation,
        } = ahead;
        let session = Uuid::random();
        Session::New(session).add_to(&mut launch);
        let Ok(keeper) = Keeper::start() else { return };
        let started = Worker::start(keeper, &launch, Vec::new());
        // The request that needs one tells what is wrong.
        let Ok(worker) = started else { return };
        let mut useless = Vec::new();
        let mut inner = self.lock();
        let kept = Kept {
            worker,
            session,
            tenant,
            print,
            work: Work::Any,
            since: Instant::now(),
            generation,
        };
        match generation == inner.generation {
            true => inner.kept.push(kept),
            false => useless.push(kept),
        }
        // Runs may have kept theirs while it started.
        useless.extend(inner.take_superfluous());
        drop(inner);
        end(useless);
    }
}

impl Inner {
    /// Takes out whatever ends for one that is started ahead. `None` where none is to be started: there is no room, or
    /// there is one already.
    fn make_room(
        &mut self,
        ahead: &Ahead,
        resident: &HashMap<i32, u64>,
        most: Most,
    ) -> Option<Vec<Kept>> {
        let of_tenant = |it: &Kept| it.work == Work::Any && it.tenant == ahead.tenant;
        let is_same = |it: &Kept| of_tenant(it) && it.print == ahead.print;
        if self.kept.iter().any(is_same) {
            return None;
        }
        let waits = |it: &Kept| Waits {
            since: it.since,
            kib: resident.get(&it.worker.pid()).copied().unwrap_or(USUAL_KIB),
            for_what: match it.work {
                Work::Turn(_) => For::Turn,
                // One of another kind of request, or from before a change.
                Work::Any if of_tenant(it) => For::Same,
                Work::Any => For::Other,
            },
        };
        let waiting: Vec<Waits> = self.kept.iter().map(waits).collect();
        let mut places = room::made(&waiting, USUAL_KIB, most)?;
        // From the end on, so that those before it stay where they are.
        places.sort_unstable_by(|a, b| b.cmp(a));
        let taken = places.into_iter().map(|at| self.kept.swap_remove(at));
        Some(taken.collect())
    }
}

impl Minder {
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(pool: Arc<Pool>, orders: Receiver<Order>) -> std::io::Result<Minder> {
        let own = Arc::clone(&pool);
        let thread = thread::Builder::new().name("warm".to_owned());
        let thread = thread.spawn(move || own.mind(&orders))?;
        Ok(Minder { pool, thread })
    }

    /// Ends all that wait, and the thread.
    pub(crate) fn close(self) {
        if self.pool.orders.send(Order::Close).is_ok() {
            // A panic there was already reported by its own thread.
            drop(self.thread.join());
        }
    }
}

/// Has them end by themselves at the same time, then sees to it.
fn end(mut kept: Vec<Kept>) {
    for it in &mut kept {
        it.worker.close_stdin();
    }
    for mut it in kept {
        it.worker.wait_exit(EXIT_WAIT);
        let (ended, _) = it.worker.end();
        if ended.left_over > 0 {
            log::error(
                "processes of a CLI that waited could not be ended",
                &[("tenant", &it.tenant), ("left", &ended.left_over)],
            );
        }
    }
}
