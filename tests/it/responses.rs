//! OpenAI's Responses: whole, streamed, queued and failed.

use serde_json::{Value, json};

use crate::{
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of},
    setup::Setup,
    sse::Event,
    temp::TempDir,
};

const PATH: &str = "/v1/responses";

fn start(body: &str) -> Gateway {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, body);
    Setup::with_cli(dir, fake.path()).start()
}

fn create(gateway: &Gateway, body: &Value) -> Response {
    let key = key_of("alpha");
    gateway.client().post(PATH, &[("x-api-key", &key)], body)
}

fn stream(gateway: &Gateway, body: &Value) -> Vec<Event> {
    let key = key_of("alpha");
    let mut body = body.clone();
    body["stream"] = true.into();
    let stream = gateway.client().stream(PATH, &[("x-api-key", &key)], &body);
    stream.events()
}

#[test]
fn whole_and_streamed_responses_say_the_same() {
    let gateway = start("answer hello; idle");
    let body = json!({"model": MODEL, "input": "hi", "metadata": {"a": "b"}});
    let whole = create(&gateway, &body).json();
    assert_eq!(whole["output"][0]["content"][0]["text"], "hello");
    assert_eq!(whole["metadata"], json!({"a": "b"}));
    let events = stream(&gateway, &body);
    let last = &events.last().expect("events").data["response"];
    for field in ["status", "model", "metadata", "usage"] {
        assert_eq!(last[field], whole[field], "{field}");
    }
    assert_eq!(last["output"][0]["content"], whole["output"][0]["content"]);
}

#[test]
fn conversation_reaches_the_cli_in_order() {
    let dir = TempDir::new();
    let fake = FakeCli::script(
        &dir,
        "echo \"$line\" >> \"$here/order\"; answer hello; idle",
    );
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let body = json!({"model": MODEL, "instructions": "be brief", "input": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "second"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "third"}]},
    ]});
    assert_eq!(create(&gateway, &body).status, 200);
    let prompt = fake.prompts().concat();
    let places = ["first", "second", "third"].map(|it| prompt.find(it).expect(it));
    assert!(places.is_sorted(), "{prompt}");
}

#[test]
fn bad_requests_and_failed_runs_are_openais_errors() {
    let gateway = start("exit 3");
    let stored = json!({"model": MODEL, "input": "hi", "previous_response_id": "resp_1"});
    let refused = create(&gateway, &stored);
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("previous_response_id"),
        "{}",
        refused.text()
    );
    let failed = create(&gateway, &json!({"model": MODEL, "input": "hi"}));
    assert_eq!(failed.status, 500);
    assert_eq!(failed.json()["error"]["type"], "server_error");
}

#[test]
fn failure_after_the_first_words_is_an_error_event() {
    let gateway = start("begin hello; exit 3");
    let body = json!({"model": MODEL, "input": "hi", "tool_choice": "none"});
    let events = stream(&gateway, &body);
    assert_eq!(events.last().expect("events").event, "error");
}
