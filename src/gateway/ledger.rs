//! What the log says of a run once it is over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use super::{continuity::Begun, job::Job, live::Listed};
use crate::{
    api::{AnswerEvent, ApiError},
    claude::event,
    log,
};

/// How a run ended for its client.
pub(super) enum Outcome {
    Answered,
    ClientGone,
    Failed(ApiError),
}

/// What the log says of a run.
#[derive(Default)]
pub(super) struct Ledger {
    /// As the list of runs has it.
    pub(super) pid: Arc<AtomicI32>,
    pub(super) first_event: Option<Duration>,
    turns: u64,
    cost_usd: f64,
    /// How the history reached the model.
    session: &'static str,
    usage: String,
    pub(super) left_over: usize,
    /// Lines that are not JSON; skipped.
    pub(super) garbage: u64,
}

impl Ledger {
    pub(super) fn of(listed: &Listed<'_>) -> Ledger {
        Ledger {
            pid: Arc::clone(&listed.pid),
            ..Ledger::default()
        }
    }

    /// A process has the question.
    pub(super) fn begin(&mut self, begun: &Begun) {
        self.pid.store(begun.worker.pid(), Ordering::Relaxed);
        self.session = begun.continuity.name();
    }

    /// What the answer itself tells: all there is of a run that is ended before its `result`.
    pub(super) fn note_answer(&mut self, event: &AnswerEvent<'_>) {
        if let AnswerEvent::End {
            usage: Some(usage), ..
        } = event
            && self.usage.is_empty()
        {
            self.turns = self.turns.max(1);
            self.usage = event::usage_summary(usage);
        }
    }

    /// What the CLI counted over all turns.
    pub(super) fn note_result(&mut self, result: &event::ResultLine<'_>) {
        self.turns = result.num_turns;
        self.cost_usd = result.own_cost_usd().unwrap_or(result.total_cost_usd);
        self.usage = result.usage.map_or_else(String::new, event::usage_summary);
    }

    pub(super) fn log(&self, job: &Job, outcome: &Outcome, queued: Duration, ran: Duration) {
        let (name, why) = match outcome {
            Outcome::Answered => ("answered", ""),
            Outcome::ClientGone => ("client gone", ""),
            Outcome::Failed(error) => ("failed", error.message.as_str()),
        };
        let first = self
            .first_event
            .map_or_else(|| "-".to_owned(), |it| it.as_millis().to_string());
        let fields: [log::Field<'_>; 13] = [
            ("request", &job.answer.request_id()),
            ("tenant", &job.tenant.name),
            ("model", &job.prompt.model),
            ("outcome", &name),
            (
                "session",
                if self.session.is_empty() {
                    &"-"
                } else {
                    &self.session
                },
            ),
            ("pid", &self.pid.load(Ordering::Relaxed)),
            ("queued_ms", &queued.as_millis()),
            ("first_ms", &first),
            ("ran_ms", &ran.as_millis()),
            ("turns", &self.turns),
            ("cost_usd", &format_args!("{:.6}", self.cost_usd)),
            ("tokens", &self.usage),
            ("why", &why),
        ];
        match outcome {
            Outcome::Failed(_) => log::warn("run", &fields),
            Outcome::Answered | Outcome::ClientGone => log::info("run", &fields[..12]),
        }
        if self.garbage > 0 {
            log::warn(
                "the CLI wrote lines that are not JSON; they were skipped",
                &[
                    ("request", &job.answer.request_id()),
                    ("lines", &self.garbage),
                ],
            );
        }
        if self.left_over > 0 {
            log::error(
                "processes of a run could not be ended",
                &[
                    ("request", &job.answer.request_id()),
                    ("left", &self.left_over),
                ],
            );
        }
    }
}
