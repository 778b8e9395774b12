//! Who runs next: [`Queue`] holds the rules, one thread holds the `Queue` and the waiting jobs.
//!
//! Tenants take turns: the tenant whose last run started longest ago goes first, so one tenant's
//! flood delays another's next request by at most one run. A [`Permit`] is the right to run;
//! dropping it is the only way to give it back.
//!
//! Two inboxes, because one bounded inbox deadlocks when returned permits wait behind new requests:
//! `requests` (bounded, senders may wait) and `returns` (roomy enough that senders never wait).
//! Returns are always taken first.

use std::{
    collections::{HashMap, VecDeque},
    io, thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};

use crate::{
    api::{ApiError, ErrorKind},
    gateway::{Job, Refusal},
};

/// Which tenant a job belongs to: its index in the configuration.
pub(crate) type TenantId = usize;

/// Numbers jobs within one scheduler.
pub(crate) type TicketId = u64;

/// The limits a [`Queue`] keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Runs at one time, all tenants together.
    pub(crate) running_max: usize,
    /// Runs at one time of one tenant.
    pub(crate) per_tenant_max: usize,
    /// Waiting jobs of one tenant.
    pub(crate) depth_max: usize,
    /// How long a job may wait.
    pub(crate) wait_max: Duration,
    /// Jobs that can be alive at one time: each has a connection of its own.
    pub(crate) jobs_max: usize,
    /// Bytes of waiting requests of one tenant: what a queue may cost in memory.
    pub(crate) bytes_max: usize,
}

/// What the world may ask of the scheduler; cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: Sender<Request>,
    returns: Sender<Returned>,
}

/// The right to run one job; dropping it gives it back.
pub(crate) struct Permit {
    tenant: TenantId,
    started: Instant,
    returns: Sender<Returned>,
}

/// A count of what runs and waits, per tenant and in all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) running: usize,
    pub(crate) queued: usize,
    /// `(running, queued)` of tenants that have any.
    pub(crate) tenants: HashMap<TenantId, (usize, usize)>,
}

/// Owns the thread. It ends when told to close and the last permit is back.
pub(crate) struct Scheduler {
    handle: Handle,
    thread: thread::JoinHandle<()>,
}

enum Request {
    Enqueue(Box<Job>),
    Count(Sender<Counts>),
    /// Refuse what waits and what comes from now on, and end with the last permit.
    Close,
}

enum Returned {
    Permit { tenant: TenantId, ran: Duration },
    Left(TicketId),
}

/// What one live job returns at most: its place in the queue and its permit.
const RETURNS_PER_JOB: usize = 2;

/// Jobs handed over and not yet seen by the thread; http workers wait beyond that.
const REQUESTS_MAX: usize = 64;

impl Scheduler {
    /// `runs` takes every granted job; its receivers are the CLI workers, at least
    /// `limits.running_max` of them. `refusals` takes the jobs that must be told no.
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
        // When the thread is gone the job is dropped, which answers 500.
        let _ = self.requests.send(Request::Enqueue(job));
    }

    /// What runs and waits now; empty when the scheduler is gone.
    pub(crate) fn counts(&self) -> Counts {
        let (answer, counts) = bounded(1);
        match self.requests.send(Request::Count(answer)) {
            Ok(()) => counts.recv().unwrap_or_default(),
            Err(_) => Counts::default(),
        }
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
                Event::Request(Request::Close) => self.close(),
                Event::Returned(Returned::Permit { tenant, ran }) => {
                    self.run_average = (self.run_average * 7 + ran) / 8;
                    self.queue.release(tenant);
                }
                Event::Returned(Returned::Left(id)) => self.leave(id),
                Event::Tick => self.tick(Instant::now()),
            }
            self.grant();
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
        if !self.has_memory_for(&job) || self.queue.push(job.tenant_id(), id).is_err() {
            let error = self.queue_full(&job);
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

    fn queue_full(&self, job: &Job) -> ApiError {
        let depth = self.queue.limits.depth_max;
        let wait = self.run_average / self.queue.limits.per_tenant_max.max(1) as u32;
        ApiError::new(
            ErrorKind::RateLimited,
            format!(
                "the queue of tenant {} is full (at most {depth} requests, {} MiB in all); try again later or raise cli.queue_depth",
                job.tenant_name(),
                self.queue.limits.bytes_max >> 20
            ),
        )
        .retry_after(wait.clamp(Duration::from_secs(1), Duration::from_secs(60)))
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
        while let Some((id, tenant)) = self.queue.next() {
            let permit = Permit {
                tenant,
                started: Instant::now(),
                returns: self.handle.returns.clone(),
            };
            let Some(job) = self.jobs.remove(&id) else {
                continue;
            };
            // There are as many workers as permits, so this never waits; when they are gone the
            // job is dropped (500) and the permit returns itself.
            let _ = self.runs.send((job, permit));
        }
    }
}

fn shutting_down() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "the gateway is shutting down; send the request again",
    )
    .retry_after(Duration::from_secs(5))
}

fn waited_too_long(wait_max: Duration) -> ApiError {
    ApiError::new(
        ErrorKind::Overloaded,
        format!(
            "the request waited {} s in the queue (cli.queue_timeout) and no run became free; try again later",
            wait_max.as_secs()
        ),
    )
    .retry_after(Duration::from_secs(30))
}

/// The queue of a tenant is as long as it may be.
#[derive(Debug, PartialEq, Eq)]
struct Full;

