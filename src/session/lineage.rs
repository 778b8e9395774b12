//! A conversation's identity: a hash over who had it and what was said, message by message.
//!
//! What clients change in a history without meaning to is left out: blank space at the ends of lines
//! (all of it in answers, which formats join in different ways), punctuation in tool ids, cache marks,
//! the split of a text into blocks, and messages that OpenClaw puts in for one turn only. Thinking is no
//! part of it, since clients may drop it.

use std::{borrow::Cow, collections::BTreeMap};

use hmac_sha256::Hash;
use serde_json::{Value, value::RawValue};

use super::Key;
use crate::api::{Block, Message, Role};

/// What was said so far.
#[derive(Clone, Copy)]
pub(crate) struct Lineage([u8; 32]);

/// What was said up to three points of a request; its images are hashed once.
#[derive(Clone, Copy)]
pub(crate) struct Lineages {
    /// Nothing yet.
    pub(crate) begun: Lineage,
    /// Up to the last answer.
    pub(crate) history: Lineage,
    /// All of it.
    pub(crate) asked: Lineage,
}

impl Lineages {
    /// Of a tenant's request, in a conversation if it names one.
    pub(crate) fn of(tenant: &str, conversation: Option<&str>, messages: &[Message]) -> Lineages {
        let (history, newest) = messages.split_at(newest_user_messages(messages));
        let begun = Lineage::begin(tenant, conversation);
        let history = begun.then(history);
        Lineages {
            begun,
            history,
            asked: history.then(newest),
        }
    }
}

/// How OpenClaw marks a message that it adds to the newest turn and leaves out of later histories
/// (2026.9.6).
const INTERNAL_CONTEXT: &str = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>";

/// How the line begins that names OpenClaw's session; in OpenAI's format it stands in the first user
/// message, and changes with the model.
pub(crate) const RUNTIME_LINE: &str = "Runtime: agent=";

/// What OpenClaw writes into a history for a turn that nobody asked for (2026.9.6). Where nothing came of that, the
/// turn is left out, and this stands before the next question once that is answered.
const WAKE_MARKS: [&str; 5] = [
    "[OpenClaw heartbeat poll]",
    "[OpenClaw exec completion]",
    "[OpenClaw cron wake]",
    "[OpenClaw session event]",
    "Disable automatic completion turns with tools.exec.notifyOnExit=false; check per-agent overrides. Background exec and process poll remain available.",
];

/// Ends a piece of what is hashed: no UTF-8 text holds this byte.
const END: [u8; 1] = [0xff];

impl Lineage {
    /// A conversation of a tenant in which nothing was said yet.
    pub(crate) fn begin(tenant: &str, conversation: Option<&str>) -> Lineage {
        let mut hash = Hash::new();
        hash.update(tenant.as_bytes());
        hash.update(END);
        match conversation {
            Some(id) => hash.update(id.as_bytes()),
            None => hash.update(END),
        }
        hash.update(END);
        Lineage(hash.finalize())
    }

    /// With these messages said after it.
    pub(crate) fn then(mut self, messages: &[Message]) -> Lineage {
        // Some clients join messages of one role, and some cut them.
        for group in messages.chunk_by(|a, b| a.role == b.role) {
            let blocks = group.iter().filter(|it| !is_internal(it));
            let blocks = blocks.flat_map(|it| &it.blocks);
            self = match group[0].role {
                Role::User => self.then_user(blocks),
                Role::Assistant => self.then_assistant(blocks),
            };
        }
        self
    }

    fn then_user<'a>(self, blocks: impl Iterator<Item = &'a Block>) -> Lineage {
        let mut pieces = Pieces::after(self, Role::User);
        blocks.for_each(|block| pieces.block(block));
        pieces.lineage()
    }

    fn then_assistant<'a>(self, blocks: impl Iterator<Item = &'a Block>) -> Lineage {
        let mut said = Said::after(self);
        let mut others = Vec::new();
        for block in blocks {
            match block {
                Block::Text(text) => said.text(text),
                other => others.push(other),
            }
        }
        for block in others {
            said.pieces.block(block);
        }
        said.lineage()
    }

    /// What finds a session in which exactly this was said.
    pub(crate) fn key(self) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&self.0[..16]);
        Key(key)
    }
}

/// An answer that is being given, as the client will send it back.
pub(crate) struct Said {
    pieces: Pieces,
}

impl Said {
    /// Nothing yet, after this.
    pub(crate) fn after(lineage: Lineage) -> Said {
        Said {
            pieces: Pieces::after(lineage, Role::Assistant),
        }
    }

    /// Some text; where it is cut does not matter.
    pub(crate) fn text(&mut self, text: &str) {
        for part in text.split_whitespace() {
            self.pieces.hash.update(part.as_bytes());
        }
    }

    /// The JSON string of a delta.
    pub(crate) fn delta(&mut self, literal: &RawValue) {
        let text: Result<Cow<'_, str>, _> = serde_json::from_str(literal.get());
        // What is no string is no text.
        self.text(&text.unwrap_or_default());
    }

    pub(crate) fn lineage(mut self) -> Lineage {
        self.pieces.hash.update(END);
        self.pieces.lineage()
    }
}

