//! Processes that wait for work: one that has answered waits for its conversation's next turn, and one that
//! was started ahead waits for a tenant's next conversation. Starting the CLI costs some 300 ms; a
//! process that waits costs memory, so they have one budget of their own.
//!
//! One is only ever used for what it was started for: the same tenant, command line, environment and
//! system prompt, which its [`Print`] stands for. Whatever says something while it waits, or is not what is
//! wanted, is ended; nobody waits for that. A thread of its own, `warm`, ends them and starts new ones.

mod minder;
mod room;

use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, TrySendError, bounded};
use hmac_sha256::Hash;

pub(crate) use self::minder::Minder;
use super::{keeper::Launch, worker::Worker};
use crate::{
    config::Warm,
    memory, processes,
    session::{Key, Uuid},
};

/// A process that waits, or did.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) worker: Worker,
    /// The session it writes.
    pub(crate) session: Uuid,
    /// Whose it is.
    pub(crate) tenant: String,
    /// What it can be used for.
    pub(crate) print: Print,
    pub(crate) work: Work,
    since: Instant,
    /// From [`Pool::generation`].
    pub(crate) generation: u64,
}

/// What a process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The next turn of a conversation.
    Turn(Key),
    /// Any conversation of the tenant's.
    Any,
}

/// What a process was started with, as a hash: the environment in it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Print([u8; 32]);

impl Print {
    /// Of a process that has heard nothing yet. `stamp` stands for the files that it has read.
    pub(crate) fn of(tenant: &str, launch: &Launch, stamp: &[u8]) -> Print {
        let mut hash = Hash::new();
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        add(tenant.as_bytes());
        add(launch.program.as_os_str().as_encoded_bytes());
        add(launch.cwd.as_os_str().as_encoded_bytes());
        add(stamp);
        launch.args.iter().for_each(|it| add(it.as_encoded_bytes()));
        for (name, value) in &launch.env {
            add(name.as_encoded_bytes());
            add(value.as_encoded_bytes());
        }
        Print(hash.finalize())
    }

    /// Of a process that has heard this first.
    pub(crate) fn and_heard(self, opening: &[u8]) -> Print {
        let mut hash = Hash::new();
        hash.update(self.0);
        hash.update(opening);
        Print(hash.finalize())
    }
}

/// All processes that wait.
pub(crate) struct Pool {
    inner: Mutex<Inner>,
    /// Told when a process that was coming is there, or will not come.
    arrived: Condvar,
    orders: Sender<Order>,
}

struct Inner {
    kept: Vec<Kept>,
    /// What a run that is ending will keep.
    coming: HashSet<Key>,
    budget: Budget,
    /// Counts the configurations.
    generation: u64,
}

/// What may wait.
#[derive(Debug, Clone, Copy)]
struct Budget {
    limits: Option<Warm>,
}

/// What the thread is to do.
enum Order {
    End(Box<Kept>),
    Start(Box<Ahead>),
    /// Something waits.
    Look,
    /// End all, and itself.
    Close,
}

/// A process to start ahead.
pub(crate) struct Ahead {
    pub(crate) tenant: String,
    pub(crate) print: Print,
    /// Without its session.
    pub(crate) launch: Launch,
    /// From [`Pool::generation`].
    pub(crate) generation: u64,
}

/// How long a turn waits for its process to come from the one before. It comes as soon as the client has
/// all of the answer, which is about when it can ask again.
const COMING_WAIT: Duration = Duration::from_millis(250);

/// More orders than ever wait: one for each run that ends, and one for each process.
const ORDERS_MAX: usize = 256;

/// What a process that waits takes, as long as nobody has weighed it (measured: 160 MB before its first turn,
/// up to 230 MB after some).
const USUAL_KIB: u64 = 230 << 10;