/// The rules alone: no threads, no clocks, no jobs but their numbers.
struct Queue {
    limits: Limits,
    tenants: HashMap<TenantId, Lane>,
    /// Counts grants; a lane's `served` is the count at its last grant.
    grants: u64,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<TicketId>,
    served: u64,
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Queue {
            limits,
            tenants: HashMap::new(),
            grants: 0,
        }
    }

    /// # Errors
    /// [`Full`] when the tenant's lane has `depth_max` waiting and cannot start another at once.
    fn push(&mut self, tenant: TenantId, id: TicketId) -> Result<(), Full> {
        let room = self.running() < self.limits.running_max;
        let lane = self.tenants.entry(tenant).or_default();
        let starts_now =
            room && lane.waiting.is_empty() && lane.running < self.limits.per_tenant_max;
        if !starts_now && lane.waiting.len() >= self.limits.depth_max {
            return Err(Full);
        }
        lane.waiting.push_back(id);
        Ok(())
    }

    /// Takes the ticket that may run now, and counts it as running.
    fn next(&mut self) -> Option<(TicketId, TenantId)> {
        if self.running() >= self.limits.running_max {
            return None;
        }
        let per_tenant_max = self.limits.per_tenant_max;
        let (&tenant, lane) = self
            .tenants
            .iter_mut()
            .filter(|(_, lane)| !lane.waiting.is_empty() && lane.running < per_tenant_max)
            // Among tenants never served the oldest ticket goes first.
            .min_by_key(|(_, lane)| (lane.served, lane.waiting.front().copied()))?;
        let id = lane.waiting.pop_front()?;
        self.grants += 1;
        lane.running += 1;
        lane.served = self.grants;
        Some((id, tenant))
    }

    fn leave(&mut self, id: TicketId) {
        for lane in self.tenants.values_mut() {
            lane.waiting.retain(|it| *it != id);
        }
    }

    fn release(&mut self, tenant: TenantId) {
        if let Some(lane) = self.tenants.get_mut(&tenant) {
            lane.running = lane.running.saturating_sub(1);
        }
    }

    fn clear(&mut self) {
        self.tenants
            .values_mut()
            .for_each(|lane| lane.waiting.clear());
    }

    fn running(&self) -> usize {
        self.tenants.values().map(|lane| lane.running).sum()
    }

    fn counts(&self) -> Counts {
        Counts {
            running: self.running(),
            queued: self.tenants.values().map(|lane| lane.waiting.len()).sum(),
            tenants: self
                .tenants
                .iter()
                .map(|(id, lane)| (*id, (lane.running, lane.waiting.len())))
                .filter(|(_, counts)| *counts != (0, 0))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(running_max: usize, per_tenant_max: usize, depth_max: usize) -> Queue {
        Queue::new(Limits {
            running_max,
            per_tenant_max,
            depth_max,
            wait_max: Duration::from_secs(1),
            jobs_max: 9,
            bytes_max: 9,
        })
    }

    /// A script of steps and the tickets granted after each: `a1` pushes ticket 1 for tenant a,
    /// `-a` returns a permit of tenant a, `x1` drops ticket 1, `a1!` expects a refusal.
    #[track_caller]
    fn check(mut queue: Queue, script: &[(&str, &[TicketId])]) {
        for (at, (step, expect)) in script.iter().enumerate() {
            let (kind, rest) = step.split_at(1);
            let tenant = |name: &str| name.as_bytes()[0] as TenantId;
            match kind {
                "-" => queue.release(tenant(rest)),
                "x" => queue.leave(rest.parse().unwrap()),
                name => {
                    let refused = rest.ends_with('!');
                    let id = rest.trim_end_matches('!').parse().unwrap();
                    assert_eq!(
                        queue.push(tenant(name), id).is_err(),
                        refused,
                        "step {at} {step}"
                    );
                }
            }
            let granted: Vec<TicketId> = std::iter::from_fn(|| queue.next())
                .map(|(id, _)| id)
                .collect();
            assert_eq!(granted, *expect, "step {at} {step}");
        }
    }

    #[test]
    fn one_tenant_runs_in_order_of_arrival() {
        check(
            queue(3, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3", &[]),
                ("-a", &[2]),
                ("-a", &[3]),
            ],
        );
    }

    #[test]
    fn flood_of_one_tenant_delays_another_by_at_most_one_run() {
        let flood: [(&str, &[TicketId]); 4] = [("a1", &[1]), ("a2", &[]), ("a3", &[]), ("a4", &[])];
        let rest: [(&str, &[TicketId]); 4] = [("b5", &[]), ("-a", &[5]), ("-b", &[2]), ("b6", &[])];
        check(queue(1, 1, 9), &[flood, rest].concat());
    }

    #[test]
    fn tenants_take_turns() {
        check(
            queue(1, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("b3", &[]),
                ("b4", &[]),
                ("c5", &[]),
                ("-a", &[3]),
                ("-b", &[5]),
                ("-c", &[2]),
                ("-a", &[4]),
            ],
        );
    }

    #[test]
    fn running_max_holds_over_all_tenants() {
        check(
            queue(2, 1, 9),
            &[("a1", &[1]), ("b2", &[2]), ("c3", &[]), ("-a", &[3])],
        );
    }

    #[test]
    fn dropped_ticket_is_never_granted() {
        check(
            queue(1, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3", &[]),
                ("x2", &[]),
                ("-a", &[3]),
            ],
        );
    }

    #[test]
    fn depth_is_per_tenant_and_dead_tickets_free_it() {
        check(
            queue(1, 1, 1),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3!", &[]),
                ("b4", &[]),
                ("x2", &[]),
                ("a5", &[]),
            ],
        );
    }

    #[test]
    fn depth_zero_still_runs_what_can_start_at_once() {
        check(
            queue(1, 1, 0),
            &[("a1", &[1]), ("a2!", &[]), ("-a", &[]), ("a3", &[3])],
        );
    }
}
