//! What the rules take and refuse.

use super::*;
use crate::sse::parse;

const START: &str =
    r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{}}}"#;
const TEXT: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const DELTA: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
const STOP: &str = r#"{"type":"content_block_stop","index":0}"#;
const END: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;
const PING: &str = r#"{"type":"ping"}"#;
const ERROR: &str = r#"{"type":"error","error":{"type":"api_error","message":"it broke"}}"#;

/// The data of a chunk with these choices.
macro_rules! chunk {
    ($id:literal, $choices:literal $(, $more:literal)?) => {
        concat!(
            r#"{"id":""#, $id, r#"","object":"chat.completion.chunk","created":1,"model":"m","choices":["#,
            $choices, "]" $(, $more)?, "}"
        )
    };
}
const ROLE: &str = chunk!(
    "c",
    r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#
);
const CHUNK: &str = chunk!(
    "c",
    r#"{"index":0,"delta":{"content":"hi"},"finish_reason":null}"#
);
const SILENCE: &str = chunk!("c", r#"{"index":0,"delta":{},"finish_reason":null}"#);
const LAST_CHUNK: &str = chunk!("c", r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
const USAGE: &str = chunk!("c", "", r#","usage":{"total_tokens":1}"#);
const OTHER_ID: &str = chunk!(
    "d",
    r#"{"index":0,"delta":{"content":"hi"},"finish_reason":null}"#
);
const OPENAI_ERROR: &str = r#"{"error":{"message":"it broke","type":"server_error"}}"#;

fn judge(format: Format, data: &[&str]) -> Result<(), String> {
    let mut order = Order::new(format);
    for data in data {
        let data = if *data == "[DONE]" {
            Value::from("[DONE]")
        } else {
            parse(data)
        };
        let event = match format {
            Format::OpenAi => String::new(),
            Format::Anthropic | Format::Responses => data["type"].as_str().unwrap().to_owned(),
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
    check(&[ROLE, CHUNK, CHUNK, LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, USAGE, "[DONE]"]);
    check(&[SILENCE, ROLE, SILENCE, CHUNK, LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, CHUNK, OPENAI_ERROR]);
    check(&[SILENCE, OPENAI_ERROR]);
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
    check(&[ROLE, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK]);
    check(&[CHUNK, LAST_CHUNK, "[DONE]"]);
    check(&[LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, ROLE, LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, CHUNK, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, SILENCE, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, USAGE, LAST_CHUNK, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, USAGE, USAGE, "[DONE]"]);
    check(&[ROLE, LAST_CHUNK, USAGE, CHUNK, "[DONE]"]);
    check(&[ROLE, OTHER_ID]);
    check(&[ROLE, LAST_CHUNK, "[DONE]", CHUNK]);
    check(&[ROLE, CHUNK, OPENAI_ERROR, CHUNK]);
}

/// The events of these names, numbered.
fn judge_responses(names: &[&str]) -> Result<(), String> {
    let events = names.iter().enumerate();
    let data: Vec<_> = events
        .map(|(at, name)| format!(r#"{{"type":"{name}","sequence_number":{at}}}"#))
        .collect();
    let data: Vec<_> = data.iter().map(String::as_str).collect();
    judge(Format::Responses, &data)
}

const CREATED: [&str; 2] = ["response.created", "response.in_progress"];
const OPENED: [&str; 2] = ["response.output_item.added", "response.content_part.added"];
const PIECE: &str = "response.output_text.delta";
const CLOSED: [&str; 3] = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
];
const COMPLETED: &str = "response.completed";

#[test]
fn legal_responses_pass() {
    #[track_caller]
    fn check(names: &[&[&str]]) {
        assert_eq!(judge_responses(&names.concat()), Ok(()));
    }
    check(&[&CREATED, &OPENED, &[PIECE, PIECE], &CLOSED, &[COMPLETED]]);
    check(&[&CREATED, &OPENED, &CLOSED, &["response.incomplete"]]);
    check(&[&CREATED, &["response.in_progress", "error"]]);
    check(&[
        &CREATED,
        &OPENED,
        &[PIECE, "response.in_progress", PIECE],
        &CLOSED,
        &[COMPLETED],
    ]);
    check(&[&["error"]]);
}

#[test]
fn illegal_responses_are_refused() {
    #[track_caller]
    fn check(names: &[&[&str]]) {
        let names = names.concat();
        assert!(judge_responses(&names).is_err(), "{names:#?}");
    }
    check(&[]);
    check(&[&CREATED]);
    check(&[&["response.in_progress"]]);
    check(&[&CREATED, &CREATED]);
    check(&[&CREATED, &[PIECE]]);
    check(&[&CREATED, &OPENED, &[PIECE, COMPLETED]]);
    check(&[&CREATED, &OPENED, &CLOSED]);
    check(&[&CREATED, &OPENED, &CLOSED, &[PIECE]]);
    check(&[&CREATED, &OPENED, &CLOSED, &[COMPLETED, "error"]]);
    check(&[&CREATED, &["response.of_a_later_day"]]);
}
