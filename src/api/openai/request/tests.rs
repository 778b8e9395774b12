//! What requests are read as, and what is refused.

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

fn parameters(fields: &[(&str, &str)]) -> Parameters {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!(r#","{name}":{value}"#))
        .collect();
    let body = format!(
        r#"{{"model":"claude-sonnet-4-6","messages":[{{"role":"user","content":"x"}}]{}}}"#,
        fields.concat()
    );
    parse(body.as_bytes()).unwrap().prompt.parameters
}

#[test]
fn limits_and_stops_are_read() {
    let both = [("max_tokens", "5"), ("max_completion_tokens", "6")];
    assert_eq!(parameters(&both).max_tokens, Some(6));
    assert_eq!(parameters(&both[..1]).max_tokens, Some(5));
    assert_eq!(parameters(&[]).max_tokens, None);
    for (json, expect) in [
        (r#""\n""#, vec!["\n"]),
        (r#"["a","b"]"#, vec!["a", "b"]),
        (r#""""#, vec![]),
        ("null", vec![]),
    ] {
        let stops = parameters(&[("stop", json)]).stop_sequences;
        assert_eq!(stops, expect, "{json}");
    }
    // It travels in an environment variable, one or in a list.
    let long = format!("\"{}\"", "z".repeat(20_000));
    assert!(bounded(&long).is_err() && bounded(&format!("[{long}]")).is_err());
}

fn bounded(stop: &str) -> Result<Request, ApiError> {
    let body =
        format!(r#"{{"model":"opus","messages":[{{"role":"user","content":"x"}}],"stop":{stop}}}"#);
    parse(body.as_bytes())
}

#[test]
fn temperature_switches_thinking_off_unless_it_was_asked_for() {
    let temperature = ("temperature", "0.2");
    let read = parameters(&[temperature]);
    assert_eq!(
        (read.reasoning, read.sampling.temperature),
        (Reasoning::Off, Some(0.2))
    );
    let read = parameters(&[temperature, ("reasoning_effort", r#""low""#)]);
    assert_eq!(read.reasoning, Reasoning::Default);
    assert_eq!(read.ignored, ["temperature"]);
    // More than the API knows is as much as it knows.
    let read = parameters(&[("temperature", "1.7")]);
    assert_eq!(read.reasoning, Reasoning::Default);
    assert_eq!(read.ignored, Vec::<&str>::new());
    let read = parameters(&[("reasoning_effort", r#""none""#)]);
    assert_eq!(read.reasoning, Reasoning::Off);
}

#[test]
fn little_room_is_not_spent_on_thinking() {
    let low = ("reasoning_effort", r#""low""#);
    for (max, effort, expect) in [
        ("100", None, Reasoning::Off),
        ("4096", None, Reasoning::Default),
        ("1024", Some(low), Reasoning::Off),
        ("2000", Some(low), Reasoning::Default),
    ] {
        let fields: Vec<_> = effort.into_iter().chain([("max_tokens", max)]).collect();
        assert_eq!(parameters(&fields).reasoning, expect, "{fields:?}");
    }
}

#[test]
fn response_format_becomes_a_schema() {
    for (json, expect) in [
        (r#"{"type":"text"}"#, None),
        (r#"{"type":"json_object"}"#, Some(ANY_OBJECT)),
        (
            r#"{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","x":1}}}"#,
            Some(r#"{"type":"object","x":1}"#),
        ),
    ] {
        let read = parameters(&[("response_format", json)]);
        let schema = read.schema.as_deref().map(RawValue::get);
        assert_eq!(schema, expect, "{json}");
    }
    check_error(
        "response_format",
        r#"{"type":"xml"}"#,
        "Invalid 'response_format.type': Input should be 'text', 'json_object' or 'json_schema'.",
    );
    check_error(
        "response_format",
        r#"{"type":"json_schema","json_schema":{"name":"n"}}"#,
        "Missing required parameter: 'response_format.json_schema.schema'.",
    );
}

#[test]
fn what_has_no_effect_is_named() {
    let read = parameters(&[
        ("seed", "7"),
        ("presence_penalty", "0"),
        ("logprobs", "false"),
        ("tools", "[{}]"),
    ]);
    assert_eq!(read.ignored, ["tools", "seed"]);
}
