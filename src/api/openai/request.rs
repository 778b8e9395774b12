//! A Chat Completions request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    ApiError, Block, BuiltInTools, Delivery, Effort, ErrorKind, MediaKind, Message, Prompt, Role,
    Thinking, models, text::Text,
};

/// What a request asks, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) delivery: Delivery,
    pub(crate) usage_chunk: UsageChunk,
}

/// Whether a stream ends with a chunk that carries the usage (`stream_options.include_usage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageChunk {
    Wanted,
    Left,
}

/// Reads a request body. Fields that this gateway does not know are accepted.
///
/// # Errors
/// 400 with the field's path, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not a valid JSON request: {error}")))?;
    let model: String = read("model", required("model", wire.model)?, "a string")?;
    for (name, raw) in [
        ("max_tokens", wire.max_tokens),
        ("max_completion_tokens", wire.max_completion_tokens),
    ] {
        let value: Option<u64> = optional(name, raw, "a positive integer")?;
        if value == Some(0) {
            return Err(invalid(format!("{name}: must be at least 1")));
        }
    }
    if optional::<u64>("n", wire.n, "a positive integer")?.is_some_and(|n| n != 1) {
        return Err(invalid(
            "n: this gateway gives one choice per request; leave n out or set it to 1",
        ));
    }
    let stream: bool = optional("stream", wire.stream, "true or false")?.unwrap_or(false);
    let options: StreamOptions =
        optional("stream_options", wire.stream_options, "an object")?.unwrap_or_default();
    let (system, messages) = messages(required("messages", wire.messages)?)?;
    let prompt = Prompt {
        model: models::resolve(&model)?,
        model_requested: model,
        system,
        messages,
        effort: effort(wire.reasoning_effort)?,
        thinking: Thinking::Hidden,
        tools: tools(wire.tool_choice),
    };
    Ok(Request {
        prompt,
        delivery: if stream {
            Delivery::Stream
        } else {
            Delivery::Whole
        },
        usage_chunk: if options.include_usage {
            UsageChunk::Wanted
        } else {
            UsageChunk::Left
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
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

fn required<'a>(path: &str, raw: Option<&'a RawValue>) -> Result<&'a RawValue, ApiError> {
    raw.ok_or_else(|| invalid(format!("Missing required parameter: '{path}'.")))
}

fn optional<'a, T: Deserialize<'a>>(
    path: &str,
    raw: Option<&'a RawValue>,
    expected: &str,
) -> Result<Option<T>, ApiError> {
    raw.map(|raw| read(path, raw, expected)).transpose()
}

fn read<'a, T: Deserialize<'a>>(
    path: &str,
    raw: &'a RawValue,
    expected: &str,
) -> Result<T, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|_| invalid(format!("Invalid type for '{path}': expected {expected}.")))
}

