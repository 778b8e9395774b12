//! One connection's input: bytes in, complete requests out to the workers.

use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::body::{Decoder, Progress};
use super::budget::{Body, Charge};
use super::conn::{After, Conn, Phase, Service, Watch};
use super::fields::Framing;
use super::hangup::HangUp;
use super::head::{self, Expectation, Head, Persistence, Refusal, Scanner};
use super::introduction::{self, Introduction, NotIntroduced};
use super::reply::{Exchange, Reply, Request};
use super::response::Response;

/// Requests on one connection; then it is closed, so that limits and loads even out.
const MAX_REQUESTS: u32 = 1000;
/// The body of a rejected request is read past up to this length, because that is cheaper for
/// both sides than a new connection.
const MAX_DISCARD_BYTES: u64 = 64 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request whose body is on its way.
pub(super) struct Receiving {
    pub(super) head: Head,
    decoder: Decoder,
    body: Vec<u8>,
    charge: Charge,
}

impl Conn {
    /// Takes in bytes just read.
    pub(super) fn take(&mut self, bytes: &[u8], cx: &mut Service) {
        if self.input.is_empty() {
            let used = self.advance(bytes, cx);
            self.input = bytes[used..].to_vec();
        } else {
            self.input.extend_from_slice(bytes);
            self.use_input(cx);
        }
    }

    /// Goes on with what was read before, as far as the phase allows.
    pub(super) fn use_input(&mut self, cx: &mut Service) {
        if self.input.is_empty() {
            return;
        }
        let mut input = mem::take(&mut self.input);
        let used = self.advance(&input, cx);
        if used < input.len() {
            input.drain(..used);
            self.input = input;
        }
    }

