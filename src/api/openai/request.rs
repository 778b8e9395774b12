//! A Chat Completions request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages;
use crate::api::{
    ApiError, BuiltInTools, Delivery, Effort, ErrorKind, Prompt, Thinking,
    field::{self, Fault, Problem, boolean, object, optional, positive, required, string},
    models,
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
/// 400 with the field's path in the API's wording, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = field::body(body).map_err(refused)?;
    let model_requested = required("model", wire.model, string).map_err(refused)?;
    let model = models::resolve(&model_requested)?;
    wire.request(model_requested, model).map_err(refused)
}

fn refused(fault: Fault) -> ApiError {
    let path = fault.bracketed();
    let message = match fault.problem {
        Problem::Missing => format!("Missing required parameter: '{path}'."),
        Problem::Invalid(text) if path.is_empty() => text,
        Problem::Invalid(text) => format!("Invalid '{path}': {text}."),
    };
    ApiError::new(ErrorKind::InvalidRequest, message)
}

/// The fields that count.
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

impl Wire<'_> {
    fn request(&self, model_requested: String, model: String) -> Result<Request, Fault> {
        // The CLI decides how long an answer gets; the fields are checked as the API does.
        optional("max_tokens", self.max_tokens, positive)?;
        optional(
            "max_completion_tokens",
            self.max_completion_tokens,
            positive,
        )?;
        optional("n", self.n, one)?;
        let delivery = match optional("stream", self.stream, boolean)? {
            Some(true) => Delivery::Stream,
            Some(false) | None => Delivery::Whole,
        };
        let (system, messages) = required("messages", self.messages, messages::read)?;
        let prompt = Prompt {
            model_requested,
            model,
            system,
            messages,
            effort: optional("reasoning_effort", self.reasoning_effort, effort)?,
            // The format has no place for it.
            thinking: Thinking::Hidden,
            tools: match self.tool_choice.map(RawValue::get) {
                Some("\"none\"") => BuiltInTools::Off,
                _ => BuiltInTools::On,
            },
        };
        Ok(Request {
            prompt,
            delivery,
            usage_chunk: optional("stream_options", self.stream_options, usage_chunk)?
                .unwrap_or(UsageChunk::Left),
        })
    }
}

fn one(raw: &RawValue) -> Result<(), Fault> {
    match positive(raw)? {
        1 => Ok(()),
        more => Err(Fault::invalid(format!(
            "{more} choices are more than the one that this gateway gives per request; leave n out or set it to 1"
        ))),
    }
}

fn usage_chunk(raw: &RawValue) -> Result<UsageChunk, Fault> {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow)]
        include_usage: Option<&'a RawValue>,
    }
    let options: Options<'_> = object(raw)?;
    Ok(
        match optional("include_usage", options.include_usage, boolean)? {
            Some(true) => UsageChunk::Wanted,
            Some(false) | None => UsageChunk::Left,
        },
    )
}

