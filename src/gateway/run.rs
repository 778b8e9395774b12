//! One run: a job, a permit and a CLI process, from the first byte fed to the last byte sent.

use std::{
    borrow::Cow,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Gateway, Served, Tenant,
    answer::{Patience, deliver, unix_now},
    cancel::{Cancel, Reason, clear},
    continuity::{Begun, Ways},
    count::count,
    flight::{COMES_BACK, Found},
    job::Job,
    ledger::{Ledger, Outcome},
    repeat::Work,
    upstream::Pass,
};
use crate::{
    api::{AnswerEvent, ApiError, BuiltInTools, DeltaKind, ErrorKind, Prompt},
    claude::{
        command::Recipe,
        event::{self, Event, Stream},
        failure,
        keeper::{Keeper, Launch, SpawnError},
        worker::{LineTooLong, Step, Worker},
    },
    config::StreamPolicy,
    http::Limit,
    log,
    scheduler::{self, Permit},
    session::{Key, Said, Uuid},
    turn::{TurnPolicy, Turns, Verdict},
};

/// How long an interrupted CLI may take to end its turn before its process tree is killed. It
/// takes 20 to 50 ms; the whole tree must be gone within 3 s of the decision.
const INTERRUPT_WAIT: Duration = Duration::from_secs(1);

/// How long a CLI may take to exit after its answer is complete; it takes about 60 ms.
const EXIT_WAIT: Duration = Duration::from_millis(500);

/// Answers the job and gives the permit back once nothing of the run is left.
pub(crate) fn run(gateway: &Gateway, mut job: Box<Job>, permit: Permit, hands: Hands<'_>) {
    let started = Instant::now();
    let queued = started.duration_since(job.queued_at);
    // What an earlier run left in it must not call off a write of this one.
    clear(hands.wake);
    if attach(gateway, &mut job, hands.cancel) == Attached::Yes {
        drop(permit);
        return log_attached(&job);
    }
    watch_client(&job, hands.cancel);
    let listed = gateway.live.enter(&job, hands.cancel);
    let mut ledger = Ledger::of(&listed);
    let outcome = match job.task.take() {
        Some(countable) => count(gateway, &mut job, hands, &countable),
        None => answer((gateway, &mut job), hands, &mut ledger),
    };
    drop(permit);
    ledger.log(&job, &outcome, queued, started.elapsed());
}

/// Whether a request needed no run of its own.
#[derive(PartialEq, Eq)]
enum Attached {
    Yes,
    No,
}

/// A repeat may have waited in the queue while its first request ran, or runs.
fn attach(gateway: &Gateway, job: &mut Job, cancel: &Arc<Cancel>) -> Attached {
    let Some(question) = job.question.take() else {
        return Attached::No;
    };
    match gateway.flights.find(&question) {
        Found::Answered(response) => {
            deliver(job.answer.take_channel(), response);
            return Attached::Yes;
        }
        Found::Live(flight) => match flight.join(job.answer.take_channel()) {
            Ok(()) => return Attached::Yes,
            Err(channel) => job.answer.give_channel(*channel),
        },
        Found::Nothing | Found::Other => {}
    }
    if let Some(pilot) = gateway.flights.begin(question, cancel) {
        job.answer.fly(pilot);
    }
    Attached::No
}

fn log_attached(job: &Job) {
    log::info(
        "a repeat, attached",
        &[
            ("request", &job.answer.request_id()),
            ("tenant", &job.tenant.name),
        ],
    );
}

/// Has the run hear when its client leaves.
fn watch_client(job: &Job, cancel: &Arc<Cancel>) {
    let watched = Arc::clone(cancel);
    let may_come_back = job.answer.may_be_repeated();
    job.on_gone(Box::new(move || match may_come_back {
        true => watched.nudge(),
        false => watched.fire(Reason::ClientGone),
    }));
}

/// What a CLI worker thread lends to a run.
pub(crate) struct Hands<'a> {
    /// None while the process that it ran waits for its next turn.
    pub(crate) keeper: &'a mut Option<Keeper>,
    pub(crate) wake: &'a OwnedFd,
    pub(crate) cancel: &'a Arc<Cancel>,
}

/// Answers with a model's turns, unless it is known that they would fail.
fn answer((gateway, job): (&Gateway, &mut Job), hands: Hands<'_>, ledger: &mut Ledger) -> Outcome {
    let (served, tenant) = (Arc::clone(&job.served), Arc::clone(&job.tenant));
    let whose = (job.tenant_id, &*tenant);
    let entered = served.upstream.enter(whose, &job.prompt.model);
    match entered.and_then(|pass| Ok((pass, Ways::of(gateway, job)?))) {
        Ok((pass, ways)) => {
            let watch = (hands.wake, hands.cancel);
            let progress = Progress::new((&served, &ways), &job.prompt, watch, pass);
            execute((gateway, job), ways, (progress, hands.keeper), ledger)
        }
        Err(error) => failed(job, error),
    }
}

