//! What systemd and this daemon tell each other: the socket to listen on, readiness, reloads, the end, signs of life.
//! Without a supervisor that speaks its protocol (`NOTIFY_SOCKET`, `LISTEN_FDS`) all of it does nothing.
#![allow(
    unsafe_code,
    reason = "a descriptor that systemd passes exists only as a number"
)]

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::net::{SocketType, sockopt};
use sd_notify::NotifyState;

use crate::log;

/// The name under which systemd keeps our socket for the next start.
const KEPT: &str = "ccgw-listener";

/// The sockets that were passed to this process. To be taken once, by the main thread, before anything is opened.
pub(crate) struct Passed {
    /// Of a socket unit.
    given: Vec<OwnedFd>,
    /// That the process before this one had systemd keep.
    kept: Option<OwnedFd>,
}

impl Passed {
    /// # Errors
    /// When `LISTEN_FDS` and the like make no sense.
    pub(crate) fn take() -> Result<Passed, String> {
        let fds = sd_notify::listen_fds_with_names()
            .map_err(|it| format!("LISTEN_FDS, as systemd sets it, cannot be used: {it}"))?;
        let mut passed = Passed {
            given: Vec::new(),
            kept: None,
        };
        for (number, name) in fds {
            let fd = owned(number);
            match name == KEPT {
                true => passed.kept = Some(fd),
                false => passed.given.push(fd),
            }
        }
        Ok(passed)
    }

    /// The socket to listen on: a socket unit's, else the one that was kept if it is at `address`, else a new one,
    /// which systemd is asked to keep over a restart, so that nobody who connects meanwhile is turned away.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn listener(mut self, address: SocketAddr) -> Result<TcpListener, String> {
        if self.given.len() > 1 {
            return Err(format!(
                "the socket unit passes {} sockets, and ccgw listens on one; leave one ListenStream= in it",
                self.given.len()
            ));
        }
        if let Some(given) = self.given.pop() {
            return from_unit(given, address);
        }
        if let Some(kept) = self.kept.take() {
            let socket = TcpListener::from(kept);
            if is_at(&socket, address) {
                return Ok(socket);
            }
            // Nobody must come to an address that is no longer configured.
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(KEPT)]);
        }
        let socket = TcpListener::bind(address).map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another server.port (or PORT) or server.host")
        })?;
        keep(&socket);
        Ok(socket)
    }
}

/// The service is up, or has come back from a reload.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// A reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn("no time for systemd", &[("why", &error)]),
    }
}

/// The end begins, and may take this long.
pub(crate) fn stopping(within: Duration) {
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(within),
        NotifyState::Status("stopping: runs may finish, new connections wait for the next start"),
    ]);
}

/// Within which time systemd wants a sign of life; `None` where it wants none.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|it| !it.is_zero())
}

pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn owned(number: RawFd) -> OwnedFd {
    // SAFETY: systemd opened it for this process (LISTEN_PID is ours) and `listen_fds_with_names` has found it open.
    // `Passed::take` is called once and before anything else, so nobody else has this number.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn from_unit(given: OwnedFd, configured: SocketAddr) -> Result<TcpListener, String> {
    let listens = sockopt::socket_type(&given).is_ok_and(|it| it == SocketType::STREAM)
        && sockopt::socket_acceptconn(&given).unwrap_or(false);
    let socket = TcpListener::from(given);
    let address = match socket.local_addr() {
        Ok(address) if listens => address,
        _ => {
            return Err("the socket unit passes no listening TCP socket; write ListenStream=PORT and no Accept=yes".to_owned());
        }
    };
    if !is_at(&socket, configured) {
        log::warn(
            "the socket unit listens elsewhere than the configuration says; instances are pointed at server.port",
            &[("socket", &address), ("configured", &configured)],
        );
    }
    Ok(socket)
}

/// Whether it listens where the configuration wants it; any port will do for 0.
fn is_at(socket: &TcpListener, address: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|it| {
        it.ip() == address.ip() && (it.port() == address.port() || address.port() == 0)
    })
}

fn keep(socket: &TcpListener) {
    let states = [NotifyState::FdStore, NotifyState::FdName(KEPT)];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[socket.as_fd()]) {
        log::warn(
            "systemd cannot be asked to keep the socket",
            &[("why", &error)],
        );
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn("systemd cannot be told", &[("why", &error)]);
    }
}

/// A line end would begin another message.
fn one_line(text: &str) -> String {
    text.trim_end().replace(['\n', '\r'], "; ")
}
