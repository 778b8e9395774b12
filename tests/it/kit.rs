//! The kit proves itself where neither the gateway nor the real CLI is needed.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    client::{Client, text_of},
    fake_cli::{FakeCli, turn},
    gateway::{prompt, streaming},
    process::{
        DEAD_WITHIN, descendants, is_alive, processes_with_cmdline, processes_with_env,
        wait_until_gone,
    },
    temp::{TempDir, unique},
};

fn client_of(api: &ScriptedApi) -> Client {
    Client::new(api.url().strip_prefix("http://").unwrap().parse().unwrap())
}

#[test]
fn client_reads_whole_and_streamed_answers() {
    let api = ScriptedApi::start();
    let body = prompt("[[text:some words]]");
    assert_eq!(
        client_of(&api)
            .post("/v1/messages", &[], &body)
            .answer_text(),
        "some words"
    );
    let events = client_of(&api)
        .stream("/v1/messages", &[], &streaming(&body))
        .events();
    assert_eq!(text_of(&events), "some words");
    assert_eq!(api.prompts().len(), 2);
}

#[test]
fn client_keeps_a_connection_for_several_requests() {
    let api = ScriptedApi::start();
    let mut connection =
        client_of(&api).open("POST", "/v1/messages/count_tokens", &[], Some(&json!({})));
    assert_eq!(
        connection.next_response().json(),
        json!({"input_tokens": 42})
    );
    connection
        .send(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    connection
        .next_response()
        .assert_error(404, "not_found_error");
}

#[test]
fn script_fails_once_and_then_answers() {
    let api = ScriptedApi::start();
    let body = prompt("[[status-once:529]] [[retry-after:7]]");
    let first = client_of(&api).post("/v1/messages", &[], &body);
    first.assert_error(529, "overloaded_error");
    assert_eq!(first.header("retry-after"), Some("7"));
    assert_eq!(client_of(&api).post("/v1/messages", &[], &body).status, 200);
}

#[test]
fn newest_user_text_is_what_the_script_reads() {
    #[track_caller]
    fn check(messages: &Value, expect: &str) {
        let api = ScriptedApi::start();
        client_of(&api).post("/v1/messages", &[], &json!({"messages": messages}));
        assert_eq!(api.last_prompt().user_text(), expect);
    }
    let user = |content: Value| json!({"role": "user", "content": content});
    let assistant = json!({"role": "assistant", "content": "a"});
    let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": "r"}, {"type": "text", "text": "late"}]);
    let reminder = json!([{"type": "text", "text": "<system-reminder>x</system-reminder>"}, {"type": "text", "text": "q"}]);
    check(&json!([user("q".into())]), "q");
    check(&json!([user("p".into()), assistant, user("q".into())]), "q");
    check(&json!([user("q".into()), assistant, user(result)]), "q");
    check(&json!([user(reminder)]), "q");
    check(
        &json!([user("p".into()), {"role": "system", "content": "s"}, user("q".into())]),
        "p\nq",
    );
}

#[test]
fn fake_cli_answers_control_requests_and_prints_its_lines() {
    let dir = TempDir::new();
    let fake = FakeCli::lines(&dir, &turn("hi"), 3);
    let lines = [
        json!({"type": "control_request", "request_id": "r-1", "request": {"subtype": "initialize", "systemPrompt": "S"}}),
        json!({"type": "user", "message": {"role": "user", "content": "it's \\ a $test"}}),
    ];
    let (stdout, exit) = run_fake(&fake, &lines);
    assert_eq!(exit, Some(3));
    assert_eq!(stdout[0]["response"]["request_id"], "r-1");
    assert_eq!(stdout[1..], turn("hi"));
    assert_eq!(fake.prompts(), [format!("{}\n", lines[1])]);
    assert_eq!(fake.arguments(), ["--print\n"]);
}

#[test]
fn fake_cli_waits_at_its_gate() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "read -r _ < \"$here/gate\"; answer through; idle");
    let mut gate = fake.gate();
    gate.let_through(1);
    let (stdout, exit) = run_fake(&fake, &[json!({"type": "user"})]);
    assert_eq!((stdout, exit), (turn("through"), Some(0)));
}

#[track_caller]
fn run_fake(fake: &FakeCli, lines: &[Value]) -> (Vec<Value>, Option<i32>) {
    let mut child = Command::new(fake.path())
        .arg("--print")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for line in lines {
        writeln!(stdin, "{line}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        output.status.code(),
    )
}

#[test]
fn marked_processes_are_found_until_they_end() {
    let mark = unique();
    let mut child = Command::new("sleep")
        .arg("1000")
        .env("MARK", &mark)
        .arg0(&mark)
        .spawn()
        .unwrap();
    assert_eq!(processes_with_env(&mark), [child.id()]);
    assert_eq!(processes_with_cmdline(&mark), [child.id()]);
    assert!(descendants(std::process::id()).contains(&child.id()));
    assert!(is_alive(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_alive(child.id()));
    wait_until_gone(DEAD_WITHIN, &mark);
}
