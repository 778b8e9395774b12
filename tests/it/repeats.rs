//! Repeats of a request: they attach to its run, or get its answer, and run nothing a second time.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    client::{Response, text_of},
    fake_cli::{FakeCli, turn},
    gateway::{Gateway, MODEL, key_of, streaming},
    process::wait_until,
    setup::Setup,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "00-cfbdb4194fa4f6e922026b3b68e33353-cd7c1ba67895c4df-01";
const OTHER_TRACE: &str = "00-aaaab4194fa4f6e922026b3b68e33353-cd7c1ba67895c4df-01";
/// As OpenClaw ends its system prompt.
const RUNTIME: &str = "Runtime: agent=main | session=agent:main:main | sessionId=2c | host=vm";
const FIRST: &str = "[Mon 2026-11-23 03:12 UTC] do it";
/// How OpenClaw repeats that.
const AGAIN: &str = "[Mon 2026-11-23 03:13 UTC] [Queued user message from a previous active turn]\ndo it\n\nContinue the current task";

/// A CLI that waits at the gate in the middle of its answer.
fn start(max_per_tenant: usize) -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let body = "begin hello; read -r _ < \"$here/gate\"; end hello; idle";
    let fake = FakeCli::script(&dir, body);
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "stream: live")
        .set("cli", "warm: off")
        .set("cli", format!("max_per_tenant: {max_per_tenant}"))
        .start();
    (gateway, fake)
}

fn body(text: &str) -> Value {
    json!({"model": MODEL, "max_tokens": 100, "system": RUNTIME,
           "messages": [{"role": "user", "content": text}]})
}

type Header = (&'static str, &'static str);

#[track_caller]
fn ask(gateway: &Gateway, header: Header, body: &Value) -> Response {
    let key = key_of("alpha");
    gateway
        .client()
        .post("/v1/messages", &[("x-api-key", &key), header], body)
}

#[track_caller]
fn check_client_that_comes_back(header: Header, again: &str) {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str()), header];
    let first = gateway.client().open(
        "POST",
        "/v1/messages",
        &headers,
        Some(&streaming(&body(FIRST))),
    );
    let answer = first.answer();
    wait_until(PATIENCE, "the run", || fake.prompts().len() == 1);
    drop(answer);
    let repeat = gateway
        .client()
        .stream("/v1/messages", &headers, &streaming(&body(again)));
    gateway.log_contains("a repeat, attached");
    gate.let_through(1);
    assert_eq!(text_of(&repeat.events()), "hello");
    // And once more, when it is over.
    let stored = gateway
        .client()
        .stream("/v1/messages", &headers, &streaming(&body(again)));
    assert_eq!(text_of(&stored.events()), "hello");
    assert_eq!(fake.prompts().len(), 1);
}

#[test]
fn client_that_comes_back_gets_its_answer_from_the_first_event() {
    check_client_that_comes_back(("traceparent", TRACE), FIRST);
    check_client_that_comes_back(("traceparent", TRACE), AGAIN);
    check_client_that_comes_back(("idempotency-key", "retry-1"), FIRST);
}

#[test]
fn answer_is_kept_for_a_repeat_of_the_same_request_only() {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let header = ("idempotency-key", "one");
    gate.let_through(1);
    let first = ask(&gateway, header, &body(FIRST));
    assert_eq!(
        (first.answer_text().as_str(), first.header("x-ccgw-repeat")),
        ("hello", None)
    );
    let second = ask(&gateway, header, &body(FIRST));
    assert_eq!(second.header("x-ccgw-repeat"), Some("stored"));
    assert_eq!((second.json(), fake.prompts().len()), (first.json(), 1));
    let other = ask(&gateway, header, &body("something else"));
    other.assert_error(400, "invalid_request_error");
    // Anything else under that key is another request, and no run.
    for (name, value) in [
        ("system", json!("another")),
        ("max_tokens", json!(7)),
        ("model", json!("claude-opus-4-1")),
        ("stream", json!(true)),
    ] {
        let mut other = body(FIRST);
        other[name] = value;
        let refused = ask(&gateway, header, &other);
        refused.assert_error(400, "invalid_request_error");
        assert!(refused.text().contains("Idempotency-Key"), "{name}");
    }
    assert_eq!(fake.prompts().len(), 1);
    // Another tenant's key is its own.
    gate.let_through(1);
    let key = key_of("beta");
    let foreign =
        gateway
            .client()
            .post("/v1/messages", &[("x-api-key", &key), header], &body(FIRST));
    assert_eq!(
        (foreign.answer_text().as_str(), fake.prompts().len()),
        ("hello", 2)
    );
    // The same trace with another text, and the same text without an id, are asked anew.
    for header in [
        ("traceparent", TRACE),
        ("traceparent", TRACE),
        ("x-nothing", "x"),
        ("x-nothing", "x"),
    ] {
        gate.let_through(1);
        let runs = fake.prompts().len();
        let text = format!("text {runs}");
        assert_eq!(
            ask(&gateway, header, &body(&text)).header("x-ccgw-repeat"),
            None
        );
        assert_eq!(fake.prompts().len(), runs + 1);
    }
}

