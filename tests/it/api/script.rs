//! Which answer a request gets: markers in its newest user text, and how many tool rounds it had.
//!
//! | marker | answer |
//! |---|---|
//! | `[[text:T]]` | the text T |
//! | `[[echo]]` | the newest user text |
//! | `[[slow:NxMS]]` | N deltas "tick1 tick2 …" with MS milliseconds between |
//! | `[[gate:NAME]]` | "before ", then "after" once the test opens the gate |
//! | `[[bash:CMD]]`, `[[bash2:CMD1;;CMD2]]` | one or two parallel Bash calls, then a text with their results |
//! | `[[rounds:N]]` | N Bash rounds one after the other, then a text |
//! | `[[read:PATH]]`, `[[skill:NAME]]` | a Read or Skill call, then a text with its result |
//! | `[[json:OBJECT]]` | a StructuredOutput call with OBJECT; a second one, `{"n":2}`, where the first is refused |
//! | `[[think:T]]` | a thinking block with T, then the text "thought" |
//! | `[[big:N]]` | N bytes of text in deltas of 1 KB |
//! | `[[empty]]`, `[[maxtokens]]`, `[[refusal]]` | no block, a cut text, a refusal |
//! | `[[status:NNN]]`, `[[status-once:NNN]]` | an HTTP error, always or the first time; `[[retry-after:S]]` adds the header |
//! | `[[header:NAME=VALUE]]` | adds a header to the answer that the other markers choose |
//! | `[[overloaded-midstream]]` | an SSE error after some deltas; whole when asked without streaming |
//! | `[[drop]]`, `[[drop-once]]` | the connection breaks after some deltas, always or the first time |
//! | `[[hang]]` | nothing until the test ends |
//!
//! A count of tokens, which only `[[status:NNN]]` concerns, is 42 and 1000 for each image and document, and
//! what the CLI adds to a message by itself is 300.
//!
//! The last marker counts, so a request may carry older messages with theirs. Without a marker the
//! answer is "OK: " and the newest user text.

use std::time::Duration;

use serde_json::{Value, json};

use super::frames::{Between, Block, Ending, Message};

/// An answer, still without its form on the wire.
#[derive(Debug)]
pub(super) enum Reply {
    Stream(Message),
    /// The same for a request that did not ask for a stream.
    Whole(Message),
    Json(Value),
    Status {
        status: u16,
        retry_after: Option<u32>,
    },
    /// The connection ends without an answer.
    Drop,
    Hang,
}

/// The answer to a body of `POST /v1/messages`; `first_time` says that no request with this newest
/// user text came before.
pub(super) fn reply(body: &Value, first_time: bool) -> Reply {
    let text = newest_user_text(body);
    let (name, argument) = last_marker(&text).unwrap_or_default();
    let streamed = body["stream"].as_bool() == Some(true);
    match name {
        "status" => return status(argument, &text),
        "status-once" if first_time => return status(argument, &text),
        "hang" => return Reply::Hang,
        "drop" if !streamed => return Reply::Drop,
        _ => {}
    }
    let mut message = message(name, argument, body);
    message.ending = match name {
        "overloaded-midstream" if streamed => Ending::Overloaded,
        "drop" => Ending::Dropped,
        "drop-once" if first_time => Ending::Dropped,
        _ => Ending::Complete,
    };
    if streamed {
        Reply::Stream(message)
    } else {
        Reply::Whole(message)
    }
}

