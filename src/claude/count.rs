//! A request as a text and media whose tokens the API can count through the CLI.
//!
//! The CLI counts what fills its context, and asks the API (`/v1/messages/count_tokens`, measured with
//! 2.1.330): for its system prompt as the text of one user message, unchanged, and for its messages,
//! unchanged too. Where the API does not answer, it takes a quarter of the characters. So for a
//! request of one text the number is the API's own. Roles and tools are said in words, which makes
//! it an estimate; media are counted by the API again.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::ContextUsage;
use crate::api::{Block, Message, Prompt, Role};

/// What is to be counted.
#[derive(Debug)]
pub(crate) struct Countable {
    /// Not empty, since the CLI would not count it.
    pub(crate) text: String,
    /// Images and documents in the API's shape.
    pub(crate) media: Vec<Box<RawValue>>,
    /// Tokens of what is neither.
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

/// An image or document that the API fetches itself: its count takes none by URL or file id. The
/// most for one image, 1568 pixels a side, and about a page of a PDF.
/// <https://docs.claude.com/en/docs/build-with-claude/token-counting>, `vision`, `pdf-support`
const UNSEEN_MEDIA_TOKENS: u64 = 1600;

/// What the API tells the model of tools in general, with Claude 4 and `tool_choice` auto or none.
/// <https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview>
const TOOL_PROMPT_TOKENS: u64 = 346;

/// All that counts of a prompt and of the client's `tools`. Takes the prompt's messages.
pub(crate) fn countable(prompt: &mut Prompt, tools: Option<&str>) -> Countable {
    let messages = std::mem::take(&mut prompt.messages);
    let mut countable = Countable {
        text: std::mem::take(&mut prompt.system),
        media: Vec::new(),
        beside: 0,
        precision: Precision::Estimate,
    };
    if countable.text.is_empty() && tools.is_none() && is_one_text(&messages) {
        countable.precision = Precision::Exact;
    }
    for (index, message) in messages.into_iter().enumerate() {
        countable.message(index, message);
    }
    if let Some(tools) = tools {
        countable.text.push_str(tools);
        countable.beside += TOOL_PROMPT_TOKENS;
    }
    if countable.text.is_empty() {
        // Only media: a token more does not matter in an estimate.
        countable.text.push('.');
    }
    countable
}

fn is_one_text(messages: &[Message]) -> bool {
    let [message] = messages else {
        return false;
    };
    message.role == Role::User && matches!(message.blocks.as_slice(), [Block::Text(_)])
}

impl Countable {
    /// The number for the client, from what the CLI has counted step by step; `None` when it did
    /// not count the text.
    pub(crate) fn total(&self, counted: &[ContextUsage]) -> Option<(u64, Precision)> {
        let (first, last) = (counted.first()?, counted.last()?);
        if first.system_prompt == 0 && self.guess() > 1 {
            return None;
        }
        let media = last.messages.saturating_sub(first.messages);
        let total = first.system_prompt + media + self.beside;
        let precision = match self.is_guess(first) {
            true => Precision::Estimate,
            false => self.precision,
        };
        Some((total, precision))
    }

    /// What the CLI takes for the text where the API does not answer, give or take one. Characters
    /// are UTF-16's units to it.
    fn guess(&self) -> u64 {
        (self.text.encode_utf16().count() as u64).div_ceil(4)
    }

    /// Whether the CLI had no answer from the API, for anything or for this text.
    fn is_guess(&self, counted: &ContextUsage) -> bool {
        counted.messages == 0 || counted.system_prompt.abs_diff(self.guess()) <= 1
    }

    fn message(&mut self, index: usize, message: Message) {
        // About what the API itself puts between messages. It also frames the text as a whole, so
        // the first needs nothing of its own.
        let frame = match (index, message.role) {
            (0, Role::User) if self.text.is_empty() => "",
            (0, Role::User) => "\n",
            (_, Role::User) => "\n\nHuman: ",
            (_, Role::Assistant) => "\n\nAssistant: ",
        };
        self.text.push_str(frame);
        message.blocks.into_iter().for_each(|it| self.block(it));
    }

