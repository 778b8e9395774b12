//! What requests are read as, and what is refused.

use super::*;

/// A good request with one field replaced or added.
fn with(field: &str, json: &str) -> String {
    let good = [
        ("model", r#""claude-max/sonnet""#),
        ("max_tokens", "2000"),
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
            "thinking",
            r#"{"type":"enabled"}"#,
            "thinking.budget_tokens: Field required",
        ),
        (
            "thinking",
            r#"{"type":"enabled","budget_tokens":1023}"#,
            "thinking.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            "thinking",
            r#"{"type":"enabled","budget_tokens":2000}"#,
            "thinking.budget_tokens: Input should be less than max_tokens",
        ),
        (
            "temperature",
            "1.5",
            "temperature: Input should be a number from 0 to 1",
        ),
        ("top_p", "-1", "top_p: Input should be a number from 0 to 1"),
        (
            "top_k",
            "0.5",
            "top_k: Input should be a whole number of at least 0",
        ),
        (
            "stop_sequences",
            r#"["a"," \n"]"#,
            "stop_sequences.1: each stop sequence must contain non-whitespace",
        ),
        (
            "output_config",
            r#"{"format":{"type":"text"}}"#,
            "output_config.format.type: Input should be 'json_schema'",
        ),
        (
            "output_config",
            r#"{"format":{"type":"json_schema","schema":{"type":"array"}}}"#,
            "output_config.format.schema.type: Input should be 'object' at the schema's root",
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

fn parameters(fields: &[(&str, &str)]) -> Parameters {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!(r#","{name}":{value}"#))
        .collect();
    let body = format!(
        r#"{{"model":"claude-sonnet-4-6","max_tokens":4000,"messages":[{{"role":"user","content":"x"}}]{}}}"#,
        fields.concat()
    );
    parse(body.as_bytes()).unwrap().prompt.parameters
}

#[test]
fn thinking_is_off_where_nobody_asks_for_it() {
    for (json, expect) in [
        ("null", Reasoning::Off),
        (r#"{"type":"disabled"}"#, Reasoning::Off),
        (r#"{"type":"adaptive"}"#, Reasoning::Default),
        (
            r#"{"type":"enabled","budget_tokens":1024}"#,
            Reasoning::Budget(1024),
        ),
    ] {
        let reasoning = parameters(&[("thinking", json)]).reasoning;
        assert_eq!(reasoning, expect, "{json}");
    }
}

#[test]
fn parameters_are_read_and_the_rest_is_named() {
    let read = parameters(&[
        ("stop_sequences", r#"["END"]"#),
        ("temperature", "0.3"),
        ("top_k", "7"),
        ("top_p", "1"),
        ("tools", r#"[{"name":"t"}]"#),
        ("service_tier", r#""auto""#),
        ("mcp_servers", "[{}]"),
    ]);
    assert_eq!(read.max_tokens, Some(4000));
    assert_eq!(read.stop_sequences, ["END"]);
    let sampling = Sampling {
        temperature: Some(0.3),
        top_p: None,
        top_k: Some(7),
    };
    assert_eq!(read.sampling, sampling);
    assert_eq!(read.ignored, ["tools", "mcp_servers"]);
    let thinking = ("thinking", r#"{"type":"adaptive"}"#);
    let read = parameters(&[("temperature", "0.3"), thinking]);
    assert_eq!(read.ignored, ["temperature"]);
}

#[test]
fn schema_is_taken_from_either_place() {
    let format = r#"{"type":"json_schema","schema":{"type":"object"}}"#;
    let new = parameters(&[("output_config", &format!(r#"{{"format":{format}}}"#))]);
    let old = parameters(&[("output_format", format)]);
    for read in [new, old] {
        let schema = read.schema.as_deref().map(RawValue::get);
        assert_eq!(schema, Some(r#"{"type":"object"}"#));
    }
}
