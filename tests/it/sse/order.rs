//! The order of events that each wire format allows, as a state machine.

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
    /// Inside the message, no block open; for OpenAI: before the finish reason.
    Message,
    Block,
    /// After message_delta, or after the chunk with the finish reason.
    Finished,
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

    fn feed_responses(&mut self, event: &Event) -> Result<(), String> {
        let (name, data) = (event.event.as_str(), &event.data);
        check(
            data["type"] == name && data["sequence_number"] == self.index,
            data,
        )?;
        self.index += 1;
        let before = std::mem::replace(&mut self.block, name.to_owned());
        let may_follow: &[&str] = match name {
            "response.created" => &[""],
            "response.in_progress" => {
                // The sign of life; what it stands between must go on.
                self.block = match before.as_str() {
                    "response.created" => name.to_owned(),
                    _ => before.clone(),
                };
                return check(!before.is_empty(), data);
            }
            "response.output_item.added" => &["response.in_progress"],
            "response.content_part.added" => &["response.output_item.added"],
            "response.output_text.delta" | "response.output_text.done" => {
                &["response.content_part.added", "response.output_text.delta"]
            }
            "response.content_part.done" => &["response.output_text.done"],
            "response.output_item.done" => &["response.content_part.done"],
            "response.completed" | "response.incomplete" => {
                self.state = State::Ended;
                &["response.output_item.done"]
            }
            "error" => {
                self.state = State::Ended;
                return Ok(());
            }
            _ => &[],
        };
        check(may_follow.contains(&before.as_str()), data)
    }

    fn feed_anthropic(&mut self, event: &Event) -> Result<(), String> {
        let data = &event.data;
        if data["type"] != event.event.as_str() {
            return Err(format!(
                "the event {:?} has the type {}",
                event.event, data["type"]
            ));
        }
        self.state = match (event.event.as_str(), self.state) {
            ("ping", state) => state,
            ("error", _)
                if data["error"]["type"].is_string() && data["error"]["message"].is_string() =>
            {
                State::Ended
            }
            ("message_start", State::Start) => {
                let message = &data["message"];
                let whole = message["id"].is_string()
                    && message["role"] == "assistant"
                    && message["content"] == Value::Array(Vec::new());
                check(whole && message["usage"].is_object(), data)?;
                State::Message
            }
            ("content_block_start", State::Message) => {
                self.check_index(data)?;
                data["content_block"]["type"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut self.block);
                // A tool call of the CLI's own would be run a second time by the client.
                check(!self.block.is_empty() && self.block != "tool_use", data)?;
                State::Block
            }
            ("content_block_delta", State::Block) => {
                self.check_index(data)?;
                let kind = data["delta"]["type"].as_str().unwrap_or_default();
                check(delta_fits(&self.block, kind), data)?;
                State::Block
            }
            ("content_block_stop", State::Block) => {
                self.check_index(data)?;
                self.index += 1;
                State::Message
            }
            ("message_delta", State::Message) => {
                let reason = &data["delta"]["stop_reason"];
                check(
                    reason.is_string()
                        && reason != "tool_use"
                        && data["usage"]["output_tokens"].is_u64(),
                    data,
                )?;
                State::Finished
            }
            ("message_stop", State::Finished) => State::Ended,
            (_, state) => return Err(format!("{event:?} in the state {state:?}")),
        };
        Ok(())
    }

    fn check_index(&self, data: &Value) -> Result<(), String> {
        if data["index"] == self.index {
            return Ok(());
        }
        Err(format!(
            "the index {} where {} is due",
            data["index"], self.index
        ))
    }

    fn feed_openai(&mut self, event: &Event) -> Result<(), String> {
        let data = &event.data;
        if !event.event.is_empty() {
            return Err(format!(
                "the event name {:?}, which this format has not",
                event.event
            ));
        }
        if data == "[DONE]" {
            check(self.state == State::Finished, data)?;
            self.state = State::Ended;
            return Ok(());
        }
        if data["error"]["message"].is_string() {
            self.state = State::Ended;
            return Ok(());
        }
        check(
            data["object"] == "chat.completion.chunk"
                && data["model"].is_string()
                && data["created"].is_u64(),
            data,
        )?;
        let id = data["id"].as_str().map(str::to_owned);
        check(id.is_some() && (self.id.is_none() || self.id == id), data)?;
        self.id = id;
        let choices = data["choices"].as_array().map(Vec::as_slice);
        let Some(choice) = choices.and_then(|choices| choices.first()) else {
            // The one chunk without a choice carries the usage, after the finish reason.
            return check(
                choices.is_some() && data["usage"].is_object() && self.state == State::Finished,
                data,
            );
        };
        check(
            self.state != State::Finished
                && choice["delta"].is_object()
                && choice["delta"]["tool_calls"].is_null(),
            data,
        )?;
        self.state = if choice["finish_reason"].is_string() {
            State::Finished
        } else {
            State::Message
        };
        Ok(())
    }
}

