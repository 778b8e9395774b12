//! One run: a job, a permit and a CLI process, from the first byte fed to the last byte sent.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Gateway,
    attach::{Attached, attach, log_attached, other_request, watch_client},
    cancel::{Cancel, Reason, clear},
    continuity::{Begun, Ways},
    cost,
    count::count,
    job::Job,
    ledger::{Ledger, Outcome},
    progress::{Ending, Lost, Progress, Task},
    renewal::alone_with_login,
    repeat::Work,
};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{keeper::Keeper, worker::Worker},
    log,
    scheduler::{self, Permit},
};

/// How long an interrupted CLI may take to end its turn before its process tree is killed. It
/// takes 20 to 50 ms; the whole tree must be gone within 3 s of the decision.
const INTERRUPT_WAIT: Duration = Duration::from_secs(1);

/// How long a CLI may take to exit after its answer is complete; it takes about 60 ms.
pub(super) const EXIT_WAIT: Duration = Duration::from_millis(500);

/// Answers the job and gives the permit back once nothing of the run is left.
pub(crate) fn run(gateway: &Gateway, mut job: Box<Job>, permit: Permit, hands: Hands<'_>) {
    let started = Instant::now();
    let queued = started.duration_since(job.queued_at);
    // What an earlier run left in it must not call off a write of this one.
    clear(hands.wake);
    match attach(gateway, &mut job, hands.cancel) {
        Attached::No => {}
        Attached::Yes => return log_attached(&job),
        Attached::Never => {
            job.answer.fail(&other_request());
            return;
        }
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
fn execute<'a>(
    (gateway, job): (&Gateway, &mut Job),
    mut ways: Ways,
    (mut progress, keeper): (Progress<'a>, &mut Option<Keeper>),
    ledger: &mut Ledger,
) -> Outcome {
    // Until the model answers: by then the login is as new as it can be.
    let waited = alone_with_login((gateway, job), |job| progress.called_off((gateway, job)));
    let mut renewing = match waited {
        Ok(renewing) => renewing,
        Err(ending) => return conclude(job, ending),
    };
    progress.begin_now();
    loop {
        // Who left while it waited must not cost the process that waits for the next turn.
        if let Some(ending) = progress.called_off((gateway, job)) {
            return conclude(job, ending);
        }
        let mut begun = match ways.begin((gateway, job), keeper) {
            Ok(begun) => begun,
            Err(error) => return failed(job, error),
        };
        ledger.begin(&begun);
        job.answer.continues(begun.continuity);
        if begun.has_waited {
            progress.expect_to_wake();
        }
        let mut run = (&ways, &mut begun);
        let ending = loop {
            progress.look_at_client((gateway, job));
            if let Some(reason) = progress.cancel.reason() {
                break Ending::Stopped(reason);
            }
            if let Some(ending) = progress.step((gateway, job), &mut run, ledger) {
                break ending;
            }
            if progress.model_was_asked() {
                drop(renewing.take());
            }
        };
        if let Ending::Lost(why) = ending {
            log_lost(job, &begun, why);
            if why == Lost::Refused {
                ways.leave_session();
            }
            let useless = begun.has_new_session().then_some(begun.session);
            let (_, given_back) = begun.worker.end();
            keeper.get_or_insert(given_back);
            if let Some(session) = useless {
                ways.forget(session);
            }
            progress = progress.once_more((&ways, &job.prompt));
            continue;
        }
        let ending = match ending {
            Ending::Stopped(Reason::Shutdown) => Ending::Failed(shutting_down(progress.work)),
            other => other,
        };
        // The client is told before the process tree is cleared away: that may take seconds.
        let ending = match ending {
            Ending::Failed(error) => {
                let error = progress.work.failed(error);
                if progress.work == Work::Begun {
                    job.answer.fail_for_good(&error);
                }
                Ending::Failed(error)
            }
            other => other,
        };
        let outcome = conclude(job, ending);
        if matches!(outcome, Outcome::Answered) {
            gateway.conversations.count(begun.continuity);
        }
        cost::tell(&job.tenant, (job.answer.request_id(), &begun.worker));
        // What a run started in the background ends with it, as without sessions.
        let may_stay = progress.task == Task::Done
            && matches!(outcome, Outcome::Answered)
            && begun.worker.is_alone();
        match progress.key.take() {
            Some(key) if may_stay && gateway.conversations.pool.is_on() => {
                ways.keep((gateway, job), begun, key);
            }
            key => {
                key.iter()
                    .for_each(|key| gateway.conversations.pool.expected_no_more(*key));
                // A new session that nothing was remembered of holds what a client said, for nobody.
                let useless = (key.is_none() && begun.has_new_session()).then_some(begun.session);
                let (left_over, given_back) = stop(begun.worker, progress.task);
                if let Some(session) = useless {
                    ways.forget(session);
                }
                ledger.left_over = left_over;
                keeper.get_or_insert(given_back);
            }
        }
        // One that is started renews the login before it is asked anything.
        let may_start = ways.began_anew() && !gateway.may_renew_a_login(job);
        if may_start && matches!(outcome, Outcome::Answered) {
            ways.start_ahead((gateway, job));
        }
        return outcome;
    }
}

static LOST: log::Sparing = log::Sparing::new();

fn log_lost(job: &Job, begun: &Begun, why: Lost) {
    let what = match why {
        Lost::Unasked => "a session was not to be had after all; the next way is tried",
        Lost::Refused => {
            "the API refused a conversation as its session has it; the client's own history is tried"
        }
    };
    let fields: [log::Field<'_>; 3] = [
        ("request", &job.answer.request_id()),
        ("tenant", &job.tenant.name),
        ("was", &begun.continuity.name()),
    ];
    LOST.info(what, &fields);
}

/// Tells a client that has no whole answer why not.
pub(super) fn conclude(job: &mut Job, ending: Ending) -> Outcome {
    match ending {
        Ending::Complete => Outcome::Answered,
        Ending::ClientGone | Ending::Stopped(Reason::ClientGone) => Outcome::ClientGone,
        Ending::Failed(error) => failed(job, error),
        Ending::Stopped(Reason::Shutdown) => failed(job, shutting_down(Work::None)),
        Ending::Stopped(Reason::Operator) => failed(job, scheduler::cancelled()),
        Ending::Lost(_) => failed(job, lost()),
    }
}

pub(super) fn failed(job: &mut Job, error: ApiError) -> Outcome {
    job.answer.fail(&error);
    Outcome::Failed(error)
}

fn shutting_down(work: Work) -> ApiError {
    let text = match work {
        Work::None => "the gateway is shutting down and ended this run; send the request again",
        Work::Begun => {
            "the gateway is shutting down and ended this run; what its tools had done by then is done"
        }
    };
    ApiError::new(ErrorKind::Unavailable, text).retry_after(Duration::from_secs(5))
}

/// Nobody sees it: the last way is never lost.
fn lost() -> ApiError {
    let text = "the conversation's session was lost";
    ApiError::new(ErrorKind::Internal, text)
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
