//! Counts a request's tokens: a run of the CLI without a model turn.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use super::{
    Gateway,
    cancel::clear,
    cost,
    job::Job,
    ledger::Outcome,
    prepare::{cannot_start, prepare, redacted, unwritable},
    progress::Ending,
    renewal::alone_with_login,
    run::{Hands, conclude, failed},
    workers::no_keeper,
};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{
        command,
        count::{Countable, Precision},
        event::{self, ContextUsage, Event},
        failure, input,
        keeper::Keeper,
        worker::{Step, Worker},
    },
};

/// The header that says how near the number is.
const PRECISION: &str = "x-ccgw-token-count";

/// Has the CLI count, and answers the job.
pub(super) fn count(
    gateway: &Gateway,
    job: &mut Job,
    hands: Hands<'_>,
    countable: &Countable,
) -> Outcome {
    let prepared = prepare(gateway, job, command::launch_to_count);
    let steps = input::count_steps(countable).map_err(unwritable);
    let (launch, mut steps) = match prepared.and_then(|it| Ok((it.launch, steps?))) {
        Ok(prepared) => prepared,
        Err(error) => return failed(job, error),
    };
    let stopped = |_: &mut Job| hands.cancel.reason().map(Ending::Stopped);
    let _renewing = match alone_with_login((gateway, job), stopped) {
        Ok(renewing) => renewing,
        Err(ending) => return conclude(job, ending),
    };
    let first = steps.pop_front().unwrap_or_default();
    let stay = match gateway.stay(&job.tenant) {
        Ok(stay) => stay,
        Err(error) => return failed(job, error),
    };
    let started = match hands.keeper.take().map_or_else(Keeper::start, Ok) {
        Ok(keeper) => Worker::start(keeper, &launch, first),
        Err(_) => return failed(job, no_keeper()),
    };
    drop(stay);
    let mut worker = match started {
        Ok(worker) => worker,
        Err(not_started) => {
            *hands.keeper = Some(not_started.keeper);
            return failed(job, cannot_start(&not_started.error));
        }
    };
    let served = Arc::clone(&job.served);
    let cli = &served.config.cli;
    let deadline = Instant::now() + cli.timeout.min(cli.idle_timeout);
    let mut counting = Counting {
        countable,
        steps,
        counted: Vec::new(),
    };
    let ending = loop {
        if let Some(reason) = hands.cancel.reason() {
            break Ending::Stopped(reason);
        }
        if let Some(ending) = counting.wait(&mut worker, job, (hands.wake, deadline)) {
            break ending;
        }
    };
    let outcome = conclude(job, ending);
    worker.close_stdin();
    let (_, keeper) = worker.end();
    *hands.keeper = Some(keeper);
    outcome
}

type Total = (u64, Precision);

/// A count that is going on.
struct Counting<'a> {
    countable: &'a Countable,
    /// What is still to be written.
    steps: VecDeque<Vec<u8>>,
    counted: Vec<ContextUsage>,
}

/// What a line of the CLI's means for a count.
enum Heard {
    Nothing,
    HistoryTaken,
    Usage(ContextUsage),
}

impl Counting<'_> {
    /// Waits for one thing and deals with it; tells how the count ended when it did.
    fn wait(
        &mut self,
        worker: &mut Worker,
        job: &mut Job,
        (wake, deadline): (&OwnedFd, Instant),
    ) -> Option<Ending> {
        match worker.wait(wake.as_fd(), deadline) {
            Ok(Step::Output) => self.listen(worker).map(|counted| match counted {
                Ok(total) => {
                    answer(job, total);
                    Ending::Complete
                }
                Err(why) => Ending::Failed(internal(format!(
                    "the Claude Code CLI cannot count tokens: {why}"
                ))),
            }),
            Ok(Step::Ended) => {
                let said = String::from_utf8_lossy(worker.stderr_tail());
                let said = redacted(&said, &job.tenant);
                let outgrown = cost::outgrown(&job.served, (&job.tenant, worker));
                let dead = || failure::exited_without_result(worker.exit(), &said);
                Some(Ending::Failed(outgrown.unwrap_or_else(dead)))
            }
            Ok(Step::Woken) => {
                clear(wake);
                None
            }
            Ok(Step::Timeout) => Some(Ending::Failed(out_of_time())),
            Err(error) => Some(Ending::Failed(internal(format!(
                "cannot poll the CLI: {error}"
            )))),
        }
    }

    /// Takes the lines that are there, and goes on after each that answers a step; the total,
    /// or why there is none, when all are answered.
    fn listen(&mut self, worker: &mut Worker) -> Option<Result<Total, String>> {
        loop {
            let heard = match worker.next_line() {
                Ok(Some(line)) => hear(line),
                Ok(None) => return None,
                Err(_) => Err("it wrote a line of more than 64 MiB".to_owned()),
            };
            match heard {
                Ok(Heard::Nothing) => continue,
                Ok(Heard::HistoryTaken) => {}
                Ok(Heard::Usage(usage)) => self.counted.push(usage),
                Err(why) => return Some(Err(why)),
            }
            match self.steps.pop_front() {
                Some(step) => worker.send(&step),
                None => {
                    let total = self.countable.total(&self.counted);
                    return Some(total.ok_or_else(|| "it did not count the text".to_owned()));
                }
            }
        }
    }
}

fn hear(line: &[u8]) -> Result<Heard, String> {
    match event::parse(line) {
        Ok(Event::Counted(usage)) => Ok(Heard::Usage(usage)),
        Ok(Event::Result(_)) => Ok(Heard::HistoryTaken),
        Ok(Event::ControlFailed { error }) => Err(error),
        _ => Ok(Heard::Nothing),
    }
}

fn answer(job: &mut Job, (tokens, precision): Total) {
    let body = format!("{{\"input_tokens\":{tokens}}}").into_bytes();
    job.answer.send(body, (PRECISION, precision.name()));
}

fn internal(text: String) -> ApiError {
    ApiError::new(ErrorKind::Internal, text)
}

fn out_of_time() -> ApiError {
    let text = "the CLI did not count the tokens in time (cli.timeout, cli.idle_timeout)";
    ApiError::new(ErrorKind::Timeout, text)
}