/// The headers that the request's text adds to its answer, each with its line end.
pub(super) fn headers(body: &Value) -> String {
    let text = newest_user_text(body);
    let headers = markers(&text)
        .into_iter()
        .filter(|(name, _)| *name == "header");
    let fields = headers.filter_map(|(_, field)| field.split_once('='));
    fields
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

/// The answer to a body of `POST /v1/messages/count_tokens`.
pub(super) fn count(body: &Value) -> Reply {
    let text = newest_user_text(body);
    if let Some(("status", argument)) = last_marker(&text) {
        return status(argument, &text);
    }
    let content = &body["messages"][0]["content"];
    let blocks = content.as_array().map_or(&[][..], Vec::as_slice);
    let is_media = |it: &&Value| it["type"] == "image" || it["type"] == "document";
    let media = blocks.iter().filter(is_media).count();
    let own = if blocks.is_empty() { 0 } else { 300 };
    Reply::Json(json!({"input_tokens": 42 + 1000 * media + own}))
}

fn status(argument: &str, text: &str) -> Reply {
    let retry_after = markers(text)
        .into_iter()
        .rfind(|(name, _)| *name == "retry-after");
    Reply::Status {
        status: number(argument),
        retry_after: retry_after.map(|(_, seconds)| number(seconds)),
    }
}

fn message(name: &str, argument: &str, body: &Value) -> Message {
    let results = tool_results(body);
    let mut stop_reason = "end_turn";
    let blocks = match (name, results.len()) {
        ("bash" | "bash2" | "read" | "skill", 0) => {
            stop_reason = "tool_use";
            tool_round(name, argument)
        }
        ("bash" | "bash2" | "read" | "skill", _) => {
            vec![text(&format!("result: {}", results.concat().join(" | ")))]
        }
        ("json", done) if done < 2 => {
            stop_reason = "tool_use";
            let value = if done == 0 { argument } else { "{\"n\":2}" };
            let input = serde_json::from_str(value).expect("an object");
            vec![text("Here it is."), tool("StructuredOutput", input)]
        }
        ("rounds", done) if done < number(argument) => {
            stop_reason = "tool_use";
            vec![
                text(&format!("Working on round {}.", done + 1)),
                tool(
                    "Bash",
                    json!({"command": format!("echo round-{}", done + 1), "description": "a scripted round"}),
                ),
            ]
        }
        ("rounds", done) => vec![text(&format!("done after {done} rounds"))],
        ("text", _) => vec![text(argument)],
        ("echo", _) => vec![text(&newest_user_text(body))],
        ("slow", _) => vec![slow(argument)],
        ("gate", _) => vec![Block::Text {
            pieces: vec!["before ".to_owned(), "after".to_owned()],
            between: Between::Gate(argument.to_owned()),
        }],
        ("think", _) => vec![Block::Thinking(argument.to_owned()), text("thought")],
        ("big", _) => vec![big(number(argument))],
        ("empty", _) => Vec::new(),
        ("maxtokens", _) => {
            stop_reason = "max_tokens";
            vec![text("cut off in the mid")]
        }
        ("refusal", _) => {
            stop_reason = "refusal";
            vec![text("I will not.")]
        }
        ("overloaded-midstream" | "drop" | "drop-once", _) => vec![Block::Text {
            pieces: vec!["one ".to_owned(), "two ".to_owned(), "three".to_owned()],
            between: Between::Nothing,
        }],
        _ => vec![text(&format!("OK: {}", newest_user_text(body)))],
    };
    let model = body["model"].as_str().unwrap_or("none").to_owned();
    Message {
        model,
        blocks,
        stop_reason,
        ending: Ending::Complete,
    }
}

fn tool_round(name: &str, argument: &str) -> Vec<Block> {
    let bash = |command: &str| json!({"command": command, "description": "a scripted command"});
    let mut blocks = vec![text("Let me look.")];
    match name {
        "read" => blocks.push(tool("Read", json!({"file_path": argument}))),
        "skill" => blocks.push(tool("Skill", json!({"skill": argument}))),
        "bash2" => blocks.extend(
            argument
                .split(";;")
                .map(|command| tool("Bash", bash(command))),
        ),
        _ => blocks.push(tool("Bash", bash(argument))),
    }
    blocks
}

fn tool(name: &'static str, input: Value) -> Block {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    Block::ToolUse {
        id: format!("toolu_scripted{:06}", NEXT.fetch_add(1, Ordering::Relaxed)),
        name,
        input,
    }
}

/// A text in two deltas, so that joining them is always tested.
fn text(whole: &str) -> Block {
    let middle = whole
        .char_indices()
        .nth(whole.chars().count() / 2)
        .map_or(0, |(at, _)| at);
    let (first, second) = whole.split_at(middle);
    Block::Text {
        pieces: vec![first.to_owned(), second.to_owned()],
        between: Between::Nothing,
    }
}

fn slow(argument: &str) -> Block {
    let (count, pause) = argument.split_once('x').expect("[[slow:NxMS]]");
    let pieces = (1..=number(count))
        .map(|tick| format!("tick{tick} "))
        .collect();
    Block::Text {
        pieces,
        between: Between::Pause(Duration::from_millis(number::<u64>(pause))),
    }
}