fn read_text(path: &str, raw: &RawValue) -> Result<String, ApiError> {
    read::<Text<'_>>(path, raw, "a string").map(Text::into_owned)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

fn effort(raw: Option<&RawValue>) -> Result<Option<Effort>, ApiError> {
    let name: Option<String> = optional("reasoning_effort", raw, "a string")?;
    match name.as_deref() {
        None => Ok(None),
        // The CLI has nothing below low.
        Some("none" | "minimal" | "low") => Ok(Some(Effort::Low)),
        Some("medium") => Ok(Some(Effort::Medium)),
        Some("high") => Ok(Some(Effort::High)),
        Some("xhigh") => Ok(Some(Effort::Xhigh)),
        Some("max") => Ok(Some(Effort::Max)),
        Some(_) => Err(invalid(
            "Invalid value for 'reasoning_effort': expected none, minimal, low, medium, high, xhigh or max.",
        )),
    }
}

fn tools(raw: Option<&RawValue>) -> BuiltInTools {
    match raw.map(RawValue::get) {
        Some("\"none\"") => BuiltInTools::Off,
        _ => BuiltInTools::On,
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    role: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
}

/// The system texts joined, and everything else in order.
fn messages(raw: &RawValue) -> Result<(String, Vec<Message>), ApiError> {
    let wire: Vec<WireMessage<'_>> =
        read("messages", raw, "an array of messages, each with a role")?;
    let mut system: Vec<String> = Vec::new();
    let mut messages = Vec::with_capacity(wire.len());
    for (at, message) in wire.into_iter().enumerate() {
        let path = format!("messages[{at}]");
        let content = || required(&format!("{path}.content"), message.content);
        match message.role.as_str() {
            "system" | "developer" => system.push(plain_text(&path, content()?)?),
            "user" => {
                let blocks = parts(&format!("{path}.content"), content()?)?;
                messages.push(Message {
                    role: Role::User,
                    blocks,
                });
            }
            "assistant" => messages.push(Message {
                role: Role::Assistant,
                blocks: assistant(&path, &message)?,
            }),
            "tool" => messages.push(Message {
                role: Role::User,
                blocks: vec![tool_result(&path, &message)?],
            }),
            _ => {
                return Err(invalid(format!(
                    "Invalid value for '{path}.role': expected system, developer, user, assistant or tool."
                )));
            }
        }
    }
    if !messages.iter().any(|it| it.role == Role::User) {
        return Err(invalid(
            "Invalid 'messages': at least one user message is required.",
        ));
    }
    Ok((system.join("\n\n"), messages))
}

fn plain_text(path: &str, raw: &RawValue) -> Result<String, ApiError> {
    let blocks = parts(&format!("{path}.content"), raw)?;
    let texts: Option<Vec<String>> = blocks
        .into_iter()
        .map(|block| match block {
            Block::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    let texts = texts.ok_or_else(|| {
        invalid(format!(
            "Invalid '{path}.content': a system message takes text only."
        ))
    })?;
    Ok(texts.join("\n\n"))
}

fn assistant(path: &str, message: &WireMessage<'_>) -> Result<Vec<Block>, ApiError> {
    #[derive(Deserialize)]
    struct Call {
        id: String,
        function: Function,
    }
    #[derive(Deserialize)]
    struct Function {
        name: String,
        #[serde(default)]
        arguments: String,
    }
    let mut blocks = match message.content {
        Some(raw) => parts(&format!("{path}.content"), raw)?,
        None => Vec::new(),
    };
    let calls: Option<Vec<Call>> = optional(
        &format!("{path}.tool_calls"),
        message.tool_calls,
        "an array of function calls",
    )?;
    for call in calls.unwrap_or_default() {
        let Function { name, arguments } = call.function;
        // Arguments are the model's own text and may be broken JSON: then the text itself is kept.
        let input = RawValue::from_string(arguments.clone())
            .or_else(|_| serde_json::value::to_raw_value(&arguments))
            .map_err(|_| invalid(format!("Invalid '{path}.tool_calls'.")))?;
        blocks.push(Block::ToolUse {
            id: call.id,
            name,
            input,
        });
    }
    Ok(blocks)
}

fn tool_result(path: &str, message: &WireMessage<'_>) -> Result<Block, ApiError> {
    let id = required(&format!("{path}.tool_call_id"), message.tool_call_id)?;
    let content = required(&format!("{path}.content"), message.content)?;
    Ok(Block::ToolResult {
        tool_use_id: read(&format!("{path}.tool_call_id"), id, "a string")?,
        is_error: false,
        blocks: parts(&format!("{path}.content"), content)?,
    })
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    image_url: Option<ImageUrl>,
    file: Option<FilePart>,
    #[serde(borrow)]
    #[expect(
        dead_code,
        reason = "only its presence in the format is known; it is refused by type"
    )]
    input_audio: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
}

#[derive(Deserialize)]
struct FilePart {
    file_data: Option<String>,
    filename: Option<String>,
}

fn parts(path: &str, raw: &RawValue) -> Result<Vec<Block>, ApiError> {
    if raw.get().starts_with('"') {
        return Ok(vec![Block::Text(read_text(path, raw)?)]);
    }
    let raws: Vec<&RawValue> = read(path, raw, "a string or an array of content parts")?;
    raws.into_iter()
        .enumerate()
        .map(|(at, raw)| part(&format!("{path}[{at}]"), raw))
        .collect()
}

fn part(path: &str, raw: &RawValue) -> Result<Block, ApiError> {
    let part: Part<'_> = read(path, raw, "a content part with a type")?;
    let missing = |name: &str| invalid(format!("Missing required parameter: '{path}.{name}'."));
    match part.kind.as_str() {
        "text" => Ok(Block::Text(read_text(
            path,
            part.text.ok_or_else(|| missing("text"))?,
        )?)),
        "refusal" => Ok(Block::Text(read_text(
            path,
            part.refusal.ok_or_else(|| missing("refusal"))?,
        )?)),
        "image_url" => image(
            path,
            &part.image_url.ok_or_else(|| missing("image_url"))?.url,
        ),
        "file" => document(path, &part.file.ok_or_else(|| missing("file"))?),
        "input_audio" => Err(invalid(format!(
            "Invalid '{path}': audio input is not supported by Claude models."
        ))),
        _ => Ok(Block::Other(raw.to_owned())),
    }
}

fn image(path: &str, url: &str) -> Result<Block, ApiError> {
    let source = match DataUrl::parse(url) {
        Some(data) => data.source(),
        None if url.starts_with("https://") => serde_json::json!({"type": "url", "url": url}),
        None => {
            return Err(invalid(format!(
                "Invalid '{path}.image_url.url': expected a base64 data URL or an https URL."
            )));
        }
    };
    media(
        MediaKind::Image,
        &serde_json::json!({"type": "image", "source": source}),
    )
}

fn document(path: &str, file: &FilePart) -> Result<Block, ApiError> {
    let data = file.file_data.as_deref().and_then(DataUrl::parse).ok_or_else(|| {
        invalid(format!("Invalid '{path}.file': expected file_data as a base64 data URL (file ids are not supported)."))
    })?;
    let mut block = serde_json::json!({"type": "document", "source": data.source()});
    if let Some(name) = &file.filename {
        block["title"] = name.as_str().into();
    }
    media(MediaKind::Document, &block)
}

fn media(kind: MediaKind, block: &serde_json::Value) -> Result<Block, ApiError> {
    let block = serde_json::value::to_raw_value(block)
        .map_err(|_| invalid("a media part cannot be read"))?;
    Ok(Block::Media { kind, block })
}

/// `data:image/png;base64,....`
struct DataUrl<'a> {
    media_type: &'a str,
    data: &'a str,
}

impl<'a> DataUrl<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let media_type = head.strip_suffix(";base64")?.split(';').next()?;
        (!media_type.is_empty()).then_some(DataUrl { media_type, data })
    }

    fn source(&self) -> serde_json::Value {
        serde_json::json!({"type": "base64", "media_type": self.media_type, "data": self.data})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(rest: &str, expect: &str) {
        let error = parse(format!(r#"{{"model":"sonnet",{rest}}}"#).as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::InvalidRequest, expect),
            "{rest}"
        );
    }

    #[test]
    fn errors_name_the_field() {
        let ok = r#""messages":[{"role":"user","content":"x"}]"#;
        check_error(r#""n":1"#, "Missing required parameter: 'messages'.");
        check_error(
            &format!(r#"{ok},"n":2"#),
            "n: this gateway gives one choice per request; leave n out or set it to 1",
        );
        check_error(
            &format!(r#"{ok},"max_completion_tokens":0"#),
            "max_completion_tokens: must be at least 1",
        );
        check_error(
            r#""messages":[]"#,
            "Invalid 'messages': at least one user message is required.",
        );
        check_error(
            r#""messages":[{"role":"user"}]"#,
            "Missing required parameter: 'messages[0].content'.",
        );
        check_error(
            r#""messages":[{"role":"robot","content":"x"}]"#,
            "Invalid value for 'messages[0].role': expected system, developer, user, assistant or tool.",
        );
        check_error(
            r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]"#,
            "Invalid 'messages[0].content[0]': audio input is not supported by Claude models.",
        );
        check_error(
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}]"#,
            "Invalid 'messages[0].content[0].image_url.url': expected a base64 data URL or an https URL.",
        );
        check_error(
            &format!(r#"{ok},"reasoning_effort":"huge""#),
            "Invalid value for 'reasoning_effort': expected none, minimal, low, medium, high, xhigh or max.",
        );
    }

    #[test]
    fn conversation_with_calls_and_media_is_kept() {
        let request = parse(
            br#"{"model":"claude-max/sonnet","stream":true,"stream_options":{"include_usage":true},"reasoning_effort":"minimal",
            "tool_choice":"none","messages":[{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"}]},
            {"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
             {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
             {"id":"c2","type":"function","function":{"name":"g","arguments":"{broken"}}]},
            {"role":"tool","tool_call_id":"c1","content":"done"}]}"#,
        )
        .unwrap();
        assert_eq!(
            (request.delivery, request.usage_chunk),
            (Delivery::Stream, UsageChunk::Wanted)
        );
        let prompt = request.prompt;
        assert_eq!(
            (prompt.system.as_str(), prompt.effort, prompt.tools),
            ("a\n\nb", Some(Effort::Low), BuiltInTools::Off)
        );
        assert_eq!(
            (prompt.model_requested.as_str(), prompt.model.as_str()),
            ("claude-max/sonnet", "sonnet")
        );
        let shown: Vec<String> = prompt
            .messages
            .iter()
            .map(|it| format!("{:?} {:?}", it.role, it.blocks))
            .collect();
        assert_eq!(
            shown[0],
            r#"User [Text("look"), Media { kind: Image, block: RawValue({"source":{"data":"AAAA","media_type":"image/png","type":"base64"},"type":"image"}) }, Media { kind: Document, block: RawValue({"source":{"data":"BBBB","media_type":"application/pdf","type":"base64"},"title":"a.pdf","type":"document"}) }]"#
        );
        assert_eq!(
            shown[1],
            r#"Assistant [ToolUse { id: "c1", name: "f", input: RawValue({"x":1}) }, ToolUse { id: "c2", name: "g", input: RawValue("{broken") }]"#
        );
        assert_eq!(
            shown[2],
            r#"User [ToolResult { tool_use_id: "c1", is_error: false, blocks: [Text("done")] }]"#
        );
    }
}
