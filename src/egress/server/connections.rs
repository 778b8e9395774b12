//! The thread's own: every connection of every tenant, from its first byte to its last.

use std::{
    mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{Line, Shared, lock};
use crate::{
    egress::{
        dial::{Failure, dial},
        head::{self, Asked, HEAD_MAX},
        host::Target,
        splice::{Pair, SCRATCH},
    },
    log,
};

/// Connections of one tenant. A run has one for each request to the API, and its tools have some.
const TENANT_MAX: usize = 64;

/// Connections of all.
pub(super) const TOTAL_MAX: usize = 256;

/// Of one tenant's, those that are being made, also where nobody waits for them any more.
const DIALS_MAX: usize = 8;

/// A program sends its head in one piece.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A streaming answer says something every few seconds, and one that does not stream takes up to ten minutes.
const IDLE_TIME: Duration = Duration::from_secs(15 * 60);

/// How long to take no connection when none can be taken: the process is short of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A model may try again and again.
static REFUSED: log::Sparing = log::Sparing::new();

pub(super) struct Connections {
    shared: Arc<Shared>,
    list: Vec<Connection>,
    next_id: u64,
    /// No connection is taken before.
    pause: Option<Instant>,
    scratch: Vec<u8>,
}

struct Connection {
    id: u64,
    line: Arc<Line>,
    state: State,
    /// When it is ended, whatever it does; of one that moves, counted from the last byte.
    since: Instant,
}

enum State {
    /// What has come of its head.
    Asking(UnixStream, Vec<u8>),
    Dialling(Dialling),
    Moving(Box<Pair>),
    Over,
}

/// A connection that is being made.
struct Dialling {
    stream: UnixStream,
    target: Target,
    /// What each side gets first: the client and the host.
    first: [Vec<u8>; 2],
}

/// Whose turn it is: a connection by its place in the list, with the end that something was heard of.
enum Heard {
    Wake,
    Line(Arc<Line>),
    Connection(usize, usize),
}

impl Connections {
    pub(super) fn new(shared: Arc<Shared>) -> Connections {
        Connections {
            shared,
            list: Vec::new(),
            next_id: 0,
            pause: None,
            scratch: vec![0; SCRATCH],
        }
    }

    pub(super) fn serve(mut self) {
        while !self.shared.over.load(std::sync::atomic::Ordering::Acquire) {
            let heard = self.wait();
            let now = Instant::now();
            for (heard, flags) in heard {
                match heard {
                    Heard::Wake => {
                        // It does not block, and what it says is known.
                        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
                    }
                    Heard::Line(line) => self.accept(&line, now),
                    Heard::Connection(at, end) => self.step((at, end), flags, now),
                }
            }
            self.take_dialled(now);
            self.list.retain(|it| !it.is_over(now));
        }
    }

    /// Waits until something is to be done, or a time is over.
    fn wait(&self) -> Vec<(Heard, PollFlags)> {
        let now = Instant::now();
        let lines = lock(&self.shared.lines).clone();
        let is_deaf = self.pause.is_some_and(|it| it > now);
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        let mut whose = vec![Heard::Wake];
        for line in lines.iter().filter(|_| !is_deaf) {
            fds.push(PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN));
            whose.push(Heard::Line(Arc::clone(line)));
        }
        for (at, connection) in self.list.iter().enumerate() {
            for (end, fd, flags) in connection.interests() {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                whose.push(Heard::Connection(at, end));
            }
        }
        let ends = self.list.iter().filter_map(Connection::ends_at);
        let next = ends.chain(self.pause.filter(|_| is_deaf)).min();
        let time = next.and_then(|it| Timespec::try_from(it.saturating_duration_since(now)).ok());
        // An interrupted one finds nothing ready.
        if poll(&mut fds, time.as_ref()).is_err() {
            return Vec::new();
        }
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let heard = whose.into_iter().zip(flags);
        heard.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn accept(&mut self, line: &Arc<Line>, now: Instant) {
        let stream = match line.accept() {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(_) => {
                self.pause = Some(now + PAUSE);
                return;
            }
        };
        if !self.has_room_for(line) {
            return refuse(&stream, 503, "too many connections at the same time");
        }
        self.next_id += 1;
        self.list.push(Connection {
            id: self.next_id,
            line: Arc::clone(line),
            state: State::Asking(stream, Vec::new()),
            since: now,
        });
    }

    /// Whether there can be one more of this tenant's; one that does nothing gives way, its own or, where all
    /// have too many, of who has the most.
    fn has_room_for(&mut self, line: &Arc<Line>) -> bool {
        let of = |list: &[Connection], line: &Arc<Line>| {
            let own = list
                .iter()
                .filter(|it| Arc::ptr_eq(&it.line, line) && !it.is_over_already());
            own.count()
        };
        let own = of(&self.list, line);
        if own >= TENANT_MAX {
            let asks = |it: &Connection| matches!(it.state, State::Asking(..));
            return self.end_oldest(|it| Arc::ptr_eq(&it.line, line) && asks(it));
        }
        if self.list.len() < TOTAL_MAX {
            return true;
        }
        let most = self
            .list
            .iter()
            .map(|it| (of(&self.list, &it.line), &it.line));
        let most = most
            .max_by_key(|(count, _)| *count)
            .map(|(count, line)| (count, Arc::clone(line)));
        most.is_some_and(|(count, most)| {
            count > own + 1 && self.end_oldest(|it| Arc::ptr_eq(&it.line, &most))
        })
    }

    fn end_oldest(&mut self, which: impl Fn(&Connection) -> bool) -> bool {
        let open = self
            .list
            .iter_mut()
            .filter(|it| !it.is_over_already() && which(it));
        let oldest = open.min_by_key(|it| it.quiet_since());
        oldest.map(|it| it.state = State::Over).is_some()
    }

    fn step(&mut self, (at, end): (usize, usize), flags: PollFlags, now: Instant) {
        let Some(connection) = self.list.get_mut(at) else {
            return;
        };
        match &mut connection.state {
            State::Moving(pair) => {
                pair.heard(end, flags);
                pair.advance(&mut self.scratch, now);
            }
            State::Asking(stream, bytes) => {
                let old = bytes.len();
                let room = &mut self.scratch[..HEAD_MAX];
                match recv(&*stream, room, RecvFlags::DONTWAIT) {
                    Err(Errno::AGAIN | Errno::INTR) => return,
                    Ok((count @ 1.., _)) => bytes.extend_from_slice(&self.scratch[..count]),
                    _ => {
                        connection.state = State::Over;
                        return;
                    }
                }
                match head::end(bytes, old) {
                    Some(end) if end <= HEAD_MAX => self.go(at, end, now),
                    None if bytes.len() <= HEAD_MAX => {}
                    _ => {
                        refuse(stream, 431, "the head is longer than 16 KiB");
                        connection.state = State::Over;
                    }
                }
            }
            State::Dialling(_) | State::Over => {}
        }
    }

    /// Has a connection made for a head that is whole.
    fn go(&mut self, at: usize, end: usize, now: Instant) {
        let line = Arc::clone(&self.list[at].line);
        let connection = &mut self.list[at];
        let State::Asking(stream, bytes) = mem::replace(&mut connection.state, State::Over) else {
            return;
        };
        let (target, first) = match head::parse(&bytes[..end]) {
            Ok(Asked::Tunnel(target)) => (target, [CONNECTED.to_vec(), bytes[end..].to_vec()]),
            Ok(Asked::Request(target, head)) => {
                (target, [Vec::new(), [&head, &bytes[end..]].concat()])
            }
            Err((status, why)) => return refuse(&stream, status, why),
        };
        let policy = line.policy();
        let Some((policy, trust)) =
            policy.and_then(|it| it.trust(&target).map(|trust| (it, trust)))
        else {
            return not_for_runs(
                &stream,
                (&line, &target),
                "is not among the hosts of its tenant's runs (sandbox.hosts)",
            );
        };
        let Some(place) = line.dials.begin(DIALS_MAX) else {
            return refuse(
                &stream,
                503,
                "too many connections are being made at the same time",
            );
        };
        let (id, shared, to) = (connection.id, Arc::clone(&self.shared), target.clone());
        let dial = move || {
            let dialled = dial(&to, trust, policy.proxy_to(&to));
            // Before the client hears of it, since it may ask for the next one at once.
            drop(place);
            lock(&shared.dialled).push((id, dialled));
            shared.wake();
        };
        match thread::Builder::new().name("dial".to_owned()).spawn(dial) {
            Ok(_) => {
                connection.since = now;
                connection.state = State::Dialling(Dialling {
                    stream,
                    target,
                    first,
                });
            }
            Err(_) => refuse(&stream, 503, "the gateway has no thread left"),
        }
    }

    /// Begins to move what is connected now.
    fn take_dialled(&mut self, now: Instant) {
        let dialled = mem::take(&mut *lock(&self.shared.dialled));
        for (id, dialled) in dialled {
            // One that gave way meanwhile is gone.
            let Some(connection) = self.list.iter_mut().find(|it| it.id == id) else {
                continue;
            };
            let State::Dialling(it) = mem::replace(&mut connection.state, State::Over) else {
                continue;
            };
            match dialled {
                Ok(host) => {
                    let ends: [OwnedFd; 2] = [it.stream.into(), host.into()];
                    let is_tunnel = !it.first[0].is_empty();
                    let pair = Pair::new(ends, it.first, now);
                    let mut pair = Box::new(if is_tunnel {
                        pair
                    } else {
                        pair.with_one_answer()
                    });
                    pair.advance(&mut self.scratch, now);
                    connection.state = State::Moving(pair);
                }
                Err(Failure::Refused(why)) => {
                    not_for_runs(&it.stream, (&connection.line, &it.target), &why)
                }
                Err(Failure::Failed(why)) => {
                    refuse(&it.stream, 502, &format!("{} {why}", it.target))
                }
            }
        }
    }
}

impl Connection {
    fn interests(&self) -> Vec<(usize, BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Asking(stream, _) => vec![(0, stream.as_fd(), PollFlags::IN)],
            State::Moving(pair) => pair.interests().collect(),
            State::Dialling(_) | State::Over => Vec::new(),
        }
    }

    fn quiet_since(&self) -> Instant {
        match &self.state {
            State::Moving(pair) => pair.moved,
            _ => self.since,
        }
    }

    /// `None` for one that ends by itself.
    fn ends_at(&self) -> Option<Instant> {
        match &self.state {
            State::Asking(..) => Some(self.since + HEAD_TIME),
            State::Moving(pair) => Some(pair.moved + IDLE_TIME),
            State::Dialling(_) | State::Over => None,
        }
    }

    fn is_over_already(&self) -> bool {
        match &self.state {
            State::Moving(pair) => pair.is_over(),
            State::Over => true,
            State::Asking(..) | State::Dialling(_) => false,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_over_already() || self.ends_at().is_some_and(|it| it <= now)
    }
}

fn not_for_runs(stream: &UnixStream, (line, target): (&Line, &Target), why: &str) {
    REFUSED.info(
        "a run was not connected with a host",
        &[("tenant", &line.tenant), ("host", target), ("why", &why)],
    );
    refuse(stream, 403, &format!("{target} {why}"));
}

/// Says why, to a socket that has room for so little.
fn refuse(stream: &UnixStream, status: u16, why: &str) {
    let phrase = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    };
    let text = format!("ccgw: {why}\n");
    let answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // Who has left hears nothing.
    let _ = send(
        stream,
        answer.as_bytes(),
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    );
}
