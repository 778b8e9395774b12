//! One connection's state machine: what it waits for, until when, and what becomes of it.
//! Reading a request is in `receive`; this file has everything around it.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::epoll::EventFlags;

use super::accept::{Seat, Seats};
use super::budget::Budget;
use super::hangup::HangUp;
use super::head::{Head, Persistence, Refusal, Scanner};
use super::mailbox::{End, Mailbox};
use super::receive::Receiving;
use super::reply::Request;
use super::response::Response;
use super::slab::Key;
use super::socket::{Received, Socket};
use super::{Admit, AnswerHeaders, ErrorBody, IsProxy, Limits, Refused};

/// One read while a head is awaited: enough for most, and little to keep if the peer pipelines.
const HEAD_READ_BYTES: usize = 16 * 1024;
/// After a last answer the peer may still be sending. Reading some of it lets the peer see the
/// answer, because closing a socket with unread bytes is a reset that can overtake it.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// How long a new connection is kept for its first request once no more are taken.
pub(super) const ARRIVAL_TIME: Duration = Duration::from_secs(1);
/// A slow reader must take this much of a whole answer in each write timeout.
const WRITE_QUOTA_BYTES: usize = 64 * 1024;
/// An output buffer larger than this is not kept for the next answer.
const MAX_KEPT_OUTPUT_BYTES: usize = 64 * 1024;

/// What every connection needs of the listener.
pub(super) struct Service {
    pub(super) limits: Limits,
    pub(super) admit: Admit,
    /// Boxed, because the channel keeps room for as many as there may be connections.
    pub(super) requests: Sender<Box<Request>>,
    pub(super) error_body: ErrorBody,
    pub(super) answer_headers: AnswerHeaders,
    pub(super) is_proxy: IsProxy,
    pub(super) seats: Seats,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) bodies: Budget,
    /// Each request that workers have holds it, too.
    pub(super) in_hand: Arc<()>,
    /// The time of the current round of the loop.
    pub(super) now: Instant,
    /// Where answers of the loop's own are put together.
    pub(super) output: Vec<u8>,
}

pub(super) struct Conn {
    pub(super) key: Key,
    pub(super) socket: Arc<Socket>,
    pub(super) peer: SocketAddr,
    pub(super) seat: Seat,
    /// What epoll watches for now.
    pub(super) registered: Option<EventFlags>,
    pub(super) phase: Phase,
    /// When the phase is over at the latest.
    pub(super) deadline: Option<Instant>,
    /// What was read and is not used yet: part of a head, or pipelined requests. Empty and
    /// without memory while the connection is idle.
    pub(super) input: Vec<u8>,
    /// Requests so far.
    pub(super) served: u32,
}

pub(super) enum Phase {
    /// A new one of a proxy, which has not said yet for whom it is.
    Introduction,
    /// Between two requests.
    Idle,
    /// New, or in the middle of a head.
    Head(Scanner),
    Body(Box<Receiving>),
    /// Answered before the body was read; what is left of the body is thrown away.
    Discard {
        left: u64,
    },
    /// A worker has the request. Nothing more is read than what had come with it.
    Answering {
        hang_up: HangUp,
        watch: Watch,
    },
    /// The rest of an answer leaves as the client takes it.
    Writing(Box<Outgoing>),
    /// Told that nothing more will come, and waiting for the peer to close.
    Lingering {
        left: usize,
    },
    /// To be removed by the loop.
    Closed,
}

/// What is watched for while a worker has the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Everything,
    /// More input has come. It stays in the kernel, whose buffer is the bound on what a peer can
    /// pipeline; asking for it again would make the loop spin.
    HangUp,
    /// The client is gone.
    Nothing,
}

pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// What was sent when the deadline was set.
    sent_in_time: usize,
    after: After,
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    NextRequest,
    /// The rest of the request's body, this many bytes; then the next request.
    Discard(u64),
    Linger,
}

impl Conn {
    pub(super) fn new(
        key: Key,
        (socket, peer): (Socket, SocketAddr),
        seat: Seat,
        service: &Service,
    ) -> Conn {
        let phase = match seat {
            Seat::Proxy => Phase::Introduction,
            Seat::Guest(_) | Seat::TurnedAway => Phase::Head(Scanner::default()),
        };
        Conn {
            key,
            socket: Arc::new(socket),
            peer,
            seat,
            registered: None,
            phase,
            deadline: service.deadline(service.limits.head_timeout),
            input: Vec::new(),
            served: 0,
        }
    }

