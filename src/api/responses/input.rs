//! The input of a Responses request: a text, or items.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    Block, Message, Role,
    field::{Allowance, Fault, is_string, items, object, optional, required, string},
    openai::{
        content::{document, image_at},
        messages::arguments,
    },
};

/// The system texts of the items, and all other items as messages in their order.
pub(super) fn read(raw: &RawValue) -> Result<(Vec<String>, Vec<Message>), Fault> {
    let mut reader = Reader {
        allowance: Allowance::new(),
        system: Vec::new(),
        messages: Vec::new(),
    };
    if is_string(raw) {
        let text = string(raw)?;
        reader.push(Role::User, vec![Block::Text(text)]);
    } else {
        items(raw, |_, raw| reader.item(raw))?;
    }
    if reader.messages.iter().all(|it| it.role == Role::Assistant) {
        return Err(Fault::invalid(
            "at least one user message with content is required",
        ));
    }
    Ok((reader.system, reader.messages))
}

struct Reader {
    allowance: Allowance,
    system: Vec<String>,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
}

impl Reader {
    fn item(&mut self, raw: &RawValue) -> Result<(), Fault> {
        self.allowance.take()?;
        let item: Item<'_> = object(raw)?;
        // Messages may come without a type.
        let kind = optional("type", item.kind, string)?;
        match kind.as_deref().unwrap_or("message") {
            "message" => self.message(&item)?,
            "function_call" => {
                let call = Block::ToolUse {
                    id: required("call_id", item.call_id, string)?,
                    name: required("name", item.name, string)?,
                    input: required("arguments", item.arguments, arguments)?,
                };
                self.push(Role::Assistant, vec![call]);
            }
            "function_call_output" => {
                let result = Block::ToolResult {
                    tool_use_id: required("call_id", item.call_id, string)?,
                    // The format cannot say it.
                    is_error: false,
                    blocks: required("output", item.output, |raw| self.content(raw))?,
                };
                self.push(Role::User, vec![result]);
            }
            // Thinking of earlier turns, which only the model's vendor can read.
            "reasoning" => {}
            "item_reference" => {
                return Err(Fault::invalid(
                    "items are not stored here; send the item itself",
                ));
            }
            _ => self.push(Role::User, vec![Block::Other(raw.to_owned())]),
        }
        Ok(())
    }

    fn message(&mut self, item: &Item<'_>) -> Result<(), Fault> {
        let role = required("role", item.role, string)?;
        let blocks = required("content", item.content, |raw| self.content(raw))?;
        match role.as_str() {
            "user" => self.push(Role::User, blocks),
            "assistant" => self.push(Role::Assistant, blocks),
            "system" | "developer" => {
                let texts = blocks.into_iter().filter_map(|block| match block {
                    Block::Text(text) => Some(text),
                    _ => None,
                });
                self.system.extend(texts);
            }
            _ => {
                let text = "Input should be 'system', 'developer', 'user' or 'assistant'";
                return Err(Fault::invalid(text).at("role"));
            }
        }
        Ok(())
    }

    fn content(&mut self, raw: &RawValue) -> Result<Vec<Block>, Fault> {
        if is_string(raw) {
            return Ok(vec![Block::Text(string(raw)?)]);
        }
        let mut blocks = Vec::new();
        items(raw, |_, raw| {
            self.allowance.take()?;
            blocks.push(part(raw)?);
            Ok(())
        })?;
        Ok(blocks)
    }

    /// Messages without any content, which the API accepts, are left out.
    fn push(&mut self, role: Role, mut blocks: Vec<Block>) {
        blocks.retain(|block| !matches!(block, Block::Text(text) if text.is_empty()));
        if !blocks.is_empty() {
            self.messages.push(Message { role, blocks });
        }
    }
}

fn part(raw: &RawValue) -> Result<Block, Fault> {
    let part: Part<'_> = object(raw)?;
    match required("type", part.kind, string)?.as_str() {
        "input_text" | "output_text" | "text" => {
            required("text", part.text, string).map(Block::Text)
        }
        "refusal" => required("refusal", part.refusal, string).map(Block::Text),
        "input_image" => match part.image_url {
            None => Err(Fault::invalid(
                "files stored at OpenAI cannot be read; send image_url",
            )),
            url => required("image_url", url, image_at),
        },
        "input_file" => document(raw),
        "input_audio" => Err(Fault::invalid(
            "audio is not supported by Claude models; send a transcript as text",
        )),
        _ => {
            let text = "Input should be 'input_text', 'output_text', 'refusal', 'input_image' or 'input_file'";
            Err(Fault::invalid(text).at("type"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expect: &str) {
        let (system, messages) = read(serde_json::from_str(json).unwrap()).unwrap();
        let mut got = format!("{system:?}");
        for message in messages {
            got += &format!(" {:?} {:?}", message.role, message.blocks);
        }
        assert_eq!(got, expect);
    }

    #[test]
    fn items_become_messages() {
        check(r#""hi""#, r#"[] User [Text("hi")]"#);
        check(
            r#"[{"role":"developer","content":"be brief"},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://x/y.png","detail":"auto"}]},
                {"type":"reasoning","summary":[]},
                {"type":"message","role":"assistant","id":"msg_1","content":[{"type":"output_text","text":"b","annotations":[]}]},
                {"type":"function_call","call_id":"c","name":"n","arguments":"{\"x\":1}"},
                {"type":"function_call_output","call_id":"c","output":"r"},
                {"type":"novel"}]"#,
            concat!(
                r#"["be brief"] User [Text("a"), Media { kind: Image, block: RawValue({"type":"image","source":{"type":"url","url":"https://x/y.png"}}) }]"#,
                r#" Assistant [Text("b")] Assistant [ToolUse { id: "c", name: "n", input: RawValue({"x":1}) }]"#,
                r#" User [ToolResult { tool_use_id: "c", is_error: false, blocks: [Text("r")] }] User [Other(RawValue({"type":"novel"}))]"#,
            ),
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (json, path) in [
            ("[]", ""),
            ("7", ""),
            (r#"[{"role":"tool","content":"x"}]"#, "[0].role"),
            (r#"[{"role":"user"}]"#, "[0].content"),
            (
                r#"[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]"#,
                "[0].content[0]",
            ),
            (
                r#"[{"role":"user","content":[{"type":"x"}]}]"#,
                "[0].content[0].type",
            ),
            (r#"[{"type":"item_reference","id":"i"}]"#, "[0]"),
            (r#"[{"type":"function_call","name":"n"}]"#, "[0].call_id"),
        ] {
            let fault = read(serde_json::from_str(json).unwrap()).unwrap_err();
            assert_eq!(fault.bracketed(), path, "{json}");
        }
    }
}