    fn block(&mut self, block: Block) {
        match block {
            Block::Text(text) => self.text.push_str(&text),
            Block::Media { block, .. } => match is_seen(&block) {
                true => self.media.push(block),
                false => self.beside += UNSEEN_MEDIA_TOKENS,
            },
            Block::ToolUse { id, name, input } => {
                // Writing to a String cannot fail.
                let _ = write!(self.text, "{id} {name} {}", input.get());
            }
            Block::ToolResult {
                tool_use_id,
                blocks,
                ..
            } => {
                self.text.push_str(&tool_use_id);
                blocks.into_iter().for_each(|it| self.block(it));
            }
            Block::SearchResult(block) | Block::Other(block) => self.text.push_str(block.get()),
        }
    }
}

/// Whether the API's count takes a media block.
fn is_seen(block: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Media<'a> {
        #[serde(borrow)]
        source: Source<'a>,
    }
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    let media: serde_json::Result<Media<'_>> = serde_json::from_str(block.get());
    media.is_ok_and(|it| !matches!(&*it.source.kind, "url" | "file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anthropic;

    #[track_caller]
    fn of(fields: &str) -> Countable {
        let body = format!(r#"{{"model":"sonnet",{fields}}}"#);
        let mut request = anthropic::parse_count(body.as_bytes()).unwrap();
        countable(&mut request.prompt, request.tools.as_deref())
    }

    #[track_caller]
    fn check(fields: &str, text: &str, beside: u64, precision: Precision) {
        let got = of(fields);
        assert_eq!(
            (got.text.as_str(), got.beside, got.precision),
            (text, beside, precision)
        );
        assert!(got.media.is_empty(), "{:?}", got.media);
    }

    #[test]
    fn one_text_is_counted_as_it_is() {
        let one = r#""messages":[{"role":"user","content":"hi"}]"#;
        check(one, "hi", 0, Precision::Exact);
        check(&format!(r#"{one},"tools":[]"#), "hi", 0, Precision::Exact);
        let system = format!(r#"{one},"system":"S""#);
        check(&system, "S\nhi", 0, Precision::Estimate);
        let tools = format!(r#"{one},"tools":[{{"name":"t"}}]"#);
        check(&tools, r#"hi[{"name":"t"}]"#, 346, Precision::Estimate);
        let spaced = format!("{one},\"tools\": [ {{ \"name\":\n \"t\" }} ]");
        check(&spaced, r#"hi[{"name":"t"}]"#, 346, Precision::Estimate);
    }

    #[test]
    fn everything_counts_once() {
        check(
            r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://u"}},{"type":"text","text":"q"}]},
                {"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":{"a":1}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"i","content":"r"}]}]"#,
            "q\n\nAssistant: i n {\"a\":1}\n\nHuman: ir",
            1600,
            Precision::Estimate,
        );
    }

    #[test]
    fn media_that_the_count_of_the_api_takes_are_left_to_it() {
        let image =
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}"#;
        let file = r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#;
        let got = of(&format!(
            r#""messages":[{{"role":"user","content":[{image},{file}]}},
                {{"role":"assistant","content":[{{"type":"tool_use","id":"i","name":"n","input":{{}}}}]}},
                {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"i","content":[{image}]}}]}}]"#
        ));
        let media: Vec<&str> = got.media.iter().map(|it| it.get()).collect();
        assert_eq!(media, [image, image]);
        assert_eq!(got.beside, 1600);
        let only = of(&format!(
            r#""messages":[{{"role":"user","content":[{image}]}}]"#
        ));
        assert_eq!(only.text, ".");
    }

    #[track_caller]
    fn check_total(
        text: &str,
        counted: &[(u64, u64)],
        expect: impl Into<Option<(u64, Precision)>>,
    ) {
        let countable = Countable {
            text: text.to_owned(),
            media: Vec::new(),
            beside: 5,
            precision: Precision::Exact,
        };
        let usage = |(system_prompt, messages): &(u64, u64)| ContextUsage {
            system_prompt: *system_prompt,
            messages: *messages,
        };
        let counted: Vec<ContextUsage> = counted.iter().map(usage).collect();
        assert_eq!(countable.total(&counted), expect.into());
    }

    #[test]
    fn guess_of_the_cli_is_not_passed_off_as_a_count() {
        let long = "x".repeat(4000);
        check_total(&long, &[(900, 8)], (905, Precision::Exact));
        check_total(&long, &[(1000, 8)], (1005, Precision::Estimate));
        check_total(&long, &[(900, 0)], (905, Precision::Estimate));
        check_total("hi there", &[(9, 8)], (14, Precision::Exact));
        check_total("hi there", &[(2, 0)], (7, Precision::Estimate));
        check_total("hi there", &[(2, 8)], (7, Precision::Estimate));
        let accents = "é".repeat(1000);
        check_total(&accents, &[(250, 8)], (255, Precision::Estimate));
        check_total(&accents, &[(500, 8)], (505, Precision::Exact));
    }

    #[test]
    fn what_the_cli_adds_to_media_is_not_counted() {
        let text = "x".repeat(4000);
        check_total(&text, &[(900, 300), (900, 1900)], (2505, Precision::Exact));
        check_total(&text, &[(900, 300), (900, 20)], (905, Precision::Exact));
    }

    #[test]
    fn what_was_not_counted_has_no_number() {
        check_total("some words", &[], None);
        check_total("some words", &[(0, 0)], None);
        check_total("a", &[(0, 0)], (5, Precision::Estimate));
    }
}
