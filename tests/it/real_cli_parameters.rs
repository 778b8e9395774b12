//! What a request asks of the generation, with the real CLI: what reaches the API, what the client gets.

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    client::Response,
    gateway::{Gateway, key_of, prompt, streaming},
    setup::Setup,
    sse::Event,
};

fn start() -> (ScriptedApi, Gateway) {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    (api, gateway)
}

/// `prompt(text)` with these fields set.
fn with(text: &str, fields: Value) -> Value {
    let mut body = prompt(text);
    let fields = fields.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

#[track_caller]
fn complete(gateway: &Gateway, body: &Value) -> Response {
    let headers = [("x-api-key", key_of("alpha"))];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    gateway
        .client()
        .post("/v1/chat/completions", &headers, body)
}

fn last_body(api: &ScriptedApi) -> Value {
    api.last_prompt().body
}

#[test]
fn parameters_reach_the_api_where_the_model_takes_them() {
    let (api, gateway) = start();
    let asked = json!({
        "model": "claude-sonnet-4-6", "max_tokens": 77, "temperature": 0.25, "top_k": 5,
        "stop_sequences": ["NEVER SEEN"],
    });
    let answer = gateway.ask("alpha", &with("[[text:hello]]", asked));
    assert_eq!(answer.answer_text(), "hello");
    assert_eq!(answer.header("x-ccgw-ignored"), None);
    let body = last_body(&api);
    assert_eq!(
        json!([
            body["max_tokens"],
            body["temperature"],
            body["top_k"],
            body["stop_sequences"],
            body["thinking"]["type"]
        ]),
        json!([77, 0.25, 5, ["NEVER SEEN"], "disabled"])
    );
}

#[test]
fn parameters_that_the_model_refuses_are_named_and_left_out() {
    let (api, gateway) = start();
    let asked = json!({"model": "sonnet", "temperature": 0.25, "tools": [{"name": "t", "input_schema": {}}]});
    let answer = gateway.ask("alpha", &with("[[text:hello]]", asked.clone()));
    assert_eq!(answer.header("x-ccgw-ignored"), Some("temperature, tools"));
    assert_eq!(last_body(&api)["temperature"], Value::Null);
    let body = streaming(&with("[[text:hello]]", asked));
    let response = gateway.send("alpha", &body).response();
    assert_eq!(
        response.header("x-ccgw-ignored"),
        Some("temperature, tools")
    );
}

#[test]
fn thinking_is_the_clients_choice() {
    let (api, gateway) = start();
    for (thinking, expect) in [
        (json!(null), json!({"type": "disabled"})),
        (
            json!({"type": "enabled", "budget_tokens": 2048}),
            json!(2048),
        ),
    ] {
        let asked = json!({"model": "claude-haiku-4-5", "max_tokens": 4000, "thinking": thinking});
        let answer = gateway.ask("alpha", &with("[[text:hello]]", asked));
        assert_eq!(answer.answer_text(), "hello");
        let sent = &last_body(&api)["thinking"];
        let got = if expect.is_number() {
            &sent["budget_tokens"]
        } else {
            sent
        };
        assert_eq!(*got, expect);
    }
}

#[test]
fn answer_that_is_cut_at_max_tokens_is_not_continued() {
    let (api, gateway) = start();
    let answer = gateway.ask("alpha", &with("[[maxtokens]]", json!({"max_tokens": 9})));
    assert_eq!(answer.json()["stop_reason"], "max_tokens");
    assert_eq!(answer.answer_text(), "cut off in the mid");
    let length = complete(
        &gateway,
        &with("[[maxtokens]]", json!({"max_completion_tokens": 9})),
    );
    assert_eq!(length.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(last_body(&api)["max_tokens"], 9);
}

/// The API refuses sequences of blanks alone, so these the gateway matches by itself.
#[test]
fn stop_sequence_that_the_api_does_not_take_ends_the_answer_all_the_same() {
    let (api, gateway) = start();
    let text = "[[text:one two\n\nthree]]";
    let cut = complete(&gateway, &with(text, json!({"stop": "\n\n"})));
    let choice = &cut.json()["choices"][0];
    assert_eq!(choice["message"]["content"], "one two");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(last_body(&api)["stop_sequences"], Value::Null);
}

#[test]
fn stop_sequence_is_told_to_the_client() {
    let (_api, gateway) = start();
    let body = with(
        "[[text:one two three]]",
        json!({"stop_sequences": ["two"], "tool_choice": {"type": "none"}}),
    );
    let whole = gateway.ask("alpha", &body).json();
    assert_eq!(whole["content"][0]["text"], "one ");
    assert_eq!(
        json!([whole["stop_reason"], whole["stop_sequence"]]),
        json!(["stop_sequence", "two"])
    );
    let events: Vec<Event> = gateway.stream("alpha", &streaming(&body)).events();
    let end = events
        .iter()
        .find(|it| it.event == "message_delta")
        .expect("an end");
    assert_eq!(
        end.data["delta"],
        json!({"stop_reason": "stop_sequence", "stop_sequence": "two"})
    );
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]})
}

#[test]
fn answer_fits_the_schema_in_both_formats() {
    let (api, gateway) = start();
    let format = json!({"type": "json_schema", "schema": schema()});
    let body = with(
        "[[json:{\"n\":1}]]",
        json!({"output_config": {"format": format}}),
    );
    let answer = gateway.ask("alpha", &body);
    assert_eq!(answer.answer_text(), "{\"n\":1}");
    assert_eq!(answer.json()["stop_reason"], "end_turn");
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema()}});
    // The first try does not fit; the CLI asks the model again, and the client sees the second only.
    let body = with(
        "[[json:{\"n\":\"one\"}]]",
        json!({"response_format": format}),
    );
    let answer = complete(&gateway, &body);
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "{\"n\":2}"
    );
    assert_eq!(api.prompts().len(), 3);
    let events = gateway.stream(
        "alpha",
        &streaming(&with(
            "[[json:{\"n\":1}]]",
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}}),
        )),
    );
    assert_eq!(crate::client::text_of(&events.events()), "{\"n\":1}");
}

#[test]
fn answer_that_never_fits_the_schema_is_an_error() {
    let (_api, gateway) = start();
    let format = json!({"type": "json_schema", "schema": schema()});
    let body = with(
        "[[text:no JSON at all]]",
        json!({"output_config": {"format": format}}),
    );
    let answer = gateway.ask("alpha", &body);
    answer.assert_error(500, "api_error");
    assert!(answer.text().contains("JSON schema"), "{}", answer.text());
}
