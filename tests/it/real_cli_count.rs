//! `POST /v1/messages/count_tokens` with the real CLI, which has the API count.

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of},
    process::DEAD_WITHIN,
    process::wait_until_gone,
    setup::Setup,
    temp::TempDir,
};

fn count(gateway: &Gateway, body: &Value) -> Response {
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str())];
    gateway
        .client()
        .post("/v1/messages/count_tokens", &headers, body)
}

fn counted(api: &ScriptedApi) -> Vec<Value> {
    let requests = api.requests().into_iter();
    let counts = requests.filter(|it| it.path.contains("count_tokens"));
    counts
        .map(|it| it.body["messages"][0]["content"].clone())
        .collect()
}

#[test]
fn text_is_counted_by_the_api_itself_without_a_model_turn() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let text = "count @/etc/hostname and /context. ".repeat(100);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": text}]});
    let answer = count(&gateway, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-ccgw-token-count"), Some("exact"));
    assert!(answer.header("request-id").is_some());
    assert!(
        answer.json()["input_tokens"]
            .as_u64()
            .is_some_and(|it| it > 0)
    );
    assert!(counted(&api).contains(&json!(text)));
    assert_eq!(api.prompts().len(), 0);
}

#[test]
fn roles_tools_and_images_make_it_an_estimate() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let image =
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    let body = json!({
        "model": MODEL, "system": "the system prompt", "tools": [{"name": "a_tool"}],
        "messages": [
            {"role": "user", "content": "first"}, {"role": "assistant", "content": "second"},
            {"role": "user", "content": [image, {"type": "text", "text": "third"}]},
        ],
    });
    let answer = count(&gateway, &body);
    assert_eq!(
        answer.header("x-ccgw-token-count"),
        Some("estimate"),
        "{}",
        answer.text()
    );
    assert!(
        answer.json()["input_tokens"]
            .as_u64()
            .is_some_and(|it| it > 1600)
    );
    let sent = counted(&api);
    let whole = sent
        .iter()
        .filter_map(Value::as_str)
        .find(|it| it.contains("the system prompt"));
    let whole = whole.expect("the request as one text");
    for part in ["first", "second", "third", "a_tool"] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
}

#[test]
fn bad_counts_are_refused_as_bad_requests_are() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "idle");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let body = json!({"model": MODEL, "messages": []});
    count(&gateway, &body).assert_error(400, "invalid_request_error");
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]});
    count(&gateway, &body).assert_error(404, "not_found_error");
    let wrong = [("x-api-key", "wrong-key-0123")];
    let refused = gateway
        .client()
        .post("/v1/messages/count_tokens", &wrong, &body);
    refused.assert_error(401, "authentication_error");
}

#[test]
fn cli_that_never_counts_is_ended_at_the_timeout() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "idle");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "timeout: 300")
        .start();
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]});
    count(&gateway, &body).assert_error(504, "timeout_error");
    wait_until_gone(DEAD_WITHIN, &gateway.mark_of("alpha"));
}
