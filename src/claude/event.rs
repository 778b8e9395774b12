//! One line of the CLI's stdout, parsed as far as the gateway reads it.
//!
//! Payloads stay as the bytes they came in (`&RawValue`); nothing is built per delta. Key order is
//! not stable and types come and go with versions: what is unknown is [`Event::Other`].

mod control;
mod limit;

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(crate) use self::{
    control::ContextUsage,
    limit::{RateLimit, Window},
};
use crate::{api::text::Text, session::Uuid};

/// What a line says.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A piece of the model's own stream. Sub-agents' pieces are `Other`.
    Stream(Stream<'a>),
    /// A whole content block, sent before the block's stream ends; or an answer that was not
    /// streamed at all; or a failure in the CLI's words.
    Assistant(Assistant<'a>),
    /// Where usage limits stand, a rejection by one included.
    RateLimit(Box<RateLimit>),
    /// The CLI will ask again after a delay.
    Retry { delay_ms: u64 },
    /// `initialize` was refused, without which there is no system prompt. The CLI goes on after any
    /// other control request that it does not take.
    ControlFailed { error: String },
    /// What the CLI counts for what fills its context.
    Counted(ContextUsage),
    /// The end of the answer, good or bad.
    Result(Box<ResultLine<'a>>),
    /// A line of no interest.
    Other,
}

/// The API's streaming events.
#[derive(Debug)]
pub(crate) enum Stream<'a> {
    MessageStart {
        id: Cow<'a, str>,
        usage: Option<&'a RawValue>,
    },
    BlockStart {
        index: u32,
        kind: StreamBlock,
        block: &'a RawValue,
    },
    Delta {
        index: u32,
        delta: &'a RawValue,
    },
    BlockStop {
        index: u32,
    },
    MessageDelta {
        stop_reason: Option<Cow<'a, str>>,
        stop_sequence: Option<Cow<'a, str>>,
        usage: Option<&'a RawValue>,
    },
    MessageStop,
}

/// Kinds of content blocks, as far as they are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamBlock {
    Text,
    Thinking,
    RedactedThinking,
    /// Tools of the CLI's own and of the API's side; never shown.
    Internal,
}

#[derive(Debug)]
pub(crate) struct Assistant<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) blocks: Vec<&'a RawValue>,
    pub(crate) stop_reason: Option<Cow<'a, str>>,
    pub(crate) usage: Option<&'a RawValue>,
    /// The CLI's word for a failure, `authentication_failed` for example.
    pub(crate) error: Option<Cow<'a, str>>,
    /// Its line in the session's file.
    pub(crate) uuid: Option<Uuid>,
}

/// The `result` line. A field of another type than expected counts as absent: a line that ends the
/// answer must never be lost for one. `subtype` says success on failures too and is never judged by.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultLine<'a> {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) is_error: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) api_error_status: Option<u16>,
    #[serde(default, borrow, deserialize_with = "lenient")]
    pub(crate) result: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "lenient")]
    pub(crate) stop_reason: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "lenient")]
    pub(crate) terminal_reason: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "lenient")]
    pub(crate) errors: Option<Vec<Text<'a>>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) num_turns: u64,
    /// Of all turns of the session, also those of a process before this one.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) total_cost_usd: f64,
    /// By model, since the last such line.
    #[serde(default, deserialize_with = "lenient")]
    model_usage_since_last_result: Option<HashMap<String, ModelUsage>>,
    #[serde(default, borrow)]
    pub(crate) usage: Option<&'a RawValue>,
    /// The answer, where a JSON schema was asked for and the model fitted it; `result` is its text.
    #[serde(default, borrow)]
    pub(crate) structured_output: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct ModelUsage {
    #[serde(rename = "costUSD", default)]
    cost_usd: f64,
}

