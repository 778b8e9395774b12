//! `POST /v1/messages/count_tokens` with the real CLI, which has the API count.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of},
    process::{DEAD_WITHIN, wait_until, wait_until_gone},
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
fn roles_and_tools_make_it_an_estimate() {
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
    assert_eq!(estimated(&answer), 42 + 346 + 1600);
    let sent = counted(&api);
    let whole = sent
        .iter()
        .filter_map(Value::as_str)
        .find(|it| it.contains("the system prompt"));
    let whole = whole.expect("the request as one text");
    for part in ["first", "second", "third", "a_tool"] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
    // The API would refuse it.
    assert!(
        !Value::from(sent.clone())
            .to_string()
            .contains("example.com")
    );
    assert_eq!(api.prompts().len(), 0);
}

#[test]
fn images_and_documents_are_counted_by_the_api() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let body = json!({"model": MODEL, "messages": [
        {"role": "user", "content": [image(), {"type": "text", "text": "look"}, document()]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "i", "name": "n", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": [image()]}]},
    ]});
    // What the CLI adds to the message that holds them is not among it.
    assert_eq!(estimated(&count(&gateway, &body)), 42 + 3 * 1000);
    let requests = api.requests();
    assert!(requests.iter().all(|it| !it.mentions("total_tokens")));
    assert_eq!(api.prompts().len(), 0);
    let only = json!({"model": MODEL, "messages": [{"role": "user", "content": [image()]}]});
    assert_eq!(estimated(&count(&gateway, &only)), 42 + 1000);
}

#[test]
fn what_the_api_did_not_count_is_an_estimate() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    for text in ["[[status:400]]".to_owned(), "[[status:400]] é".repeat(100)] {
        let message = json!({"role": "user", "content": text});
        let body = json!({"model": MODEL, "messages": [message]});
        let characters = text.chars().count() as u64;
        assert_eq!(estimated(&count(&gateway, &body)), characters.div_ceil(4));
    }
    assert_eq!(api.prompts().len(), 0);
}

/// The number, of which the gateway says that it is an estimate.
#[track_caller]
fn estimated(answer: &Response) -> u64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-ccgw-token-count"), Some("estimate"));
    answer.json()["input_tokens"].as_u64().unwrap()
}

/// One white pixel.
fn image() -> Value {
    let data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
}

fn document() -> Value {
    let source =
        json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQgaGVsbG8="});
    json!({"type": "document", "source": source})
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

/// A request whose count begins with a user line, for which the fake CLI waits.
fn with_image() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": [image()]}]})
}

#[test]
fn cli_that_never_counts_is_ended_at_the_timeout() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "idle");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "timeout: 300")
        .start();
    count(&gateway, &with_image()).assert_error(504, "timeout_error");
    wait_until_gone(DEAD_WITHIN, &gateway.mark_of("alpha"));
}

#[test]
fn cli_that_cannot_count_fails_the_request_at_once() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "idle");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    // The fake answers every control request by nothing.
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]});
    count(&gateway, &body).assert_error(500, "api_error");
    wait_until_gone(DEAD_WITHIN, &gateway.mark_of("alpha"));
}

#[test]
fn count_ends_when_its_client_leaves() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "echo 1 > \"$here/up\"; exec sleep 1000");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str())];
    let (client, path) = (gateway.client(), "/v1/messages/count_tokens");
    let connection = client.open("POST", path, &headers, Some(&with_image()));
    wait_until(Duration::from_secs(30), "the count's processes", || {
        fake.note("up").ends_with('\n')
    });
    drop(connection);
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}
