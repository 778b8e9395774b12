//! The one message that a client sees, whatever turns it is made of.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Sink;
use crate::{
    api::{AnswerEvent, BlockKind, DeltaKind, Thinking},
    claude::event::{self, Assistant, ResultLine, Stream, StreamBlock},
};

/// The one message the client sees.
pub(super) struct Message {
    thinking: Thinking,
    head: Head,
    /// The index of the next block.
    next_index: u32,
    /// The block that is open, when it is shown.
    open: Option<Open>,
    last: Last,
}

/// A block as the CLI began it.
#[derive(Clone, Copy)]
struct Open {
    /// The CLI's own.
    index: u32,
    kind: BlockKind,
}

/// `Start` goes out with the first block, so that a run which fails before it still gets a status
/// of its own.
enum Head {
    Unknown,
    Ready {
        id: String,
        usage: Option<Box<RawValue>>,
    },
    Sent,
}

/// How the last turn ended.
#[derive(Default)]
struct Last {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Option<Box<RawValue>>,
}

impl Message {
    pub(super) fn new(thinking: Thinking) -> Self {
        Message {
            thinking,
            head: Head::Unknown,
            next_index: 0,
            open: None,
            last: Last::default(),
        }
    }

    pub(super) fn piece(&mut self, event: &Stream<'_>, sink: Sink<'_>) {
        match event {
            Stream::MessageStart { id, usage } => {
                self.close(sink);
                self.prepare(id, *usage);
            }
            Stream::BlockStart { index, kind, block } => {
                self.close(sink);
                if let Some(kind) = self.visible(*kind) {
                    self.start(sink);
                    self.open = Some(Open {
                        index: *index,
                        kind,
                    });
                    sink(AnswerEvent::BlockStart {
                        index: self.next_index,
                        kind,
                        block,
                    });
                }
            }
            Stream::Delta { index, delta } => {
                let Some((kind, value)) = payload(delta) else {
                    return;
                };
                if !self.takes(*index, kind) {
                    return;
                }
                sink(AnswerEvent::Delta {
                    index: self.next_index,
                    kind,
                    delta,
                    value,
                });
            }
            Stream::BlockStop { index } if self.is_open(*index) => self.close(sink),
            Stream::MessageDelta { .. } => {
                self.close(sink);
                self.note_end(event);
            }
            Stream::BlockStop { .. } | Stream::MessageStop => {}
        }
    }

    /// How a turn ended, shown or not: the last one counts.
    pub(super) fn note_end(&mut self, end: &Stream<'_>) {
        if let Stream::MessageDelta {
            stop_reason,
            stop_sequence,
            usage,
        } = end
        {
            let owned = |it: &Option<Cow<'_, str>>| it.as_deref().map(str::to_owned);
            self.last = Last {
                stop_reason: owned(stop_reason),
                stop_sequence: owned(stop_sequence),
                usage: usage.map(RawValue::to_owned),
            };
        }
    }

    /// Another turn has begun: the last one's usage says nothing of it.
    pub(super) fn forget_usage(&mut self) {
        self.last.usage = None;
    }

    /// The usage of the last turn, once it is over.
    pub(super) fn usage(&self) -> Option<&RawValue> {
        self.last.usage.as_deref()
    }

    fn visible(&self, kind: StreamBlock) -> Option<BlockKind> {
        match (kind, self.thinking) {
            (StreamBlock::Text, _) => Some(BlockKind::Text),
            (StreamBlock::Thinking, Thinking::Shown) => Some(BlockKind::Thinking),
            (StreamBlock::RedactedThinking, Thinking::Shown) => Some(BlockKind::Other),
            _ => None,
        }
    }

    fn is_open(&self, index: u32) -> bool {
        self.open.is_some_and(|open| open.index == index)
    }

    /// Whether a delta belongs to the open block: the SDKs put a text together from whatever comes.
    fn takes(&self, index: u32, delta: DeltaKind) -> bool {
        let Some(open) = self.open.filter(|open| open.index == index) else {
            return false;
        };
        match delta {
            DeltaKind::Text | DeltaKind::Citation => open.kind == BlockKind::Text,
            DeltaKind::Thinking | DeltaKind::Signature => open.kind == BlockKind::Thinking,
            DeltaKind::Input => false,
            DeltaKind::Other => true,
        }
    }

    /// How many blocks the client has seen the beginning of.
    pub(super) fn blocks_begun(&self) -> u32 {
        self.next_index + u32::from(self.open.is_some())
    }

    /// Takes the message's id and its first usage from a turn, unless the client knows them already.
    pub(super) fn prepare(&mut self, id: &str, usage: Option<&RawValue>) {
        if !matches!(self.head, Head::Sent) {
            self.head = Head::Ready {
                id: id.to_owned(),
                usage: usage.map(RawValue::to_owned),
            };
        }
    }

    fn start(&mut self, sink: Sink<'_>) {
        match std::mem::replace(&mut self.head, Head::Sent) {
            Head::Ready { id, usage } => sink(AnswerEvent::Start {
                id: &id,
                usage: usage.as_deref(),
            }),
            Head::Unknown => sink(AnswerEvent::Start {
                id: "msg_ccgw",
                usage: None,
            }),
            Head::Sent => {}
        }
    }

    fn close(&mut self, sink: Sink<'_>) {
        if self.open.take().is_some() {
            sink(AnswerEvent::BlockStop {
                index: self.next_index,
            });
            self.next_index += 1;
        }
    }

