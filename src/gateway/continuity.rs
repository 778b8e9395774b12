//! From a request to a process of the CLI that knows its conversation. There are several ways to one, from
//! the best on: the process that gave the last answer; the session that it left; a session made of the
//! client's history; that history as marked text. A way that turns out to be none, before the model
//! was asked, is followed by the next; the client only sees which one it was.

mod stamp;

use std::{
    cell::OnceCell,
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::stamp::stamp;
use super::{
    Gateway, Tenant,
    answer::unix_now,
    conversations::Conversations,
    job::Job,
    prepare::{cannot_start, prepare, system_prompt, unwritable},
};
use crate::{
    api::{ApiError, ErrorKind, Message},
    claude::{
        command::{self, Session},
        input,
        keeper::{Keeper, Launch},
        pool::{Ahead, Kept, Print, Work},
        program::Kind,
        session_file,
        transcript::transcript,
        worker::Worker,
    },
    session::{Continuity, InUse, Key, Lineages, Place, Said, Turn, Uuid, newest_user_messages},
};

/// The ways that are left for one request.
pub(super) struct Ways {
    ways: VecDeque<Way>,
    launch: Launch,
    opening: Vec<u8>,
    lineages: Lineages,
    /// The configuration's, as the pool counts them.
    generation: u64,
    tenant: Arc<Tenant>,
    /// For the files that a process reads when it starts, as they were before.
    stamp: Vec<u8>,
    /// Of a process that heard nothing yet, and of one that heard the opening: made when one is wanted, which may be
    /// after the answer.
    fresh: OnceCell<Print>,
    opened: OnceCell<Print>,
    /// Where the CLI will keep the session; `None` where it is not to be gone on from.
    projects: Option<Arc<Path>>,
    working_dir: PathBuf,
    kind: Kind,
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
    /// Where the CLI keeps that.
    folder: Option<Arc<str>>,
    /// Removed when the process has read it.
    _seed: Option<Seed>,
    /// The session that it goes on from.
    _in_use: Option<InUse>,
}

impl Begun {
    /// Whether nothing was said in its session before this.
    pub(super) fn has_new_session(&self) -> bool {
        self.continuity != Continuity::Warm
    }

    fn while_in_use(self, in_use: InUse) -> Begun {
        let _in_use = Some(in_use);
        Begun { _in_use, ..self }
    }
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
        let (history, newest) = prompt
            .messages
            .split_at(newest_user_messages(&prompt.messages));
        let projects = session_file::projects(&prepared.launch.env).map(Arc::from);
        Ok(Ways {
            ways: ways(history, newest).collect(),
            tenant: Arc::clone(tenant),
            stamp: stamp(&prepared.program, prepared.skills.as_deref()),
            fresh: OnceCell::new(),
            opened: OnceCell::new(),
            launch: prepared.launch,
            opening,
            lineages: job.lineages,
            generation: gateway.conversations.pool.generation(),
            // An answer that the client began is one message with its beginning.
            projects: projects.filter(|_| !newest.is_empty()),
            working_dir: prepared.working_dir,
            kind: served.cli.program.kind,
        })
    }

    /// Whether another way is left.
    pub(super) fn has_more(&self) -> bool {
        !self.ways.is_empty()
    }

    /// Whether the history can reach the model in other words than the session's.
    pub(super) fn has_other_words(&self) -> bool {
        let is_other = |it: &Way| matches!(it, Way::Reseed | Way::Text);
        self.ways.iter().any(is_other)
    }

    /// Leaves out the ways to what the model's API has refused.
    pub(super) fn leave_session(&mut self) {
        self.ways.retain(|it| *it != Way::Resume);
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
        let start = |session: (Session<'_>, Uuid), with, continuity| {
            // Its folders were made some time ago.
            let _stay = gateway.stay(&job.tenant)?;
            self.start(session, with, continuity)
        };
        match way {
            Way::Warm => {
                let key = self.lineages.history.key();
                // What is forgotten, or another conversation's as well, is nobody's.
                let Some(turn) = conversations.store.find(key) else {
                    return Ok(None);
                };
                let in_use = conversations.store.hold(turn.place.session);
                let Some(kept) = pool.take_turn(key, self.opened()) else {
                    return Ok(None);
                };
                let begun = self.fed(kept, (Vec::new(), newest), Continuity::Warm)?;
                Ok(Some(begun.while_in_use(in_use)))
            }
            Way::Ahead => {
                let kept = pool.is_on().then(|| pool.take_any(self.fresh())).flatten();
                let opening = || self.opening.clone();
                kept.map(|kept| self.fed(kept, (opening(), newest), Continuity::Fresh))
                    .transpose()
            }
            Way::Resume => {
                let store = &conversations.store;
                let Some(turn) = store.find(self.lineages.history.key()) else {
                    return Ok(None);
                };
                let in_use = store.hold(turn.place.session);
                if !session_file::holds(&turn.place, turn.leaf) {
                    return Ok(None);
                }
                let session = Session::From { turn: &turn, new };
                let begun = start((session, new), (keeper, newest), Continuity::Resumed)?;
                Ok(Some(begun.while_in_use(in_use)))
            }
            Way::Reseed if !job.served.cli.takes_transcripts() => Ok(None),
            Way::Reseed => {
                let lines = transcript(history, (new, &job.prompt.model)).map_err(unwritable)?;
                let Some(lines) = lines else { return Ok(None) };
                let seed = {
                    let _stay = gateway.stay(&job.tenant)?;
                    Seed::new(gateway, &job.tenant.name, &lines)
                };
                // Without a place for the file there is still the history as text.
                let Ok(seed) = seed else {
                    return Ok(None);
                };
                let session = Session::Transcript { file: &seed.0, new };
                let begun = start((session, new), (keeper, newest), Continuity::Reseeded)?;
                Ok(Some(Begun {
                    _seed: Some(seed),
                    ..begun
                }))
            }
            Way::Text => {
                let session = (self.new_session(new), new);
                start(session, (keeper, messages), Continuity::Reseeded).map(Some)
            }
            Way::Fresh => {
                let session = (self.new_session(new), new);
                start(session, (keeper, messages), Continuity::Fresh).map(Some)
            }
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
        // The stand-in keeps none.
        if self.kind == Kind::ClaudeCode
            && let Some(place) = self.place(session, self.folder())
        {
            session_file::remove(&place);
        }
    }

    /// Where the CLI keeps one of this request's sessions.
    fn place(&self, session: Uuid, folder: Option<Arc<str>>) -> Option<Place> {
        Some(Place {
            session,
            projects: Arc::clone(self.projects.as_ref()?),
            folder,
        })
    }

    fn folder(&self) -> Option<Arc<str>> {
        session_file::folder(&self.working_dir).map(Arc::from)
    }

    fn fresh(&self) -> Print {
        let print = || Print::of(&self.tenant.name, &self.launch, &self.stamp);
        *self.fresh.get_or_init(print)
    }

    fn opened(&self) -> Print {
        let print = || self.fresh().and_heard(&self.opening);
        *self.opened.get_or_init(print)
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
                // While it starts.
                folder: self.folder(),
                _seed: None,
                _in_use: None,
            }),
            Err(failed) => {
                *slot = Some(failed.keeper);
                Err(cannot_start(&failed.error))
            }
        }
    }

    /// Asks a process that waited.
    fn fed(
        &self,
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
            folder: self.folder(),
            _seed: None,
            _in_use: None,
        })
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
        let turn = Turn {
            place: self.place(begun.session, begun.folder.clone())?,
            leaf: leaf?,
        };
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
        let mut kept = Kept::new(
            begun.worker,
            &job.tenant.name,
            self.opened(),
            Work::Turn(key),
        );
        kept.session = begun.session;
        kept.generation = self.generation;
        gateway.conversations.pool.keep(kept);
    }

    /// Has a process started for the tenant's next conversation: likely one of the same kind.
    pub(super) fn start_ahead(&self, (gateway, job): (&Gateway, &Job)) {
        gateway.conversations.pool.start_ahead(Ahead {
            tenant: job.tenant.name.clone(),
            print: self.fresh(),
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
