//! Signs of life for systemd: given only while the loop and the scheduler answer, so that a gateway that hangs is
//! started anew, and one that is merely busy is not.

use std::{io, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{http::Pulse, log, scheduler, systemd};

/// Dropping it ends the signs of life.
pub(super) struct Watchdog {
    /// The thread waits for it to go.
    _end: Sender<()>,
}

/// Where systemd wants signs of life.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start(pulse: Pulse, scheduler: scheduler::Handle) -> io::Result<Option<Watchdog>> {
    let Some(within) = systemd::watchdog() else {
        return Ok(None);
    };
    let (end_in, end) = bounded(0);
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || watch(&end, within, || answers(&pulse, &scheduler, within / 6)))?;
    Ok(Some(Watchdog { _end: end_in }))
}

/// Half of the time may pass before the first look, and a sixth with the loop; the scheduler takes up to a sixth to hear
/// the question and another to answer it.
fn watch(end: &Receiver<()>, within: Duration, answers: impl Fn() -> Option<&'static str>) {
    loop {
        match answers() {
            None => systemd::alive(),
            Some(who) => log::error("a thread does not answer", &[("thread", &who)]),
        }
        if end.recv_timeout(within / 2) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Who does not.
fn answers(pulse: &Pulse, scheduler: &scheduler::Handle, time: Duration) -> Option<&'static str> {
    if !pulse.beats_within(time) {
        return Some("loop");
    }
    (!scheduler.answers_within(time)).then_some("scheduler")
}
