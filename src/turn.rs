//! Which of the CLI's turns the client sees, and in which legal order.
//!
//! The CLI may take many turns for one answer: tool rounds, repeats after a broken connection, its own
//! follow-up questions. A client sees one message. What goes out is legal by construction: one `Start`,
//! blocks one after the other numbered from 0, one `End`; the CLI's own tool calls never.

mod message;
mod stop;

use self::{message::Message, stop::Stops};
use crate::{
    api::{AnswerEvent, ApiError, ErrorKind, Thinking},
    claude::{
        event::{self, Assistant, Event, ResultLine, Stream},
        failure::{Clues, Failure, from_result},
    },
};

/// When a turn's text is let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnPolicy {
    /// The last turn only, once its stop reason shows that no tool follows.
    Final,
    /// Every turn's text as it comes, merged into one message.
    Live,
    /// There can be one turn only (no tools): as it comes.
    Single,
    /// The JSON that the CLI took from the model's turns and checked, once it has it.
    Structured,
}

/// What the caller is to do after an event.
#[derive(Debug)]
pub(crate) enum Verdict {
    More,
    /// `End` was emitted; the CLI is not needed any more.
    Done,
    Failed(Failure),
}

/// One run's turns. Events after `Done` or `Failed` are ignored.
pub(crate) struct Turns {
    policy: TurnPolicy,
    message: Message,
    /// The turn that is being streamed, for [`TurnPolicy::Final`]: its lines until its end is known.
    held: Vec<u8>,
    turn: Turn,
    clues: Clues,
    stops: Stops,
    over: Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

/// The turn now streaming, or the last one.
#[derive(Debug, Default)]
struct Turn {
    id: String,
    state: State,
    /// Whether a client saw any of it.
    shown: Shown,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None yet, or over with its stop reason.
    #[default]
    Closed,
    Streaming,
    /// Its stream ended without a stop reason: the connection broke, the CLI will ask again.
    Broken,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Shown {
    #[default]
    Nothing,
    Something,
}

/// More than any answer: 128,000 tokens come to some 15 MB of lines.
const HELD_MAX: usize = 64 << 20;

type Sink<'s> = &'s mut dyn FnMut(AnswerEvent<'_>);

impl Turns {
    pub(crate) fn new(policy: TurnPolicy, thinking: Thinking, stop_sequences: &[String]) -> Self {
        Turns {
            policy,
            message: Message::new(thinking),
            held: Vec::new(),
            turn: Turn::default(),
            clues: Clues::default(),
            stops: Stops::new(stop_sequences),
            over: Over::No,
        }
    }

    /// Takes one event, `line` being the line it was parsed from, and hands on what the client sees.
    pub(crate) fn feed(&mut self, event: &Event<'_>, line: &[u8], sink: Sink<'_>) -> Verdict {
        if self.over == Over::Yes {
            return Verdict::More;
        }
        let verdict = match self.stops.are_none() {
            true => self.take(event, line, sink),
            false => self.take_up_to_a_stop(event, line, sink),
        };
        if !matches!(verdict, Verdict::More) {
            self.over = Over::Yes;
        }
        verdict
    }

    fn take_up_to_a_stop(&mut self, event: &Event<'_>, line: &[u8], sink: Sink<'_>) -> Verdict {
        let mut stops = std::mem::take(&mut self.stops);
        let verdict = self.take(event, line, &mut |event| stops.filter(event, sink));
        let verdict = match stops.found() {
            None => verdict,
            Some(sequence) => {
                sink(AnswerEvent::End {
                    stop_reason: "stop_sequence",
                    stop_sequence: Some(sequence),
                    usage: self.message.usage(),
                });
                Verdict::Done
            }
        };
        self.stops = stops;
        verdict
    }

    fn take(&mut self, event: &Event<'_>, line: &[u8], sink: Sink<'_>) -> Verdict {
        match event {
            Event::Stream(stream) => self.stream(stream, line, sink),
            Event::Assistant(assistant) => self.assistant(assistant, sink),
            Event::RateLimit(limit) => {
                if limit.is_rejection() {
                    self.clues.limit = Some((**limit).clone());
                }
                Verdict::More
            }
            Event::Retry { delay_ms } => {
                self.clues.retry_delay_ms = Some(*delay_ms);
                Verdict::More
            }
            Event::ControlFailed { error } => failed(format!(
                "the Claude Code CLI refused a control request: {error}"
            )),
            Event::Result(result) => self.result(result, sink),
            Event::Counted(_) | Event::Other => Verdict::More,
        }
    }

    fn stream(&mut self, event: &Stream<'_>, line: &[u8], sink: Sink<'_>) -> Verdict {
        if let Stream::MessageStart { id, .. } = event {
            if let Some(broken) = self.doubled() {
                return broken;
            }
            self.forget_held();
            self.message.forget_usage();
            self.turn = Turn {
                id: id.to_string(),
                state: State::Streaming,
                shown: Shown::Nothing,
            };
        }
        if self.turn.state != State::Streaming {
            // Pieces outside of a turn: the message_stop of one that is over, or noise.
            return Verdict::More;
        }
        if let Stream::MessageStop = event {
            // A turn that is over in order had its message_delta before.
            self.turn.state = State::Broken;
            return Verdict::More;
        }
        match self.policy {
            TurnPolicy::Final | TurnPolicy::Structured => self.hold(event, line, sink),
            TurnPolicy::Live | TurnPolicy::Single => self.pass(event, sink),
        }
    }

    /// The failure when the CLI starts over something the client has seen part of.
    fn doubled(&self) -> Option<Verdict> {
        let unfinished = matches!(self.turn.state, State::Streaming | State::Broken);
        (unfinished && self.turn.shown == Shown::Something).then(broke_off)
    }

    fn hold(&mut self, event: &Stream<'_>, line: &[u8], sink: Sink<'_>) -> Verdict {
        if let Stream::MessageDelta { stop_reason, .. } = event {
            return match stop_reason.as_deref() {
                Some("tool_use") => self.forget(event),
                // The CLI closes a turn so when the connection broke; it is not the last one.
                None => self.forget(event),
                // What the CLI does not take as the answer it asks for again.
                Some(reason) if self.policy == TurnPolicy::Structured && !cut_short(reason) => {
                    self.forget(event)
                }
                Some(_) => {
                    // Known before the text that a stop sequence may end.
                    self.message.note_end(event);
                    self.release(sink);
                    self.pass(event, sink)
                }
            };
        }
        if self.held.len() + line.len() > HELD_MAX {
            return failed("the model's turn is larger than 64 MiB".to_owned());
        }
        self.held.extend_from_slice(line);
        self.held.push(b'\n');
        Verdict::More
    }

    /// A turn that is not shown is over.
    fn forget(&mut self, end: &Stream<'_>) -> Verdict {
        self.turn.state = match end {
            Stream::MessageDelta {
                stop_reason: None, ..
            } => State::Broken,
            _ => {
                self.note_turn(end);
                State::Closed
            }
        };
        self.forget_held();
        Verdict::More
    }

    /// Should no other turn follow, then this one's id and usage are the answer's.
    fn note_turn(&mut self, end: &Stream<'_>) {
        let first = self.held.split(|byte| *byte == b'\n').next();
        if let Some(Ok(Event::Stream(Stream::MessageStart { id, usage }))) = first.map(event::parse)
        {
            self.message.prepare(&id, usage);
        }
        self.message.note_end(end);
    }

    fn release(&mut self, sink: Sink<'_>) {
        let held = std::mem::take(&mut self.held);
        for line in held.split(|byte| *byte == b'\n') {
            // Parsed before, so it parses again; only the end of the last line is empty.
            if let Ok(Event::Stream(event)) = event::parse(line) {
                self.message.piece(&event, sink);
            }
        }
    }

    fn forget_held(&mut self) {
        // Given back at once: a tool round may have been large, and the next may be small.
        self.held = Vec::new();
    }

    fn pass(&mut self, event: &Stream<'_>, sink: Sink<'_>) -> Verdict {
        let before = self.message.blocks_begun();
        self.message.piece(event, sink);
        if self.message.blocks_begun() > before {
            self.turn.shown = Shown::Something;
        }
        let Stream::MessageDelta { stop_reason, .. } = event else {
            return Verdict::More;
        };
        self.turn.state = if stop_reason.is_some() {
            State::Closed
        } else {
            State::Broken
        };
        if stop_reason.as_deref().is_some_and(cut_short) {
            self.message.end(sink);
            return Verdict::Done;
        }
        Verdict::More
    }

    /// An answer that was not streamed comes as `assistant` lines alone, and so do failures.
    fn assistant(&mut self, assistant: &Assistant<'_>, sink: Sink<'_>) -> Verdict {
        if let Some(error) = &assistant.error {
            self.clues.error = Some(error.to_string());
            return Verdict::More;
        }
        if *assistant.id == *self.turn.id {
            return Verdict::More;
        }
        if let Some(broken) = self.doubled() {
            return broken;
        }
        self.forget_held();
        self.turn.state = State::Closed;
        let is_over = assistant.stop_reason.as_deref() != Some("tool_use");
        match self.policy {
            TurnPolicy::Structured => return Verdict::More,
            TurnPolicy::Final if !is_over => return Verdict::More,
            _ => {}
        }
        self.message.whole(assistant, sink);
        Verdict::More
    }

    fn result(&mut self, result: &ResultLine<'_>, sink: Sink<'_>) -> Verdict {
        if result.is_error {
            return Verdict::Failed(from_result(result, &self.clues));
        }
        if let Some(broken) = self.doubled() {
            return broken;
        }
        if self.policy == TurnPolicy::Structured && result.structured_output.is_none() {
            return failed(NO_STRUCTURE.to_owned());
        }
        self.message.complete(result, sink);
        self.message.end(sink);
        Verdict::Done
    }
}

const NO_STRUCTURE: &str = "the model gave no answer that fits the JSON schema; check that the schema is valid and can be fulfilled";

/// By itself the CLI would go on after these; the client is told the truth instead.
fn cut_short(stop_reason: &str) -> bool {
    matches!(
        stop_reason,
        "max_tokens" | "refusal" | "model_context_window_exceeded"
    )
}

fn failed(message: String) -> Verdict {
    Verdict::Failed(ApiError::new(ErrorKind::Internal, message).into())
}

fn broke_off() -> Verdict {
    let text =
        "the connection to the model broke in the middle of the answer; send the request again";
    Verdict::Failed(ApiError::new(ErrorKind::Overloaded, text).into())
}

#[cfg(test)]
mod tests;
