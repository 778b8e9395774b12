//! What goes down the CLI's stdin for one prompt: `initialize`, how much to think where the request
//! says, and the user's line.
//!
//! A text goes in as text. The user line carries `text_not_typed`, which tells the CLI that a program
//! composed it: no `@path` is read and no `/command` is run. Versions that do not know the mark are
//! not used (see `program`).

use std::{collections::VecDeque, fmt::Write as _};

use serde::Serialize;
use serde_json::value::RawValue;

use super::count::Countable;
use crate::api::{Block, MediaKind, Message, Prompt, Reasoning, Role};

/// The id of our `initialize` request; its answer is the only one with it.
pub(crate) const INITIALIZE_ID: &str = "ccgw-initialize";

/// The id of our question for the context's usage.
pub(crate) const CONTEXT_USAGE_ID: &str = "ccgw-count";

/// Asks a running CLI to stop what it does: it closes its stream and ends its own tools.
pub(crate) const INTERRUPT: &[u8] =
    b"{\"type\":\"control_request\",\"request_id\":\"ccgw-interrupt\",\"request\":{\"subtype\":\"interrupt\"}}\n";

/// What a process hears once, before its first prompt: the system prompt and how much to think.
///
/// # Errors
/// When a schema cannot be written as JSON, which no parsed request can cause.
pub(crate) fn opening(prompt: &Prompt, system: &str) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(system.len() + 4096);
    let request = Initialize {
        subtype: "initialize",
        system_prompt: system,
        json_schema: prompt.parameters.schema.as_deref(),
    };
    control(&mut out, INITIALIZE_ID, &request)?;
    if let Some(max_thinking_tokens) = thinking_tokens(prompt.parameters.reasoning) {
        let request = Thinking {
            subtype: "set_max_thinking_tokens",
            max_thinking_tokens,
        };
        control(&mut out, "ccgw-thinking", &request)?;
    }
    Ok(out)
}

/// The line that asks: these messages as one of the user's, with what came before the newest of them as
/// marked text.
///
/// # Errors
/// When a block cannot be written as JSON, which no parsed request can cause.
pub(crate) fn question(messages: &[Message]) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(4096);
    let message = UserMessage {
        role: "user",
        content: content(messages),
    };
    let line = User {
        kind: "user",
        message,
        text_not_typed: true,
        should_query: None,
    };
    serde_json::to_writer(&mut out, &line)?;
    end_line(&mut out, 0);
    Ok(out)
}

/// Has the CLI count a text, given to it as its system prompt, and then media, without a model turn.
/// Each step is written when the one before it has been answered, by a `result` line or by the
/// context's usage: the CLI answers control requests before user lines that came earlier.
///
/// The usage after a message of one word says what the CLI itself adds to the media's message.
///
/// # Errors
/// As [`question`].
pub(crate) fn count_steps(countable: &Countable) -> serde_json::Result<VecDeque<Vec<u8>>> {
    let mut first = Vec::with_capacity(countable.text.len() + 256);
    let initialize = Initialize {
        subtype: "initialize",
        system_prompt: &countable.text,
        json_schema: None,
    };
    control(&mut first, INITIALIZE_ID, &initialize)?;
    let mut usage = Vec::new();
    let question = ContextUsage {
        subtype: "get_context_usage",
    };
    control(&mut usage, CONTEXT_USAGE_ID, &question)?;
    if countable.media.is_empty() {
        first.append(&mut usage);
        return Ok([first].into());
    }
    add_history(&mut first, vec![Content::text("foo".to_owned())])?;
    let media = countable.media.iter().map(|it| Content::Media(it));
    let mut second = Vec::new();
    add_history(&mut second, media.collect())?;
    Ok([first, usage.clone(), second, usage].into())
}

/// A user line that the model is not asked about.
fn add_history(out: &mut Vec<u8>, content: Vec<Content<'_>>) -> serde_json::Result<()> {
    let start = out.len();
    let message = UserMessage {
        role: "user",
        content,
    };
    let line = User {
        kind: "user",
        message,
        text_not_typed: true,
        should_query: Some(false),
    };
    serde_json::to_writer(&mut *out, &line)?;
    end_line(out, start);
    Ok(())
}

fn control(
    out: &mut Vec<u8>,
    request_id: &str,
    request: &impl Serialize,
) -> serde_json::Result<()> {
    let start = out.len();
    let control = Control {
        kind: "control_request",
        request_id,
        request,
    };
    serde_json::to_writer(&mut *out, &control)?;
    end_line(out, start);
    Ok(())
}

/// Ends the line that began at `start`, and sees to it that it is one. Between JSON tokens a line break is
/// only blank space, and inside a string it cannot stand raw; but a client's media block, or its schema,
/// keeps its own spacing, and must not become a line of the CLI's input.
pub(super) fn end_line(out: &mut Vec<u8>, start: usize) {
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

/// 0 switches thinking off. Models that cannot do without it go on with their own (2.1.330: 5.5).
fn thinking_tokens(reasoning: Reasoning) -> Option<u64> {
    match reasoning {
        Reasoning::Default => None,
        Reasoning::Off => Some(0),
        Reasoning::Budget(tokens) => Some(tokens),
    }
}

#[derive(Serialize)]
struct Control<'a, R: Serialize> {
    #[serde(rename = "type")]
    kind: &'a str,
    request_id: &'a str,
    request: &'a R,
}

#[derive(Serialize)]
struct Thinking<'a> {
    subtype: &'a str,
    max_thinking_tokens: u64,
}

#[derive(Serialize)]
struct Initialize<'a> {
    subtype: &'a str,
    #[serde(rename = "systemPrompt")]
    system_prompt: &'a str,
    #[serde(rename = "jsonSchema", skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ContextUsage<'a> {
    subtype: &'a str,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: UserMessage<'a>,
    text_not_typed: bool,
    #[serde(rename = "shouldQuery", skip_serializing_if = "Option::is_none")]
    should_query: Option<bool>,
}