    /// Moves through as many phases as `bytes` suffice for, and says how many are used. Each round
    /// uses at least one, so `bytes` bound the rounds.
    fn advance(&mut self, bytes: &[u8], cx: &mut Service) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let count = match self.phase {
                Phase::Introduction => self.take_introduction(rest, cx),
                Phase::Idle | Phase::Head(_) => self.take_head(rest, cx),
                Phase::Body(_) => self.take_body(rest, cx),
                Phase::Discard { left } => self.discard(rest, left, cx),
                Phase::Answering { .. } | Phase::Writing(_) => 0,
                Phase::Lingering { .. } | Phase::Closed => rest.len(),
            };
            if count == 0 {
                break;
            }
            used += count;
        }
        used
    }

    /// From here on the peer is whom the proxy has named.
    fn take_introduction(&mut self, bytes: &[u8], cx: &mut Service) -> usize {
        let (used, client) = match introduction::read(bytes) {
            Ok(Introduction::More) => return 0,
            Ok(Introduction::Whole(used, client)) => (used, client),
            Err(NotIntroduced) => {
                self.refuse(&not_introduced(self.peer), None, cx);
                return bytes.len();
            }
        };
        self.phase = Phase::Head(Scanner::default());
        if let Some(client) = client {
            self.peer = client;
            if let Err(full) = cx.seats.introduce(&mut self.seat, client.ip()) {
                self.refuse(&full.refusal(), None, cx);
                return bytes.len();
            }
        }
        used
    }

    fn take_head(&mut self, bytes: &[u8], cx: &mut Service) -> usize {
        let mut scanner = match mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Head(scanner) => scanner,
            _ => {
                self.deadline = cx.deadline(cx.limits.head_timeout);
                Scanner::default()
            }
        };
        let place = match scanner.find_end(bytes, cx.limits.max_head_bytes) {
            Ok(Some(place)) => place,
            Ok(None) => {
                self.phase = Phase::Head(scanner);
                return 0;
            }
            Err(refusal) => {
                self.refuse(&refusal, None, cx);
                return bytes.len();
            }
        };
        let end = place.end;
        match head::parse(&bytes[place]) {
            Ok(head) => self.begin(head, cx),
            Err(refusal) => self.refuse(&refusal, None, cx),
        }
        end
    }

    /// Decides on a complete head.
    fn begin(&mut self, mut head: Head, cx: &mut Service) {
        self.served += 1;
        // A panic in it has been printed by the panic hook; the loop serves everybody else.
        let admitted = catch_unwind(AssertUnwindSafe(|| {
            head.answer_headers = (cx.answer_headers)(&head);
            (cx.admit)(&head, self.peer)
        }));
        let account = match admitted {
            Ok(Ok(account)) => account,
            Ok(Err(response)) => return self.reject(&response, &head, cx),
            Err(_) => {
                let refusal = Refusal::new(500, "the gateway failed to check this request");
                return self.refuse(&refusal, Some(&head), cx);
            }
        };
        let decoder = match Decoder::new(head.framing, max_body(&head, cx)) {
            Ok(decoder) => decoder,
            Err(refusal) => return self.refuse(&refusal, Some(&head), cx),
        };
        let charge = cx.bodies.open(account);
        if head.framing == Framing::Empty {
            return self.dispatch(head, Body::new(Vec::new(), charge), cx);
        }
        if !cx.bodies.allows(&charge) {
            return self.refuse(&no_room(), Some(&head), cx);
        }
        if head.expectation == Expectation::Continue && !self.send_continue() {
            self.phase = Phase::Closed;
            return;
        }
        self.deadline = cx.deadline(cx.limits.body_timeout);
        let body = Vec::new();
        self.phase = Phase::Body(Box::new(Receiving {
            head,
            decoder,
            body,
            charge,
        }));
    }

    /// Answers a request that was not admitted, without keeping a byte of its body.
    fn reject(&mut self, response: &Response, head: &Head, cx: &mut Service) {
        let after = match (self.persistence(head, cx), head.framing, head.expectation) {
            (Persistence::Close, _, _) => After::Linger,
            (Persistence::Keep, Framing::Empty, _) => After::NextRequest,
            // Whether a client that waits for 100 still sends its body cannot be known.
            (Persistence::Keep, Framing::Length(length), Expectation::Nothing)
                if length <= MAX_DISCARD_BYTES =>
            {
                After::Discard(length)
            }
            (Persistence::Keep, _, _) => After::Linger,
        };
        self.answer(response, Some(head), after, cx);
    }

    fn take_body(&mut self, bytes: &[u8], cx: &mut Service) -> usize {
        let Phase::Body(mut receiving) = mem::replace(&mut self.phase, Phase::Idle) else {
            return 0;
        };
        let fed = match receiving.decoder.feed(bytes, &mut receiving.body) {
            Ok(fed) => fed,
            Err(refusal) => {
                self.refuse(&refusal, Some(&receiving.head), cx);
                return bytes.len();
            }
        };
        receiving.charge.grow_to(receiving.body.capacity());
        if !cx.bodies.allows(&receiving.charge) {
            self.refuse(&no_room(), Some(&receiving.head), cx);
            return bytes.len();
        }
        match fed.progress {
            Progress::More => self.phase = Phase::Body(receiving),
            Progress::Complete => {
                let Receiving {
                    head, body, charge, ..
                } = *receiving;
                self.dispatch(head, Body::new(body, charge), cx);
            }
        }
        fed.used
    }

    fn discard(&mut self, bytes: &[u8], left: u64, cx: &Service) -> usize {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        match left - count as u64 {
            0 => self.go_on(After::NextRequest, cx),
            left => self.phase = Phase::Discard { left },
        }
        count
    }

    /// Hands a complete request to the workers.
    fn dispatch(&mut self, head: Head, body: Body, cx: &Service) {
        let hang_up = HangUp::new();
        let persistence = self.persistence(&head, cx);
        let head = Arc::new(head);
        let reply = Reply::new(Exchange {
            socket: Arc::clone(&self.socket),
            head: Arc::clone(&head),
            hang_up: hang_up.clone(),
            mailbox: Arc::clone(&cx.mailbox),
            key: self.key,
            peer: self.peer,
            persistence,
            write_timeout: cx.limits.write_timeout,
            error_body: cx.error_body,
        });
        self.deadline = None;
        self.phase = Phase::Answering {
            hang_up,
            watch: Watch::Everything,
        };
        let request = Request {
            head,
            body,
            peer: self.peer,
            reply,
            _in_hand: Arc::clone(&cx.in_hand),
        };
        if let Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) =
            cx.requests.try_send(Box::new(request))
        {
            // The connection comes back through the mailbox, as if a worker had answered.
            let message = "too many requests are waiting; try again in a moment";
            let refusal = Refusal::new(503, message);
            let response = cx.error(&refusal, Some(&request.head), self.peer);
            request.reply.send(response);
        }
    }

    fn persistence(&self, head: &Head, cx: &Service) -> Persistence {
        match self.served >= MAX_REQUESTS || cx.mailbox.is_draining() {
            true => Persistence::Close,
            false => head.persistence,
        }
    }

    /// A peer that does not even read 25 bytes is not worth a wait.
    fn send_continue(&self) -> bool {
        self.socket
            .send(CONTINUE)
            .is_ok_and(|sent| sent == CONTINUE.len())
    }
}

/// RFC 9110 sections 9.3.1 and 9.3.7: content means nothing in these requests, and they are the ones that a
/// gateway may admit from anybody. So nobody can make it keep a body without being known.
fn max_body(head: &Head, cx: &Service) -> u64 {
    match head.method() {
        "GET" | "HEAD" | "OPTIONS" => 0,
        _ => cx.limits.max_body_bytes as u64,
    }
}

fn not_introduced(peer: SocketAddr) -> Refusal {
    let ip = peer.ip();
    let text = format!(
        "server.proxy_protocol_from holds {ip}, so {} (HAProxy: `send-proxy-v2`, `check-send-proxy`)",
        introduction::MISSING
    );
    Refusal::new(400, text)
}

fn no_room() -> Refusal {
    Refusal::new(
        503,
        "too many large requests at the same time; try again in a moment",
    )
}