#[test]
fn repeat_beside_its_first_request_takes_its_place() {
    let (gateway, fake) = start(2);
    let mut gate = fake.gate();
    let send = |text: &str| {
        let (gateway, text) = (gateway.client(), text.to_owned());
        std::thread::spawn(move || {
            let key = key_of("alpha");
            let headers = [("x-api-key", key.as_str()), ("idempotency-key", "two")];
            gateway.post("/v1/messages", &headers, &body(&text))
        })
    };
    let first = send(FIRST);
    wait_until(PATIENCE, "the run", || fake.prompts().len() == 1);
    let second = send(FIRST);
    first
        .join()
        .unwrap()
        .assert_error(400, "invalid_request_error");
    gate.let_through(1);
    assert_eq!(second.join().unwrap().answer_text(), "hello");
    assert_eq!(fake.prompts().len(), 1);
}

/// What the operator's socket says of runs.
fn runs(gateway: &Gateway) -> String {
    let socket = gateway.dir.path().join("state/ccgw.sock");
    let mut said = String::new();
    let asked = UnixStream::connect(socket).and_then(|mut it| {
        it.write_all(b"GET /runs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        it.read_to_string(&mut said)
    });
    // Until it is there.
    asked.map_or_else(|_| String::new(), |_| said)
}

#[test]
fn repeat_that_is_repeated_before_the_run_takes_it_up_is_told_so() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    // A run waits for what the CLI says of its version, and looks at no client meanwhile.
    let script = std::fs::read_to_string(fake.path()).unwrap();
    let asked = "[ \"$1\" = --version ] && ";
    let waits = script.replace(asked, &format!("{asked}read -r _ < \"$here/gate\" && "));
    assert_ne!(script, waits);
    std::fs::write(fake.path(), waits).unwrap();
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "max_per_tenant: 1")
        .start();
    let key = key_of("alpha");
    let send = |header: Header, text: &str| {
        let headers = [("x-api-key", key.as_str()), header];
        let body = body(text);
        let client = gateway.client();
        client.open("POST", "/v1/messages", &headers, Some(&body))
    };
    let attached = |count| {
        wait_until(PATIENCE, "the repeat", || {
            gateway.log().matches("a repeat, attached").count() == count
        });
    };
    let trace = ("traceparent", TRACE);
    let first = send(trace, FIRST);
    // Only what repeats find already is among the operator's runs.
    let is_listed = || runs(&gateway).contains("\"state\":\"running\"");
    wait_until(PATIENCE, "the run", is_listed);
    let second = send(trace, AGAIN);
    attached(1);
    let third = send(trace, &format!("{AGAIN} once more"));
    attached(2);
    gate.let_through(1);
    for displaced in [first, second] {
        let told = displaced.response();
        told.assert_error(400, "invalid_request_error");
        assert!(told.text().contains("took its place"));
    }
    assert_eq!(third.response().answer_text(), "hello");
    assert_eq!(fake.prompts().len(), 1);
}

#[test]
fn repeats_that_wait_in_the_queue_run_nothing() {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let key = key_of("alpha");
    let blocker = gateway.send("alpha", &body("something else"));
    wait_until(PATIENCE, "the first run", || fake.prompts().len() == 1);
    let headers = [("x-api-key", key.as_str()), ("traceparent", TRACE)];
    // One after the other: of requests that come at the same moment any may be the first.
    let queued: Vec<_> = [FIRST, AGAIN, AGAIN]
        .iter()
        .zip(1..)
        .map(|(text, count)| {
            let client = gateway.client();
            let connection = client.open("POST", "/v1/messages", &headers, Some(&body(text)));
            wait_until(PATIENCE, "its place in the queue", || {
                gateway.health()["queued"] == count
            });
            connection
        })
        .collect();
    gate.let_through(2);
    assert_eq!(blocker.response().answer_text(), "hello");
    for connection in queued {
        assert_eq!(connection.response().answer_text(), "hello");
    }
    assert_eq!(fake.prompts().len(), 2);
}

