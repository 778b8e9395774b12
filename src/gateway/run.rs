//! One run: a job, a permit and a CLI process, from the first byte fed to the last byte sent.

use std::{
    borrow::Cow,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Gateway, Served, Tenant,
    answer::{Patience, unix_now},
    cancel::{Cancel, Reason, clear},
    count::count,
    job::Job,
    ledger::{Ledger, Outcome},
    repeat::Work,
    upstream::Pass,
};
use crate::{
    api::{AnswerEvent, ApiError, BuiltInTools, ErrorKind, Prompt},
    claude::{
        command::{self, Recipe},
        event::{self, Event, Stream},
        failure, input,
        keeper::{Keeper, Launch, SpawnError},
        worker::{LineTooLong, Step, Worker},
    },
    config::StreamPolicy,
    http::Limit,
    scheduler::{self, Permit},
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
    let watched = Arc::clone(hands.cancel);
    job.on_gone(Box::new(move || watched.fire(Reason::ClientGone)));
    let listed = gateway.live.enter(&job, hands.cancel);
    let mut ledger = Ledger::of(&listed);
    let outcome = match job.task.take() {
        Some(countable) => count(gateway, &mut job, hands, &countable),
        None => answer(gateway, &mut job, hands, &mut ledger),
    };
    drop(permit);
    ledger.log(&job, &outcome, queued, started.elapsed());
}

/// What a CLI worker thread lends to a run.
pub(crate) struct Hands<'a> {
    pub(crate) keeper: &'a mut Keeper,
    pub(crate) wake: &'a OwnedFd,
    pub(crate) cancel: &'a Arc<Cancel>,
}

/// A command line, and what is written to it.
type Start = (Launch, Vec<u8>);

/// Answers with a model's turns, unless it is known that they would fail.
fn answer(gateway: &Gateway, job: &mut Job, hands: Hands<'_>, ledger: &mut Ledger) -> Outcome {
    let (served, tenant) = (Arc::clone(&job.served), Arc::clone(&job.tenant));
    let whose = (job.tenant_id, &*tenant);
    let entered = served.upstream.enter(whose, &job.prompt.model);
    let prepared = entered.and_then(|pass| {
        let launch = prepare(gateway, job, command::launch)?;
        let system = system_prompt(&job.prompt, &served.skill_text, &tenant);
        let input = input::lines(&job.prompt, &system).map_err(unwritable)?;
        Ok(((launch, input), pass))
    });
    match prepared {
        Ok((start, pass)) => execute((&served, pass), job, hands, start, ledger),
        Err(error) => failed(job, error),
    }
}

