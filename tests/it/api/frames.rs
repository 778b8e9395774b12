//! A scripted message in the API's own form: as server-sent events or as one JSON object.

use std::time::Duration;

use serde_json::{Value, json};

/// What the model "says", with where and how the telling stops.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) model: String,
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: &'static str,
    pub(super) ending: Ending,
}

#[derive(Debug)]
pub(super) enum Block {
    /// Each piece is one delta; `between` comes after each delta but the last.
    Text {
        pieces: Vec<String>,
        between: Between,
    },
    Thinking(String),
    ToolUse {
        id: String,
        name: &'static str,
        input: Value,
    },
}

/// What happens between two deltas.
#[derive(Debug, Clone)]
pub(super) enum Between {
    Nothing,
    Pause(Duration),
    /// Until the test opens the gate of this name.
    Gate(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Complete,
    /// An SSE `error` event in the middle of the last block.
    Overloaded,
    /// The connection breaks in the middle of the last block.
    Dropped,
}

/// One step of telling a message over a connection.
#[derive(Debug)]
pub(super) enum Step {
    Frame(String),
    Wait(Duration),
    Gate(String),
    Drop,
}

/// The message as server-sent events, in the order of the real API.
pub(super) fn steps(message: &Message) -> Vec<Step> {
    let mut steps = vec![start(message), frame("ping", &json!({"type": "ping"}))];
    for (index, block) in message.blocks.iter().enumerate() {
        push_block(&mut steps, index, block);
        if index + 1 == message.blocks.len() {
            match message.ending {
                Ending::Complete => {}
                Ending::Overloaded => {
                    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
                    steps.push(frame("error", &error));
                    return steps;
                }
                Ending::Dropped => {
                    steps.push(Step::Drop);
                    return steps;
                }
            }
        }
        steps.push(frame(
            "content_block_stop",
            &json!({"type": "content_block_stop", "index": index}),
        ));
    }
    steps.push(frame(
        "message_delta",
        &json!({"type": "message_delta", "delta": {"stop_reason": message.stop_reason, "stop_sequence": null}, "usage": {"output_tokens": 9}}),
    ));
    steps.push(frame("message_stop", &json!({"type": "message_stop"})));
    steps
}

fn start(message: &Message) -> Step {
    let mut start = shell(message);
    start["usage"] = usage(1);
    frame(
        "message_start",
        &json!({"type": "message_start", "message": start}),
    )
}

/// Start and deltas of one block, without its stop.
fn push_block(steps: &mut Vec<Step>, index: usize, block: &Block) {
    let delta = |delta: Value| {
        frame(
            "content_block_delta",
            &json!({"type": "content_block_delta", "index": index, "delta": delta}),
        )
    };
    let start = match block {
        Block::Text { .. } => json!({"type": "text", "text": ""}),
        Block::Thinking(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::ToolUse { id, name, .. } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
    };
    steps.push(frame(
        "content_block_start",
        &json!({"type": "content_block_start", "index": index, "content_block": start}),
    ));
    match block {
        Block::Text { pieces, between } => {
            for (position, piece) in pieces.iter().enumerate() {
                match (position, between) {
                    (0, _) | (_, Between::Nothing) => {}
                    (_, Between::Pause(pause)) => steps.push(Step::Wait(*pause)),
                    (_, Between::Gate(name)) => steps.push(Step::Gate(name.clone())),
                }
                steps.push(delta(json!({"type": "text_delta", "text": piece})));
            }
        }
        Block::Thinking(thought) => {
            steps.push(delta(
                json!({"type": "thinking_delta", "thinking": thought}),
            ));
            steps.push(delta(
                json!({"type": "signature_delta", "signature": "c2NyaXB0ZWQ="}),
            ));
        }
        Block::ToolUse { input, .. } => {
            steps.push(delta(
                json!({"type": "input_json_delta", "partial_json": input.to_string()}),
            ));
        }
    }
}

fn frame(event: &str, data: &Value) -> Step {
    Step::Frame(format!("event: {event}\ndata: {data}\n\n"))
}

/// The message as one JSON object, for a request with `"stream": false`.
pub(super) fn whole(message: &Message) -> Value {
    let blocks = message.blocks.iter().map(|block| match block {
        Block::Text { pieces, .. } => json!({"type": "text", "text": pieces.concat()}),
        Block::Thinking(thought) => {
            json!({"type": "thinking", "thinking": thought, "signature": "c2NyaXB0ZWQ="})
        }
        Block::ToolUse { id, name, input } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
    });
    let mut whole = shell(message);
    whole["content"] = blocks.collect();
    whole["stop_reason"] = message.stop_reason.into();
    whole["usage"] = usage(9);
    whole
}

fn shell(message: &Message) -> Value {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = format!("msg_scripted{:06}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({"id": id, "type": "message", "role": "assistant", "model": message.model, "content": [], "stop_reason": null, "stop_sequence": null})
}

fn usage(output_tokens: u32) -> Value {
    json!({"input_tokens": 11, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": output_tokens})
}

/// The API's error body for a status.
pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": format!("scripted {status}")}, "request_id": "req_scripted"})
}
