//! Requests under way, and those just answered, for repeats of them: a repeat attaches to the run that its
//! first request began, or gets the answer that it gave, and runs nothing a second time.
//!
//! OpenClaw repeats a request that failed or took too long up to nine times, with a text that it has rewritten,
//! but under the same W3C trace id. Official client libraries send an `Idempotency-Key`. Whoever sends
//! neither is answered each time anew.

mod question;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use self::question::Question;
pub(super) use self::question::{BodyHash, body_hash, question};
use super::{answer::Channel, cancel::Cancel};
use crate::http::Response;

/// How long an answer is kept for a repeat.
const KEPT: Duration = Duration::from_secs(600);

/// How long a run goes on for a client that left and may come back: OpenClaw repeats within 30 s.
pub(super) const COMES_BACK: Duration = Duration::from_secs(60);

/// A longer answer is not kept: its repeat is a run of its own.
const ANSWER_MAX: usize = 8 << 20;

/// All answers that are kept; the oldest go first.
const KEPT_MAX: usize = 32 << 20;

/// However small they are: all of them are looked through with each request that may repeat one.
const KEPT_COUNT_MAX: usize = 4096;

/// What a repeat may attach to.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<[u8; 32], Arc<Flight>>>);

/// One request under way, or answered.
pub(crate) struct Flight {
    question: Question,
    state: Mutex<State>,
}

enum State {
    Live(Live),
    Answered {
        response: Response,
        at: Instant,
    },
    /// There is nothing to attach to.
    Over,
}

struct Live {
    /// What left so far.
    said: Vec<u8>,
    /// Who takes the place of the one who asked, the last of them; each is repeated by the next.
    newcomers: Vec<Channel>,
    /// Wakes the run.
    cancel: Arc<Cancel>,
    /// Its client has left.
    is_unread: bool,
    /// Its client asks for something else by now, and will not come back.
    is_superseded: bool,
}

/// What a request finds.
pub(super) enum Found {
    /// Nobody asked this yet.
    Nothing,
    Live(Arc<Flight>),
    Answered(Response),
    /// Its id was used for something else.
    Other,
}

/// The run's own end of a flight; dropping it ends the flight.
pub(super) struct Pilot {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Flights {
    /// What there is for a request.
    pub(super) fn find(&self, question: &Question) -> Found {
        let mut flights = self.lock();
        forget_old(&mut flights);
        let Some(flight) = flights.get(question.id()) else {
            return Found::Nothing;
        };
        if !flight.question.is_repeated_by(question) {
            return Found::Other;
        }
        match &*flight.lock() {
            State::Live(_) => Found::Live(Arc::clone(flight)),
            State::Answered { response, .. } => Found::Answered(response.clone()),
            State::Over => Found::Nothing,
        }
    }

    /// Lets runs end that nobody reads, and whose client has gone on to this question; others hear of it when their
    /// client leaves.
    pub(super) fn supersede(&self, question: &Question) {
        for flight in self.lock().values() {
            if question.supersedes(&flight.question)
                && let State::Live(live) = &mut *flight.lock()
            {
                live.is_superseded = true;
                // It would end the write to a client that is slow.
                if live.is_unread {
                    live.cancel.nudge();
                }
            }
        }
    }

    /// Forgets what is old, and the oldest of what is too much.
    pub(super) fn forget_old(&self) {
        forget_old(&mut self.lock());
    }

