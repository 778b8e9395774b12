//! The messages of a Messages request and their content blocks.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::block::WireBlock;
use crate::api::{
    Block, MediaKind, Message, Role,
    field::{Allowance, Fault, boolean, is_string, items, object, optional, required, string},
};

/// Reads the messages of one request, which together are bounded.
pub(super) struct Reader {
    allowance: Allowance,
}

/// Where a block stands; calls and results have one place each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    User,
    Assistant,
    ToolResult,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Reader {
            allowance: Allowance::new(),
        }
    }

    /// All messages in order, but those that say nothing to the model again: thinking of earlier
    /// turns alone, or the empty message that asks for the assistant's turn.
    pub(super) fn messages(&mut self, raw: &RawValue) -> Result<Vec<Message>, Fault> {
        let mut messages = Vec::new();
        let mut last = None;
        // An empty assistant message, which only the last may be.
        let mut empty = None;
        items(raw, |index, raw| {
            let (role, blocks) = self.message(raw)?;
            last = Some(index);
            match blocks {
                None if role == Role::User => return Err(empty_content()),
                None => empty = empty.or(last),
                Some(blocks) if blocks.is_empty() => {}
                Some(blocks) => messages.push(Message { role, blocks }),
            }
            Ok(())
        })?;
        if last.is_none() {
            return Err(Fault::invalid("at least one message is required"));
        }
        if let Some(index) = empty.filter(|_| empty != last) {
            return Err(empty_content().item(index));
        }
        if messages.iter().all(|it| it.role == Role::Assistant) {
            return Err(Fault::invalid("at least one message must be the user's"));
        }
        Ok(messages)
    }

    fn message(&mut self, raw: &RawValue) -> Result<(Role, Option<Vec<Block>>), Fault> {
        self.allowance.take()?;
        let wire: WireMessage<'_> = object(raw)?;
        let role = required("role", wire.role, role)?;
        let place = match role {
            Role::User => Place::User,
            Role::Assistant => Place::Assistant,
        };
        let blocks = required("content", wire.content, |raw| self.content(place, raw))?;
        Ok((role, blocks))
    }

    /// The blocks of a content; `None` when it is empty. Thinking alone is not empty, but leaves no
    /// block.
    fn content(&mut self, place: Place, raw: &RawValue) -> Result<Option<Vec<Block>>, Fault> {
        if is_string(raw) {
            let text = string(raw)?;
            return Ok((!text.is_empty()).then(|| vec![Block::Text(text)]));
        }
        let mut blocks = Vec::new();
        let mut empty = true;
        items(raw, |_, raw| {
            match self.block(place, raw)? {
                Some(Block::Text(text)) if text.is_empty() => return Ok(()),
                Some(block) => blocks.push(block),
                None => {}
            }
            empty = false;
            Ok(())
        })?;
        Ok((!empty).then_some(blocks))
    }

    /// One block; `None` for thinking of earlier turns, which only the CLI's own history can carry.
    fn block(&mut self, place: Place, raw: &RawValue) -> Result<Option<Block>, Fault> {
        self.allowance.take()?;
        let wire: WireBlock<'_> = object(raw)?;
        let kind = required("type", wire.kind, string)?;
        Ok(Some(match kind.as_str() {
            "text" => Block::Text(required("text", wire.text, string)?),
            "image" => wire.media(MediaKind::Image)?,
            "document" => wire.media(MediaKind::Document)?,
            "search_result" => wire.search_result()?,
            "tool_use" => {
                placed(
                    place,
                    Place::Assistant,
                    "`tool_use` blocks can only be in `assistant` messages",
                )?;
                wire.tool_use()?
            }
            "tool_result" => {
                placed(
                    place,
                    Place::User,
                    "`tool_result` blocks can only be in `user` messages",
                )?;
                self.tool_result(&wire)?
            }
            "thinking" | "redacted_thinking" => return Ok(None),
            _ => Block::Other(raw.to_owned()),
        }))
    }

    fn tool_result(&mut self, wire: &WireBlock<'_>) -> Result<Block, Fault> {
        let content = optional("content", wire.content, |raw| {
            self.content(Place::ToolResult, raw)
        })?;
        Ok(Block::ToolResult {
            tool_use_id: required("tool_use_id", wire.tool_use_id, string)?,
            is_error: optional("is_error", wire.is_error, boolean)?.unwrap_or(false),
            // A tool may well have nothing to say.
            blocks: content.flatten().unwrap_or_default(),
        })
    }
}

