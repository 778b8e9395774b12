//! A Messages request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    ApiError, Block, BuiltInTools, Delivery, Effort, ErrorKind, MediaKind, Message, Prompt, Role,
    Thinking, models,
    text::{Text, decode},
};

/// What a request asks, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) delivery: Delivery,
}

/// Reads a request body. Fields that this gateway does not know are accepted.
///
/// # Errors
/// 400 with the field's path, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not a valid JSON request: {error}")))?;
    let model: String = read("model", required("model", wire.model)?, "a string")?;
    let max_tokens: u64 = read(
        "max_tokens",
        required("max_tokens", wire.max_tokens)?,
        "a positive integer",
    )?;
    if max_tokens == 0 {
        return Err(invalid("max_tokens: must be at least 1"));
    }
    let stream = wire
        .stream
        .map_or(Ok(false), |raw| read("stream", raw, "true or false"))?;
    let prompt = Prompt {
        model: models::resolve(&model)?,
        model_requested: model,
        system: system(wire.system)?,
        messages: messages(required("messages", wire.messages)?)?,
        effort: effort(wire.output_config)?,
        thinking: thinking(wire.thinking)?,
        tools: tools(wire.tool_choice)?,
    };
    Ok(Request {
        prompt,
        delivery: if stream {
            Delivery::Stream
        } else {
            Delivery::Whole
        },
    })
}

/// The fields that count, each unread, so that an error can name where it is.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
}

fn required<'a>(path: &str, raw: Option<&'a RawValue>) -> Result<&'a RawValue, ApiError> {
    raw.ok_or_else(|| invalid(format!("{path}: Field required")))
}

fn read<'a, T: Deserialize<'a>>(
    path: &str,
    raw: &'a RawValue,
    expected: &str,
) -> Result<T, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|_| invalid(format!("{path}: Input should be {expected}")))
}

fn read_text(path: &str, raw: &RawValue) -> Result<String, ApiError> {
    read::<Text<'_>>(path, raw, "a string").map(Text::into_owned)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

/// Whether a JSON text is a string; the raw text has no space before it.
fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

fn system(raw: Option<&RawValue>) -> Result<String, ApiError> {
    let Some(raw) = raw else {
        return Ok(String::new());
    };
    if is_string(raw) {
        return read_text("system", raw);
    }
    let blocks: Vec<TextBlock<'_>> = read("system", raw, "a string or a list of text blocks")?;
    if let Some(at) = blocks.iter().position(|it| it.kind != "text") {
        return Err(invalid(format!("system.{at}.type: Input should be 'text'")));
    }
    let texts: Vec<String> = blocks.iter().filter_map(|it| it.text).map(decode).collect();
    Ok(texts.join("\n\n"))
}

#[derive(Deserialize)]
struct TextBlock<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

fn thinking(raw: Option<&RawValue>) -> Result<Thinking, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "type")]
        kind: String,
    }
    let Some(raw) = raw else {
        return Ok(Thinking::Hidden);
    };
    let wire: Wire = read("thinking", raw, "an object with a type")?;
    match wire.kind.as_str() {
        "enabled" | "adaptive" => Ok(Thinking::Shown),
        "disabled" => Ok(Thinking::Hidden),
        _ => Err(invalid(
            "thinking.type: Input should be 'enabled', 'adaptive' or 'disabled'",
        )),
    }
}

fn effort(raw: Option<&RawValue>) -> Result<Option<Effort>, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        effort: Option<String>,
    }
    let Some(raw) = raw else { return Ok(None) };
    let wire: Wire = read("output_config", raw, "an object")?;
    let Some(name) = wire.effort else {
        return Ok(None);
    };
    match name.as_str() {
        "low" => Ok(Some(Effort::Low)),
        "medium" => Ok(Some(Effort::Medium)),
        "high" => Ok(Some(Effort::High)),
        "xhigh" => Ok(Some(Effort::Xhigh)),
        "max" => Ok(Some(Effort::Max)),
        _ => Err(invalid(
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        )),
    }
}

fn tools(raw: Option<&RawValue>) -> Result<BuiltInTools, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "type")]
        kind: String,
    }
    let Some(raw) = raw else {
        return Ok(BuiltInTools::On);
    };
    let wire: Wire = read("tool_choice", raw, "an object with a type")?;
    Ok(if wire.kind == "none" {
        BuiltInTools::Off
    } else {
        BuiltInTools::On
    })
}

