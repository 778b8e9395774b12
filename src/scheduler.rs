//! Who runs next: the queue holds the rules, one thread holds the queue and the waiting jobs.
//!
//! Tenants take turns: the tenant whose last run started longest ago goes first, so one tenant's
//! flood delays another's next request by at most one run. A [`Permit`] is the right to run;
//! dropping it is the only way to give it back. A job that is to be alone in its conversation waits
//! until the one before it there is over, and takes nobody's place meanwhile.
//!
//! Two inboxes, because one bounded inbox deadlocks when returned permits wait behind new requests:
//! `requests` (bounded, senders may wait) and `returns` (roomy enough that senders never wait).
//! Returns are always taken first.

mod queue;
mod words;

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendError, Sender, bounded, select_biased};

pub(crate) use self::{
    queue::{Counts, Limits, TenantId},
    words::{cancelled, shutting_down},
};
use self::{
    queue::{Queue, Ticket, TicketId},
    words::{queue_full, waited_too_long},
};
use crate::{
    api::ApiError,
    gateway::{Flight, Job, Refusal, live::Line},
    session::Key,
};

/// What the world may ask of the scheduler; cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: Sender<Request>,
    returns: Sender<Returned>,
}

/// The right to run one job; dropping it gives it back.
pub(crate) struct Permit {
    tenant: TenantId,
    alone_in: Option<Key>,
    started: Instant,
    returns: Sender<Returned>,
}

/// Owns the thread. It ends when told to close and the last permit is back.
pub(crate) struct Scheduler {
    handle: Handle,
    thread: thread::JoinHandle<()>,
}

enum Request {
    Enqueue(Box<Job>),
    Count(Sender<Counts>),
    Limit(Limits),
    List(Sender<Vec<Line>>),
    /// The job of this request id; answered whether there was one.
    Cancel(String, Sender<bool>),
    /// A run whose client has left, for a repeat of its request that waits.
    Attach(Arc<Flight>),
    /// Refuse what waits and what comes from now on, and end with the last permit.
    Close,
}

enum Returned {
    Permit {
        tenant: TenantId,
        alone_in: Option<Key>,
        ran: Duration,
    },
    Left(TicketId),
}

/// What one live job returns at most: its place in the queue and its permit.
const RETURNS_PER_JOB: usize = 2;

/// Jobs handed over and not yet seen by the thread; http workers wait beyond that.
const REQUESTS_MAX: usize = 64;

impl Scheduler {
    /// `runs` takes every granted job and has room for all that may ever run at once; its receivers
    /// are the CLI workers, at least `limits.running_max` of them. `refusals` takes the jobs that must be told no.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        limits: Limits,
        runs: Sender<(Box<Job>, Permit)>,
        refusals: Sender<Refusal>,
    ) -> io::Result<Self> {
        let (requests, inbox) = bounded(REQUESTS_MAX);
        let (returns, returned) = bounded(RETURNS_PER_JOB * limits.jobs_max);
        let handle = Handle { requests, returns };
        let actor = Actor {
            queue: Queue::new(limits),
            jobs: HashMap::new(),
            handle: handle.clone(),
            returned,
            runs,
            refusals,
            open: Open::Yes,
            run_average: Duration::from_secs(10),
            next_id: 0,
        };
        let thread = thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || actor.run(&inbox))?;
        Ok(Scheduler { handle, thread })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the last permit. Call [`Handle::close`] first.
    pub(crate) fn join(self) {
        drop(self.handle);
        // A panic there was already reported by its own thread.
        let _ = self.thread.join();
    }
}

impl Handle {
    /// Gives a job its place in the queue, or has it refused. The job is answered in any case.
    pub(crate) fn enqueue(&self, job: Box<Job>) {
        // The thread ends with the last run of a gateway that shuts down.
        if let Err(SendError(Request::Enqueue(job))) = self.requests.send(Request::Enqueue(job)) {
            Refusal {
                job,
                error: shutting_down(),
            }
            .answer();
        }
    }

    /// What runs and waits now; empty when the scheduler is gone.
    pub(crate) fn counts(&self) -> Counts {
        let (answer, counts) = bounded(1);
        match self.requests.send(Request::Count(answer)) {
            Ok(()) => counts.recv().unwrap_or_default(),
            Err(_) => Counts::default(),
        }
    }

