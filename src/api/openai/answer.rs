//! A Chat Completions answer: the same events as a stream of chunks or as one completion.

use serde_json::json;

use super::request::UsageChunk;
use crate::api::{AnswerEvent, BlockKind, DeltaKind, text::decode, usage::Usage};

/// What an answer says of itself in every chunk.
pub(crate) struct Identity<'a> {
    /// Unique; the prefix `chatcmpl-` is added.
    pub(crate) id: &'a str,
    /// As the client sent it.
    pub(crate) model_requested: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

/// Writes the events as `chat.completion.chunk` frames.
pub(crate) struct StreamEncoder {
    usage_chunk: UsageChunk,
    /// Everything of a chunk before its `choices`.
    head: String,
    text: Text,
    usage: Usage,
}

/// Whether a separator is due before the next text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    None,
    Some,
    BlockBoundary,
}

/// Two text blocks are two paragraphs; OpenAI's format has one text only.
const SEPARATOR: &str = "\\n\\n";

impl StreamEncoder {
    pub(crate) fn new(identity: &Identity<'_>, usage_chunk: UsageChunk) -> Self {
        let head = format!(
            r#"{{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"choices":"#,
            identity.id,
            identity.created,
            json_string(identity.model_requested)
        );
        StreamEncoder {
            usage_chunk,
            head,
            text: Text::None,
            usage: Usage::default(),
        }
    }

    /// A chunk that says nothing: a real event, which clients count as life, unlike a comment.
    pub(crate) fn ping(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.chunk(&mut out, "{}", "null");
        out
    }

    /// Appends the event's frames to `out`; many events have none.
    pub(crate) fn encode(&mut self, event: &AnswerEvent<'_>, out: &mut Vec<u8>) {
        match event {
            AnswerEvent::Start { usage, .. } => {
                self.usage.add(*usage);
                self.chunk(out, r#"{"role":"assistant","content":""}"#, "null");
            }
            AnswerEvent::BlockStart {
                kind: BlockKind::Text,
                ..
            } if self.text == Text::Some => {
                self.text = Text::BlockBoundary;
            }
            AnswerEvent::Delta {
                kind: DeltaKind::Text,
                value,
                ..
            } => {
                if self.text == Text::BlockBoundary {
                    self.content(out, &format!("\"{SEPARATOR}\""));
                }
                self.text = Text::Some;
                self.content(out, value.get());
            }
            AnswerEvent::End {
                stop_reason, usage, ..
            } => {
                self.chunk(out, "{}", &json_string(finish_reason(stop_reason)));
                if self.usage_chunk == UsageChunk::Wanted {
                    self.usage.add(*usage);
                    let usage = openai_usage(&self.usage);
                    put(
                        out,
                        &[
                            "data: ",
                            &self.head,
                            "[],\"usage\":",
                            &usage.to_string(),
                            "}\n\n",
                        ],
                    );
                }
                put(out, &["data: [DONE]\n\n"]);
            }
            AnswerEvent::BlockStart { .. }
            | AnswerEvent::Delta { .. }
            | AnswerEvent::BlockStop { .. } => {}
        }
    }

    fn content(&self, out: &mut Vec<u8>, text: &str) {
        let choice = [
            "[{\"index\":0,\"delta\":{\"content\":",
            text,
            "},\"logprobs\":null,\"finish_reason\":null}]",
        ];
        put(out, &["data: ", &self.head]);
        put(out, &choice);
        put(out, &[self.no_usage(), "}\n\n"]);
    }

    fn chunk(&self, out: &mut Vec<u8>, delta: &str, finish_reason: &str) {
        put(
            out,
            &[
                "data: ",
                &self.head,
                "[{\"index\":0,\"delta\":",
                delta,
                ",\"logprobs\":null,\"finish_reason\":",
            ],
        );
        put(out, &[finish_reason, "}]", self.no_usage(), "}\n\n"]);
    }

    /// With `include_usage` every chunk but the last has a null usage.
    fn no_usage(&self) -> &'static str {
        match self.usage_chunk {
            UsageChunk::Wanted => ",\"usage\":null",
            UsageChunk::Left => "",
        }
    }
}

/// Folds the same events into one completion.
pub(crate) struct Collector {
    model: String,
    created: u64,
    id: String,
    text: String,
    boundary: Text,
    finish_reason: &'static str,
    usage: Usage,
}

impl Collector {
    pub(crate) fn new(identity: &Identity<'_>) -> Self {
        Collector {
            model: identity.model_requested.to_owned(),
            created: identity.created,
            id: format!("chatcmpl-{}", identity.id),
            text: String::new(),
            boundary: Text::None,
            finish_reason: "stop",
            usage: Usage::default(),
        }
    }