fn messages(raw: &RawValue) -> Result<Vec<Message>, ApiError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        role: String,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    let wire: Vec<Wire<'_>> = read(
        "messages",
        raw,
        "a list of messages, each with role and content",
    )?;
    if wire.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    let last = wire.len() - 1;
    let mut messages = Vec::with_capacity(wire.len());
    for (at, message) in wire.into_iter().enumerate() {
        let path = format!("messages.{at}");
        let role = match message.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                return Err(invalid(format!(
                    "{path}.role: Input should be 'user' or 'assistant' (a system prompt goes into the field `system`)"
                )));
            }
        };
        let content = required(&format!("{path}.content"), message.content)?;
        let blocks = content_blocks(&format!("{path}.content"), content)?;
        // A final assistant message may be empty: it is where the model is to begin.
        if is_empty(content) && !(at == last && role == Role::Assistant) {
            return Err(invalid(format!(
                "{path}: all messages must have non-empty content"
            )));
        }
        messages.push(Message { role, blocks });
    }
    if messages.iter().all(|it| it.role == Role::Assistant) {
        return Err(invalid("messages: at least one message must be the user's"));
    }
    Ok(messages)
}

fn is_empty(content: &RawValue) -> bool {
    matches!(content.get(), "\"\"" | "[]")
}

fn content_blocks(path: &str, raw: &RawValue) -> Result<Vec<Block>, ApiError> {
    if is_string(raw) {
        return Ok(vec![Block::Text(read_text(path, raw)?)]);
    }
    let raws: Vec<&RawValue> = read(path, raw, "a string or a list of content blocks")?;
    let mut blocks = Vec::with_capacity(raws.len());
    for (at, raw) in raws.into_iter().enumerate() {
        blocks.extend(block(&format!("{path}.{at}"), raw)?);
    }
    Ok(blocks)
}

#[derive(Deserialize)]
struct WireBlock<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    is_error: Option<&'a RawValue>,
}

/// One block; `None` for thinking of earlier turns, which only the CLI's own history can carry.
fn block(path: &str, raw: &RawValue) -> Result<Option<Block>, ApiError> {
    let wire: WireBlock<'_> = read(path, raw, "a content block with a type")?;
    let field = |name: &str, raw| required(&format!("{path}.{name}"), raw);
    let text = |name: &str, raw| read_text(&format!("{path}.{name}"), field(name, raw)?);
    Ok(Some(match wire.kind.as_str() {
        "text" => Block::Text(text("text", wire.text)?),
        "image" => media(MediaKind::Image, field("source", wire.source)?, &wire)?,
        "document" => media(MediaKind::Document, field("source", wire.source)?, &wire)?,
        "tool_use" => Block::ToolUse {
            id: text("id", wire.id)?,
            name: text("name", wire.name)?,
            input: field("input", wire.input)?.to_owned(),
        },
        "tool_result" => Block::ToolResult {
            tool_use_id: text("tool_use_id", wire.tool_use_id)?,
            is_error: match wire.is_error {
                Some(raw) => read(&format!("{path}.is_error"), raw, "true or false")?,
                None => false,
            },
            blocks: match wire.content {
                Some(raw) => content_blocks(&format!("{path}.content"), raw)?,
                None => Vec::new(),
            },
        },
        "thinking" | "redacted_thinking" => return Ok(None),
        _ => Block::Other(raw.to_owned()),
    }))
}

