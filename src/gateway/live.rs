//! What runs and waits now, for the operator: a list, and the way to end one of it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Instant,
};

use serde::Serialize;

use super::{
    cancel::{Cancel, Reason},
    job::Job,
};

/// The runs of the gateway.
#[derive(Default)]
pub(crate) struct Live(Mutex<HashMap<String, Run>>);

struct Run {
    tenant: String,
    model: String,
    started: Instant,
    queued_ms: u64,
    /// Of the CLI; 0 until it is started.
    pid: Arc<AtomicI32>,
    cancel: Arc<Cancel>,
}

/// A run in the list of them; dropping it takes it out.
pub(super) struct Listed<'a> {
    live: &'a Live,
    request: String,
    pub(super) pid: Arc<AtomicI32>,
}

/// One line of the list.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) request: String,
    pub(crate) tenant: String,
    pub(crate) model: String,
    /// `running` or `waiting`.
    pub(crate) state: &'static str,
    /// How long it waited, or waits.
    pub(crate) queued_ms: u64,
    /// 0 while it waits.
    pub(crate) ran_ms: u64,
    /// Of the CLI, where there is one.
    pub(crate) pid: Option<i32>,
    /// Resident memory of the CLI and all that it started.
    pub(crate) rss_kib: Option<u64>,
}

impl Live {
    pub(super) fn enter(&self, job: &Job, cancel: &Arc<Cancel>) -> Listed<'_> {
        let request = job.answer.request_id().to_owned();
        let pid = Arc::default();
        let run = Run {
            tenant: job.tenant.name.clone(),
            model: job.prompt.model.clone(),
            started: Instant::now(),
            queued_ms: millis(job.queued_at),
            pid: Arc::clone(&pid),
            cancel: Arc::clone(cancel),
        };
        self.lock().insert(request.clone(), run);
        Listed {
            live: self,
            request,
            pid,
        }
    }

    /// The longest first.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let runs = self.lock();
        let line = |(request, run): (&String, &Run)| Line {
            request: request.clone(),
            tenant: run.tenant.clone(),
            model: run.model.clone(),
            state: "running",
            queued_ms: run.queued_ms,
            ran_ms: millis(run.started),
            pid: Some(run.pid.load(Ordering::Relaxed)).filter(|it| *it != 0),
            rss_kib: None,
        };
        let mut lines: Vec<Line> = runs.iter().map(line).collect();
        lines.sort_by_key(|it| std::cmp::Reverse(it.ran_ms));
        lines
    }

    /// Ends a run; false when there is none.
    pub(crate) fn cancel(&self, request: &str) -> bool {
        let runs = self.lock();
        let run = runs.get(request);
        run.inspect(|run| run.cancel.fire(Reason::Operator))
            .is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Run>> {
        // It is whole between any two of its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Of a job that waits.
    pub(crate) fn of_waiting(job: &Job) -> Line {
        Line {
            request: job.answer.request_id().to_owned(),
            tenant: job.tenant.name.clone(),
            model: job.prompt.model.clone(),
            state: "waiting",
            queued_ms: millis(job.queued_at),
            ran_ms: 0,
            pid: None,
            rss_kib: None,
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.live.lock().remove(&self.request);
    }
}

/// Since then; 584 million years fit.
fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
