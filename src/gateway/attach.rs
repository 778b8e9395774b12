//! A job that repeats another one needs no run; and a run whose client may come back outlives it.

use std::sync::Arc;

use super::{
    Gateway,
    answer::deliver,
    cancel::{Cancel, Reason},
    flight::Found,
    job::Job,
};
use crate::{
    api::{ApiError, ErrorKind},
    log,
};

/// Whether a request needed no run of its own.
#[derive(PartialEq, Eq)]
pub(super) enum Attached {
    Yes,
    No,
    /// What repeats have to share with their first request is not so.
    Never,
}

/// Each time another request of the same id was quicker by a moment.
const TRIES: usize = 8;

/// A repeat may have waited in the queue while its first request ran, or runs.
pub(super) fn attach(gateway: &Gateway, job: &mut Job, cancel: &Arc<Cancel>) -> Attached {
    let Some(mut question) = job.question.take() else {
        return Attached::No;
    };
    for _ in 0..TRIES {
        match gateway.flights.find(&question) {
            Found::Answered(response) => {
                deliver(job.answer.take_channel(), response);
                return Attached::Yes;
            }
            Found::Live(flight) => match flight.join(job.answer.take_channel()) {
                Ok(()) => return Attached::Yes,
                Err(channel) => job.answer.give_channel(*channel),
            },
            Found::Other if question.has_key() => return Attached::Never,
            Found::Nothing | Found::Other => {}
        }
        match gateway.flights.begin(question, cancel) {
            Ok(pilot) => {
                job.answer.fly(pilot);
                break;
            }
            Err(given_back) => question = given_back,
        }
    }
    Attached::No
}

/// Under one key of a client's there is one request.
pub(super) fn other_request() -> ApiError {
    let text = "this Idempotency-Key was used for another request; use a new one for each";
    ApiError::new(ErrorKind::InvalidRequest, text)
}

pub(super) fn log_attached(job: &Job) {
    log::info(
        "a repeat, attached",
        &[
            ("request", &job.answer.request_id()),
            ("tenant", &job.tenant.name),
        ],
    );
}

/// Has the run hear when its client leaves.
pub(super) fn watch_client(job: &Job, cancel: &Arc<Cancel>) {
    let watched = Arc::clone(cancel);
    let may_come_back = job.answer.may_be_repeated();
    job.on_gone(Box::new(move || match may_come_back {
        true => watched.nudge(),
        false => watched.fire(Reason::ClientGone),
    }));
}
