//! A Messages answer in one piece: the events folded into one message.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    AnswerEvent, BlockKind, DeltaKind,
    frame::{Writer, inside_quotes},
    usage,
};

/// Folds the events of one answer, as a client folds the stream.
pub(crate) struct Collector {
    model: String,
    id: String,
    start_usage: Option<Box<RawValue>>,
    blocks: Vec<Folded>,
    end: End,
}

/// How the message ended; what a client sees of one that did not is never written.
#[derive(Default)]
struct End {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Option<Box<RawValue>>,
}

/// A block with its deltas put together. Texts are the insides of JSON strings.
enum Folded {
    Text {
        text: String,
        citations: Vec<Box<RawValue>>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    /// Complete as it began.
    Other(Box<RawValue>),
}

impl Collector {
    pub(crate) fn new(model_requested: &str) -> Self {
        Collector {
            model: model_requested.to_owned(),
            id: String::new(),
            start_usage: None,
            blocks: Vec::new(),
            end: End::default(),
        }
    }

    pub(crate) fn take(&mut self, event: &AnswerEvent<'_>) {
        match *event {
            AnswerEvent::Start { id, usage } => {
                self.id = id.to_owned();
                self.start_usage = usage.map(RawValue::to_owned);
            }
            AnswerEvent::BlockStart { kind, block, .. } => {
                self.blocks.push(Folded::new(kind, block));
            }
            AnswerEvent::Delta { kind, value, .. } => {
                // Blocks come one after the other, so it is the last one's.
                if let Some(block) = self.blocks.last_mut() {
                    block.add(kind, value);
                }
            }
            AnswerEvent::BlockStop { .. } => {}
            AnswerEvent::End {
                stop_reason,
                stop_sequence,
                usage,
            } => {
                self.end = End {
                    stop_reason: Some(stop_reason.to_owned()),
                    stop_sequence: stop_sequence.map(str::to_owned),
                    usage: usage.map(RawValue::to_owned),
                };
            }
        }
    }

    /// The message as JSON.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer(&mut out)
            .lit("{\"id\":")
            .string(&self.id)
            .lit(",\"type\":\"message\",\"role\":\"assistant\",\"model\":")
            .string(&self.model)
            .lit(",\"content\":[");
        let blocks = self.blocks.iter().filter(|block| block.is_fit());
        for (index, block) in blocks.enumerate() {
            let separator = if index > 0 { "," } else { "" };
            block.write(Writer(&mut out).lit(separator));
        }
        Writer(&mut out)
            .lit("],\"stop_reason\":")
            .string_or_null(self.end.stop_reason.as_deref())
            .lit(",\"stop_sequence\":")
            .string_or_null(self.end.stop_sequence.as_deref())
            .lit(",\"usage\":")
            .lit(&usage::merged(
                self.start_usage.as_deref(),
                self.end.usage.as_deref(),
            ))
            .lit("}");
        out
    }
}

/// The fields of a block that deltas add to.
#[derive(Deserialize, Default)]
struct Begun<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    citations: Option<Vec<Box<RawValue>>>,
}

impl Folded {
    fn new(kind: BlockKind, block: &RawValue) -> Self {
        // A block of another shape has nothing that deltas could add to.
        let begun: Begun<'_> = serde_json::from_str(block.get()).unwrap_or_default();
        let text = |raw: Option<&RawValue>| raw.and_then(inside_quotes).unwrap_or("").to_owned();
        match kind {
            BlockKind::Text => Folded::Text {
                text: text(begun.text),
                citations: begun.citations.unwrap_or_default(),
            },
            BlockKind::Thinking => Folded::Thinking {
                thinking: text(begun.thinking),
                signature: text(begun.signature),
            },
            BlockKind::Other => Folded::Other(block.to_owned()),
        }
    }

    /// Thinking without its signature, which was cut short, could never be sent back.
    fn is_fit(&self) -> bool {
        !matches!(self, Folded::Thinking { signature, .. } if signature.is_empty())
    }

    fn add(&mut self, kind: DeltaKind, value: &RawValue) {
        match (self, kind) {
            (Folded::Text { text, .. }, DeltaKind::Text)
            | (Folded::Thinking { thinking: text, .. }, DeltaKind::Thinking)
            | (
                Folded::Thinking {
                    signature: text, ..
                },
                DeltaKind::Signature,
            ) => {
                text.push_str(inside_quotes(value).unwrap_or(""));
            }
            (Folded::Text { citations, .. }, DeltaKind::Citation) => {
                citations.push(value.to_owned());
            }
            // A delta of a kind to come: no client of today could fold it either.
            _ => {}
        }
    }

