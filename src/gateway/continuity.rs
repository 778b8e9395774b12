//! From a request to a process of the CLI that knows its conversation. There are several ways to one, from
//! the best on: the process that gave the last answer; the session that it left; a session made of the
//! client's history; that history as marked text. A way that turns out to be none, before the model
//! was asked, is followed by the next; the client only sees which one it was.

use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{
    Gateway,
    answer::unix_now,
    job::Job,
    prepare::{cannot_start, prepare, system_prompt, unwritable},
};
use crate::{
    api::{ApiError, ErrorKind, Message},
    claude::{
        command::{self, Session},
        input,
        keeper::{Keeper, Launch},
        pool::{Ahead, Kept, Minder, Pool, Print, Work},
        session_file,
        transcript::transcript,
        worker::Worker,
    },
    config::Config,
    log,
    session::{Continuity, Key, Lineages, Place, Said, Store, Turn, Uuid, newest_user_messages},
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

/// The ways that are left for one request.
pub(super) struct Ways {
    ways: VecDeque<Way>,
    launch: Launch,
    opening: Vec<u8>,
    lineages: Lineages,
    /// The configuration's, as the pool counts them.
    generation: u64,
    /// Of a process that heard nothing yet, and of one that heard the opening.
    fresh: Print,
    opened: Print,
    /// Where the CLI will keep the session; `None` where it is not to be gone on from.
    projects: Option<Arc<Path>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Warm,
    Resume,
    Reseed,
    /// The history as marked text.
    Text,
    /// A process that was started ahead.
    Ahead,
    Fresh,
}

/// A process that has the whole question now.
pub(super) struct Begun {
    pub(super) worker: Worker,
    pub(super) continuity: Continuity,
    /// It lived before it was asked.
    pub(super) has_waited: bool,
    pub(super) session: Uuid,
    /// Removed when the process has read it.
    _seed: Option<Seed>,
}

impl Ways {
    /// The ways for a job.
    ///
    /// # Errors
    /// What makes every way impossible.
    pub(super) fn of(gateway: &Gateway, job: &Job) -> Result<Ways, ApiError> {
        let (served, tenant, prompt) = (&job.served, &job.tenant, &job.prompt);
        let prepared = prepare(gateway, job, command::launch)?;
        let system = system_prompt(prompt, &served.skill_text, tenant);
        let opening = input::opening(prompt, &system).map_err(unwritable)?;
        let stamp = stamp(&prepared.program, prepared.skills.as_deref());
        let fresh = Print::of(&tenant.name, &prepared.launch, &stamp);
        let (history, newest) = prompt
            .messages
            .split_at(newest_user_messages(&prompt.messages));
        let projects = session_file::projects(&prepared.launch.env).map(Arc::from);
        Ok(Ways {
            ways: ways(history, newest).collect(),
            opened: fresh.and_heard(&opening),
            launch: prepared.launch,
            opening,
            lineages: job.lineages,
            generation: gateway.conversations.pool.generation(),
            fresh,
            // An answer that the client began is one message with its beginning.
            projects: projects.filter(|_| !newest.is_empty()),
        })
    }

    /// Whether another way is left.
    pub(super) fn has_more(&self) -> bool {
        !self.ways.is_empty()
    }

    /// Whether the request begins a conversation.
    pub(super) fn began_anew(&self) -> bool {
        self.lineages.history.key() == self.lineages.begun.key()
    }

    /// A process that begins to answer, by the best way that is left.
    ///
    /// # Errors
    /// When the last one cannot begin either.
    pub(super) fn begin(
        &mut self,
        (gateway, job): (&Gateway, &Job),
        keeper: &mut Option<Keeper>,
    ) -> Result<Begun, ApiError> {
        while let Some(way) = self.ways.pop_front() {
            if let Some(begun) = self.try_way(way, (gateway, job), keeper)? {
                return Ok(begun);
            }
        }
        let text = "no process of the Claude Code CLI could take the request";
        Err(ApiError::new(ErrorKind::Internal, text))
    }

    fn try_way(
        &self,
        way: Way,
        (gateway, job): (&Gateway, &Job),
        keeper: &mut Option<Keeper>,
    ) -> Result<Option<Begun>, ApiError> {
        let conversations = &gateway.conversations;
        let pool = &conversations.pool;
        let messages = &job.prompt.messages;
        let (history, newest) = messages.split_at(newest_user_messages(messages));
        let new = Uuid::random();
        match way {
            Way::Warm => {
                let key = self.lineages.history.key();
                // What is forgotten, or another conversation's as well, is nobody's.
                if conversations.store.find(key).is_none() {
                    return Ok(None);
                }
                let kept = pool.take_turn(key, self.opened);
                kept.map(|kept| fed(kept, (Vec::new(), newest), Continuity::Warm))
                    .transpose()
            }
            Way::Ahead => {
                let opening = self.opening.clone();
                let kept = pool.take_any(self.fresh);
                kept.map(|kept| fed(kept, (opening, newest), Continuity::Fresh))
                    .transpose()
            }
            Way::Resume => {
                let turn = conversations.store.find(self.lineages.history.key());
                let Some(turn) = turn.filter(|it| session_file::holds(&it.place, it.leaf)) else {
                    return Ok(None);
                };
                let session = Session::From { turn: &turn, new };
                self.start((session, new), (keeper, newest), Continuity::Resumed)
                    .map(Some)
            }
            Way::Reseed if !job.served.cli.takes_transcripts() => Ok(None),
            Way::Reseed => {
                let lines = transcript(history, (new, &job.prompt.model)).map_err(unwritable)?;
                let Some(lines) = lines else { return Ok(None) };
                // Without a place for the file there is still the history as text.
                let Ok(seed) = Seed::new(gateway, &job.tenant.name, &lines) else {
                    return Ok(None);
                };
                let session = Session::Transcript { file: &seed.0, new };
                let begun = self.start((session, new), (keeper, newest), Continuity::Reseeded)?;
                Ok(Some(Begun {
                    _seed: Some(seed),
                    ..begun
                }))
            }
            Way::Text => self
                .start(
                    (self.new_session(new), new),
                    (keeper, messages),
                    Continuity::Reseeded,
                )
                .map(Some),
            Way::Fresh => self
                .start(
                    (self.new_session(new), new),
                    (keeper, messages),
                    Continuity::Fresh,
                )
                .map(Some),
        }
    }

    /// None where it is not to be gone on from.
    fn new_session(&self, new: Uuid) -> Session<'static> {
        match self.projects {
            Some(_) => Session::New(new),
            None => Session::None,
        }
    }

    /// Removes a session that is not to be gone on from.
    pub(super) fn forget(&self, session: Uuid) {
        if let Some(projects) = &self.projects {
            let projects = Arc::clone(projects);
            session_file::remove(&Place { session, projects });
        }
    }

    /// Starts a process and asks it.
    fn start(
        &self,
        (session, new): (Session<'_>, Uuid),
        (slot, messages): (&mut Option<Keeper>, &[Message]),
        continuity: Continuity,
    ) -> Result<Begun, ApiError> {
        let mut launch = self.launch.clone();
        session.add_to(&mut launch);
        let mut input = self.opening.clone();
        input.extend(input::question(messages).map_err(unwritable)?);
        let keeper = match slot.take() {
            Some(keeper) => keeper,
            None => Keeper::start().map_err(|_| super::workers::no_keeper())?,
        };
        match Worker::start(keeper, &launch, input) {
            Ok(worker) => Ok(Begun {
                worker,
                continuity,
                has_waited: false,
                session: new,
                _seed: None,
            }),
            Err(failed) => {
                *slot = Some(failed.keeper);
                Err(cannot_start(&failed.error))
            }
        }
    }

    /// An answer that goes on from here, as the client will send it back.
    pub(super) fn said(&self) -> Said {
        Said::after(self.lineages.asked)
    }

    /// Remembers an answer before its client hears the end of it, since the next request may come at once.
    /// Returns under what, if it can be gone on from.
    pub(super) fn remember(
        &self,
        gateway: &Gateway,
        begun: &Begun,
        (said, leaf): (Said, Option<Uuid>),
    ) -> Option<Key> {
        let key = said.lineage().key();
        let place = Place {
            session: begun.session,
            projects: Arc::clone(self.projects.as_ref()?),
        };
        let turn = Turn { place, leaf: leaf? };
        let Conversations { store, pool, .. } = &gateway.conversations;
        if !store.remember(key, &turn, unix_now()) {
            pool.give_up(key);
            return None;
        }
        if pool.is_on() {
            pool.expect(key);
        }
        Some(key)
    }

    /// Keeps a process that has answered for the conversation's next turn.
    pub(super) fn keep(&self, (gateway, job): (&Gateway, &Job), begun: Begun, key: Key) {
        let mut kept = Kept::new(begun.worker, &job.tenant.name, self.opened, Work::Turn(key));
        kept.session = begun.session;
        kept.generation = self.generation;
        gateway.conversations.pool.keep(kept);
    }

    /// Has a process started for the tenant's next conversation: likely one of the same kind.
    pub(super) fn start_ahead(&self, (gateway, job): (&Gateway, &Job)) {
        gateway.conversations.pool.start_ahead(Ahead {
            tenant: job.tenant.name.clone(),
            print: self.fresh,
            launch: self.launch.clone(),
            generation: self.generation,
        });
    }
}

/// What a request can be answered by.
fn ways(history: &[Message], newest: &[Message]) -> impl Iterator<Item = Way> + use<> {
    let ways: &[Way] = match (history.is_empty(), newest.is_empty()) {
        (true, _) => &[Way::Ahead, Way::Fresh],
        // The client began the answer itself, which only text can tell.
        (false, true) => &[Way::Text],
        (false, false) => &[Way::Warm, Way::Resume, Way::Reseed, Way::Text],
    };
    ways.iter().copied()
}

/// Asks a process that waited.
fn fed(
    mut kept: Kept,
    (mut input, messages): (Vec<u8>, &[Message]),
    continuity: Continuity,
) -> Result<Begun, ApiError> {
    input.extend(input::question(messages).map_err(unwritable)?);
    kept.worker.send(&input);
    Ok(Begun {
        worker: kept.worker,
        continuity,
        has_waited: true,
        session: kept.session,
        _seed: None,
    })
}

/// A file with a client's history, as long as the CLI may want to read it.
struct Seed(PathBuf);

impl Seed {
    fn new(gateway: &Gateway, tenant: &str, lines: &[u8]) -> io::Result<Seed> {
        let name = format!("{}.jsonl", Uuid::random());
        gateway.state.seed(tenant, &name, lines).map(Seed)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        // What stays is removed when the daemon starts next.
        let _ = fs::remove_file(&self.0);
    }
}

/// Stands for the files that a process reads when it starts: the program, and the skills.
fn stamp(program: &Path, skills: Option<&Path>) -> Vec<u8> {
    let mut stamp = Vec::new();
    let mut add = |name: &[u8], metadata: io::Result<Metadata>| {
        stamp.extend_from_slice(name);
        if let Ok(it) = metadata {
            let parts = [
                it.dev().cast_signed(),
                it.ino().cast_signed(),
                it.size().cast_signed(),
                it.mtime(),
                it.mtime_nsec(),
            ];
            parts.iter().for_each(|it| stamp.extend(it.to_le_bytes()));
        }
    };
    add(b"program", fs::metadata(program));
    let skills = skills.and_then(|it| fs::read_dir(it).ok());
    let mut names: Vec<PathBuf> = skills
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path())
        .collect();
    names.sort_unstable();
    for path in names {
        let name = path.as_os_str().as_encoded_bytes();
        add(name, fs::metadata(path.join("SKILL.md")));
    }
    stamp
}