impl Pool {
    /// Starts with nothing, and the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(limits: Option<Warm>) -> std::io::Result<(Arc<Pool>, Minder)> {
        let (orders_in, orders) = bounded(ORDERS_MAX);
        let pool = Arc::new(Pool {
            inner: Mutex::new(Inner {
                kept: Vec::new(),
                coming: HashSet::new(),
                budget: Budget { limits },
                generation: 0,
            }),
            arrived: Condvar::new(),
            orders: orders_in,
        });
        let own = Arc::clone(&pool);
        let minder = Minder::start(own, orders)?;
        Ok((pool, minder))
    }

    /// Keeps to other limits from now on, and to none of what was started before.
    pub(crate) fn begin_anew(&self, limits: Option<Warm>) {
        let mut inner = self.lock();
        inner.budget = Budget { limits };
        inner.generation += 1;
        let kept = std::mem::take(&mut inner.kept);
        drop(inner);
        kept.into_iter().for_each(|it| self.end(it));
    }

    /// Of what is started now.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Ends the process of a turn that nobody will go on from.
    pub(crate) fn give_up(&self, key: Key) {
        let mut inner = self.lock();
        let of_key = |it: &mut Kept| it.work == Work::Turn(key);
        let useless: Vec<Kept> = inner.kept.extract_if(.., of_key).collect();
        drop(inner);
        useless.into_iter().for_each(|it| self.end(it));
    }

    /// Whether anything may wait.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().budget.limits.is_some()
    }

    /// How many wait, and their resident memory in KiB.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        let pids = self.pids();
        let resident = processes::resident_of_trees(&pids);
        (pids.len(), resident.values().sum())
    }

    /// Says that the process of this turn will come soon.
    pub(crate) fn expect(&self, key: Key) {
        self.lock().coming.insert(key);
    }

    /// It will not come, or has come.
    pub(crate) fn expected_no_more(&self, key: Key) {
        self.lock().coming.remove(&key);
        self.arrived.notify_all();
    }

    /// The process that gave a conversation's last answer, if it can give the next.
    pub(crate) fn take_turn(&self, key: Key, print: Print) -> Option<Kept> {
        let until = Instant::now() + COMING_WAIT;
        let mut inner = self.lock();
        while inner.coming.contains(&key) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.arrived.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.taken(inner, |it| it.work == Work::Turn(key), print)
    }

    /// A process that was started ahead.
    pub(crate) fn take_any(&self, print: Print) -> Option<Kept> {
        let inner = self.lock();
        self.taken(inner, |it| it.work == Work::Any && it.print == print, print)
    }

    fn taken(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        wanted: impl Fn(&Kept) -> bool,
        print: Print,
    ) -> Option<Kept> {
        let at = inner.kept.iter().position(wanted)?;
        let mut kept = inner.kept.swap_remove(at);
        drop(inner);
        if kept.print == print && kept.worker.is_resting() {
            return Some(kept);
        }
        self.end(kept);
        None
    }

    /// Keeps a process for its next turn, and ends those that there is no more room for.
    pub(crate) fn keep(&self, mut kept: Kept) {
        if !kept.worker.rest() {
            // It has begun something by itself; its next answer would be to that.
            if let Work::Turn(key) = kept.work {
                self.expected_no_more(key);
            }
            return self.end(kept);
        }
        kept.since = Instant::now();
        let mut inner = self.lock();
        let mut superfluous = Vec::new();
        if let Work::Turn(key) = kept.work {
            inner.coming.remove(&key);
            // Two requests of one conversation may have had the same answer.
            superfluous.extend(inner.kept.extract_if(.., |it| it.work == kept.work));
        }
        match kept.generation == inner.generation {
            true => inner.kept.push(kept),
            // Its environment, and its credential, are another configuration's.
            false => superfluous.push(kept),
        }
        superfluous.extend(inner.take_superfluous());
        drop(inner);
        self.arrived.notify_all();
        // It sleeps while nothing waits.
        let _ = self.orders.try_send(Order::Look);
        superfluous.into_iter().for_each(|it| self.end(it));
    }

    /// Has a process started ahead, if there is room.
    pub(crate) fn start_ahead(&self, ahead: Ahead) {
        // When there is so much to do, there is no time for it.
        let _ = self.orders.try_send(Order::Start(Box::new(ahead)));
    }

    fn end(&self, mut kept: Kept) {
        // It goes while others are waited for.
        kept.worker.close_stdin();
        match self.orders.try_send(Order::End(Box::new(kept))) {
            Ok(()) => {}
            // Dropping it ends it too, only that somebody waits for it.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn pids(&self) -> Vec<i32> {
        self.lock().kept.iter().map(|it| it.worker.pid()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A process that a panic lost was ended by its drop.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A process that has answered.
    pub(crate) fn new(worker: Worker, tenant: &str, print: Print, work: Work) -> Kept {
        Kept {
            worker,
            session: Uuid::random(),
            tenant: tenant.to_owned(),
            print,
            work,
            since: Instant::now(),
            generation: 0,
        }
    }
}

impl Inner {
    fn take_oldest(&mut self) -> Option<Kept> {
        let ages = self.kept.iter().enumerate();
        let (at, _) = ages.min_by_key(|(_, it)| it.since)?;
        Some(self.kept.swap_remove(at))
    }

    /// What is more than may wait. A flood must not get ahead of the next weighing, so each counts with what it
    /// usually takes.
    fn take_superfluous(&mut self) -> Vec<Kept> {
        let usual = self.kept.len() as u64 * USUAL_KIB;
        let max = self.budget.limits.map_or(0, |limits| {
            let fit = allowed_kib(limits, usual) / USUAL_KIB;
            limits
                .max_processes
                .min(usize::try_from(fit).unwrap_or(usize::MAX))
        });
        let mut superfluous = Vec::new();
        while self.kept.len() > max
            && let Some(kept) = self.take_oldest()
        {
            superfluous.push(kept);
        }
        superfluous
    }

    /// What waits for too long, or no more.
    fn take_useless(&mut self) -> Vec<Kept> {
        let idle = self
            .budget
            .limits
            .map_or(Duration::ZERO, |it| it.idle_timeout);
        let useless = |it: &mut Kept| it.since.elapsed() >= idle || !it.worker.is_resting();
        self.kept.extract_if(.., useless).collect()
    }
}

/// What those that wait may take together. By default half of what there would be without them: the other
/// half is for runs.
fn allowed_kib(limits: Warm, resident: u64) -> u64 {
    match limits.memory_bytes {
        Some(bytes) => bytes / 1024,
        None => memory::available_kib().map_or(0, |free| (free + resident) / 2),
    }
}