    /// Blocks that came in one piece.
    pub(super) fn whole(&mut self, assistant: &Assistant<'_>, sink: Sink<'_>) {
        self.close(sink);
        self.prepare(&assistant.id, assistant.usage);
        for block in &assistant.blocks {
            // A block without a type is nothing that could be shown.
            let kind = event::block_kind(block).unwrap_or(StreamBlock::Internal);
            if let Some(kind) = self.visible(kind) {
                self.whole_block(kind, block, sink);
            }
        }
        self.last = Last {
            stop_reason: assistant.stop_reason.as_deref().map(str::to_owned),
            stop_sequence: None,
            usage: assistant.usage.map(RawValue::to_owned),
        };
    }

    fn whole_block(&mut self, kind: BlockKind, block: &RawValue, sink: Sink<'_>) {
        self.start(sink);
        let index = self.next_index;
        self.next_index += 1;
        let Some(pieces) = Pieces::of(kind, block) else {
            sink(AnswerEvent::BlockStart { index, kind, block });
            sink(AnswerEvent::BlockStop { index });
            return;
        };
        sink(AnswerEvent::BlockStart {
            index,
            kind,
            block: &pieces.start,
        });
        for delta in &pieces.deltas {
            let Some((kind, value)) = payload(delta) else {
                continue;
            };
            sink(AnswerEvent::Delta {
                index,
                kind,
                delta,
                value,
            });
        }
        sink(AnswerEvent::BlockStop { index });
    }

    /// What a good result still owes the client: a message at all, and its text.
    pub(super) fn complete(&mut self, result: &ResultLine<'_>, sink: Sink<'_>) {
        self.close(sink);
        if self.next_index == 0
            && let Some(text) = result.result.as_deref().filter(|text| !text.is_empty())
            && let Ok(block) =
                serde_json::value::to_raw_value(&serde_json::json!({"type": "text", "text": text}))
        {
            self.whole_block(BlockKind::Text, &block, sink);
        }
        if self.last.stop_reason.is_none() {
            // A tool that ended the run, structured output for one, is not the client's to run.
            let reason = result
                .stop_reason
                .as_deref()
                .filter(|it| *it != "tool_use")
                .unwrap_or("end_turn");
            self.last.stop_reason = Some(reason.to_owned());
            self.last.usage = result.usage.map(RawValue::to_owned);
        }
    }

    pub(super) fn end(&mut self, sink: Sink<'_>) {
        self.start(sink);
        let reason = self
            .last
            .stop_reason
            .as_deref()
            .filter(|it| *it != "tool_use");
        sink(AnswerEvent::End {
            stop_reason: reason.unwrap_or("end_turn"),
            stop_sequence: self.last.stop_sequence.as_deref(),
            usage: self.last.usage.as_deref(),
        });
    }
}

/// A whole block as the stream it might have been.
struct Pieces {
    start: Box<RawValue>,
    deltas: Vec<Box<RawValue>>,
}

impl Pieces {
    fn of(kind: BlockKind, block: &RawValue) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Block<'a> {
            #[serde(borrow)]
            text: Option<&'a RawValue>,
            #[serde(borrow)]
            thinking: Option<&'a RawValue>,
            #[serde(borrow)]
            signature: Option<&'a RawValue>,
        }
        let parts: Block<'_> = serde_json::from_str(block.get()).ok()?;
        let (start, deltas) = match kind {
            BlockKind::Text => (
                r#"{"type":"text","text":""}"#,
                vec![("text_delta", "text", parts.text?)],
            ),
            BlockKind::Thinking => (
                r#"{"type":"thinking","thinking":"","signature":""}"#,
                vec![
                    ("thinking_delta", "thinking", parts.thinking?),
                    ("signature_delta", "signature", parts.signature?),
                ],
            ),
            BlockKind::Other => return None,
        };
        let delta = |(kind, field, value): (&str, &str, &RawValue)| {
            RawValue::from_string(format!(r#"{{"type":"{kind}","{field}":{}}}"#, value.get())).ok()
        };
        Some(Pieces {
            start: RawValue::from_string(start.to_owned()).ok()?,
            deltas: deltas.into_iter().map(delta).collect::<Option<_>>()?,
        })
    }
}

/// The kind of a delta and its one field that carries the payload; `None` when that is missing, which
/// the SDKs would not survive.
fn payload(delta: &RawValue) -> Option<(DeltaKind, &RawValue)> {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(default, borrow)]
        text: Option<&'a RawValue>,
        #[serde(default, borrow)]
        thinking: Option<&'a RawValue>,
        #[serde(default, borrow)]
        signature: Option<&'a RawValue>,
        #[serde(default, borrow)]
        citation: Option<&'a RawValue>,
    }
    let Ok(wire) = serde_json::from_str::<Wire<'_>>(delta.get()) else {
        return None;
    };
    let known = match (
        &*wire.kind,
        wire.text,
        wire.thinking,
        wire.signature,
        wire.citation,
    ) {
        ("text_delta", value, ..) => (DeltaKind::Text, value?),
        ("thinking_delta", _, value, ..) => (DeltaKind::Thinking, value?),
        ("signature_delta", _, _, value, _) => (DeltaKind::Signature, value?),
        ("input_json_delta", ..) => (DeltaKind::Input, delta),
        ("citations_delta", .., value) => (DeltaKind::Citation, value?),
        _ => (DeltaKind::Other, delta),
    };
    Some(known)
}
