//! The threads that work for the gateway: a few that parse and answer at once, and one per
//! possible run that owns a keeper and whatever it runs.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select, select_biased};
use rustix::event::{EventfdFlags, eventfd};

use super::{
    Gateway, Job, Refusal,
    cancel::{Cancel, Reason},
    run::{Hands, run},
};
use crate::{
    api::{ApiError, ErrorKind},
    claude::keeper::Keeper,
    config::CONCURRENT_MAX,
    http::Request,
    log, memory,
    scheduler::Permit,
};

/// Threads that take whole requests; they end when both channels are closed.
pub(crate) struct HttpWorkers(Vec<JoinHandle<()>>);

/// Enough to keep two cores busy while one of them waits for a slow client.
const HTTP_WORKERS: usize = 4;

impl HttpWorkers {
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        gateway: &Arc<Gateway>,
        requests: &Receiver<Box<Request>>,
        refusals: &Receiver<Refusal>,
    ) -> io::Result<Self> {
        let start = |n: usize| {
            let (gateway, requests, refusals) =
                (Arc::clone(gateway), requests.clone(), refusals.clone());
            thread::Builder::new()
                .name(format!("http-{n}"))
                .spawn(move || serve(&gateway, requests, refusals))
        };
        (0..HTTP_WORKERS)
            .map(start)
            .collect::<io::Result<_>>()
            .map(HttpWorkers)
    }

    pub(crate) fn join(self) {
        // A panic there was already reported by its own thread.
        self.0.into_iter().for_each(|it| drop(it.join()));
    }
}

fn serve(gateway: &Gateway, mut requests: Receiver<Box<Request>>, mut refusals: Receiver<Refusal>) {
    let (mut more_requests, mut more_refusals) = (true, true);
    while more_requests || more_refusals {
        // A request that panics drops its reply, which answers 500; the thread goes on.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            select! {
                recv(requests) -> it => match it {
                    Ok(request) => gateway.serve(*request),
                    Err(_) => more_requests = false,
                },
                recv(refusals) -> it => match it {
                    Ok(refusal) => refusal.answer(),
                    Err(_) => more_refusals = false,
                },
            }
        }));
        if outcome.is_err() {
            log::error("a request panicked and was answered 500", &[]);
        }
        // A closed channel would be ready for ever.
        if !more_requests {
            requests = crossbeam_channel::never();
        }
        if !more_refusals {
            refusals = crossbeam_channel::never();
        }
    }
}

/// One thread per possible run; they end when the channel of granted jobs is closed.
pub(crate) struct CliWorkers {
    gateway: Arc<Gateway>,
    runs: Receiver<(Box<Job>, Permit)>,
    threads: Vec<JoinHandle<()>>,
    current: Vec<Current>,
    ending: Ending,
    /// How many are not told to end.
    wanted: usize,
    /// Each message ends one worker, when it has nothing to run.
    retire: Sender<()>,
    retired: Receiver<()>,
}

/// The cancel handle of what a worker runs now.
#[derive(Clone, Default)]
struct Current(Arc<Mutex<Option<Arc<Cancel>>>>);

/// Why all that runs is to end, once it is.
type Ending = Arc<OnceLock<Reason>>;

impl Current {
    fn set(&self, cancel: Option<Arc<Cancel>>) {
        // It is only ever replaced whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cancel;
    }

    /// Enters a run. One that was granted before the order that all end, and is entered after it, ends as well: that
    /// order comes before the look at who is entered, and this look at the order after the entering.
    fn enter(&self, cancel: &Arc<Cancel>, ending: &Ending) {
        self.set(Some(Arc::clone(cancel)));
        if let Some(reason) = ending.get() {
            cancel.fire(*reason);
        }
    }

    fn end(&self, reason: Reason) {
        if let Some(cancel) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            cancel.fire(reason);
        }
    }
}

impl CliWorkers {
    /// # Errors
    /// When a thread or its wake descriptor cannot be had.
    pub(crate) fn start(
        gateway: &Arc<Gateway>,
        runs: &Receiver<(Box<Job>, Permit)>,
        count: usize,
    ) -> io::Result<Self> {
        let (retire, retired) = bounded(CONCURRENT_MAX);
        let mut workers = CliWorkers {
            gateway: Arc::clone(gateway),
            runs: runs.clone(),
            threads: Vec::new(),
            current: Vec::new(),
            ending: Ending::default(),
            wanted: 0,
            retire,
            retired,
        };
        workers.resize(count)?;
        Ok(workers)
    }

