//! What the gateway knows of conversations over all requests, and for how long.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{Gateway, answer::unix_now};
use crate::{
    claude::{
        pool::{Minder, Pool},
        session_file,
    },
    config::Config,
    log,
    session::{Continuity, Store},
    state::StateDir,
};

/// What is known of conversations, and which processes wait for them.
pub(crate) struct Conversations {
    pub(crate) store: Store,
    pub(crate) pool: Arc<Pool>,
    counts: [AtomicU64; Continuity::ALL.len()],
}

impl Conversations {
    /// What an earlier life remembered, and no process yet.
    ///
    /// # Errors
    /// When the thread cannot be started that looks after the processes.
    pub(crate) fn start(config: &Config, state: &StateDir) -> io::Result<(Self, Minder)> {
        state.remove_seeds();
        state.remove_temporary();
        let (pool, minder) = Pool::start(config.cli.warm)?;
        let oldest = unix_now().saturating_sub(config.session.ttl.as_secs());
        let conversations = Conversations {
            store: Store::open(&state.sessions_log(), oldest),
            pool,
            counts: Default::default(),
        };
        Ok((conversations, minder))
    }

    /// How many answers there were of each kind, in the order of [`Continuity::ALL`].
    pub(super) fn counts(&self) -> impl Iterator<Item = (Continuity, u64)> {
        let counts = self.counts.iter().map(|it| it.load(Ordering::Relaxed));
        Continuity::ALL.into_iter().zip(counts)
    }

    pub(super) fn count(&self, continuity: Continuity) {
        let at = Continuity::ALL.iter().position(|it| *it == continuity);
        self.counts[at.unwrap_or_default()].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets conversations that nobody went on with since `time` (seconds since 1970), with what the CLI
    /// has of them.
    pub(crate) fn forget_before(&self, time: u64) -> usize {
        let gone = self.store.forget_before(time);
        gone.iter().for_each(session_file::remove);
        gone.len()
    }
}

/// Forgets old conversations from now on, in a thread of its own.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn forget_in_time(gateway: &Arc<Gateway>) -> io::Result<()> {
    let gateway = Arc::clone(gateway);
    let forget = move || {
        loop {
            let served = gateway.served();
            let session = served.config.session.clone();
            gateway.flights.forget_old();
            served.kept.expire();
            drop(served);
            let oldest = unix_now().saturating_sub(session.ttl.as_secs());
            let forgotten = gateway.conversations.forget_before(oldest);
            if forgotten > 0 {
                log::info(
                    "conversations forgotten (session.ttl)",
                    &[("sessions", &forgotten)],
                );
            }
            thread::sleep(session.cleanup_interval);
        }
    };
    thread::Builder::new()
        .name("forget".to_owned())
        .spawn(forget)?;
    Ok(())
}