    /// Begins a flight.
    ///
    /// # Errors
    /// The question, when another of the same id is under way.
    pub(super) fn begin(
        self: &Arc<Self>,
        question: Question,
        cancel: &Arc<Cancel>,
    ) -> Result<Pilot, Question> {
        let id = *question.id();
        let live = Live {
            said: Vec::new(),
            newcomers: Vec::new(),
            cancel: Arc::clone(cancel),
            is_unread: false,
            is_superseded: false,
        };
        let mut flights = self.lock();
        let is_live = |it: &Arc<Flight>| matches!(&*it.lock(), State::Live(_));
        if flights.get(&id).is_some_and(is_live) {
            return Err(question);
        }
        let flight = Arc::new(Flight {
            question,
            state: Mutex::new(State::Live(live)),
        });
        flights.insert(id, Arc::clone(&flight));
        Ok(Pilot {
            flights: Arc::clone(self),
            flight,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Flight>>> {
        // It is whole between any two of its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is old, and the oldest of what is too much.
fn forget_old(flights: &mut HashMap<[u8; 32], Arc<Flight>>) {
    let mut kept: Vec<(Instant, [u8; 32], usize)> = Vec::new();
    flights.retain(|id, flight| match &*flight.lock() {
        State::Live(_) => true,
        State::Over => false,
        State::Answered { response, at } => {
            kept.push((*at, *id, response.body.len()));
            at.elapsed() < KEPT
        }
    });
    kept.sort_unstable();
    let mut total: usize = kept.iter().map(|it| it.2).sum();
    let mut count = kept.len();
    for (_, id, bytes) in kept {
        if total <= KEPT_MAX && count <= KEPT_COUNT_MAX {
            break;
        }
        flights.remove(&id);
        total -= bytes;
        count -= 1;
    }
}

impl Flight {
    /// Whether a request asks the same.
    pub(super) fn is_repeated_by(&self, question: &Question) -> bool {
        self.question.id() == question.id() && self.question.is_repeated_by(question)
    }

    /// Gives the run another client.
    ///
    /// # Errors
    /// The client, when the run is over.
    pub(super) fn join(&self, newcomer: Channel) -> Result<(), Box<Channel>> {
        match &mut *self.lock() {
            State::Live(live) => {
                // Who was about to take the place, and is repeated itself, is told so by the run.
                live.newcomers.push(newcomer);
                live.cancel.nudge();
                Ok(())
            }
            State::Answered { .. } | State::Over => Err(Box::new(newcomer)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between any two of its statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pilot {
    /// Keeps what leaves. False when it is too much to be kept: then the flight is over.
    pub(super) fn keep(&self, bytes: &[u8]) -> bool {
        let mut state = self.flight.lock();
        let State::Live(live) = &mut *state else {
            return false;
        };
        if live.said.len() + bytes.len() > ANSWER_MAX {
            *state = State::Over;
            return false;
        }
        live.said.extend_from_slice(bytes);
        true
    }

    pub(super) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Its client has left.
    pub(super) fn is_left(&self) {
        if let State::Live(live) = &mut *self.flight.lock() {
            live.is_unread = true;
        }
    }

    /// Ends the flight, unless somebody has come for its answer.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.flight.lock();
        let is_wanted = matches!(&*state, State::Live(live) if !live.newcomers.is_empty());
        if !is_wanted && matches!(&*state, State::Live(_)) {
            *state = State::Over;
        }
        !is_wanted
    }

    /// Whether its client asks for something else by now.
    pub(super) fn is_superseded(&self) -> bool {
        matches!(&*self.flight.lock(), State::Live(live) if live.is_superseded)
    }

    /// Who takes the client's place, one after the other, and what they have missed.
    pub(super) fn newcomers(&self) -> Option<(Vec<Channel>, Vec<u8>)> {
        match &mut *self.flight.lock() {
            State::Live(live) if !live.newcomers.is_empty() => {
                live.is_unread = false;
                Some((std::mem::take(&mut live.newcomers), live.said.clone()))
            }
            State::Live(_) | State::Answered { .. } | State::Over => None,
        }
    }

    /// The answer is whole; returns who came for it just now. A streamed one has no body yet: it is what left.
    pub(super) fn answered(&self, mut response: Response) -> (Vec<Channel>, Response) {
        let mut state = self.flight.lock();
        let State::Live(live) = &mut *state else {
            return (Vec::new(), response);
        };
        if response.body.is_empty() {
            response.body = std::mem::take(&mut live.said).into();
        }
        let newcomers = std::mem::take(&mut live.newcomers);
        *state = State::Answered {
            response: response.clone(),
            at: Instant::now(),
        };
        (newcomers, response)
    }

    /// There will be no answer; returns who came for it just now.
    pub(super) fn over(&self) -> Vec<Channel> {
        match std::mem::replace(&mut *self.flight.lock(), State::Over) {
            State::Live(live) => live.newcomers,
            State::Answered { .. } | State::Over => Vec::new(),
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let is_answered = matches!(&*self.flight.lock(), State::Answered { .. });
        let id = self.flight.question.id();
        let is_own = |it: &Arc<Flight>| Arc::ptr_eq(it, &self.flight);
        if !is_answered && flights.get(id).is_some_and(is_own) {
            flights.remove(id);
        }
        drop(flights);
        // Dropping a client answers it.
        drop(self.over_if_live());
    }
}

impl Pilot {
    fn over_if_live(&self) -> Vec<Channel> {
        match &*self.flight.lock() {
            State::Live(_) => {}
            State::Answered { .. } | State::Over => return Vec::new(),
        }
        self.over()
    }
}
