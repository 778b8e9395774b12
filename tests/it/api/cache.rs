//! How much of each request the API could read from its prompt cache: what was marked in an earlier one, as the API
//! documents it (a mark writes all up to it; a later request finds it at a mark of its own, or up to 20 blocks before).

use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use super::{Received, without_breakpoints};

/// How far before a mark the API looks.
const LOOK_BACK: usize = 20;

/// Sums over all requests, in bytes of JSON.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheReads {
    all: Part,
    /// Without tools and system prompt.
    messages: Part,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Part {
    read: usize,
    sent: usize,
}

/// One piece of a request, in the order in which it is cached.
struct Block {
    json: String,
    is_marked: bool,
    is_message: bool,
}

impl CacheReads {
    pub(crate) fn of(requests: &[Received]) -> CacheReads {
        let mut written = HashSet::new();
        let mut reads = CacheReads::default();
        for request in requests {
            let blocks = blocks(&request.body);
            let prefixes = prefixes(&blocks);
            let marks: Vec<usize> = (0..blocks.len())
                .filter(|at| blocks[*at].is_marked)
                .collect();
            let found = marks.iter().filter_map(|mark| {
                let first = mark.saturating_sub(LOOK_BACK);
                (first..=*mark).rfind(|at| written.contains(&prefixes[*at]))
            });
            let read = found.max().map_or(0, |at| at + 1);
            reads.add(&blocks, read);
            written.extend(marks.iter().map(|at| prefixes[*at]));
        }
        reads
    }

    fn add(&mut self, blocks: &[Block], read: usize) {
        for (at, block) in blocks.iter().enumerate() {
            let parts = [
                Some(&mut self.all),
                block.is_message.then_some(&mut self.messages),
            ];
            for part in parts.into_iter().flatten() {
                part.sent += block.json.len();
                part.read += if at < read { block.json.len() } else { 0 };
            }
        }
    }

    /// In per cent, of all and of the messages.
    pub(crate) fn shares(&self) -> (usize, usize) {
        (self.all.share(), self.messages.share())
    }
}

impl Part {
    fn share(self) -> usize {
        100 * self.read / self.sent.max(1)
    }
}

impl fmt::Display for CacheReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, messages) = self.shares();
        let Part { read, sent } = self.all;
        write!(
            f,
            "{all} % ({read} of {sent} bytes), of the messages {messages} %"
        )
    }
}

/// Tools, then the system prompt, then the messages.
fn blocks(body: &Value) -> Vec<Block> {
    let list = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        other => vec![other.clone()],
    };
    let block = |value: &Value, role: &str| Block {
        json: format!("{role}{}", without_breakpoints(value)),
        is_marked: value.get("cache_control").is_some(),
        is_message: !role.is_empty(),
    };
    let mut blocks: Vec<Block> = [&body["tools"], &body["system"]]
        .into_iter()
        .flat_map(list)
        .map(|it| block(&it, ""))
        .collect();
    for message in list(&body["messages"]) {
        let role = message["role"].as_str().unwrap_or_default();
        blocks.extend(list(&message["content"]).iter().map(|it| block(it, role)));
    }
    blocks
}

/// What stands for all up to each block.
fn prefixes(blocks: &[Block]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    let hashes = blocks.iter().map(|block| {
        block.json.hash(&mut hasher);
        hasher.finish()
    });
    hashes.collect()
}
