//! The rules by which one credential is known to be dead, and asked about again. Pure: time is an
//! argument.

use std::time::{Duration, Instant};

use crate::{
    api::ApiError,
    claude::failure::{Cause, Reach},
};

/// What is known of one credential; nothing at first, and then it works.
#[derive(Debug, Default)]
pub(super) struct Credential {
    faults: Vec<Fault>,
    /// How often `faults` changed its mind; tells what a run saw when it started.
    changes: u64,
    runs: u64,
}

/// Why no run can work, and until when that is believed.
#[derive(Debug)]
struct Fault {
    scope: Scope,
    kind: Kind,
    error: ApiError,
    /// The next run to ask may go at this time.
    until: Instant,
    /// The same, in seconds since 1970.
    until_unix: u64,
    /// How long it was believed when it was last learnt.
    patience: Duration,
    /// The run that finds out now.
    asked_by: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    EveryModel,
    Model(String),
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Login,
    Limit,
}

/// One run, as far as its credential is concerned.
#[derive(Debug)]
pub(super) struct Run {
    id: u64,
    model: String,
    /// [`Credential::changes`] when it started, or when it last had news.
    seen: u64,
}

/// A moment, on both clocks: the one that never jumps, and seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) unix: u64,
}

impl Run {
    pub(super) fn model(&self) -> &str {
        &self.model
    }
}

/// What a failure changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A fault that was not known, and how long it is believed.
    Dead(Kind, Duration),
    Nothing,
}

/// How long a login is believed to be lost: at first, and at most.
const LOST_MIN: Duration = Duration::from_secs(5);
const LOST_MAX: Duration = Duration::from_secs(60);

/// A usage limit that ends later than this is a mistake in the time; the longest there is, is a week.
const LIMIT_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// When to come back while another run finds out: it knows within seconds.
const ASKING: Duration = Duration::from_secs(2);

/// One for everything and some for single models; a client chooses the names, so there is an end.
const FAULTS_MAX: usize = 32;

impl Credential {
    /// Whether a run for this model could start now; changes nothing.
    ///
    /// # Errors
    /// Why not, with the time to come back.
    pub(super) fn check(&self, model: &str, now: Instant) -> Result<(), ApiError> {
        let mut faults = self.faults.iter().filter(|it| it.scope.has(model));
        match faults.find(|it| it.asked_by.is_some() || now < it.until) {
            Some(fault) => Err(fault.told(now)),
            None => Ok(()),
        }
    }

    /// Starts a run; where the credential may be dead still, this is the one that finds out.
    ///
    /// # Errors
    /// As [`Credential::check`].
    pub(super) fn enter(&mut self, model: &str, now: Instant) -> Result<Run, ApiError> {
        self.check(model, now)?;
        self.runs += 1;
        for fault in self.faults.iter_mut().filter(|it| it.scope.has(model)) {
            fault.asked_by = Some(self.runs);
        }
        Ok(Run {
            id: self.runs,
            model: model.to_owned(),
            seen: self.changes,
        })
    }

    /// The API answered the run; tells what works again.
    pub(super) fn worked(&mut self, run: &mut Run) -> Option<Kind> {
        let of_run = |fault: &Fault| fault.asked_by == Some(run.id);
        let kind = self.faults.iter().find(|it| of_run(it))?.kind;
        self.faults.retain(|it| !of_run(it));
        self.changes += 1;
        run.seen = self.changes;
        Some(kind)
    }

    /// The run failed for this cause, which was told with this error.
    pub(super) fn failed(
        &mut self,
        run: &mut Run,
        cause: Cause,
        error: &ApiError,
        now: Moment,
    ) -> News {
        let asked = self.faults.iter().any(|it| it.asked_by == Some(run.id));
        // What happened since a run started is newer than what it has to tell.
        if !asked && run.seen != self.changes {
            return News::Nothing;
        }
        let (kind, reach, wait) = match cause {
            Cause::Other => return News::Nothing,
            Cause::Login(reach) => (Kind::Login, reach, LOST_MIN),
            Cause::Limit { resets_at, reach } => {
                let wait = Duration::from_secs(resets_at.saturating_sub(now.unix).max(1));
                (Kind::Limit, reach, wait)
            }
        };
        if wait > LIMIT_MAX {
            return News::Nothing;
        }
        let scope = match reach {
            Reach::EveryModel => Scope::EveryModel,
            Reach::ThisModel => Scope::Model(run.model.clone()),
        };
        let before = self.forget(&scope).filter(|it| it.kind == kind);
        let patience = match (&before, kind) {
            (Some(before), Kind::Login) => (before.patience * 2).min(LOST_MAX),
            _ => wait,
        };
        self.learn(Fault {
            scope,
            kind,
            error: error.clone(),
            until: now.at + patience,
            // A login's time is not a whole second on the calendar's clock.
            until_unix: now.unix + patience.as_secs() + u64::from(kind == Kind::Login),
            patience,
            asked_by: None,
        });
        run.seen = self.changes;
        match before {
            Some(_) => News::Nothing,
            None => News::Dead(kind, patience),
        }
    }