/// The command line for a job, made by `launch`.
pub(super) fn prepare(
    gateway: &Gateway,
    job: &Job,
    launch: fn(&Recipe<'_>, &Prompt) -> Launch,
) -> Result<Launch, ApiError> {
    let place = gateway.place_of((&job.served, &job.tenant))?;
    let safe = job.served.cli.ensure_safe();
    safe.map_err(|why| ApiError::new(ErrorKind::Unavailable, why))?;
    let recipe = Recipe {
        program: &job.served.cli.program,
        permission_mode: job.served.config.cli.permission_mode,
        user: gateway.user,
        effort: job.served.config.cli.effort,
        place: &place,
        base_env: &gateway.base_env,
        tenant_env: &job.tenant.env,
    };
    Ok(launch(&recipe, &job.prompt))
}

pub(super) fn unwritable(error: serde_json::Error) -> ApiError {
    let text = format!("the prompt cannot be written as JSON: {error}");
    ApiError::new(ErrorKind::Internal, text)
}

/// The request's own system prompt, then how to reach the tenant's OpenClaw, then whose run it is.
fn system_prompt(prompt: &Prompt, skill_text: &str, tenant: &Tenant) -> String {
    let tag = format!("<!-- openclaw-tenant: {} -->", tenant.name);
    let parts = [prompt.system.as_str(), skill_text.trim_end(), &tag];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn execute(
    (served, pass): (&Served, Pass<'_>),
    job: &mut Job,
    hands: Hands<'_>,
    (launch, input): Start,
    ledger: &mut Ledger,
) -> Outcome {
    let mut worker = match Worker::start(hands.keeper, &launch, input) {
        Ok(worker) => worker,
        Err(error) => return failed(job, cannot_start(&error)),
    };
    ledger.pid.store(worker.pid(), Ordering::Relaxed);
    let mut progress = Progress::new(served, &job.prompt, (hands.wake, hands.cancel), pass);
    let ending = loop {
        if let Some(reason) = hands.cancel.reason() {
            break Ending::Stopped(reason);
        }
        if let Some(ending) = progress.step(&mut worker, job, ledger) {
            break ending;
        }
    };
    // The client is told before the process tree is cleared away: that may take seconds.
    let ending = match ending {
        Ending::Failed(error) => Ending::Failed(progress.work.failed(error)),
        other => other,
    };
    let outcome = conclude(job, ending);
    ledger.left_over = stop(worker, progress.task);
    outcome
}

/// Tells a client that has no whole answer why not.
pub(super) fn conclude(job: &mut Job, ending: Ending) -> Outcome {
    match ending {
        Ending::Complete => Outcome::Answered,
        Ending::ClientGone | Ending::Stopped(Reason::ClientGone) => Outcome::ClientGone,
        Ending::Failed(error) => failed(job, error),
        Ending::Stopped(Reason::Shutdown) => failed(job, shutting_down()),
        Ending::Stopped(Reason::Operator) => failed(job, scheduler::cancelled()),
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

/// What the CLI is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Working,
    /// It has written its `result`.
    Done,
}

/// Ends the process tree, gently where there is something to be gentle with.
fn stop(mut worker: Worker<'_>, task: Task) -> usize {
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
    worker.end().left_over
}

pub(super) enum Ending {
    Complete,
    ClientGone,
    Failed(ApiError),
    Stopped(Reason),
}

/// Where a run stands between two steps.
struct Progress<'a> {
    served: &'a Served,
    wake: &'a OwnedFd,
    cancel: &'a Cancel,
    /// Hears how the credential fares.
    pass: Pass<'a>,
    turns: Turns,
    started: Instant,
    deadline: Instant,
    idle_since: Instant,
    answered: bool,
    task: Task,
    work: Work,
}

impl<'a> Progress<'a> {
    fn new(
        served: &'a Served,
        prompt: &Prompt,
        (wake, cancel): (&'a OwnedFd, &'a Cancel),
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
        }
    }

    /// Waits for one thing and deals with it; tells how the run ended when it did.
    fn step(
        &mut self,
        worker: &mut Worker<'_>,
        job: &mut Job,
        ledger: &mut Ledger,
    ) -> Option<Ending> {
        let idle_deadline = self.idle_since + self.served.config.cli.idle_timeout;
        let limit = self.deadline.min(idle_deadline);
        // Before anything else: a CLI that never stops talking would never let the wait time out.
        if let Some(ending) = self.on_time(job, limit) {
            return Some(ending);
        }
        let until = job.answer.next_beat().map_or(limit, |beat| beat.min(limit));
        match worker.wait(self.wake.as_fd(), until) {
            Ok(Step::Output) => self.read(worker, job, ledger),
            Ok(Step::Ended) => Some(self.ended(worker, job)),
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
            return kept.is_err().then(|| self.cannot_write());
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

    /// Why a write failed: the client, or one of the limits it was given.
    fn cannot_write(&self) -> Ending {
        let now = Instant::now();
        match self.cancel.reason() {
            Some(reason) => Ending::Stopped(reason),
            None if now >= self.deadline => self.out_of_time(now),
            None => Ending::ClientGone,
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
        worker: &mut Worker<'_>,
        job: &mut Job,
        ledger: &mut Ledger,
    ) -> Option<Ending> {
        self.idle_since = Instant::now();
        let mut verdict = Verdict::More;
        while matches!(verdict, Verdict::More) {
            match worker.next_line() {
                Ok(Some(line)) => verdict = self.line(line, job, ledger),
                Ok(None) => break,
                Err(LineTooLong) => {
                    let text = "the CLI wrote a line of more than 64 MiB";
                    verdict = Verdict::Failed(ApiError::new(ErrorKind::Internal, text).into());
                }
            }
        }
        if job.answer.flush(self.write_limit()).is_err() {
            return Some(self.cannot_write());
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

    fn line(&mut self, line: &[u8], job: &mut Job, ledger: &mut Ledger) -> Verdict {
        let event = match event::parse(line) {
            Ok(event) => event,
            Err(_) => return self.odd_line(line, job, ledger),
        };
        match &event {
            Event::Stream(Stream::MessageStart { .. }) => self.pass.worked(),
            Event::RateLimit(limit) => job.answer.limits(limit),
            Event::Result(result) => {
                self.task = Task::Done;
                ledger.note_result(result);
            }
            Event::Stream(Stream::BlockStart { .. }) => self.work = Work::Begun,
            _ => {}
        }
        let answer = &mut job.answer;
        let started = self.started;
        let answered = &mut self.answered;
        self.turns
            .feed(&event, line, &mut |event: AnswerEvent<'_>| {
                if !std::mem::replace(answered, true) {
                    ledger.first_event = Some(started.elapsed());
                }
                ledger.note_answer(&event);
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

    fn ended(&mut self, worker: &mut Worker<'_>, job: &Job) -> Ending {
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