fn check(holds: bool, data: &Value) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("what may not be here: {data}"))
    }
}

fn delta_fits(block: &str, delta: &str) -> bool {
    match block {
        "text" => matches!(delta, "text_delta" | "citations_delta"),
        "thinking" => matches!(delta, "thinking_delta" | "signature_delta"),
        _ => !matches!(delta, "" | "input_json_delta"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::parse;

    const START: &str = r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{}}}"#;
    const TEXT: &str =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    const DELTA: &str =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
    const STOP: &str = r#"{"type":"content_block_stop","index":0}"#;
    const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
    const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;
    const PING: &str = r#"{"type":"ping"}"#;
    const ERROR: &str = r#"{"type":"error","error":{"type":"api_error","message":"it broke"}}"#;

    const CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
    const LAST_CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"total_tokens":1}}"#;
    const OTHER_ID: &str = r#"{"id":"d","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
    const OPENAI_ERROR: &str = r#"{"error":{"message":"it broke","type":"server_error"}}"#;

    fn judge(format: Format, data: &[&str]) -> Result<(), String> {
        let mut order = Order::new(format);
        for data in data {
            let data = if *data == "[DONE]" {
                Value::from("[DONE]")
            } else {
                parse(data)
            };
            let event = if format == Format::Anthropic {
                data["type"].as_str().unwrap().to_owned()
            } else {
                String::new()
            };
            order.feed(&Event { event, data })?;
        }
        order.finish()
    }

    #[test]
    fn legal_anthropic_streams_pass() {
        #[track_caller]
        fn check(data: &[&str]) {
            assert_eq!(judge(Format::Anthropic, data), Ok(()));
        }
        check(&[START, TEXT, DELTA, DELTA, STOP, END, MESSAGE_STOP]);
        check(&[
            PING,
            START,
            PING,
            TEXT,
            PING,
            DELTA,
            STOP,
            PING,
            END,
            MESSAGE_STOP,
        ]);
        check(&[START, END, MESSAGE_STOP]);
        check(&[ERROR]);
        check(&[START, TEXT, DELTA, ERROR]);
    }

    #[test]
    fn illegal_anthropic_streams_are_refused() {
        #[track_caller]
        fn check(data: &[&str]) {
            assert!(judge(Format::Anthropic, data).is_err(), "{data:#?}");
        }
        check(&[]);
        check(&[PING]);
        check(&[TEXT]);
        check(&[START, START]);
        check(&[START, TEXT, TEXT]);
        check(&[START, DELTA]);
        check(&[START, TEXT, DELTA, END, MESSAGE_STOP]);
        check(&[START, TEXT, STOP, TEXT, STOP, END, MESSAGE_STOP]);
        check(&[START, TEXT, STOP, MESSAGE_STOP]);
        check(&[START, END]);
        check(&[START, END, MESSAGE_STOP, PING]);
        check(&[START, END, MESSAGE_STOP, START]);
        check(&[START, END, MESSAGE_STOP, ERROR]);
        check(&[ERROR, ERROR]);
        check(&[
            START,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}"#,
        ]);
        check(&[
            START,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
        ]);
        check(&[
            START,
            TEXT,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta"}}"#,
        ]);
        check(&[
            START,
            TEXT,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta"}}"#,
        ]);
    }

    #[test]
    fn legal_openai_streams_pass() {
        #[track_caller]
        fn check(data: &[&str]) {
            assert_eq!(judge(Format::OpenAi, data), Ok(()));
        }
        check(&[CHUNK, CHUNK, LAST_CHUNK, "[DONE]"]);
        check(&[CHUNK, LAST_CHUNK, USAGE, "[DONE]"]);
        check(&[CHUNK, OPENAI_ERROR]);
        check(&[OPENAI_ERROR]);
    }

    #[test]
    fn illegal_openai_streams_are_refused() {
        #[track_caller]
        fn check(data: &[&str]) {
            assert!(judge(Format::OpenAi, data).is_err(), "{data:#?}");
        }
        check(&[]);
        check(&["[DONE]"]);
        check(&[CHUNK, "[DONE]"]);
        check(&[CHUNK, LAST_CHUNK]);
        check(&[CHUNK, LAST_CHUNK, CHUNK, "[DONE]"]);
        check(&[CHUNK, USAGE, LAST_CHUNK, "[DONE]"]);
        check(&[CHUNK, OTHER_ID]);
        check(&[LAST_CHUNK, "[DONE]", CHUNK]);
        check(&[CHUNK, OPENAI_ERROR, CHUNK]);
    }
}