/// What a job's process is started with.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    /// The directory with the tenant's skills.
    pub(super) skills: Option<PathBuf>,
}

/// The command line for a job, made by `launch`.
pub(super) fn prepare(
    gateway: &Gateway,
    job: &Job,
    launch: fn(&Recipe<'_>, &Prompt) -> Launch,
) -> Result<Prepared, ApiError> {
    let place = gateway.place_of((&job.served, &job.tenant))?;
    let safe = gateway.cli.ensure_safe();
    safe.map_err(|why| ApiError::new(ErrorKind::Unavailable, why))?;
    let recipe = Recipe {
        program: &gateway.cli.program,
        permission_mode: job.served.config.cli.permission_mode,
        user: gateway.user,
        effort: job.served.config.cli.effort,
        place: &place,
        base_env: &gateway.base_env,
        tenant_env: &job.tenant.env,
    };
    Ok(Prepared {
        launch: launch(&recipe, &job.prompt),
        skills: place.skills_plugin.as_ref().map(|it| it.join("skills")),
    })
}

pub(super) fn unwritable(error: serde_json::Error) -> ApiError {
    let text = format!("the prompt cannot be written as JSON: {error}");
    ApiError::new(ErrorKind::Internal, text)
}

/// The request's own system prompt, then how to reach the tenant's OpenClaw, then whose run it is.
pub(super) fn system_prompt(prompt: &Prompt, skill_text: &str, tenant: &Tenant) -> String {
    let tag = format!("<!-- openclaw-tenant: {} -->", tenant.name);
    let parts = [prompt.system.as_str(), skill_text.trim_end(), &tag];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn execute<'a>(
    (gateway, job): (&Gateway, &mut Job),
    mut ways: Ways,
    (mut progress, keeper): (Progress<'a>, &mut Option<Keeper>),
    ledger: &mut Ledger,
) -> Outcome {
    loop {
        let mut begun = match ways.begin((gateway, job), keeper) {
            Ok(begun) => begun,
            Err(error) => return failed(job, error),
        };
        ledger.begin(&begun);
        job.answer.continues(begun.continuity);
        let mut run = (&ways, &mut begun);
        let ending = loop {
            progress.look_at_client(job);
            if let Some(reason) = progress.cancel.reason() {
                break Ending::Stopped(reason);
            }
            if let Some(ending) = progress.step((gateway, job), &mut run, ledger) {
                break ending;
            }
        };
        if let Ending::Lost = ending {
            LOST.info(
                "a session was not to be had after all; the next way is tried",
                &[
                    ("request", &job.answer.request_id()),
                    ("tenant", &job.tenant.name),
                    ("was", &begun.continuity.name()),
                ],
            );
            let (_, given_back) = begun.worker.end();
            keeper.get_or_insert(given_back);
            progress = progress.once_more((&ways, &job.prompt));
            continue;
        }
        // The client is told before the process tree is cleared away: that may take seconds.
        let ending = match ending {
            Ending::Failed(error) => Ending::Failed(progress.work.failed(error)),
            other => other,
        };
        let outcome = conclude(job, ending);
        gateway.conversations.count(begun.continuity);
        // What a run started in the background ends with it, as without sessions.
        let may_stay = progress.task == Task::Done
            && matches!(outcome, Outcome::Answered)
            && begun.worker.is_alone();
        match progress.key.take() {
            Some(key) if may_stay => {
                ways.keep((gateway, job), begun, key);
            }
            key => {
                key.iter()
                    .for_each(|key| gateway.conversations.pool.expected_no_more(*key));
                let (left_over, given_back) = stop(begun.worker, progress.task);
                ledger.left_over = left_over;
                keeper.get_or_insert(given_back);
            }
        }
        if ways.began_anew() && matches!(outcome, Outcome::Answered) {
            ways.start_ahead((gateway, job));
        }
        return outcome;
    }
}

static LOST: log::Sparing = log::Sparing::new();

/// Tells a client that has no whole answer why not.
pub(super) fn conclude(job: &mut Job, ending: Ending) -> Outcome {
    match ending {
        Ending::Complete => Outcome::Answered,
        Ending::ClientGone | Ending::Stopped(Reason::ClientGone) => Outcome::ClientGone,
        Ending::Failed(error) => failed(job, error),
        Ending::Stopped(Reason::Shutdown) => failed(job, shutting_down()),
        Ending::Stopped(Reason::Operator) => failed(job, scheduler::cancelled()),
        Ending::Lost => failed(job, lost()),
    }
}

pub(super) fn failed(job: &mut Job, error: ApiError) -> Outcome {
    job.answer.fail(&error);
    Outcome::Failed(error)
}

fn shutting_down() -> ApiError {
    let text = "the gateway is shutting down and ended this run; send the request again";
    ApiError::new(ErrorKind::Unavailable, text).retry_after(Duration::from_secs(5))
}

/// Nobody sees it: the last way is never lost.
fn lost() -> ApiError {
    let text = "the conversation's session was lost";
    ApiError::new(ErrorKind::Internal, text)
}

/// What the CLI is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Working,
    /// It has written its `result`.
    Done,
}

/// Ends the process tree, gently where there is something to be gentle with.
fn stop(mut worker: Worker, task: Task) -> (usize, Keeper) {
    if worker.exit().is_none() {
        match task {
            Task::Done => {
                worker.close_stdin();
                worker.wait_exit(EXIT_WAIT);
            }
            Task::Working => {
                // It ends its own tools first; a kill alone would leave them to the keeper.
                worker.interrupt();
                worker.wait_turn_end(INTERRUPT_WAIT);
            }
        }
    }
    let (ended, keeper) = worker.end();
    (ended.left_over, keeper)
}

pub(super) enum Ending {
    Complete,
    ClientGone,
    Failed(ApiError),
    Stopped(Reason),
    /// The process could not go on from where it was to; the model was not asked.
    Lost,
}

/// Where a run stands between two steps.
struct Progress<'a> {
    served: &'a Served,
    wake: &'a OwnedFd,
    cancel: &'a Arc<Cancel>,
    /// Hears how the credential fares.
    pass: Pass<'a>,
    turns: Turns,
    started: Instant,
    deadline: Instant,
    idle_since: Instant,
    answered: bool,
    task: Task,
    work: Work,
    /// What the client will send back as the answer; none once it is remembered.
    said: Option<Said>,
    /// The last line of the model's own.
    leaf: Option<Uuid>,
    /// Under what the answer was remembered.
    key: Option<Key>,
    /// How long the client that left may take to come back.
    alone_until: Option<Instant>,
    asked: Asked,
}

