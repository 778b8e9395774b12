//! Counts a request's tokens: a run of the CLI without a model turn.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use super::{
    Gateway,
    cancel::clear,
    job::Job,
    ledger::Outcome,
    run::{Ending, Hands, cannot_start, conclude, failed, redacted},
};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{
        count::{Countable, Precision},
        event::{self, Event},
        failure,
        keeper::Launch,
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
    (launch, input): (Launch, Vec<u8>),
    countable: &Countable,
) -> Outcome {
    let mut worker = match Worker::start(hands.keeper, &launch, input) {
        Ok(worker) => worker,
        Err(error) => return failed(job, cannot_start(&error)),
    };
    let cli = &gateway.config.cli;
    let deadline = Instant::now() + cli.timeout.min(cli.idle_timeout);
    let ending = loop {
        if let Some(reason) = hands.cancel.reason() {
            break Ending::Stopped(reason);
        }
        if let Some(ending) = step(&mut worker, job, (hands.wake, deadline), countable) {
            break ending;
        }
    };
    let outcome = conclude(job, ending);
    worker.close_stdin();
    worker.end();
    outcome
}

/// Waits for one thing and deals with it; tells how the count ended when it did.
fn step(
    worker: &mut Worker<'_>,
    job: &mut Job,
    (wake, deadline): (&OwnedFd, Instant),
    countable: &Countable,
) -> Option<Ending> {
    match worker.wait(wake.as_fd(), deadline) {
        Ok(Step::Output) => counted(worker).map(|counted| match counted {
            Ok(tokens) => {
                let (tokens, precision) = countable.total(tokens);
                answer(job, tokens, precision);
                Ending::Complete
            }
            Err(error) => Ending::Failed(error),
        }),
        Ok(Step::Ended) => {
            let said = String::from_utf8_lossy(worker.stderr_tail());
            let said = redacted(&said, &job.tenant);
            let error = failure::exited_without_result(worker.exit(), &said);
            Some(Ending::Failed(error))
        }
        Ok(Step::Woken) => {
            clear(wake);
            None
        }
        Ok(Step::Timeout) => Some(Ending::Failed(out_of_time())),
        Err(error) => {
            let text = format!("cannot poll the CLI: {error}");
            Some(Ending::Failed(ApiError::new(ErrorKind::Internal, text)))
        }
    }
}

/// What the lines that are there say of the count.
fn counted(worker: &mut Worker<'_>) -> Option<Result<u64, ApiError>> {
    let failed = |text: String| Some(Err(ApiError::new(ErrorKind::Internal, text)));
    loop {
        match worker.next_line() {
            Ok(Some(line)) => match event::parse(line) {
                Ok(Event::Counted { tokens }) => return Some(Ok(tokens)),
                Ok(Event::ControlFailed { error }) => {
                    return failed(format!("the Claude Code CLI cannot count tokens: {error}"));
                }
                _ => {}
            },
            Ok(None) => return None,
            Err(_) => return failed("the CLI wrote a line of more than 64 MiB".to_owned()),
        }
    }
}

fn answer(job: &mut Job, tokens: u64, precision: Precision) {
    let body = format!("{{\"input_tokens\":{tokens}}}").into_bytes();
    job.answer.send(body, (PRECISION, precision.name()));
}

fn out_of_time() -> ApiError {
    let text = "the CLI did not count the tokens in time (cli.timeout, cli.idle_timeout)";
    ApiError::new(ErrorKind::Timeout, text)
}
