//! A Chat Completions answer in one piece, and what it has in common with the stream.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    AnswerEvent, BlockKind, DeltaKind,
    frame::{Writer, inside_quotes},
    usage::Counts,
};

/// What an answer says of itself, in every chunk or once.
pub(crate) struct Identity<'a> {
    /// Unique; the prefix `chatcmpl-` is added.
    pub(crate) id: &'a str,
    /// As the client sent it.
    pub(crate) model_requested: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

impl Identity<'_> {
    /// An object's first fields.
    pub(super) fn write<'w>(&self, object: &str, out: Writer<'w>) -> Writer<'w> {
        out.lit("{\"id\":")
            .string(&format!("chatcmpl-{}", self.id))
            .lit(",\"object\":")
            .string(object)
            .lit(",\"created\":")
            .number(self.created)
            .lit(",\"model\":")
            .string(self.model_requested)
    }
}

/// Folds the events of one answer into one completion.
pub(crate) struct Collector {
    /// The completion up to its `choices`.
    head: Vec<u8>,
    /// The inside of a JSON string.
    text: String,
    paragraphs: Paragraphs,
    finish_reason: &'static str,
    counts: Counts,
}

impl Collector {
    pub(crate) fn new(identity: &Identity<'_>) -> Self {
        let mut head = Vec::new();
        identity.write("chat.completion", Writer(&mut head));
        Collector {
            head,
            text: String::new(),
            paragraphs: Paragraphs::default(),
            finish_reason: STOP,
            counts: Counts::default(),
        }
    }

    pub(crate) fn take(&mut self, event: &AnswerEvent<'_>) {
        match *event {
            AnswerEvent::Start { usage, .. } => self.counts.update(usage),
            AnswerEvent::BlockStart {
                kind: BlockKind::Text,
                block,
                ..
            } => {
                self.paragraphs.begin();
                self.add(begun_text(block));
            }
            AnswerEvent::Delta {
                kind: DeltaKind::Text,
                value,
                ..
            } => self.add(inside_quotes(value).unwrap_or("")),
            AnswerEvent::End {
                stop_reason, usage, ..
            } => {
                self.finish_reason = finish_reason(stop_reason);
                self.counts.update(usage);
            }
            AnswerEvent::BlockStart { .. }
            | AnswerEvent::Delta { .. }
            | AnswerEvent::BlockStop { .. } => {}
        }
    }

    fn add(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(self.paragraphs.break_before_text());
            self.text.push_str(text);
        }
    }

    /// The completion as JSON.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 512);
        out.extend_from_slice(&self.head);
        let writer = Writer(&mut out)
            .lit(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"")
            .lit(&self.text)
            .lit("\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":")
            .lit(self.finish_reason)
            .lit("}],\"usage\":");
        write_usage(self.counts, writer).lit("}");
        out
    }
}

/// Keeps the text blocks of an answer apart: OpenAI's format has one text only.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Paragraphs {
    /// No text yet.
    #[default]
    None,
    /// Text of the block that is open.
    Open,
    /// A new block has begun after text.
    Due,
}

impl Paragraphs {
    /// A text block begins.
    pub(in crate::api) fn begin(&mut self) {
        if *self == Paragraphs::Open {
            *self = Paragraphs::Due;
        }
    }

    /// What comes before the next text, as the inside of a JSON string.
    pub(in crate::api) fn break_before_text(&mut self) -> &'static str {
        match std::mem::replace(self, Paragraphs::Open) {
            Paragraphs::Due => "\\n\\n",
            Paragraphs::None | Paragraphs::Open => "",
        }
    }
}

/// The text that a block begins with, as the inside of a JSON string; almost always none.
pub(in crate::api) fn begun_text(block: &RawValue) -> &str {
    #[derive(Deserialize)]
    struct Begun<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
    }
    // A text block of another shape has no text.
    serde_json::from_str::<Begun<'_>>(block.get())
        .ok()
        .and_then(|begun| begun.text)
        .and_then(inside_quotes)
        .unwrap_or("")
}

const STOP: &str = "\"stop\"";