    /// What epoll should watch for; hang-ups and errors it reports whenever it watches at all.
    pub(super) fn interest(&self) -> Option<EventFlags> {
        match &self.phase {
            Phase::Closed
            | Phase::Answering {
                watch: Watch::Nothing,
                ..
            } => None,
            Phase::Answering {
                watch: Watch::HangUp,
                ..
            } => Some(EventFlags::RDHUP),
            Phase::Writing(_) => Some(EventFlags::OUT),
            _ => Some(EventFlags::IN | EventFlags::RDHUP),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Handles what epoll reported. One read at most, so that no peer keeps the loop busy.
    pub(super) fn on_ready(&mut self, ready: EventFlags, buffer: &mut [u8], cx: &mut Service) {
        match self.phase {
            Phase::Answering { .. } => self.watch(ready),
            Phase::Writing(_) => self.write_rest(cx),
            Phase::Closed => {}
            _ => self.read(buffer, cx),
        }
    }

    /// The phase has lasted too long.
    pub(super) fn on_deadline(&mut self, cx: &mut Service) {
        self.deadline = None;
        match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Head(_) if !self.input.is_empty() => {
                let seconds = cx.limits.head_timeout.as_secs_f32();
                let message = format!("request head not complete after {seconds} s");
                self.refuse(&Refusal::new(408, message), None, cx);
            }
            Phase::Body(receiving) => {
                let seconds = cx.limits.body_timeout.as_secs_f32();
                let message = format!("request body not complete after {seconds} s");
                self.refuse(&Refusal::new(408, message), Some(&receiving.head), cx);
            }
            Phase::Answering { hang_up, watch } => {
                // A running answer has no deadline here; its run has.
                self.phase = Phase::Answering { hang_up, watch };
            }
            Phase::Writing(_) => self.socket.reset_on_close(),
            _ => {}
        }
    }

    /// A worker is done with the request.
    pub(super) fn on_return(&mut self, end: End, cx: &mut Service) {
        let Phase::Answering { watch, .. } = self.phase else {
            return;
        };
        let after = |then| match (then, watch) {
            (Persistence::Close, _) | (_, Watch::Nothing) => After::Linger,
            (Persistence::Keep, _) => After::NextRequest,
        };
        match end {
            End::Sent(then) => self.go_on(after(then), cx),
            End::Rest { bytes, sent, then } => self.start_writing(bytes, sent, after(then), cx),
            End::Reset => self.phase = Phase::Closed,
        }
        self.use_input(cx);
    }

    /// No more requests will be taken on this connection than the one that has begun to come.
    pub(super) fn on_drain(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => self.phase = Phase::Closed,
            // Its client connected to send one, which may be on its way.
            Phase::Head(_) | Phase::Introduction if self.input.is_empty() => {
                let soon = now + ARRIVAL_TIME;
                self.deadline = Some(self.deadline.map_or(soon, |it| it.min(soon)));
            }
            _ => {}
        }
    }

    /// Whether a request is on its way, or is to be expected.
    pub(super) fn is_sending(&self) -> bool {
        matches!(
            self.phase,
            Phase::Introduction | Phase::Head(_) | Phase::Body(_)
        )
    }

    /// The loop cannot serve this connection any longer.
    pub(super) fn abandon(&mut self) {
        if let Phase::Answering { hang_up, .. } = &self.phase {
            hang_up.tell();
        }
        self.phase = Phase::Closed;
    }

    /// Answers a request that the listener itself refuses, and closes the connection.
    pub(super) fn refuse(&mut self, refusal: &Refusal, head: Option<&Head>, cx: &mut Service) {
        let response = cx.error(refusal, head, self.peer);
        self.answer(&response, head, After::Linger, cx);
    }