    /// The run is over: what it did not find out, the next one may.
    pub(super) fn leave(&mut self, run: &Run) {
        for fault in &mut self.faults {
            fault.asked_by = fault.asked_by.filter(|id| *id != run.id);
        }
    }

    fn forget(&mut self, scope: &Scope) -> Option<Fault> {
        let place = self.faults.iter().position(|it| it.scope == *scope)?;
        Some(self.faults.swap_remove(place))
    }

    fn learn(&mut self, fault: Fault) {
        if self.faults.len() >= FAULTS_MAX {
            let soonest = (0..self.faults.len()).min_by_key(|at| self.faults[*at].until);
            self.faults.swap_remove(soonest.unwrap_or(0));
        }
        self.faults.push(fault);
        self.changes += 1;
    }
}

impl Scope {
    fn has(&self, model: &str) -> bool {
        match self {
            Scope::EveryModel => true,
            Scope::Model(name) => name == model,
        }
    }
}

impl Fault {
    /// The error again, with what is true of it now.
    fn told(&self, now: Instant) -> ApiError {
        let wait = match now < self.until {
            true => self.until - now,
            false => ASKING,
        };
        let when = crate::log::Timestamp(u128::from(self.until_unix) * 1000);
        let text = match now < self.until {
            true => format!("known from an earlier request; the API is asked again from {when} on"),
            false => "known from an earlier request; another request is finding out now".to_owned(),
        };
        let mut error = self.error.clone().retry_after(wait);
        error.message = format!("{} ({text})", error.message);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ErrorKind;

    const LOST: Cause = Cause::Login(Reach::EveryModel);
    const T0: u64 = 1_000_000;

    /// A credential and its clock, in seconds since the test began.
    struct World {
        credential: Credential,
        start: Instant,
    }

    impl World {
        fn new() -> World {
            World {
                credential: Credential::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: u64) -> Moment {
            Moment {
                at: self.start + Duration::from_secs(seconds),
                unix: T0 + seconds,
            }
        }

        #[track_caller]
        fn enter(&mut self, model: &str, seconds: u64) -> Run {
            let now = self.at(seconds).at;
            self.credential.enter(model, now).unwrap()
        }

        fn fail(&mut self, run: &mut Run, cause: Cause, seconds: u64) -> News {
            let now = self.at(seconds);
            let error = ApiError::new(ErrorKind::Unavailable, "reason");
            self.credential.failed(run, cause, &error, now)
        }

        /// Starts a run at this time, which fails at once.
        #[track_caller]
        fn fail_at(&mut self, cause: Cause, seconds: u64) -> News {
            let mut run = self.enter("opus", seconds);
            let news = self.fail(&mut run, cause, seconds);
            self.credential.leave(&run);
            news
        }

        /// Checks that a run is refused at this time, and when it is told to come back.
        #[track_caller]
        fn check_refused(&mut self, model: &str, seconds: u64, wait: u64) -> String {
            let now = self.at(seconds).at;
            let seen = self.credential.check(model, now).unwrap_err();
            let error = self.credential.enter(model, now).unwrap_err();
            assert_eq!(seen, error);
            assert_eq!(error.retry_after, Some(Duration::from_secs(wait)));
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(error.message.starts_with("reason ("), "{}", error.message);
            error.message
        }
    }

    fn limit(seconds: u64) -> Cause {
        Cause::Limit {
            resets_at: T0 + seconds,
            reach: Reach::EveryModel,
        }
    }

    #[test]
    fn nothing_known_means_go() {
        let mut world = World::new();
        let [mut a, _b] = [world.enter("opus", 0), world.enter("opus", 0)];
        assert_eq!(world.credential.worked(&mut a), None);
        for _ in 0..3 {
            assert_eq!(world.fail_at(Cause::Other, 1), News::Nothing);
        }
        world.enter("opus", 1);
    }

    #[test]
    fn lost_login_is_asked_about_after_5_s_doubling_to_60_s() {
        let mut world = World::new();
        let first = world.fail_at(LOST, 0);
        assert_eq!(first, News::Dead(Kind::Login, Duration::from_secs(5)));
        let mut now = 0;
        for patience in [5, 10, 20, 40, 60, 60] {
            let text = world.check_refused("sonnet", now + 1, patience - 1);
            assert!(text.contains("asked again from 1970-01-12T13:4"), "{text}");
            now += patience;
            assert_eq!(world.fail_at(LOST, now), News::Nothing, "asked at {now} s");
        }
    }

    #[test]
    fn usage_limit_is_asked_about_when_it_ends() {
        let mut world = World::new();
        let news = world.fail_at(limit(3600), 0);
        assert_eq!(news, News::Dead(Kind::Limit, Duration::from_secs(3600)));
        let text = world.check_refused("opus", 1, 3599);
        assert!(text.contains("1970-01-12T14:46:40.000Z"), "{text}");
        world.check_refused("opus", 3599, 1);
        // It was put off: the new time counts, not the old one doubled.
        assert_eq!(world.fail_at(limit(3610), 3600), News::Nothing);
        world.check_refused("opus", 3601, 9);
        let mut run = world.enter("opus", 3610);
        assert_eq!(world.credential.worked(&mut run), Some(Kind::Limit));
        world.enter("opus", 3610);
    }

    #[test]
    fn times_that_cannot_be_are_not_believed() {
        let mut world = World::new();
        assert_eq!(world.fail_at(limit(40 * 86400), 0), News::Nothing);
        let millis = Cause::Limit {
            resets_at: T0 * 1000,
            reach: Reach::EveryModel,
        };
        assert_eq!(world.fail_at(millis, 0), News::Nothing);
        let past = Cause::Limit {
            resets_at: 5,
            reach: Reach::EveryModel,
        };
        let second = Duration::from_secs(1);
        assert_eq!(world.fail_at(past, 0), News::Dead(Kind::Limit, second));
        world.enter("opus", 1);
    }

    #[test]
    fn one_run_at_a_time_finds_out() {
        let mut world = World::new();
        world.fail_at(LOST, 0);
        let asking = world.enter("opus", 5);
        let text = world.check_refused("opus", 5, 2);
        assert!(text.contains("finding out now"), "{text}");
        world.check_refused("sonnet", 500, 2);
        // Nothing was found out: the next one may go at once.
        world.credential.leave(&asking);
        let mut asking = world.enter("opus", 5);
        world.check_refused("opus", 5, 2);
        assert_eq!(world.credential.worked(&mut asking), Some(Kind::Login));
        let _several = [world.enter("opus", 5), world.enter("opus", 5)];
        // It goes on running, and its later failure is news again.
        let news = world.fail(&mut asking, limit(60), 6);
        assert_eq!(news, News::Dead(Kind::Limit, Duration::from_secs(54)));
    }

    #[test]
    fn runs_from_before_tell_nothing_new() {
        let mut world = World::new();
        let [mut a, mut b, mut c] = [0; 3].map(|_| world.enter("opus", 0));
        world.fail(&mut a, LOST, 1);
        assert_eq!(world.fail(&mut b, LOST, 2), News::Nothing);
        // Neither was the wait doubled nor is it over because an old run was answered.
        assert_eq!(world.credential.worked(&mut c), None);
        world.check_refused("opus", 3, 3);
        let mut asking = world.enter("opus", 6);
        world.credential.worked(&mut asking);
        assert_eq!(world.fail(&mut c, LOST, 7), News::Nothing);
        world.enter("opus", 7);
    }

    #[test]
    fn models_own_fault_stops_that_model_only() {
        let mut world = World::new();
        let forbidden = Cause::Login(Reach::ThisModel);
        world.fail_at(forbidden, 0);
        world.check_refused("opus", 1, 4);
        let mut sonnet = world.enter("sonnet", 1);
        assert_eq!(world.credential.worked(&mut sonnet), None);
        world.check_refused("opus", 1, 4);
        // Both faults at once: the run that may go finds out about both.
        let news = world.fail(&mut sonnet, LOST, 1);
        assert_eq!(news, News::Dead(Kind::Login, Duration::from_secs(5)));
        world.check_refused("opus", 5, 1);
        let mut opus = world.enter("opus", 6);
        world.check_refused("sonnet", 6, 2);
        assert_eq!(world.credential.worked(&mut opus), Some(Kind::Login));
        world.enter("sonnet", 6);
        world.enter("opus", 6);
    }

    #[test]
    fn memory_is_bounded() {
        let mut world = World::new();
        for n in 0..1000 {
            let mut run = world.enter(&format!("model-{n}"), 0);
            world.fail(&mut run, Cause::Login(Reach::ThisModel), 0);
        }
        assert_eq!(world.credential.faults.len(), FAULTS_MAX);
        world.check_refused("model-999", 0, 5);
    }
}
