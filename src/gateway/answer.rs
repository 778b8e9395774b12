//! What one caller gets: one head, then either one answer or one error, never both, never neither.
//!
//! The head of a streaming answer is held until the first event, at most [`HEAD_WAIT`], so that an
//! early failure keeps its HTTP status. After that the client sees a ping at once and after every
//! [`SILENCE`] without an event, queued or running: OpenClaw counts only real events as life.

mod client;
mod encoder;
mod response;

use std::{
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::response::{request_id_header, with_time_in_words};
pub(crate) use self::{
    encoder::Encoder,
    response::{error_response, json},
};
use super::{flight::Pilot, kept::Place, limits, route::Format};
use crate::{
    api::{AnswerEvent, ApiError, ErrorKind, anthropic, openai},
    claude::event::RateLimit,
    http::{AnswerHeader, HangUp, Limit, Reply, Response, Stream},
    session::Continuity,
};

/// How long a streaming answer's head is held back for a status that fits.
const HEAD_WAIT: Duration = Duration::from_secs(5);

/// The longest silence on an open stream. A provider of OpenClaw's may have a `timeoutSeconds` of 8.
const SILENCE: Duration = Duration::from_secs(5);

/// The answer of one request on its way out. Dropped unfinished, the client sees a 500 or a
/// visibly broken stream.
pub(crate) struct Answer {
    request_id: String,
    /// What of the request has no effect, for `x-ccgw-ignored`.
    ignored: Option<String>,
    /// Where usage limits stand, as far as the CLI told before the head left.
    limits: Vec<AnswerHeader>,
    /// Where its text is kept.
    keep: Option<Place>,
    /// How the history reached the model, for `x-ccgw-session`.
    continuity: Option<Continuity>,
    /// Where repeats of the request attach.
    pilot: Option<Pilot>,
    format: Format,
    encoder: Encoder,
    channel: Channel,
    out: Vec<u8>,
    arrived: Instant,
    last_sent: Instant,
}

/// Whether to wait for a client that takes nothing at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// For threads that serve everybody.
    None,
    /// For a run's own thread: as long as `server.write_timeout` and the run itself allow.
    Within(Limit<'a>),
}

/// How long the last words of a failed answer may wait for the client. The run's processes are
/// ended after them, and must be gone within 3 s.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The header that names what was accepted and has no effect.
const IGNORED: &str = "x-ccgw-ignored";

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// The header that says that a request was a repeat, and no run of its own.
const REPEAT: &str = "x-ccgw-repeat";

/// Answers a repeat with the answer that its first request had.
pub(super) fn deliver(channel: Channel, response: Response) {
    match channel {
        Channel::Held(reply) => reply.send(response),
        Channel::Open(mut stream) => {
            let limit = Limit {
                until: Some(Instant::now() + WHOLE_WAIT),
                wake: None,
            };
            let frame = match response.status {
                200 => response.body,
                // The head has left, so the failure is the stream's last event.
                _ => [b"event: error\ndata: ", &*response.body, b"\n\n"]
                    .concat()
                    .into(),
            };
            // When it cannot be written the client is gone.
            if stream.write(&frame, limit).is_ok() {
                stream.finish();
            }
        }
        Channel::Closed => {}
    }
}

/// How long a stored answer may wait for a slow client.
const WHOLE_WAIT: Duration = Duration::from_secs(10);

/// The header that says whether the CLI still had the conversation.
const SESSION: &str = "x-ccgw-session";

pub(super) enum Channel {
    /// Nothing sent yet.
    Held(Reply),
    /// The head is out.
    Open(Stream),
    /// Answered, failed or left.
    Closed,
}

impl Answer {
    pub(crate) fn new(request_id: String, format: Format, encoder: Encoder, reply: Reply) -> Self {
        let now = Instant::now();
        Answer {
            request_id,
            ignored: None,
            limits: Vec::new(),
            keep: None,
            continuity: None,
            pilot: None,
            format,
            encoder,
            channel: Channel::Held(reply),
            out: Vec::new(),
            arrived: now,
            last_sent: now,
        }
    }

    /// Names the fields of the request that have no effect, in a header of a good answer.
    pub(crate) fn ignoring(mut self, fields: &[&str]) -> Self {
        self.ignored = (!fields.is_empty()).then(|| fields.join(", "));
        self
    }

    /// Keeps its text for a later request.
    pub(crate) fn kept_at(mut self, keep: Option<Place>) -> Self {
        self.keep = keep;
        self
    }

    /// Says how the history reached the model, in a header of a good answer.
    pub(crate) fn continues(&mut self, continuity: Continuity) {
        self.continuity = Some(continuity);
    }

    /// Where usage limits stand. OpenAI's format has no words for that.
    pub(crate) fn limits(&mut self, limit: &RateLimit) {
        if self.format == Format::Anthropic {
            self.limits = limits::headers(limit);
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The client's connection, to hear when it goes; `None` once answered.
    pub(crate) fn hangup(&self) -> Option<&HangUp> {
        match &self.channel {
            Channel::Held(reply) => Some(reply.hangup()),
            Channel::Open(stream) => Some(stream.hangup()),
            Channel::Closed => None,
        }
    }

    /// When [`Answer::keep_alive`] wants to be called next.
    pub(crate) fn next_beat(&self) -> Option<Instant> {
        match (&self.channel, self.streams()) {
            (Channel::Held(_), true) => Some(self.arrived + HEAD_WAIT),
            (Channel::Open(_), _) => Some(self.last_sent + SILENCE),
            _ => None,
        }
    }

    /// Opens a held head or sends a ping where it is time.
    ///
    /// # Errors
    /// When the client takes nothing more: it is gone.
    pub(crate) fn keep_alive(&mut self, now: Instant, patience: Patience<'_>) -> io::Result<()> {
        if self.next_beat().is_none_or(|due| now < due) {
            return Ok(());
        }
        self.open();
        let ping = match &mut self.encoder {
            Encoder::AnthropicStream(_) => anthropic::ping().to_vec(),
            Encoder::OpenAiStream(encoder) => encoder.ping(),
            Encoder::ResponsesStream(encoder) => encoder.ping(),
            Encoder::AnthropicWhole(_)
            | Encoder::OpenAiWhole(_)
            | Encoder::ResponsesWhole(_)
            | Encoder::Count => return Ok(()),
        };
        self.last_sent = now;
        match &mut self.channel {
            Channel::Open(stream) => match patience {
                Patience::None => stream.write_now(&ping),
                Patience::Within(limit) => stream.write(&ping, limit),
            },
            Channel::Held(_) | Channel::Closed => Ok(()),
        }
    }

    /// Takes one event; it leaves with the next [`Answer::flush`].
    pub(crate) fn event(&mut self, event: &AnswerEvent<'_>) {
        match &mut self.encoder {
            Encoder::AnthropicStream(encoder) => encoder.encode(event, &mut self.out),
            Encoder::OpenAiStream(encoder) => encoder.encode(event, &mut self.out),
            Encoder::ResponsesStream(encoder) => encoder.encode(event, &mut self.out),
            Encoder::ResponsesWhole(collector) => collector.take(event),
            Encoder::AnthropicWhole(collector) => collector.take(event),
            Encoder::OpenAiWhole(collector) => collector.take(event),
            Encoder::Count => {}
        }
        // Before the client hears of the end, since it may go on at once.
        if let AnswerEvent::End { .. } = event
            && let Some(place) = self.keep.take()
        {
            place.fill(self.encoder.said());
        }
    }

    /// Sends what the events made, in one write.
    ///
    /// # Errors
    /// When the client is gone, took nothing for the write timeout, or the limit ended the wait.
    pub(crate) fn flush(&mut self, limit: Limit<'_>) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        if self.pilot.as_ref().is_some_and(|it| !it.keep(&self.out)) {
            self.pilot = None;
        }
        self.open();
        let written = match &mut self.channel {
            Channel::Open(stream) => stream.write(&self.out, limit),
            Channel::Held(_) | Channel::Closed => Ok(()),
        };
        // What could not be written is kept for a client that comes back.
        self.out.clear();
        self.last_sent = Instant::now();
        written
    }

    /// Ends a complete answer, all of whose events were flushed.
    pub(crate) fn finish(&mut self) {
        let body = match &mut self.encoder {
            Encoder::AnthropicWhole(collector) => Some(collector.finish()),
            Encoder::OpenAiWhole(collector) => Some(collector.finish()),
            Encoder::ResponsesWhole(collector) => Some(collector.finish()),
            Encoder::AnthropicStream(_)
            | Encoder::OpenAiStream(_)
            | Encoder::ResponsesStream(_)
            | Encoder::Count => None,
        };
        if let Some(pilot) = self.pilot.take() {
            let response = self.whole(body.clone().unwrap_or_default());
            let (newcomers, response) = pilot.answered(response);
            if !newcomers.is_empty() {
                self.refuse_place();
                let deliver = |it| deliver(it, response.clone());
                return newcomers.into_iter().for_each(deliver);
            }
        }
        match (std::mem::replace(&mut self.channel, Channel::Closed), body) {
            (Channel::Open(stream), _) => stream.finish(),
            (Channel::Held(reply), Some(body)) => {
                let mut response = json(200, body);
                response.headers.extend(self.headers());
                reply.send(response);
            }
            // A stream of no events is no answer: dropping the reply says 500.
            (Channel::Held(_), None) | (Channel::Closed, _) => {}
        }
    }

    /// The answer as one response, for a repeat of its request; of a stream the head.
    fn whole(&self, body: Vec<u8>) -> Response {
        let kind = match self.streams() {
            true => EVENT_STREAM,
            false => "application/json",
        };
        let mut response = Response::new(200).header("content-type", kind).body(body);
        response.headers.extend(self.headers());
        response.header(REPEAT, "stored")
    }

    /// Tells a client whose place another one takes.
    fn refuse_place(&mut self) {
        let text = "a repeat of this request took its place";
        self.fail_channel(&ApiError::new(ErrorKind::InvalidRequest, text));
    }

    /// Sends a whole answer that is no message.
    pub(crate) fn send(&mut self, body: Vec<u8>, header: (&'static str, &'static str)) {
        if let Channel::Held(reply) = std::mem::replace(&mut self.channel, Channel::Closed) {
            let response = json(200, body).header(header.0, header.1);
            reply.send(response.header(request_id_header(self.format), self.request_id.clone()));
        }
    }

    /// Ends the answer with an error: as a status while the head is held, else as the stream's
    /// last event. Does nothing when it is over already.
    pub(crate) fn fail(&mut self, error: &ApiError) {
        self.out.clear();
        let newcomers = self.pilot.take().map(|it| it.over());
        self.fail_channel(error);
        self.fail_each(newcomers.unwrap_or_default(), error);
    }

    /// The same, for a run that has done something: a repeat of its request hears of the failure, and does nothing
    /// again.
    pub(super) fn fail_for_good(&mut self, error: &ApiError) {
        let response = error_response(self.format, error, &self.request_id);
        let stored = response.header(REPEAT, "stored");
        let came = self.pilot.take().map(|it| it.answered(stored).0);
        self.fail(error);
        self.fail_each(came.unwrap_or_default(), error);
    }

    fn fail_each(&mut self, newcomers: Vec<Channel>, error: &ApiError) {
        for newcomer in newcomers {
            self.channel = newcomer;
            self.fail_channel(error);
        }
    }

    fn fail_channel(&mut self, error: &ApiError) {
        match std::mem::replace(&mut self.channel, Channel::Closed) {
            Channel::Held(reply) => {
                let mut response = error_response(self.format, error, &self.request_id);
                response.headers.extend(self.limits.clone());
                reply.send(response);
            }
            Channel::Open(mut stream) => {
                let error = &with_time_in_words(error);
                let frame = match &mut self.encoder {
                    Encoder::AnthropicStream(_) => anthropic::error_frame(error, &self.request_id),
                    Encoder::ResponsesStream(encoder) => encoder.error_frame(error),
                    _ => openai::error_frame(error),
                };
                // When it cannot be written the client is gone, or sees a broken stream.
                let limit = Limit {
                    until: Some(Instant::now() + LAST_WORDS),
                    wake: None,
                };
                if stream.write(&frame, limit).is_ok() {
                    stream.finish();
                }
            }
            Channel::Closed => {}
        }
    }

    fn streams(&self) -> bool {
        self.encoder.streams()
    }

    /// The head leaves with the first frame.
    fn open(&mut self) {
        if let Channel::Held(_) = self.channel
            && let Channel::Held(reply) = std::mem::replace(&mut self.channel, Channel::Closed)
        {
            let own = self.headers();
            let mut headers = vec![
                ("content-type", EVENT_STREAM),
                ("cache-control", "no-cache"),
            ];
            headers.extend(own.iter().map(|(name, value)| (*name, &**value)));
            self.channel = Channel::Open(reply.stream(200, &headers));
        }
    }

    /// What a good answer carries, streamed or whole.
    fn headers(&self) -> Vec<AnswerHeader> {
        let id = request_id_header(self.format);
        let mut headers = vec![(id, self.request_id.clone().into())];
        headers.extend(self.ignored.clone().map(|it| (IGNORED, it.into())));
        headers.extend(self.continuity.map(|it| (SESSION, it.name().into())));
        headers.extend(self.limits.iter().cloned());
        headers
    }
}

/// Seconds since 1970, for OpenAI's `created`.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs())
}
