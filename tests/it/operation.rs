//! The daemon as an operator meets it: stopping, queueing, fairness, health, logs.

mod queue;
mod starting;

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    cli::VERSION,
    client::{Client, Connection, Response},
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of, prompt, run_to_end, streaming},
    process::{DEAD_WITHIN, descendants, is_alive, signal, wait_until, wait_until_gone},
    setup::{Setup, ccgw},
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway whose runs wait at the gate before they answer; one run at a time.
fn gated(setup: impl FnOnce(Setup) -> Setup) -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let body = "echo \"$line\" >> \"$here/order\"; begin hello; read -r _ < \"$here/gate\"; end hello; idle";
    let fake = FakeCli::script(&dir, body);
    let gateway = setup(Setup::with_cli(dir, fake.path()).set("cli", "max_concurrent: 1")).start();
    (gateway, fake)
}

#[track_caller]
fn wait_for_runs(fake: &FakeCli, count: usize) {
    wait_until(PATIENCE, &format!("run number {count}"), || {
        fake.prompts().len() >= count
    });
}

#[test]
fn idle_daemon_ends_in_good_order_on_sigterm_and_sigint() {
    for name in ["TERM", "INT"] {
        let (mut gateway, _fake) = gated(|setup| setup);
        signal(gateway.pid(), name);
        assert_eq!(gateway.wait().code(), Some(0), "SIG{name}");
    }
}

#[test]
fn sigterm_lets_the_run_finish_and_answers_503_to_the_queue() {
    let (mut gateway, fake) = gated(|setup| setup);
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("running"));
    wait_for_runs(&fake, 1);
    let queued = gateway.send("beta", &prompt("queued"));
    let mut queued_stream = gateway.stream("beta", &prompt("queued too"));
    // With one place per tenant taken in order, this ping says that both are in the queue.
    queued_stream.read_until("a ping", |event| event.event == "ping");
    signal(gateway.pid(), "TERM");
    queued.response().assert_error(503, "api_error");
    queued_stream.read_until("an error", |event| event.event == "error");
    assert!(is_alive(gateway.pid()));
    gate.let_through(1);
    assert_eq!(running.response().answer_text(), "hello");
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(fake.prompts().len(), 1);
}