/// One message's pieces on their way into the hash.
struct Pieces {
    hash: Hash,
    /// Texts that follow each other, which are one.
    text: String,
}

impl Pieces {
    fn after(lineage: Lineage, role: Role) -> Pieces {
        let mut hash = Hash::new();
        hash.update(lineage.0);
        hash.update(match role {
            Role::User => b"u",
            Role::Assistant => b"a",
        });
        Pieces {
            hash,
            text: String::new(),
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) if is_wake(text) => {}
            Block::Text(text) => {
                self.text.push_str(text);
                self.text.push('\n');
            }
            Block::Media { block, .. } => {
                self.flush();
                self.hash.update(b"media");
                self.hash.update(END);
                self.large(block, "cache_control");
            }
            Block::SearchResult(block) => self.json("search", block),
            Block::Other(block) => self.json("other", block),
            Block::ToolUse { id, name, input } => {
                self.piece("call", &plain_id(id));
                self.piece("name", name);
                self.json("input", input);
            }
            Block::ToolResult {
                tool_use_id,
                is_error,
                blocks,
            } => {
                self.piece("result", &plain_id(tool_use_id));
                self.piece("error", if *is_error { "yes" } else { "no" });
                blocks.iter().for_each(|it| self.block(it));
                self.piece("end", "");
            }
        }
    }

    fn json(&mut self, kind: &str, raw: &RawValue) {
        match serde_json::from_str::<Value>(raw.get()) {
            Ok(mut value) => {
                if let Value::Object(fields) = &mut value {
                    fields.remove("cache_control");
                }
                // Written with its keys in order.
                self.piece(kind, &value.to_string());
            }
            Err(_) => self.piece(kind, raw.get()),
        }
    }

    /// Some JSON of which one field does not count. Nothing of its texts is copied, which may be megabytes; the
    /// order of its keys does not matter, other ways to write a text do.
    fn large(&mut self, raw: &RawValue, but: &str) {
        match serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(raw.get()) {
            Ok(fields) => {
                self.hash.update(b"{");
                for (name, value) in fields.iter().filter(|(name, _)| *name != but) {
                    self.hash.update(name.as_bytes());
                    self.hash.update(END);
                    self.large(value, "");
                }
                self.hash.update(END);
            }
            Err(_) => {
                self.hash.update(raw.get().as_bytes());
                self.hash.update(END);
            }
        }
    }

    fn piece(&mut self, kind: &str, text: &str) {
        self.flush();
        self.hash.update(kind.as_bytes());
        self.hash.update(END);
        self.hash.update(text.as_bytes());
        self.hash.update(END);
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let lines = text.trim().lines().map(str::trim_end);
        let lines = lines.map(without_time).filter(|it| !is_openclaws_own(it));
        for line in lines {
            self.hash.update(line.as_bytes());
            self.hash.update(b"\n");
        }
        self.hash.update(END);
    }

    fn lineage(mut self) -> Lineage {
        self.flush();
        Lineage(self.hash.finalize())
    }
}

/// Lines that OpenClaw puts into a history by itself: they may be missing where it was asked, and come later.
fn is_openclaws_own(line: &str) -> bool {
    line.starts_with(RUNTIME_LINE) || WAKE_MARKS.contains(&line)
}

/// What OpenClaw says to wake the model up by itself; the histories of later turns have a mark in its place. The text
/// is the operator's to choose, but not its end.
fn is_wake(text: &str) -> bool {
    let mut last = text.trim_end().lines().rev();
    let mut ends = |start: &str| last.next().is_some_and(|it| it.starts_with(start));
    ends("Reference UTC: ") && ends("Current time: ")
}

/// OpenClaw begins a message with its time in brackets, in the zone of its host (`[Mon 2026-11-23 03:12 GMT+1] `), and
/// may put it before another one later.
pub(crate) fn without_time(text: &str) -> &str {
    let rest = text.strip_prefix('[').and_then(|it| it.split_once("] "));
    match rest {
        Some((time, rest)) if is_time(time) => rest.trim_start(),
        _ => text,
    }
}

/// Whether there is a date and a time of day among its words.
fn is_time(text: &str) -> bool {
    let looks_like = |word: &str, form: &str| {
        let same = |(byte, form): (u8, u8)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        };
        word.len() == form.len() && word.bytes().zip(form.bytes()).all(same)
    };
    let mut words = text.split(' ');
    text.len() < 60
        && words.any(|it| looks_like(it, "0000-00-00"))
        && words
            .next()
            .is_some_and(|it| looks_like(it, "00:00") || looks_like(it, "00:00:00"))
}

/// OpenClaw sends `toolu_1` back as `toolu1`.
fn plain_id(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn is_internal(message: &Message) -> bool {
    let internal = |block: &Block| match block {
        Block::Text(text) => text.starts_with(INTERNAL_CONTEXT),
        _ => false,
    };
    message.role == Role::User && message.blocks.iter().all(internal)
}

/// The user's messages after the last answer; what is before them is the history.
pub(crate) fn newest_user_messages(messages: &[Message]) -> usize {
    let last = messages.iter().rposition(|it| it.role == Role::Assistant);
    last.map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;
