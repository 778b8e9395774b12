//! The gateway with the real CLI against the scripted API: what the client gets, and what the
//! model would have seen.

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    cli::real_cli,
    client::text_of,
    gateway::{Gateway, MODEL, key_of, prompt, streaming},
    process::{DEAD_WITHIN, wait_until_gone},
    setup::Setup,
    sse::{Format, SseReader},
    temp::TempDir,
};

fn start(api: &ScriptedApi) -> Gateway {
    Setup::with_real_cli(api).start()
}

/// Asks whole and streamed, and checks that both give this text.
#[track_caller]
fn check_text(gateway: &Gateway, body: &Value, expect: &str) {
    assert_eq!(gateway.ask("alpha", body).answer_text(), expect);
    assert_eq!(text_of(&gateway.stream("alpha", body).events()), expect);
}

#[test]
fn text_arrives_whole_and_streamed_in_both_formats() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let body = prompt("[[text:hello from the script]]");
    check_text(&gateway, &body, "hello from the script");
    let bearer = format!("Bearer {}", key_of("alpha"));
    let headers = [("authorization", bearer.as_str())];
    let path = "/v1/chat/completions";
    assert_eq!(
        gateway.client().post(path, &headers, &body).answer_text(),
        "hello from the script"
    );
    let mut with_usage = streaming(&body);
    with_usage["stream_options"] = json!({"include_usage": true});
    let events = gateway
        .client()
        .stream(path, &headers, &with_usage)
        .events();
    assert_eq!(text_of(&events), "hello from the script");
    assert!(
        events
            .iter()
            .any(|event| event.data["usage"]["total_tokens"].is_u64()),
        "{events:#?}"
    );
    // One request of the model for each of ours, and nothing else was asked of anybody.
    assert_eq!(api.prompts().len(), 4);
    assert_eq!(
        api.requests().len(),
        4,
        "{:#?}",
        api.requests().iter().map(|it| &it.path).collect::<Vec<_>>()
    );
    gateway.stop();
}

#[test]
fn whole_answer_has_the_apis_shape() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let mut body = prompt("[[text:hello]]");
    body["model"] = format!("anthropic/{MODEL}").into();
    let response = gateway.ask("alpha", &body);
    assert!(
        response.header("request-id").is_some(),
        "{:?}",
        response.headers
    );
    let answer = response.json();
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["role"], "assistant");
    assert_eq!(
        answer["model"], body["model"],
        "the answer names the model as it was asked for"
    );
    assert_eq!(
        answer["content"],
        json!([{"type": "text", "text": "hello"}])
    );
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["usage"]["output_tokens"], 9);
    assert_eq!(api.last_prompt().body["model"], MODEL);
    assert_eq!(api.last_prompt().header("x-api-key"), Some("test-key"));
}

#[test]
fn tool_rounds_run_inside_and_only_the_last_turn_is_shown() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    check_text(
        &gateway,
        &prompt("[[bash:echo made-$((40+2))]]"),
        "result: made-42",
    );
    check_text(
        &gateway,
        &prompt("[[bash2:echo one-$((0+1));;echo two-$((1+1))]]"),
        "result: one-1 | two-2",
    );
    check_text(&gateway, &prompt("[[rounds:3]]"), "done after 3 rounds");
}

#[test]
fn live_policy_shows_the_text_of_every_turn_as_one_message() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "stream: live")
        .start();
    let events = gateway.stream("alpha", &prompt("[[rounds:2]]")).events();
    assert_eq!(
        text_of(&events),
        "Working on round 1.Working on round 2.done after 2 rounds"
    );
    let last = events
        .iter()
        .find(|event| event.event == "message_delta")
        .unwrap();
    assert_eq!(last.data["delta"]["stop_reason"], "end_turn");
}

#[test]
fn live_text_leaves_while_the_model_still_writes() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "stream: live")
        .start();
    let mut stream = gateway.stream("alpha", &prompt("[[gate:go]]"));
    assert_eq!(stream.read_until_text().data["delta"]["text"], "before ");
    api.open_gate("go");
    assert_eq!(stream.read_until_text().data["delta"]["text"], "after");
}

#[test]
fn text_without_tools_streams_as_it_comes_under_the_final_policy() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let mut body = prompt("[[gate:go]]");
    body["tool_choice"] = json!({"type": "none"});
    let mut stream = gateway.stream("alpha", &body);
    assert_eq!(stream.read_until_text().data["delta"]["text"], "before ");
    api.open_gate("go");
    stream.read_until("the end", |event| event.event == "message_stop");
    assert_eq!(
        api.last_prompt().body["tools"],
        json!([]),
        "no tool is offered to the model"
    );
}

#[test]
fn thinking_is_shown_to_those_who_ask_for_it() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let hidden = gateway.ask("alpha", &prompt("[[think:let me see]]")).json();
    assert_eq!(
        hidden["content"],
        json!([{"type": "text", "text": "thought"}])
    );
    let mut body = prompt("[[think:let me see]]");
    body["thinking"] = json!({"type": "adaptive"});
    let shown = gateway.ask("alpha", &body).json();
    assert_eq!(shown["content"][0]["type"], "thinking", "{shown:#}");
    assert_eq!(shown["content"][0]["thinking"], "let me see");
    assert!(
        shown["content"][0]["signature"]
            .as_str()
            .is_some_and(|it| !it.is_empty()),
        "{shown:#}"
    );
    assert_eq!(shown["content"][1]["text"], "thought");
}