#[test]
fn request_that_is_complete_after_sigterm_is_503() {
    let (mut gateway, _fake) = gated(|setup| setup);
    let body = prompt("late").to_string();
    let key = key_of("alpha");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = gateway.client().connect();
    connection
        .send((head + &body[..body.len() - 1]).as_bytes())
        .unwrap();
    // An answer on another connection proves that the bytes before it were read.
    gateway.health();
    signal(gateway.pid(), "TERM");
    gateway.log_contains("stopping");
    connection.send(&body.as_bytes()[body.len() - 1..]).unwrap();
    let refused = connection.response();
    refused.assert_error(503, "api_error");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn drain_time_ends_a_run_that_goes_on() {
    let (mut gateway, fake) = gated(|setup| setup.set("cli", "drain_timeout: 300"));
    let _gate = fake.gate();
    let running = gateway.send("alpha", &prompt("running"));
    wait_for_runs(&fake, 1);
    signal(gateway.pid(), "TERM");
    let ended = running.response();
    assert!(ended.status >= 500, "{ended:#?}");
    assert_eq!(gateway.wait().code(), Some(0));
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}

#[test]
fn second_sigterm_ends_everything_now() {
    let (mut gateway, fake) = gated(|setup| setup.set("cli", "drain_timeout: 600000"));
    let _gate = fake.gate();
    let _running = gateway.send("alpha", &prompt("running"));
    wait_for_runs(&fake, 1);
    let queued = gateway.send("beta", &prompt("queued"));
    // A connection that is not accepted yet would be reset.
    wait_until(PATIENCE, "it in the queue", || {
        gateway.health()["queued"] == 1
    });
    signal(gateway.pid(), "TERM");
    // That says that the first signal has arrived.
    assert_eq!(queued.response().status, 503);
    signal(gateway.pid(), "TERM");
    gateway.wait();
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}

/// The bytes a process has written so far, as `/proc/PID/io` has them; empty once it has ended.
fn written_by(pid: u32) -> String {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io.lines().find(|it| it.starts_with("wchar"));
    line.unwrap_or_default().to_owned()
}

/// A demo gateway with a stream that fills every buffer, because its client never reads.
fn unread_stream(cli: Option<&str>) -> (Gateway, Connection) {
    let dir = TempDir::new();
    let mut setup = Setup::with_cli(dir, Path::new("/bin/true")).argument("--demo");
    if let Some(line) = cli {
        setup = setup.set("cli", line);
    }
    let gateway = setup.start();
    let mut body = streaming(&prompt("[[deltas:100000000]]"));
    body["tool_choice"] = json!({"type": "none"});
    let client = gateway.send("alpha", &body);
    // It is stuck when what it has written stays the same however often one looks.
    let (mut written, mut looks) = (String::new(), 0);
    wait_until(PATIENCE, "a stream that is stuck", || {
        let now: String = gateway
            .processes_of("alpha")
            .iter()
            .map(|it| written_by(*it))
            .collect();
        looks = if now == written && !now.is_empty() {
            looks + 1
        } else {
            0
        };
        written = now;
        looks >= 20
    });
    (gateway, client)
}

#[test]
fn client_that_never_reads_does_not_postpone_the_timeout() {
    let (gateway, client) = unread_stream(Some("timeout: 5000"));
    // server.write_timeout alone would let it go on for 30 s.
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    gateway.log_contains("cli.timeout");
    drop(client);
    gateway.stop();
}

#[test]
fn client_that_never_reads_does_not_postpone_the_end() {
    let (mut gateway, client) = unread_stream(None);
    signal(gateway.pid(), "TERM");
    gateway.log_contains("stopping");
    signal(gateway.pid(), "TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(
        !gateway.log().contains("did not end in time"),
        "{}",
        gateway.log()
    );
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    drop(client);
}

#[test]
fn sigkill_of_the_daemon_leaves_nothing_behind() {
    let dir = TempDir::new();
    let body = "setsid sleep 1000 & (setsid nohup sleep 1000 &) ; echo 1 > \"$here/up\"; trap '' TERM HUP; while :; do sleep 1; done";
    let fake = FakeCli::script(&dir, body);
    let mut gateway = Setup::with_cli(dir, fake.path()).start();
    let _running = gateway.send("alpha", &prompt("running"));
    wait_until(PATIENCE, "the run's processes", || {
        fake.note("up").ends_with('\n')
    });
    let tree = descendants(gateway.pid());
    assert!(!tree.is_empty());
    gateway.kill();
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    wait_until(DEAD_WITHIN, "the end of the daemon's own processes", || {
        !tree.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn health_tells_loopback_what_runs_here() {
    let (gateway, _fake) = gated(|setup| setup);
    // The CLI is asked for its version while the daemon already listens.
    wait_until(PATIENCE, "the CLI's version in /health", || {
        gateway.health()["cli"]["version"].is_string()
    });
    let health = gateway.health();
    assert!(health["status"].is_string(), "{health:#}");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        health["cli"]["version"]
            .as_str()
            .unwrap_or_default()
            .contains(VERSION),
        "{health:#}"
    );
    let tenants = health["tenants"].to_string();
    assert!(
        tenants.contains("alpha") && tenants.contains("beta"),
        "{health:#}"
    );
    assert!(!health.to_string().contains("secret-key"), "{health:#}");
}

#[test]
fn models_are_listed_in_both_shapes_without_a_key() {
    let (gateway, _fake) = gated(|setup| setup);
    let openai = gateway.client().get("/v1/models", &[]).json();
    assert_eq!(openai["object"], "list", "{openai:#}");
    assert!(has_model(&openai, MODEL));
    let anthropic = gateway
        .client()
        .get("/v1/models", &[("anthropic-version", "2023-06-01")])
        .json();
    assert_eq!(anthropic["data"][0]["type"], "model", "{anthropic:#}");
    assert!(has_model(&anthropic, MODEL));
}

fn has_model(list: &Value, id: &str) -> bool {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .any(|model| model["id"] == id)
}

#[test]
fn request_is_found_in_the_log_by_its_id_and_tenant() {
    let (gateway, fake) = gated(|setup| setup);
    let mut gate = fake.gate();
    gate.let_through(1);
    let answer = gateway.ask("alpha", &prompt("words-of-the-prompt"));
    let id = answer
        .header("request-id")
        .expect("no request-id")
        .to_owned();
    let line = gateway.log_contains(&id);
    assert!(line.contains("alpha"), "{line}");
    for private in ["words-of-the-prompt", &key_of("alpha"), "hello"] {
        assert!(
            !gateway.log().contains(private),
            "{private} in {}",
            gateway.log()
        );
    }
}

#[test]
fn json_log_is_json_on_every_line() {
    let (gateway, fake) = gated(|setup| setup.daemon_env("LOG_FORMAT", "json"));
    let mut gate = fake.gate();
    gate.let_through(1);
    gateway.ask("alpha", &prompt("hi"));
    gateway.ask("nobody", &prompt("hi"));
    for line in gateway.log().lines() {
        let parsed: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed.is_object(), "{line}");
    }
}

#[test]
fn log_that_nobody_reads_stops_nothing() {
    let dir = TempDir::new();
    let setup = Setup::with_cli(dir, Path::new("/bin/true")).argument("--demo");
    let mut daemon = setup.command().stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on http://") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it did not start");
    }
    let (_, rest) = line.split_once("http://").unwrap();
    let client = Client::new(rest.split_whitespace().next().unwrap().parse().unwrap());
    // From here on the pipe fills up: it holds 64 KiB, and each refusal is a line of some 150 bytes.
    let key = key_of("alpha");
    for _ in 0..900 {
        let refused = client.post("/v1/messages", &[("x-api-key", &key)], &json!({}));
        assert_eq!(refused.status, 400);
    }
    let answer = client.post(
        "/v1/messages",
        &[("x-api-key", &key)],
        &prompt("still here"),
    );
    assert!(answer.answer_text().contains("still here"));
    signal(daemon.id(), "TERM");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[test]
fn refused_requests_are_logged_without_their_key_and_not_all_of_a_flood() {
    let (gateway, _fake) = gated(|setup| setup);
    let mut refused = 0;
    // The line that counts the others comes with the first of a later second.
    wait_until(PATIENCE, "a count of the lines left out", || {
        let headers = [("x-api-key", "a-key-that-is-wrong")];
        let answer = gateway
            .client()
            .post("/v1/messages", &headers, &prompt("hi"));
        answer.assert_error(401, "authentication_error");
        refused += 1;
        gateway.log().contains("were left out")
    });
    let logged = gateway.log();
    let lines = logged.lines().filter(|line| line.contains("status=401"));
    assert!(lines.count() < refused, "{logged}");
    let line = gateway.log_contains("refused");
    assert!(
        line.contains("peer=127.0.0.1:") && line.contains("path=/v1/messages"),
        "{line}"
    );
    assert!(!gateway.log().contains("a-key-that-is-wrong"));
}

#[test]
fn keys_cannot_be_found_by_trying() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    let try_key = |key: &str| {
        let headers = [("x-api-key", key)];
        gateway
            .client()
            .post("/v1/messages", &headers, &prompt("hi"))
    };
    let mut refused = (0..200).map(|number| try_key(&format!("wrong-key-{number}")));
    refused
        .next()
        .unwrap()
        .assert_error(401, "authentication_error");
    assert!(refused.any(|it| it.status == 429));
    // Not even the right one, from where that tenant has not come before; who has, goes on.
    gateway
        .ask("beta", &prompt("hi"))
        .assert_error(429, "rate_limit_error");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    wait_until(PATIENCE, "beta's turn", || {
        gateway.ask("beta", &prompt("hi")).status == 200
    });
}