    /// Whether the thread answers in this time; one that has ended does not.
    pub(crate) fn answers_within(&self, time: Duration) -> bool {
        let (answer, counts) = bounded(1);
        self.requests
            .send_timeout(Request::Count(answer), time)
            .is_ok()
            && counts.recv_timeout(time).is_ok()
    }

    /// Keeps to other limits from now on; what runs or waits beyond them is left to go on.
    pub(crate) fn limit(&self, limits: Limits) {
        // A scheduler that is gone limits nothing any more.
        let _ = self.requests.send(Request::Limit(limits));
    }

    /// What waits now, the oldest first; empty when the scheduler is gone.
    pub(crate) fn waiting(&self) -> Vec<Line> {
        let (answer, lines) = bounded(1);
        match self.requests.send(Request::List(answer)) {
            Ok(()) => lines.recv().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Refuses a job that waits; false when there is none of this request id.
    pub(crate) fn cancel(&self, request: &str) -> bool {
        let (answer, done) = bounded(1);
        let order = Request::Cancel(request.to_owned(), answer);
        self.requests.send(order).is_ok() && done.recv().unwrap_or(false)
    }

    /// Gives a run that nobody reads to a repeat of its request, if one waits.
    pub(crate) fn attach(&self, flight: Arc<Flight>) {
        // A scheduler that is gone has nothing that waits.
        let _ = self.requests.send(Request::Attach(flight));
    }

    /// Refuses all that waits and all that comes, and ends the thread once nothing runs any more.
    pub(crate) fn close(&self) {
        // A scheduler that is gone has nothing left to close.
        let _ = self.requests.send(Request::Close);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The channel has room for all (`RETURNS_PER_JOB`) and outlives every permit.
        let _ = self.returns.try_send(Returned::Permit {
            tenant: self.tenant,
            alone_in: self.alone_in,
            ran: self.started.elapsed(),
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    Closed,
}

enum Event {
    Request(Request),
    Returned(Returned),
    Tick,
}

struct Actor {
    queue: Queue,
    jobs: HashMap<TicketId, Box<Job>>,
    handle: Handle,
    returned: Receiver<Returned>,
    runs: Sender<(Box<Job>, Permit)>,
    refusals: Sender<Refusal>,
    open: Open,
    /// A moving average, from which `Retry-After` is guessed.
    run_average: Duration,
    next_id: TicketId,
}

impl Actor {
    fn run(mut self, inbox: &Receiver<Request>) {
        while self.open != Open::Closed || self.queue.running() > 0 {
            match self.next_event(inbox) {
                Event::Request(Request::Enqueue(job)) => self.enqueue(job),
                Event::Request(Request::Count(answer)) => {
                    // The asker may have left.
                    let _ = answer.send(self.queue.counts());
                }
                Event::Request(Request::Limit(limits)) => self.queue.limits = limits,
                Event::Request(Request::List(answer)) => {
                    // As for the counts.
                    let _ = answer.send(self.waiting());
                }
                Event::Request(Request::Cancel(request, answer)) => {
                    let _ = answer.send(self.cancel(&request));
                }
                Event::Request(Request::Attach(flight)) => self.attach(&flight),
                Event::Request(Request::Close) => self.close(),
                Event::Returned(Returned::Permit {
                    tenant,
                    alone_in,
                    ran,
                }) => {
                    self.run_average = (self.run_average * 7 + ran) / 8;
                    self.queue.release(tenant, alone_in);
                }
                Event::Returned(Returned::Left(id)) => self.leave(id),
                Event::Tick => self.tick(Instant::now()),
            }
            self.grant();
        }
        // What came in between the last look and now is told no, like all that comes after.
        while let Ok(request) = inbox.try_recv() {
            if let Request::Enqueue(job) = request {
                self.refuse(job, shutting_down());
            }
        }
    }

    fn next_event(&self, inbox: &Receiver<Request>) -> Event {
        if let Ok(returned) = self.returned.try_recv() {
            return Event::Returned(returned);
        }
        let wake = self
            .jobs
            .values()
            .map(|job| job.wake_at(self.queue.limits.wait_max))
            .min();
        let Some(wake) = wake else {
            // Biased: a returned permit must never wait behind new requests.
            return select_biased! {
                recv(self.returned) -> it => it.map_or(Event::Tick, Event::Returned),
                recv(inbox) -> it => it.map_or(Event::Tick, Event::Request),
            };
        };
        select_biased! {
            recv(self.returned) -> it => it.map_or(Event::Tick, Event::Returned),
            recv(inbox) -> it => it.map_or(Event::Tick, Event::Request),
            default(wake.saturating_duration_since(Instant::now())) => Event::Tick,
        }
    }

    fn enqueue(&mut self, job: Box<Job>) {
        if self.open != Open::Yes {
            return self.refuse(job, shutting_down());
        }
        let id = self.next_id;
        let ticket = Ticket {
            id,
            tenant: job.tenant_id(),
            alone_in: job.alone_in(),
        };
        if !self.has_memory_for(&job) || self.queue.push(ticket).is_err() {
            let error = queue_full(job.tenant_name(), &self.queue.limits, self.run_average);
            return self.refuse(job, error);
        }
        self.next_id += 1;
        let returns = self.handle.returns.clone();
        job.on_gone(Box::new(move || {
            // As for a permit.
            let _ = returns.try_send(Returned::Left(id));
        }));
        self.jobs.insert(id, job);
    }

    /// One request of any size may always wait.
    fn has_memory_for(&self, job: &Job) -> bool {
        let same = self
            .jobs
            .values()
            .filter(|it| it.tenant_id() == job.tenant_id());
        let waiting: usize = same.map(|it| it.bytes).sum();
        waiting == 0 || waiting + job.bytes <= self.queue.limits.bytes_max
    }

    fn waiting(&self) -> Vec<Line> {
        let mut tickets: Vec<_> = self.jobs.iter().collect();
        tickets.sort_by_key(|(id, _)| **id);
        let jobs = tickets.into_iter().map(|(_, job)| Line::of_waiting(job));
        jobs.collect()
    }

    fn cancel(&mut self, request: &str) -> bool {
        let mut jobs = self.jobs.iter();
        let id = jobs.find(|(_, job)| job.request_id() == request);
        let Some(id) = id.map(|(id, _)| *id) else {
            return false;
        };
        self.queue.leave(id);
        if let Some(job) = self.jobs.remove(&id) {
            self.refuse(job, cancelled());
        }
        true
    }

    /// One of them: the others are still read, and get the answer when it is whole.
    fn attach(&mut self, flight: &Flight) {
        let mut jobs = self.jobs.iter_mut();
        let attached = jobs.find_map(|(id, job)| job.attach_to(flight).then_some(*id));
        if let Some(id) = attached {
            self.queue.leave(id);
            self.jobs.remove(&id);
        }
    }

    fn leave(&mut self, id: TicketId) {
        self.queue.leave(id);
        if let Some(job) = self.jobs.remove(&id) {
            job.log_gone_while_queued();
        }
    }

    /// Keeps waiting clients alive and refuses those that waited too long.
    fn tick(&mut self, now: Instant) {
        let wait_max = self.queue.limits.wait_max;
        let due: Vec<TicketId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.wake_at(wait_max) <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(job) = self.jobs.get_mut(&id) else {
                continue;
            };
            let expired = now.saturating_duration_since(job.queued_at()) >= wait_max;
            if !expired && job.keep_alive(now).is_ok() {
                continue;
            }
            self.queue.leave(id);
            let Some(job) = self.jobs.remove(&id) else {
                continue;
            };
            if expired {
                self.refuse(job, waited_too_long(wait_max));
            } else {
                job.log_gone_while_queued();
            }
        }
    }

    fn close(&mut self) {
        self.open = Open::Closed;
        self.queue.clear();
        for (_, job) in std::mem::take(&mut self.jobs) {
            self.refuse(job, shutting_down());
        }
    }

    fn refuse(&self, job: Box<Job>, error: ApiError) {
        // http workers do the writing, since a write may wait for a slow client. Should they be
        // behind by as many refusals as the channel holds, the job is dropped: a plain 500.
        let _ = self.refusals.try_send(Refusal { job, error });
    }

    fn grant(&mut self) {
        while let Some(ticket) = self.queue.next() {
            let permit = Permit {
                tenant: ticket.tenant,
                alone_in: ticket.alone_in,
                started: Instant::now(),
                returns: self.handle.returns.clone(),
            };
            let Some(job) = self.jobs.remove(&ticket.id) else {
                continue;
            };
            // The channel has room for all permits, so this never waits; when the workers are gone the
            // job is dropped (500) and the permit returns itself.
            let _ = self.runs.send((job, permit));
        }
    }
}
