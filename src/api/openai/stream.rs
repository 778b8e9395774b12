//! A Chat Completions answer as a stream of `chat.completion.chunk` frames.

use super::{
    completion::{self, Identity, Paragraphs, finish_reason},
    request::UsageChunk,
};
use crate::api::{
    AnswerEvent, BlockKind, DeltaKind,
    frame::{Writer, inside_quotes},
    usage::Counts,
};

/// Writes the events as chunks; thinking has no place in the format. A text delta is copied, never
/// read.
pub(crate) struct StreamEncoder {
    /// A frame up to its `choices`.
    head: String,
    usage_chunk: UsageChunk,
    paragraphs: Paragraphs,
    counts: Counts,
}

impl StreamEncoder {
    pub(crate) fn new(identity: &Identity<'_>, usage_chunk: UsageChunk) -> Self {
        let mut head = b"data: ".to_vec();
        identity
            .write("chat.completion.chunk", Writer(&mut head))
            .lit(",\"choices\":");
        StreamEncoder {
            // Only texts were written, so it is one.
            head: String::from_utf8(head).unwrap_or_default(),
            usage_chunk,
            paragraphs: Paragraphs::default(),
            counts: Counts::default(),
        }
    }

    /// A chunk that says nothing: a real event, which clients count as life, unlike a comment.
    pub(crate) fn ping(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.choice(&mut out, "{}", "null");
        out
    }

    /// Appends the event's frames to `out`; many events have none.
    pub(crate) fn encode(&mut self, event: &AnswerEvent<'_>, out: &mut Vec<u8>) {
        match *event {
            AnswerEvent::Start { usage, .. } => {
                self.counts.update(usage);
                self.choice(out, r#"{"role":"assistant","content":""}"#, "null");
            }
            AnswerEvent::BlockStart {
                kind: BlockKind::Text,
                block,
                ..
            } => {
                self.paragraphs.begin();
                self.text(completion::begun_text(block), out);
            }
            AnswerEvent::Delta {
                kind: DeltaKind::Text,
                value,
                ..
            } => {
                self.text(inside_quotes(value).unwrap_or(""), out);
            }
            AnswerEvent::End {
                stop_reason, usage, ..
            } => {
                self.counts.update(usage);
                self.choice(out, "{}", finish_reason(stop_reason));
                if self.usage_chunk == UsageChunk::Wanted {
                    let out = Writer(out).lit(&self.head).lit("[],\"usage\":");
                    completion::write_usage(self.counts, out).lit("}\n\n");
                }
                Writer(out).lit("data: [DONE]\n\n");
            }
            AnswerEvent::BlockStart { .. }
            | AnswerEvent::Delta { .. }
            | AnswerEvent::BlockStop { .. } => {}
        }
    }

    /// A chunk of text, given as the inside of a JSON string.
    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let break_before = self.paragraphs.break_before_text();
        Writer(out)
            .lit(&self.head)
            .lit("[{\"index\":0,\"delta\":{\"content\":\"")
            .lit(break_before)
            .lit(text)
            .lit("\"},\"logprobs\":null,\"finish_reason\":null}]")
            .lit(self.no_usage());
    }

    fn choice(&self, out: &mut Vec<u8>, delta: &str, finish_reason: &str) {
        Writer(out)
            .lit(&self.head)
            .lit("[{\"index\":0,\"delta\":")
            .lit(delta)
            .lit(",\"logprobs\":null,\"finish_reason\":")
            .lit(finish_reason)
            .lit("}]")
            .lit(self.no_usage());
    }

    /// The end of a chunk. When the usage comes last, every chunk before it has a null one.
    fn no_usage(&self) -> &'static str {
        match self.usage_chunk {
            UsageChunk::Wanted => ",\"usage\":null}\n\n",
            UsageChunk::Left => "}\n\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sample;

    fn encoded(usage_chunk: UsageChunk, events: &[AnswerEvent<'_>]) -> String {
        let mut encoder = StreamEncoder::new(&sample::IDENTITY, usage_chunk);
        let mut out = Vec::new();
        events
            .iter()
            .for_each(|event| encoder.encode(event, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_answer_has_exactly_these_frames() {
        assert_eq!(
            encoded(UsageChunk::Wanted, &sample::text()),
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"Hi \u2028\""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"!"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":42,"total_tokens":45,"prompt_tokens_details":{"cached_tokens":0}}}

data: [DONE]

"#
        );
    }

    #[test]
    fn usage_is_left_out_where_nobody_asked() {
        assert_eq!(
            encoded(UsageChunk::Left, &sample::silent()),
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}

data: [DONE]

"#
        );
    }

    #[test]
    fn ping_is_a_chunk_that_says_nothing() {
        let encoder = StreamEncoder::new(&sample::IDENTITY, UsageChunk::Left);
        assert_eq!(
            String::from_utf8(encoder.ping()).unwrap(),
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
        );
    }

    #[test]
    fn model_id_cannot_break_out_of_its_string() {
        let identity = Identity {
            model_requested: "a\"\n",
            ..sample::IDENTITY
        };
        let encoder = StreamEncoder::new(&identity, UsageChunk::Left);
        let ping = String::from_utf8(encoder.ping()).unwrap();
        assert!(ping.contains(r#""model":"a\"\n","#), "{ping}");
    }
}
