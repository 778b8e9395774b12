//! The order of events that each wire format allows, as a state machine.

mod anthropic;
mod chunks;
mod responses;

use serde_json::Value;

use super::Event;
use crate::schema;

/// The wire format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Anthropic,
    OpenAi,
    /// OpenAI's Responses.
    Responses,
}

impl Format {
    /// Panics unless an event's data is what the API documents.
    #[track_caller]
    pub(super) fn check(self, data: &Value) {
        match self {
            Format::Anthropic => schema::check("anthropic_event", data),
            Format::OpenAi if data == "[DONE]" => {}
            Format::OpenAi if data["error"].is_object() => schema::check("openai_error", data),
            Format::OpenAi => schema::check("openai_chunk", data),
            Format::Responses => schema::check("responses_event", data),
        }
    }
}

/// What the rules of a format allow next.
pub(super) struct Order {
    format: Format,
    state: State,
    /// The next block's index, or the open block's.
    index: u64,
    /// Kind of the open block.
    block: String,
    /// The one id of all OpenAI chunks.
    id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Inside the message, no block open; for OpenAI: after the role, before the finish reason.
    Message,
    Block,
    /// After message_delta, or after the chunk with the finish reason.
    Finished,
    /// After the chunk with the usage.
    Counted,
    /// After message_stop, `[DONE]` or an error: nothing may follow.
    Ended,
}

impl Order {
    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn new(format: Format) -> Order {
        Order {
            format,
            state: State::Start,
            index: 0,
            block: String::new(),
            id: None,
        }
    }

    /// Takes the next event, or says why it may not come here.
    pub(super) fn feed(&mut self, event: &Event) -> Result<(), String> {
        if self.state == State::Ended {
            return Err(format!("{event:?} after the end"));
        }
        match self.format {
            Format::Anthropic => self.feed_anthropic(event),
            Format::OpenAi => self.feed_openai(event),
            Format::Responses => self.feed_responses(event),
        }
    }

    /// Whether the stream may end here.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Ended => Ok(()),
            state => Err(format!("the stream ended in the state {state:?}")),
        }
    }
}

fn check(holds: bool, data: &Value) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("what may not be here: {data}"))
    }
}

#[cfg(test)]
mod tests;
