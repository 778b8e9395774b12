//! What the daemon's main thread waits for: signals, and the end of the last run.

use std::{io, thread, time::Instant};

use crossbeam_channel::{Receiver, bounded, never, select};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{log, scheduler::Scheduler};

pub(super) fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(8);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // Eight unread signals say all there is to say.
                let _ = sender.try_send(signal);
            }
        })?;
    Ok(receiver)
}

pub(super) fn signal_name(signal: Option<i32>) -> &'static str {
    match signal {
        Some(SIGTERM) => "SIGTERM",
        Some(SIGINT) => "SIGINT",
        _ => "none",
    }
}

/// What [`wait_for_end`] returns when the last run is over.
pub(super) const IDLE: i32 = 0;

/// Waits for a signal that ends the daemon, for `idle` to close, or for the deadline (`None`).
pub(super) fn wait_for_end(
    signals: &Receiver<i32>,
    idle: &Receiver<()>,
    until: Option<Instant>,
) -> Option<i32> {
    let deadline = until.map_or_else(never, crossbeam_channel::at);
    loop {
        select! {
            recv(signals) -> signal => match signal {
                // It would only have been for requests that no longer come.
                Ok(SIGHUP) => {}
                Ok(signal) => return Some(signal),
                Err(_) => return None,
            },
            recv(idle) -> _ => return Some(IDLE),
            recv(deadline) -> _ => return None,
        }
    }
}

/// Closes the scheduler; the channel closes when its last permit is back.
pub(super) fn closed_when_idle(scheduler: Scheduler) -> Receiver<()> {
    scheduler.handle().close();
    let (idle_in, idle) = bounded::<()>(0);
    let waiter = thread::Builder::new()
        .name("drain".to_owned())
        .spawn(move || {
            scheduler.join();
            drop(idle_in);
        });
    if let Err(error) = waiter {
        // The sender went with the thread, so the drain is over at once: harsh, but it ends.
        log::error("cannot wait for the runs", &[("why", &error)]);
    }
    idle
}
