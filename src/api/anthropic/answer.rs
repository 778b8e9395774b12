//! A Messages answer: the same events as a stream of frames or as one message.

use serde_json::value::RawValue;

use crate::api::{AnswerEvent, BlockKind, DeltaKind, text::decode, usage::Usage};

/// Writes each event as one SSE frame.
pub(crate) struct StreamEncoder {
    /// The requested model id as a JSON string.
    model: String,
}

impl StreamEncoder {
    pub(crate) fn new(model_requested: &str) -> Self {
        StreamEncoder {
            model: json_string(model_requested),
        }
    }

    /// Appends the event's frame to `out`.
    pub(crate) fn encode(&mut self, event: &AnswerEvent<'_>, out: &mut Vec<u8>) {
        let mut put = |parts: &[&str]| {
            parts
                .iter()
                .for_each(|part| out.extend_from_slice(part.as_bytes()))
        };
        match event {
            AnswerEvent::Start { id, usage } => put(&[
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":",
                &json_string(id),
                ",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
                &self.model,
                ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":",
                usage_or_none(*usage),
                "}}\n\n",
            ]),
            AnswerEvent::BlockStart { index, block, .. } => put(&[
                "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":",
                Digits::new(*index).as_str(),
                ",\"content_block\":",
                block.get(),
                "}\n\n",
            ]),
            AnswerEvent::Delta { index, delta, .. } => put(&[
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
                Digits::new(*index).as_str(),
                ",\"delta\":",
                delta.get(),
                "}\n\n",
            ]),
            AnswerEvent::BlockStop { index } => put(&[
                "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":",
                Digits::new(*index).as_str(),
                "}\n\n",
            ]),
            AnswerEvent::End {
                stop_reason,
                stop_sequence,
                usage,
            } => put(&[
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":",
                &json_string(stop_reason),
                ",\"stop_sequence\":",
                &stop_sequence.map_or_else(|| "null".to_owned(), json_string),
                "},\"usage\":",
                usage_or_none(*usage),
                "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ]),
        }
    }
}

/// Folds the same events into one message.
pub(crate) struct Collector {
    model: String,
    id: String,
    blocks: Vec<Folded>,
    end: String,
    usage: Usage,
}

/// A block with its deltas put together.
struct Folded {
    kind: BlockKind,
    /// The block as it began.
    start: Box<RawValue>,
    text: String,
    signature: String,
    citations: Vec<Box<RawValue>>,
}

impl Collector {
    pub(crate) fn new(model_requested: &str) -> Self {
        Collector {
            model: json_string(model_requested),
            id: String::new(),
            blocks: Vec::new(),
            end: r#""stop_reason":null,"stop_sequence":null"#.to_owned(),
            usage: Usage::default(),
        }
    }

    pub(crate) fn take(&mut self, event: &AnswerEvent<'_>) {
        match event {
            AnswerEvent::Start { id, usage } => {
                self.id = json_string(id);
                self.usage.add(*usage);
            }
            AnswerEvent::BlockStart { kind, block, .. } => self.blocks.push(Folded {
                kind: *kind,
                start: (*block).to_owned(),
                text: String::new(),
                signature: String::new(),
                citations: Vec::new(),
            }),
            AnswerEvent::Delta { kind, value, .. } => {
                let Some(block) = self.blocks.last_mut() else {
                    return;
                };
                // The turn machine hands out string payloads for these kinds; anything else is
                // nothing that could be shown.
                let text = || decode(value);
                match kind {
                    DeltaKind::Text | DeltaKind::Thinking => block.text.push_str(&text()),
                    DeltaKind::Signature => block.signature.push_str(&text()),
                    DeltaKind::Citation => block.citations.push((*value).to_owned()),
                    DeltaKind::Other => {}
                }
            }
            AnswerEvent::BlockStop { .. } => {}
            AnswerEvent::End {
                stop_reason,
                stop_sequence,
                usage,
            } => {
                self.usage.add(*usage);
                self.end = format!(
                    r#""stop_reason":{},"stop_sequence":{}"#,
                    json_string(stop_reason),
                    stop_sequence.map_or_else(|| "null".to_owned(), json_string),
                );
            }
        }
    }

    /// The message as JSON.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let blocks: Vec<String> = self.blocks.iter().map(Folded::json).collect();
        format!(
            r#"{{"id":{},"type":"message","role":"assistant","model":{},"content":[{}],{},"usage":{}}}"#,
            self.id,
            self.model,
            blocks.join(","),
            self.end,
            self.usage.json()
        )
        .into_bytes()
    }
}

impl Folded {
    fn json(&self) -> String {
        let text = json_string(&self.text);
        match self.kind {
            BlockKind::Other => self.start.get().to_owned(),
            BlockKind::Text if self.citations.is_empty() => {
                format!(r#"{{"type":"text","text":{text}}}"#)
            }
            BlockKind::Text => {
                let citations: Vec<&str> = self.citations.iter().map(|it| it.get()).collect();
                format!(
                    r#"{{"type":"text","text":{text},"citations":[{}]}}"#,
                    citations.join(",")
                )
            }
            BlockKind::Thinking => {
                let signature = json_string(&self.signature);
                format!(r#"{{"type":"thinking","thinking":{text},"signature":{signature}}}"#)
            }
        }
    }
}

/// Usage is required by clients; a CLI that reports none counts as zero.
fn usage_or_none(usage: Option<&RawValue>) -> &str {
    usage.map_or(r#"{"input_tokens":0,"output_tokens":0}"#, RawValue::get)
}

fn json_string(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

/// A small number in decimal, without an allocation per delta.
struct Digits {
    buffer: [u8; 10],
    start: usize,
}

impl Digits {
    fn new(mut number: u32) -> Self {
        let mut digits = Digits {
            buffer: [b'0'; 10],
            start: 10,
        };
        loop {
            digits.start -= 1;
            digits.buffer[digits.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII digits are in it.
        std::str::from_utf8(&self.buffer[self.start..]).unwrap_or("0")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    /// A thinking block and a text with every awkward character.
    fn events() -> Vec<AnswerEvent<'static>> {
        let text = r#""quote \" slash \\ \ud83d\ude00 \u2028 \u0001""#;
        vec![
            AnswerEvent::Start {
                id: "msg_1",
                usage: Some(raw(r#"{"input_tokens":3,"output_tokens":1}"#)),
            },
            AnswerEvent::BlockStart {
                index: 0,
                kind: BlockKind::Thinking,
                block: raw(r#"{"type":"thinking","thinking":"","signature":""}"#),
            },
            AnswerEvent::Delta {
                index: 0,
                kind: DeltaKind::Thinking,
                delta: raw(r#"{"type":"thinking_delta","thinking":"hm"}"#),
                value: raw(r#""hm""#),
            },
            AnswerEvent::Delta {
                index: 0,
                kind: DeltaKind::Signature,
                delta: raw(r#"{"type":"signature_delta","signature":"c2ln"}"#),
                value: raw(r#""c2ln""#),
            },
            AnswerEvent::BlockStop { index: 0 },
            AnswerEvent::BlockStart {
                index: 1,
                kind: BlockKind::Text,
                block: raw(r#"{"type":"text","text":""}"#),
            },
            AnswerEvent::Delta {
                index: 1,
                kind: DeltaKind::Text,
                delta: raw(
                    r#"{"type":"text_delta","text":"quote \" slash \\ \ud83d\ude00 \u2028 \u0001"}"#,
                ),
                value: raw(text),
            },
            AnswerEvent::Delta {
                index: 1,
                kind: DeltaKind::Text,
                delta: raw(r#"{"type":"text_delta","text":"!"}"#),
                value: raw(r#""!""#),
            },
            AnswerEvent::BlockStop { index: 1 },
            AnswerEvent::End {
                stop_reason: "end_turn",
                stop_sequence: None,
                usage: Some(raw(r#"{"input_tokens":3,"output_tokens":9}"#)),
            },
        ]
    }

    #[test]
    fn delta_frames_carry_the_bytes_they_came_with() {
        let mut out = Vec::new();
        StreamEncoder::new("m").encode(&events()[6], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"quote \\\" slash \\\\ \\ud83d\\ude00 \\u2028 \\u0001\"}}\n\n"
        );
    }

    #[test]
    fn whole_answer_is_the_folded_stream() {
        let mut encoder = StreamEncoder::new("my/sonnet");
        let mut collector = Collector::new("my/sonnet");
        let mut out = Vec::new();
        for event in events() {
            encoder.encode(&event, &mut out);
            collector.take(&event);
        }
        let whole: Value = serde_json::from_slice(&collector.finish()).unwrap();
        assert_eq!(whole, fold(&String::from_utf8(out).unwrap()));
        assert_eq!(whole["model"], "my/sonnet");
        assert_eq!(
            whole["content"][1]["text"],
            "quote \" slash \\ \u{1f600} \u{2028} \u{1}!"
        );
        assert_eq!(
            whole["content"][0],
            json!({"type":"thinking","thinking":"hm","signature":"c2ln"})
        );
    }

    /// What an SDK makes of a stream.
    fn fold(stream: &str) -> Value {
        let mut message = Value::Null;
        for frame in stream.split_terminator("\n\n") {
            let (event, data) = frame.split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event, format!("event: {}", data["type"].as_str().unwrap()));
            match data["type"].as_str().unwrap() {
                "message_start" => message = data["message"].clone(),
                "content_block_start" => {
                    let blocks = message["content"].as_array_mut().unwrap();
                    assert_eq!(data["index"], blocks.len());
                    blocks.push(data["content_block"].clone());
                }
                "content_block_delta" => {
                    let block = &mut message["content"][data["index"].as_u64().unwrap() as usize];
                    for field in ["text", "thinking", "signature"] {
                        if let Some(more) = data["delta"][field].as_str() {
                            block[field] =
                                Value::from(block[field].as_str().unwrap().to_owned() + more);
                        }
                    }
                }
                "message_delta" => {
                    message["stop_reason"] = data["delta"]["stop_reason"].clone();
                    message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                    message["usage"] = data["usage"].clone();
                }
                _ => {}
            }
        }
        message
    }

    #[test]
    fn digits_are_decimal() {
        for number in [0, 7, 10, 4_294_967_295] {
            assert_eq!(Digits::new(number).as_str(), number.to_string());
        }
    }
}
