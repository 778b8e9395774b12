//! The response object: whole at once, and as it stands while it streams.

use crate::api::{
    AnswerEvent, BlockKind, DeltaKind,
    frame::{Writer, inside_quotes},
    openai::completion::{Paragraphs, begun_text},
    usage::Counts,
};

/// What a response says of itself.
pub(crate) struct Identity<'a> {
    /// Unique; prefixes are added.
    pub(crate) id: &'a str,
    /// As the client sent it.
    pub(crate) model_requested: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The request's own fields, from its parser.
    pub(crate) echo: &'a str,
    /// The same without what is large, for a response that is not complete.
    pub(crate) short_echo: &'a str,
}

/// A response so far. Its one output is a message with one text; thinking has no place in it.
pub(super) struct Draft {
    /// The object up to its `status`.
    head: String,
    /// The object from `model` on to before its `output`.
    tail: String,
    /// The same while the answer is on its way.
    short_tail: String,
    item_id: String,
    /// The inside of a JSON string.
    text: String,
    paragraphs: Paragraphs,
    stop: Stop,
    counts: Counts,
}

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    NotYet,
    Complete,
    /// Cut short, for this reason as a JSON string.
    Incomplete(&'static str),
}

impl Draft {
    pub(super) fn new(identity: &Identity<'_>) -> Self {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        Writer(&mut head)
            .lit("{\"id\":")
            .string(&format!("resp_{}", identity.id))
            .lit(",\"object\":\"response\",\"created_at\":")
            .number(identity.created);
        let mut short_tail = Vec::new();
        for (tail, echo) in [
            (&mut tail, identity.echo),
            (&mut short_tail, identity.short_echo),
        ] {
            Writer(tail)
                .lit(",\"error\":null,\"model\":")
                .string(identity.model_requested)
                .lit(",")
                .lit(echo);
        }
        // Only texts were written, so they are some.
        let text = |bytes| String::from_utf8(bytes).unwrap_or_default();
        Draft {
            head: text(head),
            tail: text(tail),
            short_tail: text(short_tail),
            item_id: format!("msg_{}", identity.id),
            text: String::new(),
            paragraphs: Paragraphs::default(),
            stop: Stop::NotYet,
            counts: Counts::default(),
        }
    }

    pub(super) fn item_id(&self) -> &str {
        &self.item_id
    }

    /// The inside of a JSON string.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text itself.
    pub(super) fn said(&self) -> String {
        // It is made of the insides of JSON strings, so it is one.
        serde_json::from_str(&format!("\"{}\"", self.text)).unwrap_or_default()
    }

    pub(super) fn stop(&self) -> Stop {
        self.stop
    }

    /// Takes an event; gives the text that it adds, as the inside of a JSON string.
    pub(super) fn take(&mut self, event: &AnswerEvent<'_>) -> Option<(&'static str, String)> {
        match *event {
            AnswerEvent::Start { usage, .. } => self.counts.update(usage),
            AnswerEvent::BlockStart {
                kind: BlockKind::Text,
                block,
                ..
            } => {
                self.paragraphs.begin();
                return self.add(begun_text(block));
            }
            AnswerEvent::Delta {
                kind: DeltaKind::Text,
                value,
                ..
            } => return self.add(inside_quotes(value).unwrap_or("")),
            AnswerEvent::End {
                stop_reason, usage, ..
            } => {
                self.counts.update(usage);
                self.stop = match stop_reason {
                    "max_tokens" | "model_context_window_exceeded" => {
                        Stop::Incomplete("\"max_output_tokens\"")
                    }
                    "refusal" => Stop::Incomplete("\"content_filter\""),
                    _ => Stop::Complete,
                };
            }
            AnswerEvent::BlockStart { .. }
            | AnswerEvent::Delta { .. }
            | AnswerEvent::BlockStop { .. } => {}
        }
        None
    }

    fn add(&mut self, text: &str) -> Option<(&'static str, String)> {
        if text.is_empty() {
            return None;
        }
        let break_before = self.paragraphs.break_before_text();
        self.text.push_str(break_before);
        self.text.push_str(text);
        Some((break_before, text.to_owned()))
    }

    /// The object as it stands.
    pub(super) fn write<'w>(&self, out: Writer<'w>) -> Writer<'w> {
        let (status, incomplete) = match self.stop {
            Stop::NotYet => ("\"in_progress\"", None),
            Stop::Complete => ("\"completed\"", None),
            Stop::Incomplete(reason) => ("\"incomplete\"", Some(reason)),
        };
        let out = out.lit(&self.head).lit(",\"status\":").lit(status);
        let out = match incomplete {
            None => out.lit(",\"incomplete_details\":null"),
            Some(reason) => out
                .lit(",\"incomplete_details\":{\"reason\":")
                .lit(reason)
                .lit("}"),
        };
        let tail = match self.stop {
            Stop::NotYet => &self.short_tail,
            Stop::Complete | Stop::Incomplete(_) => &self.tail,
        };
        let out = out.lit(tail).lit(",\"output\":[");
        match self.stop {
            Stop::NotYet => out.lit("],\"usage\":null}"),
            Stop::Complete | Stop::Incomplete(_) => {
                let out = self.write_item(out).lit("],\"usage\":");
                self.write_usage(out).lit("}")
            }
        }
    }

    /// The message as it is at its end.
    pub(super) fn write_item<'w>(&self, out: Writer<'w>) -> Writer<'w> {
        let status = match self.stop {
            Stop::Incomplete(_) => "incomplete",
            Stop::NotYet | Stop::Complete => "completed",
        };
        let out = out
            .lit("{\"id\":")
            .string(&self.item_id)
            .lit(",\"type\":\"message\",\"status\":\"")
            .lit(status)
            .lit("\",\"role\":\"assistant\",\"content\":[");
        self.write_part(out).lit("]}")
    }

    pub(super) fn write_part<'w>(&self, out: Writer<'w>) -> Writer<'w> {
        out.lit("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"")
            .lit(&self.text)
            .lit("\"}")
    }

    fn write_usage<'w>(&self, out: Writer<'w>) -> Writer<'w> {
        let counts = self.counts;
        out.lit("{\"input_tokens\":")
            .number(counts.prompt())
            .lit(",\"input_tokens_details\":{\"cached_tokens\":")
            .number(counts.cached())
            .lit("},\"output_tokens\":")
            .number(counts.output())
            // The CLI does not tell them apart.
            .lit(",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":")
            .number(counts.prompt().saturating_add(counts.output()))
            .lit("}")
    }
}

/// Folds the events of one answer into one response.
pub(crate) struct Collector(Draft);

impl Collector {
    pub(crate) fn new(identity: &Identity<'_>) -> Self {
        Collector(Draft::new(identity))
    }

    pub(crate) fn take(&mut self, event: &AnswerEvent<'_>) {
        self.0.take(event);
    }

    /// The answer's text so far.
    pub(crate) fn said(&self) -> String {
        self.0.said()
    }

    /// The response as JSON.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.text.len() + 1024);
        self.0.write(Writer(&mut out));
        out
    }
}
