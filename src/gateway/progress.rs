//! Where a run stands between two steps: what the CLI says goes out, what is due is done.

use std::{
    borrow::Cow,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Gateway, Served,
    answer::{Patience, unix_now},
    attach::watch_client,
    cancel::{Cancel, Reason, clear},
    continuity::{Begun, Ways},
    cost,
    flight::COMES_BACK,
    job::Job,
    ledger::Ledger,
    prepare::redacted,
    repeat::Work,
    run::EXIT_WAIT,
    upstream::Pass,
};
use crate::{
    api::{AnswerEvent, ApiError, BuiltInTools, DeltaKind, ErrorKind, Prompt},
    claude::{
        event::{self, Event, Stream},
        failure,
        worker::{LineTooLong, Step},
    },
    config::StreamPolicy,
    http::Limit,
    session::{Key, Said, Uuid},
    turn::{TurnPolicy, Turns, Verdict},
};

/// What the CLI is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Working,
    /// It has written its `result`.
    Done,
}
pub(super) enum Ending {
    Complete,
    ClientGone,
    Failed(ApiError),
    Stopped(Reason),
    /// The process could not go on from where it was to; another way is left.
    Lost(Lost),
}
/// Why a way was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The model was not asked.
    Unasked,
    /// The model's API has refused what it was asked, and said nothing.
    Refused,
}
/// Where a run stands between two steps.
pub(super) struct Progress<'a> {
    served: &'a Served,
    wake: &'a OwnedFd,
    pub(super) cancel: &'a Arc<Cancel>,
    /// Hears how the credential fares.
    pass: Pass<'a>,
    turns: Turns,
    started: Instant,
    deadline: Instant,
    idle_since: Instant,
    answered: bool,
    pub(super) task: Task,
    pub(super) work: Work,
    /// What the client will send back as the answer; none once it is remembered.
    said: Option<Said>,
    /// The last line of the model's own.
    leaf: Option<Uuid>,
    /// Under what the answer was remembered.
    pub(super) key: Option<Key>,
    /// How long the client that left may take to come back.
    alone_until: Option<Instant>,
    asked: Asked,
    /// By when a process that has waited must say its first word.
    awake_by: Option<Instant>,
}

/// How long a process that has waited may take for its first word, which it says before it asks the model: some 5 ms,
/// and seconds where the machine had swapped it out. One that was stopped says none. Less than the head of an answer is
/// held for, which tells the way.
const AWAKE_WAIT: Duration = Duration::from_secs(4);

/// Whether the model was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    /// The CLI says that there is no such session, or line of one.
    NoSession,
    Yes,
}

/// A process that answers, and the ways that are left should it not.
pub(super) type Run<'r> = (&'r Ways, &'r mut Begun);