fn effort(raw: &RawValue) -> Result<Effort, Fault> {
    match string(raw)?.as_str() {
        // The CLI has nothing below low.
        "none" | "minimal" | "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::Xhigh),
        "max" => Ok(Effort::Max),
        _ => Err(Fault::invalid(
            "Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good request with one field replaced or added.
    fn with(field: &str, json: &str) -> String {
        let good = [
            ("model", r#""claude-max/sonnet""#),
            ("messages", r#"[{"role":"user","content":"x"}]"#),
        ];
        let others = good.iter().filter(|(name, _)| *name != field);
        let fields: Vec<String> = others
            .chain([&(field, json)])
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    #[track_caller]
    fn check_error(field: &str, json: &str, expect: &str) {
        let error = parse(with(field, json).as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::InvalidRequest, expect),
            "{field}: {json}"
        );
    }

    #[test]
    fn errors_name_the_field() {
        check_error("model", "null", "Missing required parameter: 'model'.");
        check_error("model", "7", "Invalid 'model': Input should be a string.");
        check_error(
            "messages",
            "null",
            "Missing required parameter: 'messages'.",
        );
        check_error(
            "messages",
            r#"[{"role":"user","content":[{"type":"text"}]}]"#,
            "Missing required parameter: 'messages[0].content[0].text'.",
        );
        for name in ["max_tokens", "max_completion_tokens"] {
            for number in ["0", "-1", "1.5", "\"9\""] {
                let expect = format!("Invalid '{name}': Input should be a positive integer.");
                check_error(name, number, &expect);
            }
        }
        check_error("n", "0", "Invalid 'n': Input should be a positive integer.");
        check_error(
            "n",
            "3",
            "Invalid 'n': 3 choices are more than the one that this gateway gives per request; leave n out or set it to 1.",
        );
        check_error(
            "stream",
            "1",
            "Invalid 'stream': Input should be true or false.",
        );
        check_error(
            "stream_options",
            "[]",
            "Invalid 'stream_options': Input should be an object.",
        );
        check_error(
            "stream_options",
            r#"{"include_usage":"yes"}"#,
            "Invalid 'stream_options.include_usage': Input should be true or false.",
        );
        check_error(
            "reasoning_effort",
            "\"huge\"",
            "Invalid 'reasoning_effort': Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'.",
        );
        let error = parse(b"[]").unwrap_err();
        assert_eq!(error.message, "Input should be an object");
    }

    #[test]
    fn unknown_model_is_a_404() {
        let error = parse(with("model", "\"gpt-4o\"").as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    fn parsed(field: &str, json: &str) -> Request {
        parse(with(field, json).as_bytes()).unwrap()
    }

    #[test]
    fn absent_fields_mean_what_the_api_says() {
        let request = parsed("unknown_field", "{}");
        assert_eq!(
            (request.delivery, request.usage_chunk),
            (Delivery::Whole, UsageChunk::Left)
        );
        let prompt = request.prompt;
        assert_eq!(
            (
                prompt.model_requested.as_str(),
                prompt.model.as_str(),
                prompt.system.as_str()
            ),
            ("claude-max/sonnet", "sonnet", "")
        );
        assert_eq!(
            (prompt.effort, prompt.thinking, prompt.tools),
            (None, Thinking::Hidden, BuiltInTools::On)
        );
    }

    #[test]
    fn stream_and_its_usage_are_asked_for_apart() {
        assert_eq!(parsed("stream", "true").delivery, Delivery::Stream);
        for (json, expect) in [
            (r#"{"include_usage":true}"#, UsageChunk::Wanted),
            (r#"{"include_usage":false}"#, UsageChunk::Left),
            ("{}", UsageChunk::Left),
            ("null", UsageChunk::Left),
        ] {
            assert_eq!(parsed("stream_options", json).usage_chunk, expect, "{json}");
        }
    }

    #[test]
    fn one_choice_and_any_limit_are_accepted() {
        for (field, json) in [
            ("n", "1"),
            ("n", "null"),
            ("max_tokens", "1"),
            ("max_completion_tokens", "32000"),
            ("temperature", "0.5"),
        ] {
            assert_eq!(
                parsed(field, json).prompt.messages.len(),
                1,
                "{field}: {json}"
            );
        }
    }

    #[test]
    fn effort_has_openais_names_too() {
        for (name, expect) in [
            ("none", Effort::Low),
            ("minimal", Effort::Low),
            ("low", Effort::Low),
            ("medium", Effort::Medium),
            ("high", Effort::High),
            ("xhigh", Effort::Xhigh),
            ("max", Effort::Max),
        ] {
            let prompt = parsed("reasoning_effort", &format!("\"{name}\"")).prompt;
            assert_eq!(prompt.effort, Some(expect), "{name}");
        }
    }

    #[test]
    fn tool_choice_none_turns_the_tools_off() {
        for (json, expect) in [
            ("\"none\"", BuiltInTools::Off),
            ("\"auto\"", BuiltInTools::On),
            (
                r#"{"type":"function","function":{"name":"none"}}"#,
                BuiltInTools::On,
            ),
        ] {
            assert_eq!(parsed("tool_choice", json).prompt.tools, expect, "{json}");
        }
    }
}