#[test]
fn other_request_under_a_key_is_refused_in_the_queue_too() {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let blocker = gateway.send("alpha", &body("something else"));
    wait_until(PATIENCE, "the first run", || fake.prompts().len() == 1);
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str()), ("idempotency-key", "five")];
    let send = |text: &str, queued: usize| {
        let client = gateway.client();
        let connection = client.open("POST", "/v1/messages", &headers, Some(&body(text)));
        wait_until(PATIENCE, "its place in the queue", || {
            gateway.health()["queued"] == queued
        });
        connection
    };
    let (first, other) = (send("one", 1), send("two", 2));
    gate.let_through(2);
    assert_eq!(blocker.response().answer_text(), "hello");
    assert_eq!(first.response().answer_text(), "hello");
    let refused = other.response();
    refused.assert_error(400, "invalid_request_error");
    assert_eq!(fake.prompts().len(), 2);
}

#[test]
fn repeat_in_the_queue_takes_the_place_of_a_client_that_leaves() {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str()), ("traceparent", TRACE)];
    let blocker = gateway.send("alpha", &body("something else"));
    wait_until(PATIENCE, "the first run", || fake.prompts().len() == 1);
    let send = |text: &str, queued: usize| {
        let client = gateway.client();
        let connection = client.open("POST", "/v1/messages", &headers, Some(&body(text)));
        wait_until(PATIENCE, "its place in the queue", || {
            gateway.health()["queued"] == queued
        });
        connection
    };
    let (first, repeat) = (send(FIRST, 1), send(AGAIN, 2));
    gate.let_through(1);
    assert_eq!(blocker.response().answer_text(), "hello");
    wait_until(PATIENCE, "its run", || fake.prompts().len() == 2);
    assert_eq!(gateway.health()["queued"], 1);
    drop(first);
    // Not only once that run is over.
    gateway.log_contains("a repeat, attached");
    wait_until(PATIENCE, "its place", || gateway.health()["queued"] == 0);
    gate.let_through(1);
    assert_eq!(repeat.response().answer_text(), "hello");
    assert_eq!(fake.prompts().len(), 2);
}

#[test]
fn slow_client_is_not_cut_off_by_the_next_question() {
    let dir = TempDir::new();
    let text = "y".repeat(7_500_000);
    let fake = FakeCli::lines(&dir, &turn(&text), 0);
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "stream: live")
        .set("cli", "max_per_tenant: 1")
        .start();
    let key = key_of("alpha");
    let send = |trace: &'static str, text: &str| {
        let headers = [("x-api-key", key.as_str()), ("traceparent", trace)];
        let body = streaming(&body(text));
        let client = gateway.client();
        client.open("POST", "/v1/messages", &headers, Some(&body))
    };
    // Some of it is here, so the rest is being written: more than the kernel takes, and not too much to be kept.
    let mut slow = send(TRACE, FIRST).answer();
    let mut begun = vec![0; 64 << 10];
    slow.read_exact(&mut begun).unwrap();
    let next = send(OTHER_TRACE, "[Mon 2026-11-23 03:13 UTC] something else");
    wait_until(PATIENCE, "the next one", || gateway.health()["queued"] == 1);
    let whole = slow.read_whole();
    let all = begun.len() + whole.text().len();
    assert!(all > text.len() && whole.text().contains("message_stop"));
    drop(next);
}

#[test]
fn failed_run_may_be_asked_for_again() {
    let dir = TempDir::new();
    let body_of_script =
        "[ -e \"$here/failed\" ] && { answer fine; idle; exit 0; }; : > \"$here/failed\"; exit 3";
    let fake = FakeCli::script(&dir, body_of_script);
    // A process that was started ahead and dies of the question is followed by another, unseen.
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "warm: off")
        .start();
    for header in [("idempotency-key", "three"), ("traceparent", TRACE)] {
        let _ = std::fs::remove_file(fake.file("failed"));
        assert_eq!(ask(&gateway, header, &body(FIRST)).status, 500);
        assert_eq!(ask(&gateway, header, &body(FIRST)).answer_text(), "fine");
    }
}

