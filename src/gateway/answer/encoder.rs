//! The format in which a client wants its answer.

use crate::api::{anthropic, openai, responses};

/// How the client wants it, and what is needed to write it so.
pub(crate) enum Encoder {
    AnthropicStream(anthropic::StreamEncoder),
    AnthropicWhole(anthropic::Collector),
    /// A number, which is sent by [`Answer::send`](super::Answer::send).
    Count,
    OpenAiStream(openai::StreamEncoder),
    OpenAiWhole(openai::Collector),
    ResponsesStream(responses::StreamEncoder),
    ResponsesWhole(responses::Collector),
}

impl Encoder {
    /// Whether the answer is a stream of events.
    pub(in crate::gateway) fn streams(&self) -> bool {
        matches!(
            self,
            Encoder::AnthropicStream(_) | Encoder::OpenAiStream(_) | Encoder::ResponsesStream(_)
        )
    }

    /// The text of an answer that may be kept; no other format goes on from an id.
    pub(super) fn said(&self) -> String {
        match self {
            Encoder::ResponsesStream(encoder) => encoder.said(),
            Encoder::ResponsesWhole(collector) => collector.said(),
            Encoder::AnthropicStream(_)
            | Encoder::AnthropicWhole(_)
            | Encoder::Count
            | Encoder::OpenAiStream(_)
            | Encoder::OpenAiWhole(_) => String::new(),
        }
    }
}