    /// Starts more, or has some end once they have nothing to run.
    ///
    /// # Errors
    /// When a thread or its wake descriptor cannot be had; those that could be had stay.
    pub(crate) fn resize(&mut self, count: usize) -> io::Result<()> {
        while self.wanted > count && self.retire.try_send(()).is_ok() {
            self.wanted -= 1;
        }
        self.forget_ended();
        while self.wanted < count {
            // One that was told to end and has not heard it yet may stay.
            if self.retired.try_recv().is_err() {
                self.start_one()?;
            }
            self.wanted += 1;
        }
        Ok(())
    }

    fn start_one(&mut self) -> io::Result<()> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let current = Current::default();
        let inboxes = (self.runs.clone(), self.retired.clone());
        let gateway = Arc::clone(&self.gateway);
        let own = (current.clone(), Arc::clone(&self.ending));
        let thread = thread::Builder::new().name(format!("cli-{}", self.threads.len()));
        let thread = thread.spawn(move || work(&gateway, &inboxes, &wake, &own))?;
        self.threads.push(thread);
        self.current.push(current);
        Ok(())
    }

    fn forget_ended(&mut self) {
        for index in (0..self.threads.len()).rev() {
            if self.threads[index].is_finished() {
                // A panic there was already reported by its own thread.
                drop(self.threads.swap_remove(index).join());
                self.current.swap_remove(index);
            }
        }
    }

    /// Ends whatever runs now, and whatever was granted already and is not begun.
    pub(crate) fn cancel_all(&self, reason: Reason) {
        end_all(&self.ending, &self.current, reason);
    }

    pub(crate) fn join(self) {
        // A panic there was already reported by its own thread.
        self.threads.into_iter().for_each(|it| drop(it.join()));
    }
}

fn end_all(ending: &Ending, entered: &[Current], reason: Reason) {
    // The first reason counts.
    let _ = ending.set(reason);
    entered.iter().for_each(|it| it.end(reason));
}

pub(super) fn no_keeper() -> ApiError {
    let text = "cannot start the process that looks after a run; the machine is short of processes or descriptors";
    ApiError::new(ErrorKind::Unavailable, text).retry_after(Duration::from_secs(5))
}

fn work(
    gateway: &Gateway,
    (runs, retired): &(Receiver<(Box<Job>, Permit)>, Receiver<()>),
    wake: &Arc<rustix::fd::OwnedFd>,
    (current, ending): &(Current, Ending),
) {
    // Before the first run needs it.
    memory::look_again();
    // Or else with the first run that can have one.
    let mut keeper = Keeper::start().ok();
    loop {
        // Never an order to end before a job: its permit may be the one that this worker stands for.
        let (job, permit) = select_biased! {
            recv(runs) -> granted => match granted {
                Ok(granted) => granted,
                Err(_) => return,
            },
            recv(retired) -> _ => return,
        };
        let cancel = Cancel::new(Arc::clone(wake));
        current.enter(&cancel, ending);
        let hands = Hands {
            keeper: &mut keeper,
            wake,
            cancel: &cancel,
        };
        // A run that panics drops its answer and its permit: the client sees a 500 or a broken
        // stream, the next job runs.
        if catch_unwind(AssertUnwindSafe(|| run(gateway, job, permit, hands))).is_err() {
            log::error("a run panicked and was answered 500", &[]);
        }
        current.set(None);
        // The one it had may look after a process that waits now.
        keeper = keeper.or_else(|| Keeper::start().ok());
        memory::look_again();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_that_is_entered_after_the_order_to_end_ends_too() {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let (current, ending) = (Current::default(), Ending::default());
        let before = Cancel::new(Arc::clone(&wake));
        current.enter(&before, &ending);
        assert_eq!(before.reason(), None);
        end_all(&ending, std::slice::from_ref(&current), Reason::Shutdown);
        let after = Cancel::new(wake);
        current.enter(&after, &ending);
        assert_eq!(before.reason(), Some(Reason::Shutdown));
        assert_eq!(after.reason(), Some(Reason::Shutdown));
    }
}
