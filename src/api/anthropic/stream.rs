//! A Messages answer as a stream: one SSE frame per event.

use serde_json::value::RawValue;

use crate::api::{AnswerEvent, frame::Writer, usage};

/// Writes each event as one frame, `End` as two. A delta is copied, never read.
pub(crate) struct StreamEncoder {
    model: String,
}

/// The keep-alive event, which clients count as life.
pub(crate) fn ping() -> &'static [u8] {
    b"event: ping\ndata: {\"type\":\"ping\"}\n\n"
}

impl StreamEncoder {
    pub(crate) fn new(model_requested: &str) -> Self {
        StreamEncoder {
            model: model_requested.to_owned(),
        }
    }

    /// Appends the event's frames to `out`.
    pub(crate) fn encode(&mut self, event: &AnswerEvent<'_>, out: &mut Vec<u8>) {
        let out = Writer(out);
        match *event {
            AnswerEvent::Start { id, usage } => self.start(id, usage, out),
            AnswerEvent::BlockStart { index, block, .. } => {
                out.lit("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":")
                    .number(index.into())
                    .lit(",\"content_block\":")
                    .raw(block)
                    .lit("}\n\n");
            }
            AnswerEvent::Delta { index, delta, .. } => {
                out.lit("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":")
                    .number(index.into())
                    .lit(",\"delta\":")
                    .raw(delta)
                    .lit("}\n\n");
            }
            AnswerEvent::BlockStop { index } => {
                out.lit(
                    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":",
                )
                .number(index.into())
                .lit("}\n\n");
            }
            AnswerEvent::End {
                stop_reason,
                stop_sequence,
                usage,
            } => {
                let out = out
                    .lit("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":")
                    .string(stop_reason)
                    .lit(",\"stop_sequence\":")
                    .string_or_null(stop_sequence)
                    .lit("},\"usage\":");
                let out = match usage {
                    Some(usage) => out.raw(usage),
                    // Input tokens here would replace those of the start.
                    None => out.lit("{\"output_tokens\":0}"),
                };
                out.lit("}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
            }
        }
    }

    fn start(&self, id: &str, usage: Option<&RawValue>, out: Writer<'_>) {
        let out = out
            .lit("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":")
            .string(id)
            .lit(",\"type\":\"message\",\"role\":\"assistant\",\"model\":")
            .string(&self.model)
            .lit(",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
        raw_usage(out, usage).lit("}}\n\n");
    }
}

fn raw_usage<'a>(out: Writer<'a>, usage: Option<&RawValue>) -> Writer<'a> {
    match usage {
        Some(usage) => out.raw(usage),
        None => out.lit(usage::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sample;

    #[track_caller]
    fn check(events: &[AnswerEvent<'_>], expect: &str) {
        let mut encoder = StreamEncoder::new("anthropic/sonnet");
        let mut out = Vec::new();
        for event in events {
            encoder.encode(event, &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn text_answer_has_exactly_these_frames() {
        check(
            &sample::text(),
            r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"anthropic/sonnet","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens": 3,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi \u2028\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":42}}

event: message_stop
data: {"type":"message_stop"}

"#,
        );
    }

    #[test]
    fn stop_sequence_is_a_string_and_missing_usage_is_zero() {
        check(
            &[AnswerEvent::End {
                stop_reason: "stop_sequence",
                stop_sequence: Some("\n\""),
                usage: None,
            }],
            r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"\n\""},"usage":{"output_tokens":0}}

event: message_stop
data: {"type":"message_stop"}

"#,
        );
    }

    #[test]
    fn delta_with_a_line_break_stays_one_frame() {
        let delta = sample::raw("{\"type\":\n\"text_delta\",\r\n\"text\":\"a\"}");
        let event = AnswerEvent::Delta {
            index: 12,
            kind: crate::api::DeltaKind::Text,
            delta,
            value: sample::raw("\"a\""),
        };
        check(
            &[event],
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":12,\"delta\":{\"type\": \"text_delta\",  \"text\":\"a\"}}\n\n",
        );
    }
}
