//! A Messages request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::Reader;
use crate::api::{
    ApiError, BuiltInTools, Delivery, Effort, ErrorKind, Prompt, Thinking,
    field::{
        self, Fault, Problem, boolean, is_string, items, object, optional, positive, required,
        string,
    },
    models,
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
/// 400 with the field's path in the API's wording, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = field::body(body).map_err(refused)?;
    let model_requested = required("model", wire.model, string).map_err(refused)?;
    let model = models::resolve(&model_requested)?;
    wire.request(model_requested, model).map_err(refused)
}

fn refused(fault: Fault) -> ApiError {
    let path = fault.dotted();
    let message = match fault.problem {
        Problem::Missing => format!("{path}: Field required"),
        Problem::Invalid(text) if path.is_empty() => text,
        Problem::Invalid(text) => format!("{path}: {text}"),
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

impl Wire<'_> {
    fn request(&self, model_requested: String, model: String) -> Result<Request, Fault> {
        // The CLI decides how long an answer gets; the field is checked as the API does.
        required("max_tokens", self.max_tokens, positive)?;
        let delivery = match optional("stream", self.stream, boolean)? {
            Some(true) => Delivery::Stream,
            Some(false) | None => Delivery::Whole,
        };
        let prompt = Prompt {
            model_requested,
            model,
            system: optional("system", self.system, system)?.unwrap_or_default(),
            messages: required("messages", self.messages, |it| Reader::new().messages(it))?,
            effort: optional("output_config", self.output_config, effort)?.flatten(),
            thinking: optional("thinking", self.thinking, thinking)?.unwrap_or(Thinking::Hidden),
            tools: optional("tool_choice", self.tool_choice, tools)?.unwrap_or(BuiltInTools::On),
        };
        Ok(Request { prompt, delivery })
    }
}

/// An object of which only the `type` and one text may count.
#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    display: Option<&'a RawValue>,
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
}

fn system(raw: &RawValue) -> Result<String, Fault> {
    if is_string(raw) {
        return string(raw);
    }
    let mut system = String::new();
    items(raw, |_, raw| {
        let block: Tagged<'_> = object(raw)?;
        if required("type", block.kind, string)? != "text" {
            return Err(Fault::invalid("Input should be 'text'").at("type"));
        }
        let text = required("text", block.text, field::borrowed)?;
        if !system.is_empty() && !text.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str(&text);
        Ok(())
    })?;
    Ok(system)
}

fn thinking(raw: &RawValue) -> Result<Thinking, Fault> {
    let wire: Tagged<'_> = object(raw)?;
    let display = optional("display", wire.display, string)?;
    match (
        required("type", wire.kind, string)?.as_str(),
        display.as_deref(),
    ) {
        // The client asks for the model's thinking, but not to be shown its text.
        ("enabled" | "adaptive", Some("omitted")) | ("disabled", _) => Ok(Thinking::Hidden),
        ("enabled" | "adaptive", _) => Ok(Thinking::Shown),
        _ => Err(Fault::invalid("Input should be 'enabled', 'adaptive' or 'disabled'").at("type")),
    }
}

