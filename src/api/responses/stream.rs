//! A response as a stream of typed events with a running number.

use super::response::{Draft, Identity, Stop};
use crate::api::{AnswerEvent, ApiError, frame::Writer, openai};

/// Writes the events of one answer as the API's. A text delta is copied, never read.
pub(crate) struct StreamEncoder {
    draft: Draft,
    next_number: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing was written.
    Nothing,
    /// `response.created` was.
    Created,
    /// The message and its text are open.
    Text,
}

impl StreamEncoder {
    pub(crate) fn new(identity: &Identity<'_>) -> Self {
        StreamEncoder {
            draft: Draft::new(identity),
            next_number: 0,
            stage: Stage::Nothing,
        }
    }

    /// The answer's text so far.
    pub(crate) fn said(&self) -> String {
        self.draft.said()
    }

    /// A sign of life that every client takes: the response is in progress, still.
    pub(crate) fn ping(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.stage {
            Stage::Nothing => self.create(&mut out),
            Stage::Created | Stage::Text => self.whole("response.in_progress", &mut out),
        }
        out
    }

    /// Appends the event's frames to `out`; many events have none.
    pub(crate) fn encode(&mut self, event: &AnswerEvent<'_>, out: &mut Vec<u8>) {
        let added = self.draft.take(event);
        match event {
            AnswerEvent::Start { .. } => self.create(out),
            AnswerEvent::End { .. } => self.finish(out),
            _ => {}
        }
        if let Some((break_before, text)) = added {
            self.open(out);
            self.frame("response.output_text.delta", out, |draft, out| {
                place(draft, out)
                    .lit(",\"logprobs\":[],\"delta\":\"")
                    .lit(break_before)
                    .lit(&text)
                    .lit("\"")
            });
        }
    }

    /// The last event of an answer that failed.
    pub(crate) fn error_frame(&mut self, error: &ApiError) -> Vec<u8> {
        let mut out = Vec::new();
        let (_, body) = openai::error(error);
        // The documented fields, and the error as the API's own clients look for it.
        let inner = String::from_utf8_lossy(&body).into_owned();
        let inner = inner.trim_start_matches('{').trim_end_matches('}');
        self.frame("error", &mut out, |_, out| {
            out.lit(",\"code\":")
                .string(openai::code(error))
                .lit(",\"param\":null,\"message\":")
                .string(&error.message)
                .lit(",")
                .lit(inner)
                .lit("}")
        });
        out
    }

    fn create(&mut self, out: &mut Vec<u8>) {
        if self.stage == Stage::Nothing {
            self.stage = Stage::Created;
            self.whole("response.created", out);
            self.whole("response.in_progress", out);
        }
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        if self.stage >= Stage::Text {
            return;
        }
        self.create(out);
        self.stage = Stage::Text;
        self.frame("response.output_item.added", out, |draft, out| {
            out.lit(",\"output_index\":0,\"item\":{\"id\":")
                .string(draft.item_id())
                .lit(",\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}")
        });
        self.frame("response.content_part.added", out, |draft, out| {
            place(draft, out).lit(
                ",\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}",
            )
        });
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        // A silent answer is a message too.
        self.open(out);
        self.frame("response.output_text.done", out, |draft, out| {
            place(draft, out)
                .lit(",\"logprobs\":[],\"text\":\"")
                .lit(draft.text())
                .lit("\"")
        });
        self.frame("response.content_part.done", out, |draft, out| {
            draft.write_part(place(draft, out).lit(",\"part\":"))
        });
        self.frame("response.output_item.done", out, |draft, out| {
            draft.write_item(out.lit(",\"output_index\":0,\"item\":"))
        });
        let last = match self.draft.stop() {
            Stop::Incomplete(_) => "response.incomplete",
            Stop::NotYet | Stop::Complete => "response.completed",
        };
        self.whole(last, out);
    }

    /// A frame with the whole response.
    fn whole(&mut self, name: &str, out: &mut Vec<u8>) {
        self.frame(name, out, |draft, out| {
            draft.write(out.lit(",\"response\":"))
        });
    }

    /// One frame: its name, its number, and the fields that `write` adds.
    fn frame(
        &mut self,
        name: &str,
        out: &mut Vec<u8>,
        write: impl for<'w> FnOnce(&Draft, Writer<'w>) -> Writer<'w>,
    ) {
        let out = Writer(out)
            .lit("event: ")
            .lit(name)
            .lit("\ndata: {\"type\":\"")
            .lit(name)
            .lit("\",\"sequence_number\":")
            .number(self.next_number);
        self.next_number += 1;
        write(&self.draft, out).lit("}\n\n");
    }
}

/// Where a text is: the one part of the one item.
fn place<'w>(draft: &Draft, out: Writer<'w>) -> Writer<'w> {
    out.lit(",\"item_id\":")
        .string(draft.item_id())
        .lit(",\"output_index\":0,\"content_index\":0")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{ErrorKind, responses::Collector, sample};

    const IDENTITY: Identity<'_> = Identity {
        id: "1",
        model_requested: "m",
        created: 7,
        echo: "\"metadata\":{}",
        short_echo: "\"metadata\":{}",
    };

    fn frames(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).unwrap();
        let frames = text.split_terminator("\n\n").map(|frame| {
            let (event, data) = frame.split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
            data
        });
        frames.collect()
    }

    fn encoded(events: &[AnswerEvent<'_>]) -> Vec<Value> {
        let mut encoder = StreamEncoder::new(&IDENTITY);
        let mut out = encoder.ping();
        for event in events {
            encoder.encode(event, &mut out);
        }
        frames(&out)
    }

    #[test]
    fn events_come_in_the_apis_order_and_numbered() {
        let frames = encoded(&sample::text());
        let names: Vec<_> = frames
            .iter()
            .map(|it| it["type"].as_str().unwrap())
            .collect();
        let expect = [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ];
        assert_eq!(names, expect);
        for (number, frame) in frames.iter().enumerate() {
            assert_eq!(frame["sequence_number"], number);
        }
    }

    #[test]
    fn deltas_make_the_text_that_the_whole_response_has() {
        for events in [sample::text(), sample::everything(), sample::silent()] {
            let frames = encoded(&events);
            let deltas = frames.iter().filter_map(|it| it["delta"].as_str());
            let text: String = deltas.collect();
            let last = &frames.last().unwrap()["response"];
            assert_eq!(last["output"][0]["content"][0]["text"], text);
            let mut collector = Collector::new(&IDENTITY);
            events.iter().for_each(|event| collector.take(event));
            let whole: Value = serde_json::from_slice(&collector.finish()).unwrap();
            assert_eq!(whole, *last);
        }
    }

    #[test]
    fn cut_answer_is_incomplete() {
        let cut = [
            AnswerEvent::Start {
                id: "msg_1",
                usage: None,
            },
            AnswerEvent::End {
                stop_reason: "max_tokens",
                stop_sequence: None,
                usage: None,
            },
        ];
        let frames = encoded(&cut);
        let last = frames.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(
            last["response"]["incomplete_details"],
            json!({"reason": "max_output_tokens"})
        );
    }

    #[test]
    fn error_is_an_event_with_the_next_number() {
        let mut encoder = StreamEncoder::new(&IDENTITY);
        encoder.ping();
        let error = ApiError::new(ErrorKind::Internal, "it \"broke\"");
        let frames = frames(&encoder.error_frame(&error));
        assert_eq!(frames[0]["sequence_number"], 2);
        assert_eq!(frames[0]["message"], "it \"broke\"");
        assert_eq!(frames[0]["error"]["message"], "it \"broke\"");
    }
}