fn role(raw: &RawValue) -> Result<Role, Fault> {
    match string(raw)?.as_str() {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "system" => Err(Fault::invalid(
            "Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role",
        )),
        _ => Err(Fault::invalid("Input should be 'user' or 'assistant'")),
    }
}

fn empty_content() -> Fault {
    Fault::invalid(
        "all messages must have non-empty content except for the optional final assistant message",
    )
}

fn placed(place: Place, only: Place, otherwise: &str) -> Result<(), Fault> {
    if place == only {
        Ok(())
    } else {
        Err(Fault::invalid(otherwise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::field::Problem;

    fn read(json: &str) -> Result<Vec<Message>, Fault> {
        Reader::new().messages(serde_json::from_str(json).unwrap())
    }

    /// The messages of a list, each as `Role [blocks]`.
    #[track_caller]
    fn check(json: &str, expect: &[&str]) {
        let messages = read(json).unwrap();
        let shown: Vec<String> = messages
            .iter()
            .map(|it| format!("{:?} {:?}", it.role, it.blocks))
            .collect();
        assert_eq!(shown, expect, "{json}");
    }

    #[track_caller]
    fn check_error(json: &str, path: &str, expect: Option<&str>) {
        let fault = read(json).unwrap_err();
        let problem = expect.map_or(Problem::Missing, |it| Problem::Invalid(it.to_owned()));
        assert_eq!(
            (fault.dotted().as_str(), &fault.problem),
            (path, &problem),
            "{json}"
        );
    }

    /// One message whose content is one block.
    fn of(role: &str, block: &str) -> String {
        format!(r#"[{{"role":"user","content":"q"}},{{"role":"{role}","content":[{block}]}}]"#)
    }

    #[test]
    fn every_known_block_is_kept_and_unknown_ones_too() {
        for (role, block, expect) in [
            (
                "user",
                r#"{"type":"text","text":"a\n\ud83d\ude00","cache_control":{}}"#,
                r#"User [Text("a\n😀")]"#,
            ),
            (
                "user",
                r#"{"type":"image","source":{"type":"url", "url":"https://u"},"cache_control":{}}"#,
                r#"User [Media { kind: Image, block: RawValue({"type":"image","source":{"type":"url", "url":"https://u"}}) }]"#,
            ),
            (
                "user",
                r#"{"title":"t","source":{"type":"url","url":"https://u"},"type":"document","citations":{"enabled":true},"context":null}"#,
                r#"User [Media { kind: Document, block: RawValue({"type":"document","source":{"type":"url","url":"https://u"},"title":"t","citations":{"enabled":true}}) }]"#,
            ),
            (
                "user",
                r#"{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"c"}],"cache_control":{}}"#,
                r#"User [SearchResult(RawValue({"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"c"}]}))]"#,
            ),
            (
                "assistant",
                r#"{"type":"tool_use","id":"i","name":"n","input":{"a": 1}}"#,
                r#"Assistant [ToolUse { id: "i", name: "n", input: RawValue({"a": 1}) }]"#,
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i","content":"r"}"#,
                r#"User [ToolResult { tool_use_id: "i", is_error: false, blocks: [Text("r")] }]"#,
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i","is_error":true,"content":[{"type":"text","text":""},{"type":"text","text":"r"},{"type":"novel"}]}"#,
                r#"User [ToolResult { tool_use_id: "i", is_error: true, blocks: [Text("r"), Other(RawValue({"type":"novel"}))] }]"#,
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i"}"#,
                r#"User [ToolResult { tool_use_id: "i", is_error: false, blocks: [] }]"#,
            ),
            (
                "assistant",
                r#"{"type":"novel","x":[1]}"#,
                r#"Assistant [Other(RawValue({"type":"novel","x":[1]}))]"#,
            ),
        ] {
            check(&of(role, block), &[r#"User [Text("q")]"#, expect]);
        }
    }

    #[test]
    fn thinking_of_earlier_turns_is_left_out() {
        let thinking = r#"{"type":"thinking","thinking":"t","signature":"s"}"#;
        check(&of("assistant", thinking), &[r#"User [Text("q")]"#]);
        check(
            &of(
                "assistant",
                &format!(
                    r#"{thinking},{{"type":"redacted_thinking","data":"d"}},{{"type":"text","text":"a"}}"#
                ),
            ),
            &[r#"User [Text("q")]"#, r#"Assistant [Text("a")]"#],
        );
    }

    #[test]
    fn messages_of_one_role_stay_apart_and_the_last_may_be_the_assistants() {
        check(
            r#"[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"}]"#,
            &[
                r#"User [Text("a")]"#,
                r#"User [Text("b")]"#,
                r#"Assistant [Text("c")]"#,
            ],
        );
    }

    #[test]
    fn only_the_last_assistant_message_may_be_empty() {
        const EMPTY: &str = "all messages must have non-empty content except for the optional final assistant message";
        for empty in [r#""""#, "[]", r#"[{"type":"text","text":""}]"#] {
            let message = |role: &str| format!(r#"{{"role":"{role}","content":{empty}}}"#);
            let full = r#"{"role":"user","content":"q"}"#;
            check_error(&format!("[{}]", message("user")), "0", Some(EMPTY));
            check_error(&format!("[{full},{}]", message("user")), "1", Some(EMPTY));
            check_error(
                &format!("[{full},{},{full}]", message("assistant")),
                "1",
                Some(EMPTY),
            );
            check(
                &format!("[{full},{}]", message("assistant")),
                &[r#"User [Text("q")]"#],
            );
        }
    }

    #[test]
    fn errors_name_the_field() {
        check_error("7", "", Some("Input should be a list"));
        check_error("[]", "", Some("at least one message is required"));
        check_error("[7]", "0", Some("Input should be an object"));
        check_error(r#"[{"content":"x"}]"#, "0.role", None);
        check_error(r#"[{"role":"user"}]"#, "0.content", None);
        check_error(
            r#"[{"role":"user","content":5}]"#,
            "0.content",
            Some("Input should be a list"),
        );
        check_error(
            r#"[{"role":"robot","content":"x"}]"#,
            "0.role",
            Some("Input should be 'user' or 'assistant'"),
        );
        check_error(
            r#"[{"role":"system","content":"x"}]"#,
            "0.role",
            Some(
                "Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role",
            ),
        );
        check_error(
            r#"[{"role":"assistant","content":"x"}]"#,
            "",
            Some("at least one message must be the user's"),
        );
    }

    #[test]
    fn errors_name_the_field_of_a_block() {
        for (role, block, path, expect) in [
            ("user", "7", "", Some("Input should be an object")),
            ("user", "{}", ".type", None),
            ("user", r#"{"type":"text"}"#, ".text", None),
            (
                "user",
                r#"{"type":"text","text":3}"#,
                ".text",
                Some("Input should be a string"),
            ),
            ("user", r#"{"type":"image"}"#, ".source", None),
            (
                "user",
                r#"{"type":"image","source":{}}"#,
                ".source.type",
                None,
            ),
            (
                "assistant",
                r#"{"type":"tool_use","name":"n","input":{}}"#,
                ".id",
                None,
            ),
            (
                "assistant",
                r#"{"type":"tool_use","id":"i","name":"n","input":"{}"}"#,
                ".input",
                Some("Input should be an object"),
            ),
            (
                "user",
                r#"{"type":"tool_use"}"#,
                "",
                Some("`tool_use` blocks can only be in `assistant` messages"),
            ),
            (
                "assistant",
                r#"{"type":"tool_result"}"#,
                "",
                Some("`tool_result` blocks can only be in `user` messages"),
            ),
            ("user", r#"{"type":"tool_result"}"#, ".tool_use_id", None),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i","content":[{"type":"tool_result"}]}"#,
                ".content.0",
                Some("`tool_result` blocks can only be in `user` messages"),
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i","content":[{"type":"text","text":1}]}"#,
                ".content.0.text",
                Some("Input should be a string"),
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"i","is_error":"no"}"#,
                ".is_error",
                Some("Input should be true or false"),
            ),
        ] {
            check_error(&of(role, block), &format!("1.content.0{path}"), expect);
        }
    }

    #[test]
    fn many_tiny_blocks_are_refused_before_they_take_memory() {
        let blocks = vec![r#"{"type":"a"}"#; 100_000].join(",");
        let fault = read(&of("user", &blocks)).unwrap_err();
        assert_eq!(fault.dotted(), "1.content.99998");
    }
}
