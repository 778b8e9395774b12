//! A client's history as a transcript that the CLI takes for a session of its own: `--resume FILE`.
//!
//! Each line has the fields without which 2.1.330 does not take it. Roles, tool calls, their results and
//! images reach the model as what they are.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    api::{Block, Message, Role},
    session::Uuid,
};

/// The lines of a transcript, or `None` where the history cannot be one: it must begin with the user and
/// end with an answer, every tool call in it must have a result, and each block must be of a kind that is known, or the
/// API may refuse it, each time anew.
///
/// # Errors
/// When a block cannot be written as JSON, which no parsed request can cause.
pub(crate) fn transcript(
    messages: &[Message],
    (session, model): (Uuid, &str),
) -> serde_json::Result<Option<Vec<u8>>> {
    let ends = [messages.first(), messages.last()];
    let roles = ends.map(|it| it.map(|message| message.role));
    let mut blocks = messages.iter().flat_map(|it| &it.blocks);
    if roles != [Some(Role::User), Some(Role::Assistant)]
        || !tools_are_paired(messages)
        || blocks.any(is_unknown)
    {
        return Ok(None);
    }
    let session = &session.to_string();
    let mut out = Vec::new();
    let mut parent = None;
    for message in messages {
        let content: Vec<Content<'_>> = message.blocks.iter().filter_map(content).collect();
        if content.is_empty() {
            continue;
        }
        let uuid = Uuid::random();
        let line = Line {
            parent_uuid: parent,
            is_sidechain: false,
            kind: match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            },
            uuid,
            timestamp: TIMESTAMP,
            session_id: session,
            message: said(message.role, content, (&uuid.to_string(), model)),
        };
        let start = out.len();
        serde_json::to_writer(&mut out, &line)?;
        super::input::end_line(&mut out, start);
        parent = Some(uuid);
    }
    Ok(Some(out))
}

/// The CLI wants one and makes nothing of it; when something was said, no client tells.
const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    parent_uuid: Option<Uuid>,
    is_sidechain: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    uuid: Uuid,
    timestamp: &'a str,
    session_id: &'a str,
    message: Said<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    User {
        role: &'static str,
        content: Vec<Content<'a>>,
    },
    Assistant {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        role: &'static str,
        model: &'a str,
        content: Vec<Content<'a>>,
        stop_reason: &'static str,
        stop_sequence: Option<()>,
        usage: Usage,
    },
}

#[derive(Serialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
}