    pub(crate) fn take(&mut self, event: &AnswerEvent<'_>) {
        match event {
            AnswerEvent::Start { usage, .. } => self.usage.add(*usage),
            AnswerEvent::BlockStart {
                kind: BlockKind::Text,
                ..
            } if self.boundary == Text::Some => {
                self.boundary = Text::BlockBoundary;
            }
            AnswerEvent::Delta {
                kind: DeltaKind::Text,
                value,
                ..
            } => {
                if self.boundary == Text::BlockBoundary {
                    self.text.push_str("\n\n");
                }
                self.boundary = Text::Some;
                self.text.push_str(&decode(value));
            }
            AnswerEvent::End {
                stop_reason, usage, ..
            } => {
                self.finish_reason = finish_reason(stop_reason);
                self.usage.add(*usage);
            }
            AnswerEvent::BlockStart { .. }
            | AnswerEvent::Delta { .. }
            | AnswerEvent::BlockStop { .. } => {}
        }
    }

    /// The completion as JSON.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.text, "refusal": null},
                "logprobs": null,
                "finish_reason": self.finish_reason,
            }],
            "usage": openai_usage(&self.usage),
        })
        .to_string()
        .into_bytes()
    }
}

/// OpenAI counts cached tokens as part of the prompt, Anthropic beside it.
fn openai_usage(usage: &Usage) -> serde_json::Value {
    let cached = usage.count("cache_read_input_tokens");
    let written = usage.count("cache_creation_input_tokens");
    let prompt = usage
        .count("input_tokens")
        .saturating_add(cached)
        .saturating_add(written);
    let completion = usage.count("output_tokens");
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

fn json_string(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts
        .iter()
        .for_each(|part| out.extend_from_slice(part.as_bytes()));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, value::RawValue};

    use super::*;

    const IDENTITY: Identity<'_> = Identity {
        id: "ab",
        model_requested: "m",
        created: 7,
    };

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn text(index: u32, json: &'static str) -> [AnswerEvent<'static>; 3] {
        [
            AnswerEvent::BlockStart {
                index,
                kind: BlockKind::Text,
                block: raw(r#"{"type":"text","text":""}"#),
            },
            AnswerEvent::Delta {
                index,
                kind: DeltaKind::Text,
                delta: raw("{}"),
                value: raw(json),
            },
            AnswerEvent::BlockStop { index },
        ]
    }

    fn events() -> Vec<AnswerEvent<'static>> {
        let usage = r#"{"input_tokens":3,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"output_tokens":9,"x":{}}"#;
        let mut events = vec![AnswerEvent::Start {
            id: "msg_ab",
            usage: None,
        }];
        events.extend(text(0, r#""one \"\u2028""#));
        events.push(AnswerEvent::Delta {
            index: 0,
            kind: DeltaKind::Thinking,
            delta: raw("{}"),
            value: raw(r#""hm""#),
        });
        events.extend(text(1, r#""two""#));
        events.push(AnswerEvent::End {
            stop_reason: "max_tokens",
            stop_sequence: None,
            usage: Some(raw(usage)),
        });
        events
    }

    #[test]
    fn whole_answer_is_the_folded_stream() {
        let mut encoder = StreamEncoder::new(&IDENTITY, UsageChunk::Wanted);
        let mut collector = Collector::new(&IDENTITY);
        let mut out = Vec::new();
        for event in events() {
            encoder.encode(&event, &mut out);
            collector.take(&event);
        }
        let stream = String::from_utf8(out).unwrap();
        let mut frames: Vec<&str> = stream
            .split_terminator("\n\n")
            .map(|it| it.strip_prefix("data: ").unwrap())
            .collect();
        assert_eq!(frames.pop(), Some("[DONE]"));
        let chunks: Vec<Value> = frames
            .iter()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect();
        let content: String = chunks
            .iter()
            .filter_map(|it| it["choices"][0]["delta"]["content"].as_str())
            .collect();
        let whole: Value = serde_json::from_slice(&collector.finish()).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], content.as_str());
        assert_eq!(content, "one \"\u{2028}\n\ntwo");
        let (usage, rest) = chunks.split_last().unwrap();
        assert_eq!(usage["usage"], whole["usage"]);
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(
            whole["usage"],
            json!({"prompt_tokens":12,"completion_tokens":9,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4}})
        );
        assert_eq!(
            rest.last().unwrap()["choices"][0]["finish_reason"],
            "length"
        );
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert!(
            chunks
                .iter()
                .all(|it| it["id"] == "chatcmpl-ab" && it["model"] == "m" && it["created"] == 7)
        );
        assert!(rest.iter().all(|it| it["usage"].is_null()));
        assert_eq!(
            rest[0]["choices"][0]["delta"],
            json!({"role":"assistant","content":""})
        );
    }

    #[test]
    fn usage_is_left_out_where_nobody_asked() {
        let mut encoder = StreamEncoder::new(&IDENTITY, UsageChunk::Left);
        let mut out = encoder.ping();
        events()
            .iter()
            .for_each(|event| encoder.encode(event, &mut out));
        let stream = String::from_utf8(out).unwrap();
        assert!(!stream.contains("usage"), "{stream}");
        assert!(
            stream.starts_with("data: {\"id\":\"chatcmpl-ab\"")
                && stream.ends_with("data: [DONE]\n\n")
        );
    }

    #[test]
    fn stop_reasons_map_to_finish_reasons() {
        for (stop, finish) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("pause_turn", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "content_filter"),
        ] {
            assert_eq!(finish_reason(stop), finish);
        }
    }
}
