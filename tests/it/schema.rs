//! Holds every answer that a test reads against the JSON Schemas in `tests/data/schemas.json`.

use std::{collections::HashMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

static VALIDATORS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let all: Value = serde_json::from_str(include_str!("../data/schemas.json")).expect("JSON");
    let names = all["$defs"].as_object().expect("definitions").keys();
    let validator = |name: &String| {
        let schema = json!({"$ref": format!("#/$defs/{name}"), "$defs": all["$defs"]});
        jsonschema::validator_for(&schema).expect("a schema")
    };
    names.map(|name| (name.clone(), validator(name))).collect()
});

/// Panics unless `value` is what the schema of this name describes.
#[track_caller]
pub(crate) fn check(name: &str, value: &Value) {
    let validator = VALIDATORS.get(name).expect("a schema of this name");
    let problems: Vec<String> = validator
        .iter_errors(value)
        .map(|problem| format!("{}: {problem}", problem.instance_path()))
        .collect();
    assert!(
        problems.is_empty(),
        "not a {name}: {problems:#?} in {value}"
    );
}

/// Panics unless a whole JSON answer is one that the APIs give.
#[track_caller]
pub(crate) fn check_answer(value: &Value) {
    let kind = value["type"].as_str().or_else(|| value["object"].as_str());
    let name = match kind {
        Some("error") => "anthropic_error",
        Some("message") => "anthropic_message",
        Some("model") if value["object"].is_null() => "anthropic_model",
        Some("model") => "openai_model",
        Some("chat.completion") => "openai_completion",
        Some("response") => "response",
        Some("list") => "openai_models",
        None if value["error"].is_object() => "openai_error",
        None if value["has_more"].is_boolean() => "anthropic_models",
        None if value["input_tokens"].is_number() => "anthropic_count",
        None if value["status"].is_string() => "health",
        _ => panic!("an answer of an unknown kind: {value}"),
    };
    check(name, value);
}

#[test]
fn schemas_refuse_what_the_apis_do_not_give() {
    let good = json!({"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": "req_1"});
    check_answer(&good);
    for (pointer, value) in [
        ("/error/type", json!("made_up_error")),
        ("/error/message", json!("")),
        ("/request_id", json!("1")),
        (
            "/error",
            json!({"type": "api_error", "message": "m", "code": null}),
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect("a field") = value;
        let refused = std::panic::catch_unwind(|| check_answer(&bad));
        assert!(refused.is_err(), "{bad}");
    }
}