fn big(bytes: usize) -> Block {
    let pieces = (0..bytes.div_ceil(1024))
        .map(|index| "x".repeat(1024.min(bytes - index * 1024)))
        .collect();
    Block::Text {
        pieces,
        between: Between::Nothing,
    }
}

fn number<T: std::str::FromStr>(argument: &str) -> T {
    argument
        .parse()
        .unwrap_or_else(|_| panic!("a marker wants a number and got {argument:?}"))
}

/// The last marker of the text that picks an answer.
fn last_marker(text: &str) -> Option<(&str, &str)> {
    markers(text)
        .into_iter()
        .rfind(|(name, _)| *name != "retry-after")
}

const NAMES: [&str; 23] = [
    "json",
    "text",
    "echo",
    "slow",
    "gate",
    "bash",
    "bash2",
    "rounds",
    "read",
    "skill",
    "think",
    "big",
    "empty",
    "maxtokens",
    "refusal",
    "status",
    "status-once",
    "retry-after",
    "header",
    "overloaded-midstream",
    "drop",
    "drop-once",
    "hang",
];

/// All markers as (name, argument), in order; a `[[…]]` of another name is plain text.
fn markers(text: &str) -> Vec<(&str, &str)> {
    let starts = text.match_indices("[[").map(|(at, _)| &text[at + 2..]);
    let inner = starts
        .filter_map(|rest| rest.split_once("]]"))
        .map(|(inner, _)| inner);
    inner
        .map(|inner| inner.split_once(':').unwrap_or((inner, "")))
        .filter(|(name, _)| NAMES.contains(name))
        .collect()
}

/// Everything the user side said last, back to the assistant's message before it, where a turn that
/// holds tool results belongs to the prompt that caused it.
pub(super) fn newest_user_text(body: &Value) -> String {
    let prompt = user_turns(body)
        .into_iter()
        .rfind(|turn| !turn.iter().any(|message| has_tool_result(message)));
    let texts = prompt
        .unwrap_or_default()
        .into_iter()
        .flat_map(|message| texts(&message["content"]));
    let own: Vec<_> = texts
        .map(|text| without_reminders(&text))
        .filter(|text| !text.is_empty())
        .collect();
    own.join("\n")
}

/// The tool results since the newest prompt, one list per round.
fn tool_results(body: &Value) -> Vec<Vec<String>> {
    let turns = user_turns(body).into_iter().rev();
    let rounds = turns.take_while(|turn| turn.iter().any(|message| has_tool_result(message)));
    let mut results: Vec<_> = rounds.map(|turn| results_of(&turn)).collect();
    results.reverse();
    results
}

/// The results of one round in the order of the calls: the CLI sends them as they are ready.
fn results_of(turn: &[&Value]) -> Vec<String> {
    let blocks = turn
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    let mut results: Vec<_> = blocks
        .filter(|block| block["type"] == "tool_result")
        .collect();
    results.sort_by_key(|block| block["tool_use_id"].as_str());
    let text = |block: &Value| without_reminders(&texts(&block["content"]).join("\n"));
    results.into_iter().map(text).collect()
}

/// Runs of user messages between two messages of the assistant; the CLI puts system messages among
/// them, which belong to nobody.
fn user_turns(body: &Value) -> Vec<Vec<&Value>> {
    let mut turns = vec![Vec::new()];
    for message in body["messages"].as_array().into_iter().flatten() {
        match message["role"].as_str() {
            Some("user") => turns.last_mut().unwrap().push(message),
            Some("assistant") => turns.push(Vec::new()),
            _ => {}
        }
    }
    turns.retain(|turn| !turn.is_empty());
    turns
}

fn has_tool_result(message: &Value) -> bool {
    message["content"]
        .as_array()
        .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
}

/// The texts of a content that is a string or a list of blocks.
pub(super) fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The text without what the CLI put into it by itself, and without the blank lines around that.
fn without_reminders(text: &str) -> String {
    let mut kept = text.to_owned();
    while let Some((before, after)) = kept.split_once("<system-reminder>") {
        let after = after
            .split_once("</system-reminder>")
            .map_or("", |(_, after)| after);
        kept = format!("{}{}", before.trim_end(), after.trim_start());
    }
    kept
}