#[test]
fn stop_reasons_that_are_no_errors_pass() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let check = |marker: &str, reason: &str, text: &str| {
        let whole = gateway.ask("alpha", &prompt(marker));
        assert_eq!(whole.json()["stop_reason"], reason, "{}", whole.text());
        assert_eq!(whole.answer_text(), text);
        let events = gateway.stream("alpha", &prompt(marker)).events();
        assert_eq!(text_of(&events), text);
    };
    check("[[maxtokens]]", "max_tokens", "cut off in the mid");
    check("[[refusal]]", "refusal", "I will not.");
    check("[[big:1000000]]", "end_turn", &"x".repeat(1_000_000));
}

#[test]
fn empty_answer_is_a_legal_message() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let whole = gateway.ask("alpha", &prompt("[[empty]]"));
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(whole.json()["stop_reason"], "end_turn");
    // The order of the events is checked while they are read.
    gateway.stream("alpha", &prompt("[[empty]]")).events();
}

#[test]
fn errors_of_the_model_reach_the_client_under_the_right_status() {
    #[track_caller]
    fn check(upstream: u16, expect: u16) {
        let api = ScriptedApi::start();
        let gateway = start(&api);
        let failed = gateway.ask("alpha", &prompt(&format!("[[status:{upstream}]]")));
        assert_eq!(failed.status, expect, "{upstream}: {}", failed.text());
        assert!(
            failed.json()["error"]["message"].is_string(),
            "{}",
            failed.text()
        );
        assert!(
            api.prompts().len() <= 3,
            "{upstream} was tried {} times",
            api.prompts().len()
        );
    }
    check(400, 400);
    // The gateway's own login is nothing the client could mend: 401, 402 and 403 disable its key.
    check(401, 503);
    check(403, 503);
    check(404, 404);
    check(413, 413);
    check(429, 429);
    check(500, 500);
    check(529, 529);
}

#[test]
fn rate_limit_says_when_to_come_again() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let failed = gateway.ask("alpha", &prompt("[[status:429]] [[retry-after:1]]"));
    failed.assert_error(429, "rate_limit_error");
    assert!(
        failed.header("retry-after").is_some(),
        "{:?}",
        failed.headers
    );
}

#[test]
fn broken_stream_of_the_model_never_doubles_text_and_never_ends_in_silence() {
    #[track_caller]
    fn check(marker: &str, policy: &str) {
        let api = ScriptedApi::start();
        let gateway = Setup::with_real_cli(&api).set("cli", policy).start();
        let whole = gateway.ask("alpha", &prompt(marker));
        if whole.status == 200 {
            assert_eq!(whole.answer_text(), "one two three", "{marker}");
        } else {
            assert!(whole.status >= 500, "{}", whole.text());
        }
        let answer = gateway.send("alpha", &streaming(&prompt(marker))).answer();
        if answer.status == 200 {
            let events = SseReader::new(answer, Format::Anthropic).events();
            let failed = events.last().is_some_and(|event| event.event == "error");
            let text = text_of(&events);
            assert!(
                if failed {
                    "one two three".starts_with(&text)
                } else {
                    text == "one two three"
                },
                "{marker}: {events:#?}"
            );
        }
    }
    for policy in ["stream: final", "stream: live"] {
        check("[[drop]]", policy);
        check("[[drop-once]]", policy);
        check("[[overloaded-midstream]]", policy);
    }
}

#[test]
fn failure_of_a_run_that_had_begun_says_not_to_repeat_it() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let early = gateway.ask("alpha", &prompt("[[status:529]]"));
    assert_eq!(early.header("x-should-retry"), None, "{:?}", early.headers);
    let late = gateway.ask("alpha", &prompt("[[overloaded-midstream]]"));
    assert!(late.status >= 500, "{}", late.text());
    assert_eq!(late.header("x-should-retry"), Some("false"));
    assert_eq!(late.header("retry-after"), Some("120"));
}

#[test]
fn missing_login_is_503_and_says_what_the_operator_does() {
    let dir = TempDir::new();
    let config_dir = dir.create_dir("claude-config");
    let setup = Setup::with_cli(dir, real_cli()).tenant_env(
        "alpha",
        "CLAUDE_CONFIG_DIR",
        config_dir.to_str().unwrap(),
    );
    let gateway = setup.start();
    let failed = gateway.ask("alpha", &prompt("hi"));
    assert_eq!(failed.status, 503, "{}", failed.text());
    let message = failed.json()["error"]["message"].to_string().to_lowercase();
    assert!(
        message.contains("sign") || message.contains("log"),
        "{message}"
    );
}

#[test]
fn model_that_never_answers_is_given_up_at_the_timeout() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "timeout: 3000")
        .start();
    gateway
        .ask("alpha", &prompt("[[hang]]"))
        .assert_error(504, "timeout_error");
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}