impl<'a> Progress<'a> {
    pub(super) fn new(
        (served, ways): (&'a Served, &Ways),
        prompt: &Prompt,
        (wake, cancel): (&'a OwnedFd, &'a Arc<Cancel>),
        pass: Pass<'a>,
    ) -> Self {
        let stream = served.config.cli.stream;
        let policy = match (&prompt.parameters.schema, prompt.tools, stream) {
            (Some(_), ..) => TurnPolicy::Structured,
            (None, BuiltInTools::Off, _) => TurnPolicy::Single,
            (None, BuiltInTools::On, StreamPolicy::Final) => TurnPolicy::Final,
            (None, BuiltInTools::On, StreamPolicy::Live) => TurnPolicy::Live,
        };
        let now = Instant::now();
        Progress {
            served,
            wake,
            cancel,
            pass,
            turns: Turns::new(policy, prompt.thinking, &prompt.parameters.stop_sequences),
            started: now,
            deadline: now + served.config.cli.timeout,
            idle_since: now,
            answered: false,
            task: Task::Working,
            work: Work::None,
            said: Some(ways.said()),
            leaf: None,
            key: None,
            alone_until: None,
            asked: Asked::NotYet,
            awake_by: None,
        }
    }

    /// Clients that leave and may come back, and those that come in their place.
    pub(super) fn look_at_client(&mut self, (gateway, job): (&Gateway, &mut Job)) {
        if !job.answer.may_be_repeated() {
            return;
        }
        // What woke the run must not call off the first write to a new client; an order to stop stands in
        // `cancel`.
        clear(self.wake);
        match job.answer.adopt(self.write_limit()) {
            Ok(false) => {}
            Ok(true) => {
                self.alone_until = None;
                watch_client(job, self.cancel);
            }
            Err(_) => job.answer.detach(),
        }
        if self.alone_until.is_none() && job.answer.is_unread() {
            job.answer.detach();
            self.alone_until = Some(Instant::now() + COMES_BACK);
            if let Some(flight) = job.answer.flight() {
                gateway.scheduler.attach(flight);
            }
        }
        if self.alone_until.is_some() && job.answer.is_superseded() {
            self.alone_until = Some(self.started);
        }
    }

    /// Whether a run that has not begun is not wanted any more. As in the queue, nobody's coming back is waited for: a
    /// repeat would be no second run.
    pub(super) fn called_off(&mut self, (gateway, job): (&Gateway, &mut Job)) -> Option<Ending> {
        self.look_at_client((gateway, job));
        if let Some(reason) = self.cancel.reason() {
            return Some(Ending::Stopped(reason));
        }
        let is_gone = self.alone_until.is_some() && job.answer.give_up();
        is_gone.then_some(Ending::ClientGone)
    }

    /// The time until now was spent in waiting for other runs, and is not its own.
    pub(super) fn begin_now(&mut self) {
        self.idle_since = Instant::now();
        self.deadline = self.idle_since + self.served.config.cli.timeout;
    }

    /// Whether the model has begun to answer.
    pub(super) fn model_was_asked(&self) -> bool {
        self.asked == Asked::Yes
    }

    /// The process has waited until now; one that does not wake up is no way.
    pub(super) fn expect_to_wake(&mut self) {
        self.awake_by = Some(Instant::now() + AWAKE_WAIT);
    }

    /// The same, with another process: nothing was said, but time has passed.
    pub(super) fn once_more(self, (ways, prompt): (&Ways, &Prompt)) -> Self {
        let (started, deadline) = (self.started, self.deadline);
        let watch = (self.wake, self.cancel);
        let fresh = Progress::new((self.served, ways), prompt, watch, self.pass);
        Progress {
            started,
            deadline,
            ..fresh
        }
    }

    /// Waits for one thing and deals with it; tells how the run ended when it did.
    pub(super) fn step(
        &mut self,
        (gateway, job): (&Gateway, &mut Job),
        run: &mut Run<'_>,
        ledger: &mut Ledger,
    ) -> Option<Ending> {
        let idle_deadline = self.idle_since + self.served.config.cli.idle_timeout;
        let limit = self.deadline.min(idle_deadline);
        let limit = self.alone_until.map_or(limit, |it| it.min(limit));
        if self.awake_by.is_some_and(|it| Instant::now() >= it) {
            return Some(Ending::Lost(Lost::Unasked));
        }
        // Before anything else: a CLI that never stops talking would never let the wait time out.
        if let Some(ending) = self.on_time(job, limit) {
            return Some(ending);
        }
        let until = job.answer.next_beat().map_or(limit, |beat| beat.min(limit));
        let until = self.awake_by.map_or(until, |it| it.min(until));
        match run.1.worker.wait(self.wake.as_fd(), until) {
            Ok(Step::Output) => self.read((gateway, job), run, ledger),
            Ok(Step::Ended) => Some(self.ended(run, job)),
            Ok(Step::Woken) => {
                clear(self.wake);
                None
            }
            Ok(Step::Timeout) => None,
            Err(error) => Some(Ending::Failed(ApiError::new(
                ErrorKind::Internal,
                format!("cannot poll the CLI: {error}"),
            ))),
        }
    }

    /// What is due now: the end of a run that takes too long, or a sign of life for its client.
    fn on_time(&self, job: &mut Job, limit: Instant) -> Option<Ending> {
        let now = Instant::now();
        if now < limit {
            let kept = job
                .answer
                .keep_alive(now, Patience::Within(self.write_limit()));
            return kept.err().and_then(|_| self.cannot_write(job));
        }
        if self.alone_until.is_some_and(|it| now >= it) {
            // Who has come at the last moment is looked at next.
            return job.answer.give_up().then_some(Ending::ClientGone);
        }
        Some(self.out_of_time(now))
    }

    /// A client that does not read must not hold up the run's own limits.
    fn write_limit(&self) -> Limit<'a> {
        Limit {
            until: Some(self.deadline),
            wake: Some(self.wake.as_fd()),
        }
    }

    /// Why a write failed: the client, or one of the limits it was given. A client that may come back does not
    /// end the run.
    fn cannot_write(&self, job: &mut Job) -> Option<Ending> {
        let now = Instant::now();
        match self.cancel.reason() {
            Some(reason) => Some(Ending::Stopped(reason)),
            None if now >= self.deadline => Some(self.out_of_time(now)),
            None if job.answer.may_be_repeated() => {
                job.answer.detach();
                None
            }
            None => Some(Ending::ClientGone),
        }
    }

    fn out_of_time(&self, now: Instant) -> Ending {
        let cli = &self.served.config.cli;
        let (key, limit, what) = match now >= self.deadline {
            true => ("cli.timeout", cli.timeout, "did not finish"),
            false => ("cli.idle_timeout", cli.idle_timeout, "said nothing"),
        };
        let limit = limit.as_millis();
        let text = format!("the run {what} within {limit} ms ({key}) and was ended");
        Ending::Failed(ApiError::new(ErrorKind::Timeout, text))
    }

