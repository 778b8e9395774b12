//! The thread `control`: takes the operator's connections, reads their requests, and has a short-lived thread
//! answer each.
//!
//! Nothing that a peer does or omits holds up another, or the gateway. One thread reads all requests without
//! waiting for any; a peer that is silent has [`REQUEST_WAIT`], and less when [`SENDING_MAX`] others come. Whole
//! requests are answered by at most [`ANSWERING_MAX`] threads.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    desk::Desk,
    message::{self, Parsed, Request, failed},
    place,
};
use crate::log;

/// Connections whose request is not whole yet; the next one takes the place of the oldest.
const SENDING_MAX: usize = 64;

/// Requests that are being answered; whoever comes then is told to come again.
const ANSWERING_MAX: usize = 16;

/// File descriptors of all that: the connections, the listener, the lock, the way to stop it.
pub(crate) const FDS_MAX: usize = SENDING_MAX + ANSWERING_MAX + 4;

/// A program on this machine sends its request in one piece.
const REQUEST_WAIT: Duration = Duration::from_secs(2);

/// A list of a thousand tenants is more than the socket holds, so its reader must read.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How long to leave the listener alone when nothing can be accepted: the process is short of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Somebody may try again and again.
static STRANGERS: log::Sparing = log::Sparing::new();

/// What the thread owns.
pub(super) struct Server {
    pub(super) listener: UnixListener,
    /// Readable when it is time to end.
    pub(super) stop: Arc<OwnedFd>,
    pub(super) desk: Arc<Desk>,
    sending: VecDeque<Sending>,
    answering: Arc<AtomicUsize>,
}

/// A connection whose request is on its way. They are kept in the order in which they came, which is the order
/// of their deadlines.
struct Sending {
    stream: UnixStream,
    head: Vec<u8>,
    until: Instant,
}

enum Ready {
    Stop,
    /// Which of the connections, and whether there are new ones.
    These(Vec<bool>, bool),
}

impl Server {
    pub(super) fn new(listener: UnixListener, stop: Arc<OwnedFd>, desk: Desk) -> Server {
        Server {
            listener,
            stop,
            desk: Arc::new(desk),
            sending: VecDeque::with_capacity(SENDING_MAX),
            answering: Arc::default(),
        }
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        loop {
            match self.wait() {
                Ok(Ready::These(ready, are_new)) => {
                    self.read(&ready);
                    self.expire(Instant::now());
                    if are_new {
                        self.accept();
                    }
                }
                Ok(Ready::Stop) => return,
                Err(error) => {
                    log::error("the operator's socket ends", &[("why", &error)]);
                    return;
                }
            }
        }
    }

    fn wait(&self) -> Result<Ready, Errno> {
        let mut fds = vec![
            PollFd::new(&*self.stop, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        let connections = self.sending.iter();
        fds.extend(connections.map(|it| PollFd::new(&it.stream, PollFlags::IN)));
        let now = Instant::now();
        let oldest = self.sending.front();
        let left = oldest.map(|it| it.until.saturating_duration_since(now));
        let left = left.and_then(|it| Timespec::try_from(it).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::These(vec![false; self.sending.len()], false)),
            Err(error) => return Err(error),
        }
        let mut ready = fds.iter().map(|it| !it.revents().is_empty());
        if ready.next() == Some(true) {
            return Ok(Ready::Stop);
        }
        let are_new = ready.next() == Some(true);
        Ok(Ready::These(ready.collect(), are_new))
    }

    fn read(&mut self, ready: &[bool]) {
        let all = std::mem::take(&mut self.sending);
        for (sending, is_ready) in all.into_iter().zip(ready) {
            match is_ready {
                true => self.go_on(sending),
                false => self.sending.push_back(sending),
            }
        }
    }

    /// Reads what is there, and keeps the connection if that is not all.
    fn go_on(&mut self, mut sending: Sending) {
        let mut buffer = [0; 2048];
        match sending.stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => sending.head.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
        match message::parse(&sending.head) {
            Parsed::Part => self.sending.push_back(sending),
            Parsed::Whole(request) => self.answer(sending.stream, request),
            Parsed::Wrong(why) => refuse(&sending.stream, 400, why),
        }
    }

    fn expire(&mut self, now: Instant) {
        let late = self.sending.partition_point(|it| it.until <= now);
        for late in self.sending.drain(..late) {
            let why = format!("no whole request within {REQUEST_WAIT:?}");
            refuse(&late.stream, 408, &why);
        }
    }

    /// Takes what waits, at most as many as the kernel keeps: then the others are looked at.
    fn accept(&mut self) {
        for _ in 0..SENDING_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return thread::sleep(PAUSE),
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        if let Err(uid) = place::permit(stream.as_fd()) {
            let uid = uid.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
            STRANGERS.info(
                "refused another user on the operator's socket",
                &[("uid", &uid)],
            );
            let why = format!("user {uid} may not ask here; the user that runs ccgw may, and root");
            return refuse(&stream, 403, &why);
        }
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.sending.len() >= SENDING_MAX
            && let Some(oldest) = self.sending.pop_front()
        {
            let why = format!("{SENDING_MAX} others came before the request was whole; try again");
            refuse(&oldest.stream, 503, &why);
        }
        // Mostly the request is here already.
        self.go_on(Sending {
            stream,
            head: Vec::new(),
            until: Instant::now() + REQUEST_WAIT,
        });
    }

    fn answer(&self, stream: UnixStream, request: Request) {
        let Some(seat) = Seat::take(&self.answering) else {
            let why = format!("{ANSWERING_MAX} requests are being answered already; try again");
            return refuse(&stream, 503, &why);
        };
        let desk = Arc::clone(&self.desk);
        // Without a thread the connection is closed, which is an answer too.
        let _ = thread::Builder::new()
            .name("operator".to_owned())
            .spawn(move || {
                let answer = desk.answer(&request);
                let bytes = message::bytes_of(&answer);
                if stream.set_nonblocking(false).is_ok() {
                    // Who asked may have left, or does not read: its loss.
                    let _ = message::write(&stream, &bytes, Instant::now() + ANSWER_WAIT);
                }
                drop(seat);
            });
    }
}

/// One of the requests that are being answered, until it is dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Seat> {
        // One thread only takes seats, so none is taken between these two.
        (taken.load(Ordering::Acquire) < ANSWERING_MAX).then(|| {
            taken.fetch_add(1, Ordering::AcqRel);
            Seat(Arc::clone(taken))
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says why, and closes the connection. What fits into a fresh socket is written at once, or not at all.
fn refuse(mut stream: &UnixStream, status: u16, why: &str) {
    let answer = message::bytes_of(&failed(status, why));
    if stream.set_nonblocking(true).is_ok() {
        // Who does not take it loses it.
        let _ = stream.write(&answer);
    }
}