#[test]
fn run_that_failed_after_it_did_something_is_not_run_again_by_a_repeat() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "begin hello; exit 3");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "stream: live")
        .set("cli", "warm: off")
        .start();
    for (header, text, again) in [
        (("idempotency-key", "four"), FIRST, FIRST),
        (("traceparent", TRACE), FIRST, AGAIN),
    ] {
        let runs = fake.prompts().len();
        let first = ask(&gateway, header, &body(text));
        let repeat = ask(&gateway, header, &body(again));
        assert_eq!((first.status, repeat.status), (500, 500));
        assert_eq!(repeat.json()["error"], first.json()["error"]);
        assert_eq!(repeat.header("x-ccgw-repeat"), Some("stored"));
        assert_eq!(repeat.header("retry-after"), Some("120"));
        // As a stream it fails before its head.
        let key = key_of("alpha");
        let headers = [("x-api-key", key.as_str()), header];
        let stream = gateway
            .client()
            .open("POST", "/v1/messages", &headers, Some(&body(again)));
        assert_eq!(stream.response().status, 500);
        assert_eq!(fake.prompts().len(), runs + 1);
    }
}

#[test]
fn run_that_its_user_has_left_for_another_question_ends_at_once() {
    let (gateway, fake) = start(1);
    let mut gate = fake.gate();
    let key = key_of("alpha");
    let send = |trace: &'static str, text: &str| {
        let headers = [("x-api-key", key.as_str()), ("traceparent", trace)];
        let body = streaming(&body(text));
        let client = gateway.client();
        client.open("POST", "/v1/messages", &headers, Some(&body))
    };
    let stopped = send(TRACE, FIRST);
    wait_until(PATIENCE, "the run", || fake.prompts().len() == 1);
    drop(stopped);
    // It would go on for a minute, in the tenant's only place.
    let next = send(OTHER_TRACE, "[Mon 2026-11-23 03:13 UTC] something else");
    wait_until(Duration::from_secs(15), "the next run", || {
        fake.prompts().len() == 2
    });
    gate.let_through(1);
    assert!(next.response().text().contains("hello"));
    // One that is still read goes on.
    let read = send(TRACE, FIRST);
    wait_until(PATIENCE, "its run", || fake.prompts().len() == 3);
    let queued = send(OTHER_TRACE, "[Mon 2026-11-23 03:13 UTC] a third thing");
    wait_until(PATIENCE, "both", || gateway.health()["queued"] == 1);
    gate.let_through(2);
    assert!(read.response().text().contains("hello"));
    assert!(queued.response().text().contains("hello"));
}

#[test]
fn requests_of_one_conversation_wait_for_each_other_where_they_are_to() {
    for (parallel, at_once) in [("wait", 1), ("fork", 2)] {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, "read -r _ < \"$here/gate\"; answer hello; idle");
        let gateway = Setup::with_cli(dir, fake.path())
            .set("cli", "max_per_tenant: 2")
            .set("session", format!("parallel: {parallel}"))
            .start();
        let mut gate = fake.gate();
        let key = key_of("alpha");
        let send = |conversation: &str, text: &str| {
            let body = body(text);
            let headers = [
                ("x-api-key", key.as_str()),
                ("x-ccgw-conversation", conversation),
            ];
            gateway
                .client()
                .open("POST", "/v1/messages", &headers, Some(&body))
        };
        let first = send("one", "one");
        wait_until(PATIENCE, "the first", || fake.prompts().len() == 1);
        let second = send("one", "two");
        let queued = 2 - at_once;
        wait_until(PATIENCE, "both", || {
            let health = gateway.health();
            health["running"] == at_once && health["queued"] == queued
        });
        wait_until(PATIENCE, "those that may", || {
            fake.prompts().len() == at_once
        });
        // One that waits takes no place from another conversation, which came later.
        let other = (parallel == "wait").then(|| {
            let other = send("other", "three");
            wait_until(PATIENCE, "the other", || fake.prompts().len() == 2);
            gate.let_through(1);
            other
        });
        gate.let_through(1);
        gate.let_through(1);
        for asked in [first, second].into_iter().chain(other) {
            assert_eq!(asked.response().answer_text(), "hello");
        }
    }
}