fn said<'a>(role: Role, content: Vec<Content<'a>>, (id, model): (&str, &'a str)) -> Said<'a> {
    match role {
        Role::User => Said::User {
            role: "user",
            content,
        },
        Role::Assistant => Said::Assistant {
            id: format!("msg_{}", id.replace('-', "")),
            kind: "message",
            role: "assistant",
            model,
            stop_reason: match content.last() {
                Some(Content::ToolUse { .. }) => "tool_use",
                _ => "end_turn",
            },
            content,
            stop_sequence: None,
            // What it cost was counted when it was said.
            usage: Usage {
                input_tokens: 0,
                output_tokens: 0,
            },
        },
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Tagged<'a> {
    Text {
        text: &'a str,
    },
    ToolResult {
        tool_use_id: &'a str,
        is_error: bool,
        content: Vec<Content<'a>>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Tagged(Tagged<'a>),
    ToolUse {
        #[serde(rename = "type")]
        kind: &'static str,
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    /// In Anthropic's shape already.
    Whole(&'a RawValue),
}

fn content(block: &Block) -> Option<Content<'_>> {
    Some(match block {
        // The API refuses blocks without any text.
        Block::Text(text) if text.trim().is_empty() => return None,
        Block::Text(text) => Content::Tagged(Tagged::Text { text }),
        Block::Media { block, .. } | Block::SearchResult(block) | Block::Other(block) => {
            Content::Whole(block)
        }
        Block::ToolUse { id, name, input } => Content::ToolUse {
            kind: "tool_use",
            id,
            name,
            input,
        },
        Block::ToolResult {
            tool_use_id,
            is_error,
            blocks,
        } => Content::Tagged(Tagged::ToolResult {
            tool_use_id,
            is_error: *is_error,
            content: blocks.iter().filter_map(content).collect(),
        }),
    })
}

fn is_unknown(block: &Block) -> bool {
    match block {
        Block::Other(_) => true,
        Block::ToolResult { blocks, .. } => blocks.iter().any(is_unknown),
        Block::Text(_) | Block::Media { .. } | Block::SearchResult(_) | Block::ToolUse { .. } => {
            false
        }
    }
}

/// Whether the messages after each tool call hold its result, and every result has its call.
fn tools_are_paired(messages: &[Message]) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for group in messages.chunk_by(|a, b| a.role == b.role) {
        for block in group.iter().flat_map(|it| &it.blocks) {
            match block {
                Block::ToolUse { id, .. } if group[0].role == Role::Assistant => open.push(id),
                Block::ToolResult { tool_use_id, .. } if group[0].role == Role::User => {
                    match open.iter().position(|it| it == tool_use_id) {
                        Some(at) => drop(open.swap_remove(at)),
                        None => return false,
                    }
                }
                Block::ToolUse { .. } | Block::ToolResult { .. } => return false,
                _ => {}
            }
        }
        if group[0].role == Role::User && !open.is_empty() {
            return false;
        }
    }
    open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MediaKind;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    fn message(role: Role, blocks: Vec<Block>) -> Message {
        Message { role, blocks }
    }

    fn text(role: Role, text: &str) -> Message {
        message(role, vec![Block::Text(text.to_owned())])
    }

    fn call(id: &str) -> Message {
        let block = Block::ToolUse {
            id: id.to_owned(),
            name: "exec".to_owned(),
            input: raw("{\"a\":\n1}"),
        };
        message(Role::Assistant, vec![block])
    }

    fn result(id: &str) -> Message {
        let image = Block::Media {
            kind: MediaKind::Image,
            block: raw(r#"{"type":"image","source":{}}"#),
        };
        let block = Block::ToolResult {
            tool_use_id: id.to_owned(),
            is_error: true,
            blocks: vec![Block::Text("r".to_owned()), image],
        };
        message(Role::User, vec![block])
    }

    fn written(messages: &[Message]) -> Option<Vec<serde_json::Value>> {
        let bytes = transcript(messages, (Uuid::random(), "m")).unwrap()?;
        let lines = bytes.strip_suffix(b"\n").unwrap();
        let lines = lines.split(|byte| *byte == b'\n');
        Some(
            lines
                .map(|it| serde_json::from_slice(it).unwrap())
                .collect(),
        )
    }

    #[test]
    fn roles_tools_and_images_stay_what_they_are() {
        use Role::{Assistant, User};
        let messages = [
            text(User, "q"),
            text(User, "  "),
            call("t1"),
            result("t1"),
            text(Assistant, "a"),
        ];
        let lines = written(&messages).unwrap();
        let contents: Vec<String> = lines
            .iter()
            .map(|it| it["message"]["content"].to_string())
            .collect();
        assert_eq!(
            contents,
            [
                r#"[{"text":"q","type":"text"}]"#,
                r#"[{"id":"t1","input":{"a":1},"name":"exec","type":"tool_use"}]"#,
                r#"[{"content":[{"text":"r","type":"text"},{"source":{},"type":"image"}],"is_error":true,"tool_use_id":"t1","type":"tool_result"}]"#,
                r#"[{"text":"a","type":"text"}]"#,
            ]
        );
        assert_eq!(lines[1]["message"]["stop_reason"], "tool_use");
        assert_eq!(lines[0]["parentUuid"], serde_json::Value::Null);
        for pair in lines.windows(2) {
            assert_eq!(pair[1]["parentUuid"], pair[0]["uuid"]);
        }
    }

    #[test]
    fn a_history_that_the_api_would_refuse_is_none() {
        use Role::{Assistant, User};
        let (question, answer) = (text(User, "q"), text(Assistant, "a"));
        assert!(written(&[]).is_none());
        assert!(written(&[text(Assistant, "a")]).is_none());
        assert!(written(std::slice::from_ref(&question)).is_none());
        let lost = [text(User, "q"), call("t1"), text(User, "x"), answer];
        assert!(written(&lost).is_none());
        let orphan = [question, result("t1"), text(Assistant, "a")];
        assert!(written(&orphan).is_none());
        let open = [text(User, "q"), text(Assistant, "a"), call("t1")];
        assert!(written(&open).is_none());
        let other = || Block::Other(raw(r#"{"type":"server_tool_use"}"#));
        let unknown = message(Assistant, vec![other(), Block::Text("a".to_owned())]);
        assert!(written(&[text(User, "q"), unknown]).is_none());
        let within = Block::ToolResult {
            tool_use_id: "t1".to_owned(),
            is_error: false,
            blocks: vec![other()],
        };
        let within = message(User, vec![within]);
        let history = [text(User, "q"), call("t1"), within, text(Assistant, "a")];
        assert!(written(&history).is_none());
    }
}