/// Media without the client's `cache_control`: the CLI sets its own, and the API takes only four.
fn media(kind: MediaKind, source: &RawValue, wire: &WireBlock<'_>) -> Result<Block, ApiError> {
    let mut json = format!(r#"{{"type":"{}","source":{}"#, wire.kind, source.get());
    for (name, value) in [("title", wire.title), ("context", wire.context)] {
        if let Some(value) = value {
            json.push_str(&format!(r#","{name}":{}"#, value.get()));
        }
    }
    json.push('}');
    let block = RawValue::from_string(json).map_err(|_| invalid("a media block cannot be read"))?;
    Ok(Block::Media { kind, block })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(rest: &str) -> String {
        format!(r#"{{"model":"sonnet","max_tokens":5,{rest}}}"#)
    }

    #[track_caller]
    fn check_error(body: &str, expect: &str) {
        let error = parse(body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::InvalidRequest, expect),
            "{body}"
        );
    }

    #[test]
    fn errors_name_the_field() {
        let ok = r#""messages":[{"role":"user","content":"x"}]"#;
        check_error(r#"{"max_tokens":1}"#, "model: Field required");
        check_error(
            r#"{"model":7,"max_tokens":1}"#,
            "model: Input should be a string",
        );
        check_error(r#"{"model":"sonnet"}"#, "max_tokens: Field required");
        for bad in ["0.5", "-1", "\"9\""] {
            check_error(
                &format!(r#"{{"model":"sonnet","max_tokens":{bad},{ok}}}"#),
                "max_tokens: Input should be a positive integer",
            );
        }
        check_error(
            &format!(r#"{{"model":"sonnet","max_tokens":0,{ok}}}"#),
            "max_tokens: must be at least 1",
        );
        check_error(
            &body(r#""stream":"yes""#),
            "stream: Input should be true or false",
        );
        check_error(&body(r#""system":"s""#), "messages: Field required");
        check_error(
            &body(r#""messages":[]"#),
            "messages: at least one message is required",
        );
        check_error(
            &body(r#""messages":[{"role":"user","content":""}]"#),
            "messages.0: all messages must have non-empty content",
        );
        check_error(
            &body(
                r#""messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"image"}]}]"#,
            ),
            "messages.1.content.0.source: Field required",
        );
        check_error(
            &body(r#""messages":[{"role":"user","content":[{"type":"text","text":3}]}]"#),
            "messages.0.content.0.text: Input should be a string",
        );
        check_error(
            &body(r#""messages":[{"role":"assistant","content":"x"}]"#),
            "messages: at least one message must be the user's",
        );
        check_error(
            &body(&format!(r#"{ok},"system":[{{"type":"image"}}]"#)),
            "system.0.type: Input should be 'text'",
        );
        check_error(
            &body(&format!(r#"{ok},"output_config":{{"effort":"huge"}}"#)),
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        );
    }

    #[test]
    fn bodies_that_are_no_json_object_are_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{",
            "\u{feff}{}",
            "{\"model\":1,\"model\":2}",
        ] {
            assert_eq!(
                parse(body.as_bytes()).unwrap_err().kind,
                ErrorKind::InvalidRequest,
                "{body:?}"
            );
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
        let deep = format!(
            r#"{{"messages":{}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn every_known_block_is_kept_and_unknown_ones_too() {
        let request = parse(
            body(
                r#""system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"stream":true,
                "thinking":{"type":"adaptive"},"output_config":{"effort":"high"},"tool_choice":{"type":"none"},
                "metadata":{"user_id":"u"},"tools":[{"name":"x"}],
                "messages":[{"role":"user","content":"hi"},
                {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"i","name":"n","input":{"a":1}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"i","is_error":true,"content":[{"type":"text","text":"r"}]},
                 {"type":"image","source":{"type":"url","url":"u"},"cache_control":{"type":"ephemeral"}},
                 {"type":"document","source":{"x":1},"title":"t"},{"type":"novel","x":[1]}]}]"#,
            )
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(request.delivery, Delivery::Stream);
        let prompt = request.prompt;
        assert_eq!(
            (
                prompt.system.as_str(),
                prompt.effort,
                prompt.thinking,
                prompt.tools
            ),
            (
                "a\n\nb",
                Some(Effort::High),
                Thinking::Shown,
                BuiltInTools::Off
            )
        );
        let shown: Vec<String> = prompt
            .messages
            .iter()
            .map(|it| format!("{:?} {:?}", it.role, it.blocks))
            .collect();
        assert_eq!(shown[0], "User [Text(\"hi\")]");
        assert_eq!(
            shown[1],
            "Assistant [ToolUse { id: \"i\", name: \"n\", input: RawValue({\"a\":1}) }]"
        );
        for part in [
            r#"ToolResult { tool_use_id: "i", is_error: true, blocks: [Text("r")] }"#,
            r#"Media { kind: Image, block: RawValue({"type":"image","source":{"type":"url","url":"u"}}) }"#,
            r#"Media { kind: Document, block: RawValue({"type":"document","source":{"x":1},"title":"t"}) }"#,
            r#"Other(RawValue({"type":"novel","x":[1]}))"#,
        ] {
            assert!(shown[2].contains(part), "{}", shown[2]);
        }
    }
}