/// OpenAI's word for a stop reason, as a JSON string.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "\"length\"",
        "refusal" => "\"content_filter\"",
        _ => STOP,
    }
}

pub(super) fn write_usage(counts: Counts, out: Writer<'_>) -> Writer<'_> {
    out.lit("{\"prompt_tokens\":")
        .number(counts.prompt())
        .lit(",\"completion_tokens\":")
        .number(counts.output())
        .lit(",\"total_tokens\":")
        .number(counts.prompt().saturating_add(counts.output()))
        .lit(",\"prompt_tokens_details\":{\"cached_tokens\":")
        .number(counts.cached())
        .lit("}}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{
        openai::{StreamEncoder, request::UsageChunk},
        sample,
    };

    fn whole(events: &[AnswerEvent<'_>]) -> String {
        let mut collector = Collector::new(&sample::IDENTITY);
        events.iter().for_each(|event| collector.take(event));
        String::from_utf8(collector.finish()).unwrap()
    }

    #[test]
    fn text_answer_is_exactly_this_completion() {
        assert_eq!(
            whole(&sample::text()),
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \u2028\"!","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":42,"total_tokens":45,"prompt_tokens_details":{"cached_tokens":0}}}"#
        );
    }

    /// Folds chunks the way OpenAI's clients do.
    fn folded(stream: &str) -> Value {
        let mut frames: Vec<&str> = stream
            .split_terminator("\n\n")
            .map(|frame| frame.strip_prefix("data: ").unwrap())
            .collect();
        assert_eq!(frames.pop(), Some("[DONE]"));
        let mut whole = json!({});
        let mut message = json!({"refusal": null, "content": ""});
        let mut finish_reason = Value::Null;
        for frame in frames {
            let chunk: Value = serde_json::from_str(frame).unwrap();
            assert_eq!(chunk["object"], "chat.completion.chunk");
            for name in ["id", "created", "model", "usage"] {
                whole[name] = chunk[name].clone();
            }
            let choice = &chunk["choices"][0];
            if let Some(role) = choice["delta"]["role"].as_str() {
                message["role"] = role.into();
            }
            if let Some(piece) = choice["delta"]["content"].as_str() {
                let text = format!("{}{piece}", message["content"].as_str().unwrap());
                message["content"] = text.into();
            }
            if !choice["finish_reason"].is_null() {
                finish_reason = choice["finish_reason"].clone();
            }
        }
        whole["object"] = "chat.completion".into();
        whole["choices"] = json!([
            {"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}
        ]);
        whole
    }

    #[test]
    fn whole_answer_is_the_folded_stream() {
        for events in [sample::text(), sample::everything(), sample::silent()] {
            let mut encoder = StreamEncoder::new(&sample::IDENTITY, UsageChunk::Wanted);
            let mut stream = Vec::new();
            events
                .iter()
                .for_each(|event| encoder.encode(event, &mut stream));
            let completion: Value = serde_json::from_str(&whole(&events)).unwrap();
            assert_eq!(completion, folded(std::str::from_utf8(&stream).unwrap()));
        }
    }

    #[test]
    fn texts_are_paragraphs_and_thinking_is_left_out() {
        let completion: Value = serde_json::from_str(&whole(&sample::everything())).unwrap();
        let content = &completion["choices"][0]["message"]["content"];
        assert_eq!(content, "one\n\n\u{1F600} two \u{1}\\");
    }

    #[test]
    fn emoji_split_over_two_deltas_is_whole_again() {
        let completion: Value = serde_json::from_str(&whole(&sample::split_emoji())).unwrap();
        assert_eq!(completion["choices"][0]["message"]["content"], "\u{1F600}");
    }

    #[test]
    fn stop_reasons_map_to_finish_reasons() {
        for (stop, finish) in [
            ("end_turn", "\"stop\""),
            ("stop_sequence", "\"stop\""),
            ("pause_turn", "\"stop\""),
            ("max_tokens", "\"length\""),
            ("model_context_window_exceeded", "\"length\""),
            ("refusal", "\"content_filter\""),
            ("novel", "\"stop\""),
        ] {
            assert_eq!(finish_reason(stop), finish, "{stop}");
        }
    }
}