/// Whether the model was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    /// The CLI says that there is no such session, or line of one.
    NoSession,
    Yes,
}

/// A process that answers, and the ways that are left should it not.
type Run<'r> = (&'r Ways, &'r mut Begun);

impl<'a> Progress<'a> {
    fn new(
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
        }
    }

    /// Clients that leave and may come back, and those that come in their place.
    fn look_at_client(&mut self, job: &mut Job) {
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
        }
    }

    /// The same, with another process: nothing was said, but time has passed.
    fn once_more(self, (ways, prompt): (&Ways, &Prompt)) -> Self {
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
    fn step(
        &mut self,
        (gateway, job): (&Gateway, &mut Job),
        run: &mut Run<'_>,
        ledger: &mut Ledger,
    ) -> Option<Ending> {
        let idle_deadline = self.idle_since + self.served.config.cli.idle_timeout;
        let limit = self.deadline.min(idle_deadline);
        let limit = self.alone_until.map_or(limit, |it| it.min(limit));
        // Before anything else: a CLI that never stops talking would never let the wait time out.
        if let Some(ending) = self.on_time(job, limit) {
            return Some(ending);
        }
        let until = job.answer.next_beat().map_or(limit, |beat| beat.min(limit));
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
            return Some(Ending::ClientGone);
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
            return Some(Ending::Lost);
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
            Event::Assistant(assistant) => self.leaf = assistant.uuid.or(self.leaf),
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
            return Ending::Lost;
        }
        let worker = &mut begun.worker;
        // Its output is closed; how it exits says why.
        worker.wait_exit(EXIT_WAIT);
        let said = redacted(&String::from_utf8_lossy(worker.stderr_tail()), &job.tenant);
        Ending::Failed(failure::exited_without_result(worker.exit(), &said))
    }
}

/// The CLI's words without the tenant's secrets: each value of its environment, and each line of one
/// that has several. Values of less than 8 characters are no secrets, and would blot out words.
pub(super) fn redacted(text: &str, tenant: &Tenant) -> String {
    let values = tenant.env.iter().filter_map(|(_, value)| value.to_str());
    let mut secrets: Vec<&str> = values
        .flat_map(|it| it.lines().map(str::trim).chain([it]))
        .collect();
    secrets.retain(|it| it.len() >= 8);
    // A longer one may hold a shorter one.
    secrets.sort_by_key(|it| std::cmp::Reverse(it.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret, "[redacted]")
    })
}

pub(super) fn cannot_start(error: &SpawnError) -> ApiError {
    ApiError::new(
        ErrorKind::Internal,
        format!("cannot start the Claude Code CLI: {error}"),
    )
}