#[derive(Serialize)]
struct UserMessage<'a> {
    role: &'a str,
    content: Vec<Content<'a>>,
}

/// A content block of the user line.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text {
        #[serde(rename = "type")]
        kind: &'static str,
        text: String,
    },
    Media(&'a RawValue),
}

impl Content<'_> {
    fn text(text: String) -> Self {
        Content::Text { kind: "text", text }
    }
}

/// All messages as one user message: what came before as one marked text, the newest user
/// messages (an OpenClaw turn ends in two) as they are.
fn content(messages: &[Message]) -> Vec<Content<'_>> {
    let newest = messages
        .iter()
        .rposition(|it| it.role == Role::Assistant)
        .map_or(0, |at| at + 1);
    let (before, newest) = messages.split_at(newest);
    let mut content = Vec::new();
    let mark = Mark::absent_from(messages);
    let mut media = Media::default();
    if !before.is_empty() {
        content.push(Content::text(mark.history(before, &mut media)));
        media.show(&mut content);
    }
    for block in newest.iter().flat_map(|message| &message.blocks) {
        newest_block(block, (&mark, &mut media), &mut content);
    }
    if newest.is_empty() {
        content.push(Content::text(
            "Continue the last assistant turn from where it stops.".to_owned(),
        ));
    }
    content
}

fn newest_block<'a>(
    block: &'a Block,
    (mark, media): (&Mark, &mut Media<'a>),
    content: &mut Vec<Content<'a>>,
) {
    match block {
        // The API refuses blocks without any text.
        Block::Text(text) if text.trim().is_empty() => {}
        Block::Text(text) => content.push(Content::text(text.clone())),
        Block::Media { block, .. } | Block::SearchResult(block) => {
            content.push(Content::Media(block));
        }
        Block::ToolResult { .. } | Block::ToolUse { .. } | Block::Other(_) => {
            let mut text = String::new();
            mark.block(&mut text, block, media);
            content.push(Content::text(text));
            media.show(content);
        }
    }
}

/// Images and documents that a text speaks of by number, and that follow behind it.
#[derive(Default)]
struct Media<'a> {
    waiting: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl<'a> Media<'a> {
    /// What stands in the text for one.
    fn place(&mut self, kind: MediaKind, block: &'a RawValue) -> String {
        self.count += 1;
        let kind = match kind {
            MediaKind::Image => "image",
            MediaKind::Document => "document",
        };
        let name = format!("[{kind} {}]", self.count);
        self.waiting.push((name.clone(), block));
        name
    }

    fn show(&mut self, content: &mut Vec<Content<'a>>) {
        for (name, block) in self.waiting.drain(..) {
            content.push(Content::text(format!("{name}:")));
            content.push(Content::Media(block));
        }
    }
}

/// The tag prefix of the marked history, one that stands in none of the texts, so that no text
/// can pretend to be another turn.
struct Mark(String);

impl Mark {
    fn absent_from(messages: &[Message]) -> Self {
        let taken = |mark: &str| {
            messages
                .iter()
                .flat_map(|it| &it.blocks)
                .any(|it| mentions(it, mark))
        };
        // A text that holds all of these was written to; then only an unguessable mark will do.
        (1..=16)
            .map(|n| format!("turn{n}"))
            .find(|mark| !taken(mark))
            .map_or_else(
                || Mark(format!("turn{}", crate::ids::random_hex::<8>())),
                Mark,
            )
    }

    fn history<'a>(&self, messages: &'a [Message], media: &mut Media<'a>) -> String {
        let mark = &self.0;
        let mut text = format!(
            "The conversation so far, oldest turn first, each between <{mark}:user> or <{mark}:assistant> and its \
             closing mark. The newest message follows after it.\n"
        );
        for message in messages {
            let role = match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "<{mark}:{role}>");
            for block in &message.blocks {
                self.block(&mut text, block, media);
                text.push('\n');
            }
            let _ = writeln!(text, "</{mark}:{role}>");
        }
        text
    }

    fn block<'a>(&self, text: &mut String, block: &'a Block, media: &mut Media<'a>) {
        let mark = &self.0;
        // As above.
        let _ = match block {
            Block::Text(it) => write!(text, "{it}"),
            Block::Media { kind, block } => write!(text, "{}", media.place(*kind, block)),
            Block::ToolUse { id, name, input } => {
                write!(
                    text,
                    "<{mark}:tool_call id={id:?} name={name:?}>{}</{mark}:tool_call>",
                    input.get()
                )
            }
            Block::ToolResult {
                tool_use_id,
                is_error,
                blocks,
            } => {
                let error = if *is_error { " error" } else { "" };
                let _ = write!(text, "<{mark}:tool_result id={tool_use_id:?}{error}>");
                for block in blocks {
                    self.block(text, block, media);
                }
                write!(text, "</{mark}:tool_result>")
            }
            Block::SearchResult(block) | Block::Other(block) => write!(text, "{}", block.get()),
        };
    }
}

fn mentions(block: &Block, needle: &str) -> bool {
    match block {
        Block::Text(text) => text.contains(needle),
        Block::Media { .. } => false,
        Block::ToolUse { id, name, input } => {
            id.contains(needle) || name.contains(needle) || input.get().contains(needle)
        }
        Block::ToolResult {
            tool_use_id,
            blocks,
            ..
        } => tool_use_id.contains(needle) || blocks.iter().any(|it| mentions(it, needle)),
        Block::SearchResult(block) | Block::Other(block) => block.get().contains(needle),
    }
}

#[cfg(test)]
mod tests;
