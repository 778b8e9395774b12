//! The messages of a Chat Completions request.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::content::{self, Speaker};
use crate::api::{
    Block, Message, Role,
    field::{Allowance, Fault, borrowed, is_too_deep, items, object, optional, required, string},
};

/// The system texts joined by a blank line, and all other messages in order. Messages without any
/// content, which OpenAI accepts, are left out.
pub(super) fn read(raw: &RawValue) -> Result<(String, Vec<Message>), Fault> {
    let mut reader = Reader {
        allowance: Allowance::new(),
        system: String::new(),
        messages: Vec::new(),
    };
    items(raw, |_, raw| reader.message(raw))?;
    if reader.messages.iter().all(|it| it.role == Role::Assistant) {
        return Err(Fault::invalid(
            "at least one user message with content is required",
        ));
    }
    Ok((reader.system, reader.messages))
}

struct Reader {
    allowance: Allowance,
    system: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
}

impl Reader {
    fn message(&mut self, raw: &RawValue) -> Result<(), Fault> {
        self.allowance.take()?;
        let wire: WireMessage<'_> = object(raw)?;
        let (role, blocks) = match required("role", wire.role, string)?.as_str() {
            "system" | "developer" => return self.system(&wire),
            "user" => (
                Role::User,
                required("content", wire.content, |raw| {
                    self.content(Speaker::User, raw)
                })?,
            ),
            "assistant" => (Role::Assistant, self.assistant(&wire)?),
            "tool" => (Role::User, vec![self.tool_result(&wire)?]),
            _ => {
                return Err(Fault::invalid(
                    "Input should be 'system', 'developer', 'user', 'assistant' or 'tool'",
                )
                .at("role"));
            }
        };
        if !blocks.is_empty() {
            self.messages.push(Message { role, blocks });
        }
        Ok(())
    }

    fn content(&mut self, speaker: Speaker, raw: &RawValue) -> Result<Vec<Block>, Fault> {
        content::read(speaker, &mut self.allowance, raw)
    }

    fn system(&mut self, wire: &WireMessage<'_>) -> Result<(), Fault> {
        let blocks = required("content", wire.content, |raw| {
            self.content(Speaker::System, raw)
        })?;
        for block in blocks {
            // A system message's parts are texts.
            let Block::Text(text) = block else { continue };
            if self.system.is_empty() {
                self.system = text;
            } else {
                self.system.push_str("\n\n");
                self.system.push_str(&text);
            }
        }
        Ok(())
    }

    fn assistant(&mut self, wire: &WireMessage<'_>) -> Result<Vec<Block>, Fault> {
        let content = optional("content", wire.content, |raw| {
            self.content(Speaker::Assistant, raw)
        })?;
        let mut blocks = content.unwrap_or_default();
        // A refused answer comes back as a client got it: without content.
        let refusal = optional("refusal", wire.refusal, string)?;
        blocks.extend(refusal.filter(|it| !it.is_empty()).map(Block::Text));
        optional("tool_calls", wire.tool_calls, |raw| {
            items(raw, |_, raw| {
                self.allowance.take()?;
                blocks.push(tool_use(raw)?);
                Ok(())
            })
        })?;
        Ok(blocks)
    }