impl ResultLine<'_> {
    /// What this turn alone cost; `None` where the CLI does not say.
    pub(crate) fn own_cost_usd(&self) -> Option<f64> {
        let models = self.model_usage_since_last_result.as_ref()?;
        Some(models.values().map(|it| it.cost_usd).sum())
    }

    /// Whether the CLI could not go on from the session, or the line of it, that it was told to (2.1.330:
    /// `No conversation found with session ID: …`, `No message found with message.uuid of: …`).
    pub(crate) fn finds_no_session(&self) -> bool {
        let says = |text: &Text<'_>| {
            text.starts_with("No conversation found") || text.starts_with("No message found")
        };
        let errors = self.errors.iter().flatten();
        self.is_error && self.api_error_status.is_none() && errors.into_iter().any(says)
    }
}

/// Reads one line.
///
/// # Errors
/// When it is not a JSON object with a `type`, or a known type without what it must have.
pub(crate) fn parse(line: &[u8]) -> serde_json::Result<Event<'_>> {
    let head: Head<'_> = serde_json::from_slice(line)?;
    match &*head.kind {
        "stream_event" => match (head.parent_tool_use_id, head.event) {
            (None, Some(event)) => stream(event),
            _ => Ok(Event::Other),
        },
        "assistant" => match (head.parent_tool_use_id, head.message) {
            (None, Some(message)) => assistant(message, (head.error, head.uuid)),
            _ => Ok(Event::Other),
        },
        "result" => serde_json::from_slice(line).map(|it| Event::Result(Box::new(it))),
        "rate_limit_event" => limit::read(line),
        "system" if head.subtype.as_deref() == Some("api_retry") => retry(line),
        "control_response" => control::response(line),
        _ => Ok(Event::Other),
    }
}

/// Input and output tokens of a whole run, for the log.
pub(crate) fn usage_summary(usage: &RawValue) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Usage {
        input_tokens: u64,
        cache_creation_input_tokens: u64,
        cache_read_input_tokens: u64,
        output_tokens: u64,
    }
    // A usage of another shape is not worth a failure.
    let usage: Usage = serde_json::from_str(usage.get()).unwrap_or_default();
    format!(
        "in:{},cache_write:{},cache_read:{},out:{}",
        usage.input_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        usage.output_tokens
    )
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    subtype: Option<Text<'a>>,
    #[serde(default, borrow)]
    parent_tool_use_id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    event: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    uuid: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u32,
    #[serde(default, borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

fn stream(raw: &RawValue) -> serde_json::Result<Event<'_>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(default, borrow)]
        usage: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Stop<'a> {
        #[serde(default, borrow)]
        stop_reason: Option<Text<'a>>,
        #[serde(default, borrow)]
        stop_sequence: Option<Text<'a>>,
    }
    let wire: StreamWire<'_> = serde_json::from_str(raw.get())?;
    let event = match (&*wire.kind, wire.message, wire.content_block, wire.delta) {
        ("content_block_delta", _, _, Some(delta)) => Stream::Delta {
            index: wire.index,
            delta,
        },
        ("content_block_start", _, Some(block), _) => Stream::BlockStart {
            index: wire.index,
            kind: block_kind(block)?,
            block,
        },
        ("content_block_stop", ..) => Stream::BlockStop { index: wire.index },
        ("message_start", Some(message), ..) => {
            let message: Message<'_> = serde_json::from_str(message.get())?;
            Stream::MessageStart {
                id: message.id,
                usage: message.usage,
            }
        }
        ("message_delta", _, _, Some(delta)) => {
            let stop: Stop<'_> = serde_json::from_str(delta.get())?;
            Stream::MessageDelta {
                stop_reason: stop.stop_reason.map(Text::into_cow),
                stop_sequence: stop.stop_sequence.map(Text::into_cow),
                usage: wire.usage,
            }
        }
        ("message_stop", ..) => Stream::MessageStop,
        _ => return Ok(Event::Other),
    };
    Ok(Event::Stream(event))
}

/// The kind of a content block.
///
/// # Errors
/// When it has no `type`.
pub(crate) fn block_kind(block: &RawValue) -> serde_json::Result<StreamBlock> {
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let block: Block<'_> = serde_json::from_str(block.get())?;
    Ok(match &*block.kind {
        "text" => StreamBlock::Text,
        "thinking" => StreamBlock::Thinking,
        "redacted_thinking" => StreamBlock::RedactedThinking,
        _ => StreamBlock::Internal,
    })
}