    /// Sends a whole answer from the loop: one write, and the rest when the client takes it.
    pub(super) fn answer(
        &mut self,
        response: &Response,
        request: Option<&Head>,
        after: After,
        cx: &mut Service,
    ) {
        let then = match after {
            After::Linger => Persistence::Close,
            After::NextRequest | After::Discard(_) => Persistence::Keep,
        };
        cx.output.clear();
        cx.output.shrink_to(MAX_KEPT_OUTPUT_BYTES);
        response.encode(&mut cx.output, request, then);
        match self.socket.send(&cx.output) {
            Ok(sent) if sent == cx.output.len() => self.go_on(after, cx),
            Ok(sent) => {
                let rest = cx.output.split_off(sent);
                self.start_writing(rest, 0, after, cx);
            }
            Err(_) => self.phase = Phase::Closed,
        }
    }

    fn watch(&mut self, ready: EventFlags) {
        let Phase::Answering { hang_up, watch } = &mut self.phase else {
            return;
        };
        if ready.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            *watch = Watch::Nothing;
            hang_up.tell();
        } else {
            *watch = Watch::HangUp;
        }
    }

    fn read(&mut self, buffer: &mut [u8], cx: &mut Service) {
        let window = match self.phase {
            Phase::Idle | Phase::Head(_) | Phase::Introduction => HEAD_READ_BYTES.min(buffer.len()),
            _ => buffer.len(),
        };
        match (self.socket.receive(&mut buffer[..window]), &mut self.phase) {
            (Ok(Received::Nothing), _) => {}
            (Ok(Received::End) | Err(_), _) => self.phase = Phase::Closed,
            (Ok(Received::Bytes(count)), Phase::Lingering { left }) => {
                *left = left.saturating_sub(count);
                if *left == 0 {
                    self.phase = Phase::Closed;
                }
            }
            (Ok(Received::Bytes(count)), _) => self.take(&buffer[..count], cx),
        }
    }

    fn start_writing(&mut self, bytes: Vec<u8>, sent: usize, after: After, cx: &Service) {
        self.phase = Phase::Writing(Box::new(Outgoing {
            bytes,
            sent,
            sent_in_time: sent,
            after,
        }));
        self.deadline = cx.deadline(cx.limits.write_timeout);
    }

    fn write_rest(&mut self, cx: &mut Service) {
        let Phase::Writing(outgoing) = &mut self.phase else {
            return;
        };
        let rest = outgoing.bytes.get(outgoing.sent..).unwrap_or_default();
        let Ok(count) = self.socket.send(rest) else {
            self.phase = Phase::Closed;
            return;
        };
        outgoing.sent += count;
        if count == rest.len() {
            let after = outgoing.after;
            self.go_on(after, cx);
            self.use_input(cx);
        } else if outgoing.sent - outgoing.sent_in_time >= WRITE_QUOTA_BYTES {
            outgoing.sent_in_time = outgoing.sent;
            self.deadline = cx.deadline(cx.limits.write_timeout);
        }
    }

    /// The answer has left, or what was to be thrown away has come.
    pub(super) fn go_on(&mut self, after: After, cx: &Service) {
        match after {
            After::NextRequest if cx.mailbox.is_draining() => self.linger(cx),
            After::NextRequest => {
                self.phase = Phase::Idle;
                self.deadline = cx.deadline(cx.limits.idle_timeout);
            }
            After::Discard(left) => {
                self.phase = Phase::Discard { left };
                self.deadline = cx.deadline(cx.limits.head_timeout);
            }
            After::Linger => self.linger(cx),
        }
    }

    fn linger(&mut self, cx: &Service) {
        self.input = Vec::new();
        self.deadline = cx.deadline(LINGER_TIME);
        self.phase = match self.socket.shutdown_write() {
            Ok(()) => Phase::Lingering { left: LINGER_BYTES },
            Err(_) => Phase::Closed,
        };
    }
}

impl Service {
    /// `None`, which is never, for a time that the clock cannot hold.
    pub(super) fn deadline(&self, after: Duration) -> Option<Instant> {
        self.now.checked_add(after)
    }

    /// An answer of the listener's own.
    pub(super) fn error(
        &self,
        refusal: &Refusal,
        head: Option<&Head>,
        peer: SocketAddr,
    ) -> Response {
        let response = (self.error_body)(&Refused {
            status: refusal.status,
            message: &refusal.message,
            head,
            peer,
        });
        match refusal.status {
            // Both pass soon: another connection ends, a queue moves.
            429 | 503 => response.header("Retry-After", "1"),
            _ => response,
        }
    }
}
