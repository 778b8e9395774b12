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
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!(error["param"], "previous_response_id");
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

#[test]
fn response_goes_on_from_an_earlier_one_of_its_own_tenant() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, r#"answer 'a \\"b\\"'; idle"#);
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let first = json!({"model": MODEL, "input": [
        {"role": "developer", "content": "the-rule"},
        {"role": "user", "content": "first-question"},
    ]});
    // The id that the last event names is good as soon as it is read.
    let events = stream(&gateway, &first);
    let id = &events.last().expect("events").data["response"]["id"];
    let mut second =
        json!({"model": MODEL, "input": "second-question", "previous_response_id": id});
    let answer = create(&gateway, &second);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(&answer.json()["previous_response_id"], id);
    let prompts = fake.prompts();
    let prompt = prompts
        .iter()
        .find(|it| it.contains("second-question"))
        .expect("a prompt");
    let parts = ["first-question", r#"a \"b\""#, "second-question"];
    let places = parts.map(|it| {
        prompt
            .find(it)
            .unwrap_or_else(|| panic!("{it} in {prompt}"))
    });
    assert!(places.is_sorted(), "{prompt}");

    let third = json!({"model": MODEL, "input": "x", "previous_response_id": answer.json()["id"]});
    assert_eq!(create(&gateway, &third).status, 200);
    let key = key_of("beta");
    let foreign = gateway.client().post(PATH, &[("x-api-key", &key)], &third);
    assert_eq!(
        foreign.json()["error"]["code"],
        "previous_response_not_found"
    );

    second["store"] = false.into();
    let unkept = create(&gateway, &second).json();
    assert_eq!(unkept["store"], false);
    second["previous_response_id"] = unkept["id"].clone();
    assert_eq!(create(&gateway, &second).status, 400);
}