    fn read(
        &mut self,
        (gateway, job): (&Gateway, &mut Job),
        run: &mut Run<'_>,
        ledger: &mut Ledger,
    ) -> Option<Ending> {
        self.idle_since = Instant::now();
        self.awake_by = None;
        let mut verdict = Verdict::More;
        while matches!(verdict, Verdict::More) {
            match run.1.worker.next_line() {
                Ok(Some(line)) => verdict = self.line(line, job, ledger),
                Ok(None) => break,
                Err(LineTooLong) => {
                    let text = "the CLI wrote a line of more than 64 MiB";
                    verdict = Verdict::Failed(ApiError::new(ErrorKind::Internal, text).into());
                }
            }
        }
        if self.asked == Asked::NoSession && run.0.has_more() {
            return Some(Ending::Lost(Lost::Unasked));
        }
        if matches!(verdict, Verdict::Done) && self.task == Task::Done {
            self.remember(gateway, run);
        }
        if job.answer.flush(self.write_limit()).is_err()
            && let Some(ending) = self.cannot_write(job)
        {
            return Some(ending);
        }
        // Writing may have waited for a slow client; that is not the CLI's silence.
        self.idle_since = Instant::now();
        match verdict {
            Verdict::More => None,
            // It may be what the session has in it that no client sees, so it would be refused each time.
            Verdict::Failed(failure)
                if failure.is_the_requests() && self.said_nothing() && run.0.has_other_words() =>
            {
                Some(Ending::Lost(Lost::Refused))
            }
            Verdict::Failed(failure) => {
                let redact = |text: &str| redacted(text, &job.tenant);
                let cause = failure.cause();
                let mut error = failure.shown(unix_now(), &redact);
                let wait = self.pass.failed(cause, &error);
                error.retry_after = error.retry_after.or(wait);
                Some(Ending::Failed(error))
            }
            Verdict::Done => {
                self.pass.worked();
                job.answer.finish();
                Some(Ending::Complete)
            }
        }
    }

    /// Whether the model has said nothing, and so nothing was done.
    fn said_nothing(&self) -> bool {
        !self.answered && self.work == Work::None
    }

    /// Before the client hears of the end, since it may go on at once.
    fn remember(&mut self, gateway: &Gateway, (ways, begun): &Run<'_>) {
        if let Some(said) = self.said.take() {
            self.key = ways.remember(gateway, begun, (said, self.leaf));
        }
    }

    fn line(&mut self, line: &[u8], job: &mut Job, ledger: &mut Ledger) -> Verdict {
        let event = match event::parse(line) {
            Ok(event) => event,
            Err(_) => return self.odd_line(line, job, ledger),
        };
        match &event {
            Event::Stream(Stream::MessageStart { .. }) => {
                self.asked = Asked::Yes;
                self.pass.worked();
            }
            Event::Assistant(assistant) => {
                self.leaf = assistant.uuid.or(self.leaf);
                self.asked = Asked::Yes;
            }
            Event::RateLimit(limit) => job.answer.limits(limit),
            Event::Result(result) => {
                if self.asked == Asked::NotYet && result.finds_no_session() {
                    self.asked = Asked::NoSession;
                }
                self.task = Task::Done;
                ledger.note_result(result);
            }
            Event::Stream(Stream::BlockStart { .. }) => self.work = Work::Begun,
            _ => {}
        }
        let answer = &mut job.answer;
        let started = self.started;
        let (answered, said) = (&mut self.answered, &mut self.said);
        self.turns
            .feed(&event, line, &mut |event: AnswerEvent<'_>| {
                if !std::mem::replace(answered, true) {
                    ledger.first_event = Some(started.elapsed());
                }
                ledger.note_answer(&event);
                if let (
                    AnswerEvent::Delta {
                        kind: DeltaKind::Text,
                        value,
                        ..
                    },
                    Some(said),
                ) = (&event, &mut *said)
                {
                    said.delta(value);
                }
                answer.event(&event);
            })
    }

    /// A line that does not parse may only hold bytes that are not UTF-8; then it counts all the same.
    fn odd_line(&mut self, line: &[u8], job: &mut Job, ledger: &mut Ledger) -> Verdict {
        match String::from_utf8_lossy(line) {
            Cow::Owned(mended) if event::parse(mended.as_bytes()).is_ok() => {
                self.line(mended.as_bytes(), job, ledger)
            }
            _ => {
                ledger.garbage += 1;
                Verdict::More
            }
        }
    }

    fn ended(&mut self, (ways, begun): &mut Run<'_>, job: &Job) -> Ending {
        if self.asked != Asked::Yes && ways.has_more() {
            return Ending::Lost(Lost::Unasked);
        }
        let worker = &mut begun.worker;
        // Its output is closed; how it exits says why.
        worker.wait_exit(EXIT_WAIT);
        let said = redacted(&String::from_utf8_lossy(worker.stderr_tail()), &job.tenant);
        if let Some(error) = cost::outgrown(self.served, (&job.tenant, worker)) {
            return Ending::Failed(error);
        }
        Ending::Failed(failure::exited_without_result(worker.exit(), &said))
    }
}