    fn write(&self, out: Writer<'_>) {
        match self {
            Folded::Text { text, citations } => {
                let mut out = out
                    .lit("{\"type\":\"text\",\"text\":\"")
                    .lit(text)
                    .lit("\"");
                for (index, citation) in citations.iter().enumerate() {
                    out = out
                        .lit(if index > 0 { "," } else { ",\"citations\":[" })
                        .raw(citation);
                }
                out.lit(if citations.is_empty() { "}" } else { "]}" });
            }
            Folded::Thinking {
                thinking,
                signature,
            } => {
                out.lit("{\"type\":\"thinking\",\"thinking\":\"")
                    .lit(thinking)
                    .lit("\",\"signature\":\"")
                    .lit(signature)
                    .lit("\"}");
            }
            Folded::Other(block) => {
                out.raw(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{anthropic::StreamEncoder, sample};

    fn whole(events: &[AnswerEvent<'_>]) -> String {
        let mut collector = Collector::new("m");
        events.iter().for_each(|event| collector.take(event));
        String::from_utf8(collector.finish()).unwrap()
    }

    #[test]
    fn text_answer_is_exactly_this_message() {
        assert_eq!(
            whole(&sample::text()),
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Hi \u2028\"!"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":42}}"#
        );
    }

    #[test]
    fn every_kind_of_block_is_folded() {
        let message: Value = serde_json::from_str(&whole(&sample::everything())).unwrap();
        assert_eq!(
            message["content"],
            json!([
                {"type": "thinking", "thinking": "hm\n", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "one", "citations": [{"n": 1}, {"n": 2}]},
                {"type": "text", "text": ""},
                {"type": "text", "text": "\u{1F600} two \u{1}\\"},
            ])
        );
    }

    #[test]
    fn thinking_without_its_signature_is_left_out() {
        let cut = sample::everything().into_iter().filter(
            |event| !matches!(event, AnswerEvent::Delta { kind, .. } if *kind == DeltaKind::Signature),
        );
        let message: Value = serde_json::from_str(&whole(&cut.collect::<Vec<_>>())).unwrap();
        assert_eq!(message["content"][0]["type"], "redacted_thinking");
    }

    #[test]
    fn answer_without_a_word_is_a_message_too() {
        let message: Value = serde_json::from_str(&whole(&sample::silent())).unwrap();
        assert_eq!(message["content"], json!([]));
        assert_eq!(
            message["usage"],
            json!({"input_tokens": 0, "output_tokens": 0})
        );
    }

    /// Folds frames the way the API's clients do.
    fn folded(stream: &str) -> Value {
        let mut message = Value::Null;
        for frame in stream.split_terminator("\n\n") {
            let (event, data) = frame.split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
            fold(&mut message, data);
        }
        message
    }

    fn fold(message: &mut Value, data: Value) {
        match data["type"].as_str().unwrap() {
            "message_start" => *message = data["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(data["index"], blocks.len());
                blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                let index = usize::try_from(data["index"].as_u64().unwrap()).unwrap();
                fold_delta(&mut message["content"][index], &data["delta"]);
            }
            "message_delta" => {
                for part in ["stop_reason", "stop_sequence"] {
                    message[part] = data["delta"][part].clone();
                }
                for (name, count) in data["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            "content_block_stop" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }

    fn fold_delta(block: &mut Value, delta: &Value) {
        for name in ["text", "thinking", "signature"] {
            if let Some(piece) = delta[name].as_str() {
                block[name] = format!("{}{piece}", block[name].as_str().unwrap()).into();
            }
        }
        if !delta["citation"].is_null() {
            if block["citations"].is_null() {
                block["citations"] = json!([]);
            }
            block["citations"]
                .as_array_mut()
                .unwrap()
                .push(delta["citation"].clone());
        }
    }

    #[test]
    fn whole_answer_is_the_folded_stream() {
        for events in [sample::text(), sample::everything(), sample::silent()] {
            let mut encoder = StreamEncoder::new("m");
            let mut stream = Vec::new();
            events
                .iter()
                .for_each(|event| encoder.encode(event, &mut stream));
            let message: Value = serde_json::from_str(&whole(&events)).unwrap();
            assert_eq!(message, folded(std::str::from_utf8(&stream).unwrap()));
        }
    }

    #[test]
    fn emoji_split_over_two_deltas_is_whole_again() {
        let message: Value = serde_json::from_str(&whole(&sample::split_emoji())).unwrap();
        assert_eq!(message["content"][0]["text"], "\u{1F600}");
    }
}