    fn tool_result(&mut self, wire: &WireMessage<'_>) -> Result<Block, Fault> {
        let content = optional("content", wire.content, |raw| {
            self.content(Speaker::Tool, raw)
        })?;
        Ok(Block::ToolResult {
            tool_use_id: required("tool_call_id", wire.tool_call_id, string)?,
            // The format cannot say it.
            is_error: false,
            blocks: content.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

fn tool_use(raw: &RawValue) -> Result<Block, Fault> {
    let call: Call<'_> = object(raw)?;
    let id = required("id", call.id, string)?;
    required("function", call.function, |raw| {
        let function: Function<'_> = object(raw)?;
        Ok(Block::ToolUse {
            id,
            name: required("name", function.name, string)?,
            input: required("arguments", function.arguments, arguments)?,
        })
    })
}

/// A call's arguments: JSON in a string, written by a model. What is no JSON stays a string; none
/// at all is a call without arguments.
pub(in crate::api) fn arguments(raw: &RawValue) -> Result<Box<RawValue>, Fault> {
    let text = borrowed(raw)?;
    let json = match text.trim() {
        "" => "{}",
        text => text,
    };
    if !is_too_deep(json)
        && let Ok(json) = serde_json::from_str::<&RawValue>(json)
    {
        return Ok(json.to_owned());
    }
    // A text always serialises.
    to_raw_value(&text).map_err(|error| Fault::invalid(format!("Input cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::field::Problem;

    #[track_caller]
    fn check(json: &str, system: &str, expect: &[&str]) {
        let (got, messages) = read(serde_json::from_str(json).unwrap()).unwrap();
        let shown: Vec<String> = messages
            .iter()
            .map(|it| format!("{:?} {:?}", it.role, it.blocks))
            .collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        assert_eq!((got.as_str(), shown.as_slice()), (system, expect), "{json}");
    }

    const HI: &str = r#"{"role":"user","content":"hi"}"#;

    #[test]
    fn system_and_developer_are_joined_in_order() {
        check(
            &format!(
                r#"[{{"role":"system","content":"a"}},{HI},{{"role":"developer","content":[{{"type":"text","text":"b"}},{{"type":"text","text":"c"}}]}},{{"role":"system","content":""}}]"#
            ),
            "a\n\nb\n\nc",
            &[r#"User [Text("hi")]"#],
        );
    }

    #[test]
    fn calls_and_their_results_are_kept() {
        check(
            &format!(
                r#"[{HI},{{"role":"assistant","content":"so","tool_calls":[{{"id":"c1","type":"function","function":{{"name":"f","arguments":"{{\"x\": 1}}"}}}},{{"id":"c2","function":{{"name":"g","arguments":"{{broken"}}}}]}},
                {{"role":"tool","tool_call_id":"c1","content":"done"}},{{"role":"tool","tool_call_id":"c2","content":null}}]"#
            ),
            "",
            &[
                r#"User [Text("hi")]"#,
                r#"Assistant [Text("so"), ToolUse { id: "c1", name: "f", input: RawValue({"x": 1}) }, ToolUse { id: "c2", name: "g", input: RawValue("{broken") }]"#,
                r#"User [ToolResult { tool_use_id: "c1", is_error: false, blocks: [Text("done")] }]"#,
                r#"User [ToolResult { tool_use_id: "c2", is_error: false, blocks: [] }]"#,
            ],
        );
    }

    #[test]
    fn messages_without_content_are_left_out() {
        check(
            &format!(
                r#"[{HI},{{"role":"assistant","content":""}},{{"role":"assistant","content":null}},{{"role":"user","content":[]}},{{"role":"assistant","refusal":"no"}}]"#
            ),
            "",
            &[r#"User [Text("hi")]"#, r#"Assistant [Text("no")]"#],
        );
    }

    #[track_caller]
    fn check_arguments(text: &str, expect: &str) {
        let json = serde_json::to_string(text).unwrap();
        let input = arguments(serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(input.get(), expect);
    }

    #[test]
    fn arguments_are_json_or_stay_text() {
        check_arguments("", "{}");
        check_arguments(" ", "{}");
        check_arguments(" {\"a\":\"\\u2028\"} ", "{\"a\":\"\\u2028\"}");
        check_arguments("[1]", "[1]");
        check_arguments("{\"a\":1} x", r#""{\"a\":1} x""#);
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        check_arguments(&deep, &format!("\"{deep}\""));
    }

    #[track_caller]
    fn check_error(json: &str, path: &str, expect: Option<&str>) {
        let fault = read(serde_json::from_str(json).unwrap()).unwrap_err();
        let problem = expect.map_or(Problem::Missing, |it| Problem::Invalid(it.to_owned()));
        assert_eq!(
            (fault.bracketed().as_str(), &fault.problem),
            (path, &problem),
            "{json}"
        );
    }

    #[test]
    fn errors_name_the_field() {
        const NOBODY: Option<&str> = Some("at least one user message with content is required");
        check_error("[]", "", NOBODY);
        check_error(r#"[{"role":"system","content":"s"}]"#, "", NOBODY);
        check_error(r#"[{"role":"user","content":""}]"#, "", NOBODY);
        check_error(r#"[{"role":"user"}]"#, "[0].content", None);
        check_error(r#"[{"content":"x"}]"#, "[0].role", None);
        check_error(
            r#"[{"role":"function","content":"x"}]"#,
            "[0].role",
            Some("Input should be 'system', 'developer', 'user', 'assistant' or 'tool'"),
        );
        check_error(
            r#"[{"role":"tool","content":"x"}]"#,
            "[0].tool_call_id",
            None,
        );
        for (call, path) in [
            ("{}", "id"),
            (r#"{"id":"c"}"#, "function"),
            (
                r#"{"id":"c","function":{"arguments":"{}"}}"#,
                "function.name",
            ),
            (
                r#"{"id":"c","function":{"name":"f"}}"#,
                "function.arguments",
            ),
        ] {
            check_error(
                &format!(r#"[{{"role":"assistant","tool_calls":[{call}]}}]"#),
                &format!("[0].tool_calls[0].{path}"),
                None,
            );
        }
        check_error(
            r#"[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":{}}}]}]"#,
            "[0].tool_calls[0].function.arguments",
            Some("Input should be a string"),
        );
    }
}
