//! What of a request reaches the model through the real CLI: all of it, whole and in order.

use std::fs;

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    client::text_of,
    gateway::{Gateway, key_of, prompt},
    setup::Setup,
};

fn start(api: &ScriptedApi) -> Gateway {
    Setup::with_real_cli(api).start()
}

#[test]
fn system_prompt_of_any_size_arrives_whole_with_the_gateways_own_part() {
    #[track_caller]
    fn check(bytes: usize) {
        let api = ScriptedApi::start();
        let setup = Setup::with_real_cli(&api);
        setup.dir.write("openclaw-skill.md", "THE-SKILL-FILE\n");
        let gateway = setup.start();
        let system = format!("SYSTEM-BEGINS {} SYSTEM-ENDS", "s".repeat(bytes));
        let mut body = prompt("[[text:read it]]");
        body["system"] = system.as_str().into();
        assert_eq!(gateway.ask("alpha", &body).answer_text(), "read it");
        let seen = api.last_prompt().system_text();
        assert!(seen.contains(&system), "{} bytes arrived", seen.len());
        assert!(seen.contains("THE-SKILL-FILE"));
        assert!(seen.contains("<!-- openclaw-tenant: alpha -->"));
    }
    check(100);
    check(200_000);
    check(1_000_000);
}

#[test]
fn history_reaches_the_model_whole_and_in_order() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let mut body = prompt("");
    body["messages"] = json!([
        {"role": "user", "content": "FIRST question"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "SECOND answer"},
            {"type": "tool_use", "id": "toolurec1", "name": "exec", "input": {"command": "THIRD command"}}
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolurec1", "content": "FOURTH result"}]},
        {"role": "assistant", "content": "FIFTH answer"},
        {"role": "user", "content": "SIXTH question"}
    ]);
    assert_eq!(gateway.ask("alpha", &body).status, 200);
    let sent = api.last_prompt().body["messages"].to_string();
    let places =
        ["FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH"].map(|word| sent.find(word));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?} in {sent}"
    );
}

#[test]
fn spacing_of_the_clients_json_changes_nothing() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let source = json!({"type": "text", "media_type": "text/plain", "data": "THE-DOCUMENT"});
    let mut body = prompt("");
    body["messages"] = json!([{"role": "user", "content": [
        {"type": "document", "source": source, "title": "notes"}, {"type": "text", "text": "read"}]}]);
    let spaced = serde_json::to_string_pretty(&body).unwrap();
    let mut connection = gateway.client().connect();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n",
        key_of("alpha"),
        spaced.len()
    );
    connection.send((head + &spaced).as_bytes()).unwrap();
    assert!(connection.response().answer_text().contains("read"));
    let seen = api.last_prompt().body["messages"].to_string();
    assert!(
        seen.contains(r#""type":"document""#) && seen.contains("THE-DOCUMENT"),
        "{seen}"
    );
}

#[test]
fn older_model_ids_are_asked_for_and_not_replaced() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    for id in ["claude-opus-4-1", "claude-opus-4-20250514"] {
        let mut body = prompt("hi");
        body["model"] = id.into();
        gateway.ask("alpha", &body).answer_text();
        assert_eq!(api.last_prompt().body["model"], id);
    }
}

#[test]
fn image_of_the_newest_message_arrives_as_an_image() {
    // One transparent pixel.
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let source = json!({"type": "base64", "media_type": "image/png", "data": PIXEL});
    let mut body = prompt("");
    body["messages"] = json!([{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "what is it"}]}]);
    assert!(
        gateway
            .ask("alpha", &body)
            .answer_text()
            .contains("what is it")
    );
    let messages = api.last_prompt().body["messages"].clone();
    let blocks = messages
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    assert!(
        blocks
            .filter(|block| block["type"] == "image")
            .any(|block| block["source"]["data"] == PIXEL),
        "{messages:#}"
    );
}

#[test]
fn search_result_of_the_newest_message_arrives_as_one() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let result = json!({
        "type": "search_result", "source": "https://example.com", "title": "T",
        "content": [{"type": "text", "text": "found"}],
    });
    let mut body = prompt("");
    body["messages"] =
        json!([{"role": "user", "content": [result, {"type": "text", "text": "what is it"}]}]);
    assert_eq!(gateway.ask("alpha", &body).status, 200);
    let sent = api.last_prompt().body;
    let messages = sent["messages"].as_array().expect("messages");
    let blocks = messages
        .iter()
        .filter_map(|it| it["content"].as_array())
        .flatten();
    let found: Vec<&Value> = blocks.filter(|it| it["type"] == "search_result").collect();
    assert_eq!(found, [&result]);
}

#[test]
fn effort_of_the_request_reaches_the_model() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let mut body = prompt("hi");
    body["model"] = "claude-opus-5-5".into();
    body["output_config"] = json!({"effort": "low"});
    gateway.ask("alpha", &body).answer_text();
    assert_eq!(api.last_prompt().body["output_config"]["effort"], "low");
}

#[test]
fn openclaws_requests_are_answered_as_they_are() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openclaw-requests");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 8);
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let (key, bearer) = (key_of("alpha"), format!("Bearer {}", key_of("alpha")));
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let body: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let (path, header) = match name.contains("openai") {
            true => ("/v1/chat/completions", ("authorization", bearer.as_str())),
            false => ("/v1/messages", ("x-api-key", key.as_str())),
        };
        let events = gateway.client().stream(path, &[header], &body).events();
        assert!(text_of(&events).starts_with("OK: "), "{name}: {events:#?}");
        let seen = api.last_prompt();
        for text in last_texts(&body) {
            assert!(
                seen.mentions(text.trim()),
                "{name}: {text:?} did not reach the model"
            );
        }
        assert!(seen.mentions("Runtime: agent=main"), "{name}");
    }
}

/// The texts of the last three messages, which is where the user's words are.
fn last_texts(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter().rev().take(3);
    let contents = messages.flat_map(|message| match &message["content"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    });
    contents.collect()
}