fn assistant<'a>(
    message: &'a RawValue,
    (error, uuid): (Option<&'a RawValue>, Option<&'a RawValue>),
) -> serde_json::Result<Event<'a>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
        #[serde(default, borrow)]
        stop_reason: Option<Text<'a>>,
        #[serde(default, borrow)]
        usage: Option<&'a RawValue>,
    }
    let message: Message<'_> = serde_json::from_str(message.get())?;
    let error: Option<Text<'_>> = error.and_then(|it| serde_json::from_str(it.get()).ok());
    Ok(Event::Assistant(Assistant {
        id: message.id,
        blocks: message.content,
        stop_reason: message.stop_reason.map(Text::into_cow),
        usage: message.usage,
        error: error.map(Text::into_cow),
        uuid: uuid.and_then(|it| serde_json::from_str(it.get()).ok()),
    }))
}

/// Reads a field whose type may change one day: what does not fit is the default.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

fn retry(line: &[u8]) -> serde_json::Result<Event<'_>> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        retry_delay_ms: f64,
    }
    let line: Line = serde_json::from_slice(line)?;
    // Casting saturates.
    Ok(Event::Retry {
        delay_ms: line.retry_delay_ms as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: &str) {
        let shown = match parse(line.as_bytes()) {
            Ok(event) => format!("{event:?}"),
            Err(_) => "error".to_owned(),
        };
        assert_eq!(shown, expect, "{line}");
    }

    #[test]
    fn lines_parse_whatever_their_key_order() {
        check(
            r#"{"parent_tool_use_id":null,"event":{"index":2,"delta":{"type":"text_delta","text":"a\n"},"type":"content_block_delta"},"type":"stream_event"}"#,
            r#"Stream(Delta { index: 2, delta: RawValue({"type":"text_delta","text":"a\n"}) })"#,
        );
        check(
            r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"m\u0031","usage":{"x":1}}}}"#,
            r#"Stream(MessageStart { id: "m1", usage: Some(RawValue({"x":1})) })"#,
        );
        check(
            r#"{"type":"stream_event","event":{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use"}}}"#,
            r#"Stream(BlockStart { index: 1, kind: Internal, block: RawValue({"type":"server_tool_use"}) })"#,
        );
        check(
            r#"{"type":"control_response","response":{"subtype":"error","request_id":"ccgw-initialize","error":"no"}}"#,
            r#"ControlFailed { error: "no" }"#,
        );
        check(
            r#"{"type":"control_response","response":{"subtype":"error","request_id":"x","error":"no"}}"#,
            "Other",
        );
    }

    #[test]
    fn result_line_survives_fields_of_other_types() {
        for odd in [
            r#""num_turns":null,"total_cost_usd":null,"is_error":null"#,
            r#""errors":[{"x":1}],"api_error_status":"429""#,
            r#""result":"cut \ud83d","usage":7,"stop_reason":{}"#,
        ] {
            let line = format!(r#"{{"type":"result",{odd}}}"#);
            assert!(
                matches!(parse(line.as_bytes()), Ok(Event::Result(_))),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_unknown_or_a_sub_agents_is_skipped() {
        for line in [
            r#"{"type":"novelty","x":1}"#,
            r#"{"type":"system","subtype":"init","tools":[]}"#,
            r#"{"type":"stream_event","event":{"type":"message_stop"},"parent_tool_use_id":"toolu_1"}"#,
            r#"{"type":"stream_event","event":{"type":"ping"}}"#,
            r#"{"type":"stream_event"}"#,
            r#"{"type":"control_response","response":{"subtype":"success","request_id":"x"}}"#,
        ] {
            check(line, "Other");
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in [
            "",
            "garbage",
            "{",
            "[]",
            "null",
            r#"{"type":7}"#,
            r#"{"x":"type"}"#,
            "\u{0}",
        ] {
            check(line, "error");
        }
        assert!(parse(b"{\"type\":\"\xff\"}").is_err());
    }
}
