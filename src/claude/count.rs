//! A request as one text whose tokens can be counted.
//!
//! The CLI counts what fills its context, and has the API count its system prompt: as the text of one
//! user message, unchanged (`/v1/messages/count_tokens`, measured with 2.1.330; where the API does not
//! answer, it takes a quarter of the characters). So for a request of one text the number is the
//! API's own. Roles, tools and media are said in words or by their size: then it is an estimate.

use std::fmt::Write as _;

use crate::api::{Block, MediaKind, Message, Prompt, Role};

/// What is to be counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Countable {
    pub(crate) text: String,
    /// Tokens of what is not text.
    pub(crate) beside: u64,
    pub(crate) precision: Precision,
}

/// How near the number is to what the API would count for the request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    Exact,
    Estimate,
}

impl Precision {
    /// As the header `x-ccgw-token-count` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Estimate => "estimate",
        }
    }
}

/// The most that the API takes for one image before it makes it smaller: 1568 pixels a side.
/// <https://docs.claude.com/en/docs/build-with-claude/vision>
const IMAGE_TOKENS: u64 = 1600;

/// A page of a PDF is 1,500 to 3,000 tokens and some 50 KB, 68,000 characters of base64.
const PDF_CHARACTERS_PER_TOKEN: u64 = 30;

/// All of a prompt and the client's `tools`, as one text.
pub(crate) fn countable(prompt: &Prompt, tools: Option<&str>) -> Countable {
    if let ("", None, [message]) = (prompt.system.as_str(), tools, prompt.messages.as_slice())
        && let (Role::User, [Block::Text(text)]) = (message.role, message.blocks.as_slice())
    {
        return Countable {
            text: text.clone(),
            beside: 0,
            precision: Precision::Exact,
        };
    }
    let mut countable = Countable {
        text: prompt.system.clone(),
        beside: 0,
        precision: Precision::Estimate,
    };
    for message in &prompt.messages {
        countable.message(message);
    }
    countable.text.push_str(tools.unwrap_or_default());
    countable
}

impl Countable {
    /// The number for the client, from what was counted for the text.
    pub(crate) fn total(&self, counted: u64) -> (u64, Precision) {
        // What the CLI takes where the API does not answer.
        let guess = (self.text.len() as u64).div_ceil(4);
        let guessed = counted.abs_diff(guess) <= 1 && guess > SHORT;
        let precision = match guessed {
            true => Precision::Estimate,
            false => self.precision,
        };
        (counted.saturating_add(self.beside), precision)
    }

    fn message(&mut self, message: &Message) {
        // About what the API itself puts between messages.
        self.text.push_str(match message.role {
            Role::User => "\n\nHuman: ",
            Role::Assistant => "\n\nAssistant: ",
        });
        for block in &message.blocks {
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) => self.text.push_str(text),
            Block::Media {
                kind: MediaKind::Image,
                ..
            } => self.beside += IMAGE_TOKENS,
            Block::Media {
                kind: MediaKind::Document,
                block,
            } => self.document(block.get()),
            Block::ToolUse { id, name, input } => {
                // Writing to a String cannot fail.
                let _ = write!(self.text, "{id} {name} {}", input.get());
            }
            Block::ToolResult {
                tool_use_id,
                blocks,
                ..
            } => {
                self.text.push_str(tool_use_id);
                blocks.iter().for_each(|block| self.block(block));
            }
            Block::SearchResult(block) | Block::Other(block) => self.text.push_str(block.get()),
        }
    }

    fn document(&mut self, block: &str) {
        match block.contains("\"application/pdf\"") {
            true => self.beside += block.len() as u64 / PDF_CHARACTERS_PER_TOKEN,
            false => self.text.push_str(block),
        }
    }
}

/// Below this many tokens a true count and a quarter of the characters may well be the same.
const SHORT: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anthropic;

    #[track_caller]
    fn check(fields: &str, text: &str, beside: u64, precision: Precision) {
        let body = format!(r#"{{"model":"sonnet",{fields}}}"#);
        let request = anthropic::parse_count(body.as_bytes()).unwrap();
        let expect = Countable {
            text: text.to_owned(),
            beside,
            precision,
        };
        assert_eq!(countable(&request.prompt, request.tools.as_deref()), expect);
    }

    #[test]
    fn one_text_is_counted_as_it_is() {
        let one = r#""messages":[{"role":"user","content":"hi"}]"#;
        check(one, "hi", 0, Precision::Exact);
        let system = format!(r#"{one},"system":"S""#);
        check(&system, "S\n\nHuman: hi", 0, Precision::Estimate);
        let tools = format!(r#"{one},"tools":[{{"name":"t"}}]"#);
        check(
            &tools,
            "\n\nHuman: hi[{\"name\":\"t\"}]",
            0,
            Precision::Estimate,
        );
        check(&format!(r#"{one},"tools":[]"#), "hi", 0, Precision::Exact);
    }

    #[test]
    fn everything_counts_once() {
        check(
            r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"u"}},{"type":"text","text":"q"}]},
                {"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":{"a":1}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"i","content":"r"}]}]"#,
            "\n\nHuman: q\n\nAssistant: i n {\"a\":1}\n\nHuman: ir",
            1600,
            Precision::Estimate,
        );
    }

    #[test]
    fn guess_of_the_cli_is_not_passed_off_as_a_count() {
        let of = |length: usize| Countable {
            text: "x".repeat(length),
            beside: 5,
            precision: Precision::Exact,
        };
        assert_eq!(of(4000).total(1000), (1005, Precision::Estimate));
        assert_eq!(of(4000).total(900), (905, Precision::Exact));
        assert_eq!(of(8).total(2), (7, Precision::Exact));
    }
}