fn effort(raw: &RawValue) -> Result<Option<Effort>, Fault> {
    let wire: Tagged<'_> = object(raw)?;
    optional("effort", wire.effort, |raw| match string(raw)?.as_str() {
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::Xhigh),
        "max" => Ok(Effort::Max),
        _ => Err(Fault::invalid(
            "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        )),
    })
}

fn tools(raw: &RawValue) -> Result<BuiltInTools, Fault> {
    let wire: Tagged<'_> = object(raw)?;
    Ok(match required("type", wire.kind, string)?.as_str() {
        "none" => BuiltInTools::Off,
        _ => BuiltInTools::On,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good request with one field replaced or added.
    fn with(field: &str, json: &str) -> String {
        let good = [
            ("model", r#""claude-max/sonnet""#),
            ("max_tokens", "5"),
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
        for (field, json, expect) in [
            ("model", "null", "model: Field required"),
            ("model", "7", "model: Input should be a string"),
            ("max_tokens", "null", "max_tokens: Field required"),
            (
                "max_tokens",
                "0",
                "max_tokens: Input should be a positive integer",
            ),
            (
                "max_tokens",
                "-1",
                "max_tokens: Input should be a positive integer",
            ),
            (
                "max_tokens",
                "0.5",
                "max_tokens: Input should be a positive integer",
            ),
            ("messages", "null", "messages: Field required"),
            ("stream", "\"yes\"", "stream: Input should be true or false"),
            ("system", "7", "system: Input should be a list"),
            ("system", "[7]", "system.0: Input should be an object"),
            (
                "system",
                r#"[{"type":"text"}]"#,
                "system.0.text: Field required",
            ),
            (
                "system",
                r#"[{"type":"image"}]"#,
                "system.0.type: Input should be 'text'",
            ),
            ("thinking", "true", "thinking: Input should be an object"),
            ("thinking", "{}", "thinking.type: Field required"),
            (
                "thinking",
                r#"{"type":"on"}"#,
                "thinking.type: Input should be 'enabled', 'adaptive' or 'disabled'",
            ),
            (
                "output_config",
                r#"{"effort":"huge"}"#,
                "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
            ),
            (
                "output_config",
                "[]",
                "output_config: Input should be an object",
            ),
            (
                "tool_choice",
                "\"none\"",
                "tool_choice: Input should be an object",
            ),
        ] {
            check_error(&with(field, json), expect);
        }
        check_error("[]", "Input should be an object");
        check_error("null", "Input should be an object");
        check_error(
            r#"{"model":"opus","model":"opus"}"#,
            "duplicate field `model`",
        );
        check_error("{}", "model: Field required");
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
        assert_eq!(request.delivery, Delivery::Whole);
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
    fn stream_is_a_boolean() {
        assert_eq!(parsed("stream", "true").delivery, Delivery::Stream);
        assert_eq!(parsed("stream", "false").delivery, Delivery::Whole);
        assert_eq!(parsed("stream", "null").delivery, Delivery::Whole);
    }

    #[test]
    fn system_blocks_are_joined_by_a_blank_line() {
        for (json, expect) in [
            (r#""a\nb""#, "a\nb"),
            ("[]", ""),
            (
                r#"[{"type":"text","text":"a","cache_control":{}},{"type":"text","text":""},{"type":"text","text":"b"}]"#,
                "a\n\nb",
            ),
        ] {
            assert_eq!(parsed("system", json).prompt.system, expect, "{json}");
        }
    }

    #[test]
    fn thinking_is_shown_to_who_asks_for_it() {
        for (json, expect) in [
            (
                r#"{"type":"enabled","budget_tokens":1024}"#,
                Thinking::Shown,
            ),
            (
                r#"{"type":"adaptive","display":"summarized"}"#,
                Thinking::Shown,
            ),
            (
                r#"{"type":"adaptive","display":"omitted"}"#,
                Thinking::Hidden,
            ),
            (r#"{"type":"disabled"}"#, Thinking::Hidden),
            ("null", Thinking::Hidden),
        ] {
            assert_eq!(parsed("thinking", json).prompt.thinking, expect, "{json}");
        }
    }

    #[test]
    fn effort_has_five_levels() {
        for (name, expect) in [
            ("low", Effort::Low),
            ("medium", Effort::Medium),
            ("high", Effort::High),
            ("xhigh", Effort::Xhigh),
            ("max", Effort::Max),
        ] {
            let json = format!(r#"{{"effort":"{name}","format":null}}"#);
            assert_eq!(parsed("output_config", &json).prompt.effort, Some(expect));
        }
        assert_eq!(parsed("output_config", "{}").prompt.effort, None);
    }

    #[test]
    fn tool_choice_none_turns_the_tools_off() {
        for (kind, expect) in [
            ("none", BuiltInTools::Off),
            ("auto", BuiltInTools::On),
            ("any", BuiltInTools::On),
            ("tool", BuiltInTools::On),
        ] {
            let json = format!(r#"{{"type":"{kind}"}}"#);
            assert_eq!(parsed("tool_choice", &json).prompt.tools, expect, "{kind}");
        }
    }
}
