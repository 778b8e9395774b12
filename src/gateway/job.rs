//! A request on its way from the queue to its run.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Served, Tenant,
    answer::{Answer, Patience},
    attach::log_attached,
    flight::{Flight, Question},
};
use crate::{
    api::{ApiError, Prompt},
    claude::count::Countable,
    config::Parallel,
    log,
    scheduler::TenantId,
    session::{Key, Lineages},
};

/// One prompt that waits or runs, with the answer it owes.
pub(crate) struct Job {
    /// The configuration that it came under, and goes by.
    pub(crate) served: Arc<Served>,
    pub(crate) tenant_id: TenantId,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) prompt: Prompt,
    /// Which of the tenant's conversations it belongs to, where that is known.
    pub(crate) conversation: Option<String>,
    /// What was said in it.
    pub(crate) lineages: Lineages,
    /// By what a repeat of it is known.
    pub(crate) question: Option<Question>,
    /// What to count, where the tokens are asked for and not an answer.
    pub(crate) task: Option<Countable>,
    pub(crate) answer: Answer,
    pub(crate) queued_at: Instant,
    /// How large the request was; about what the prompt takes in memory.
    pub(crate) bytes: usize,
}

/// A job that must be told no.
pub(crate) struct Refusal {
    pub(crate) job: Box<Job>,
    pub(crate) error: ApiError,
}

impl Job {
    pub(crate) fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    pub(crate) fn tenant_name(&self) -> &str {
        &self.tenant.name
    }

    pub(crate) fn request_id(&self) -> &str {
        self.answer.request_id()
    }

    pub(crate) fn queued_at(&self) -> Instant {
        self.queued_at
    }

    /// The conversation in which nothing else may run at the same time.
    pub(crate) fn alone_in(&self) -> Option<Key> {
        let waits = self.served.config.session.parallel == Parallel::Wait;
        let is_answer = self.task.is_none();
        (waits && is_answer && self.conversation.is_some()).then(|| self.lineages.begun.key())
    }

    /// When a waiting job wants attention: for a sign of life or because it waited `wait_max`.
    pub(crate) fn wake_at(&self, wait_max: Duration) -> Instant {
        let expires = self.queued_at + wait_max;
        self.answer
            .next_beat()
            .map_or(expires, |beat| beat.min(expires))
    }

    /// # Errors
    /// When the client is gone.
    pub(crate) fn keep_alive(&mut self, now: Instant) -> io::Result<()> {
        self.answer.keep_alive(now, Patience::None)
    }

    /// Gives its client to the run that answers it already; false when it is no repeat of that, or the run is over.
    pub(crate) fn attach_to(&mut self, flight: &Flight) -> bool {
        let question = self.question.as_ref();
        if !question.is_some_and(|it| flight.is_repeated_by(it)) {
            return false;
        }
        match flight.join(self.answer.take_channel()) {
            Ok(()) => {
                log_attached(self);
                true
            }
            Err(channel) => {
                self.answer.give_channel(*channel);
                false
            }
        }
    }

    /// Calls back once, when the client leaves; at once if it has left already.
    pub(crate) fn on_gone(&self, call: Box<dyn FnOnce() + Send>) {
        if let Some(hangup) = self.answer.hangup() {
            hangup.on_gone(call);
        }
    }

    pub(crate) fn log_gone_while_queued(&self) {
        log::info(
            "client left while queued",
            &[
                ("request", &self.answer.request_id()),
                ("tenant", &self.tenant.name),
                ("queued_ms", &self.queued_at.elapsed().as_millis()),
            ],
        );
    }
}

impl Refusal {
    /// Tells the client, waiting for it as long as a write may take.
    pub(crate) fn answer(mut self) {
        log::warn(
            "refused",
            &[
                ("request", &self.job.answer.request_id()),
                ("tenant", &self.job.tenant.name),
                ("queued_ms", &self.job.queued_at.elapsed().as_millis()),
                ("why", &self.error.message),
            ],
        );
        self.job.answer.fail(&self.error);
    }
}
