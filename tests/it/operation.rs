//! The daemon as an operator meets it: stopping, queueing, fairness, health, logs.

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

const PATIENCE: Duration = Duration::from_secs(30);

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
fn full_queue_is_429_with_retry_after() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_depth: 1"));
    let mut gate = fake.gate();
    let (sender, answers) = mpsc::channel::<Response>();
    thread::scope(|scope| {
        for _ in 0..3 {
            let connection = gateway.send("alpha", &prompt("hi"));
            let sender = sender.clone();
            scope.spawn(move || sender.send(connection.response()).unwrap());
            wait_for_runs(&fake, 1);
        }
        // One runs and one waits; only the third can have its answer while the gate is closed.
        let refused = answers.recv_timeout(PATIENCE).unwrap();
        refused.assert_error(429, "rate_limit_error");
        let seconds: u64 = refused
            .header("retry-after")
            .expect("no Retry-After")
            .parse()
            .unwrap();
        assert!(seconds >= 1);
        gate.let_through(2);
        for _ in 0..2 {
            assert_eq!(
                answers.recv_timeout(PATIENCE).unwrap().answer_text(),
                "hello"
            );
        }
    });
}

#[test]
fn queue_is_bounded_in_bytes_too() {
    let (gateway, fake) = gated(|setup| setup.set("server", "max_body_bytes: 100000"));
    let mut gate = fake.gate();
    let large = prompt(&"x".repeat(90_000));
    thread::scope(|scope| {
        let runs = gateway.send("alpha", &prompt("hi"));
        wait_for_runs(&fake, 1);
        let waiting: Vec<_> = (0..3).map(|_| gateway.send("alpha", &large)).collect();
        let answers = waiting
            .into_iter()
            .map(|it| scope.spawn(move || it.response()));
        let answers: Vec<_> = answers.collect();
        // Two of them fit in the room of two bodies; the third is refused while they wait.
        wait_until(PATIENCE, "a refusal", || {
            answers.iter().any(|it| it.is_finished())
        });
        gate.let_through(3);
        let answers: Vec<Response> = answers.into_iter().map(|it| it.join().unwrap()).collect();
        let refused: Vec<&Response> = answers.iter().filter(|it| it.status != 200).collect();
        assert_eq!(refused.len(), 1);
        refused[0].assert_error(429, "rate_limit_error");
        assert_eq!(runs.response().answer_text(), "hello");
    });
}

#[test]
fn queued_request_gives_up_at_the_queue_timeout() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_timeout: 300"));
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("running"));
    wait_for_runs(&fake, 1);
    let refused = gateway.ask("beta", &prompt("waiting"));
    assert!(
        [429, 503, 504, 529].contains(&refused.status),
        "{refused:#?}"
    );
    gate.let_through(1);
    assert_eq!(running.response().answer_text(), "hello");
    assert_eq!(fake.prompts().len(), 1);
}

#[test]
fn flood_of_one_tenant_delays_anothers_next_request_by_one_run_at_most() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_depth: 30"));
    let mut gate = fake.gate();
    let flood: Vec<_> = (0..20)
        .map(|_| gateway.send("alpha", &prompt("from-alpha")))
        .collect();
    wait_for_runs(&fake, 1);
    let mut beta = gateway.stream("beta", &prompt("from-beta"));
    beta.read_until("a ping", |event| event.event == "ping");
    gate.let_through(21);
    beta.read_until("the end", |event| event.event == "message_stop");
    for connection in flood {
        assert_eq!(connection.response().answer_text(), "hello");
    }
    let order = fake.note("order");
    let place = order
        .lines()
        .position(|line| line.contains("from-beta"))
        .unwrap();
    assert!(place <= 2, "beta was number {place} of\n{order}");
}

#[test]
fn tenant_with_all_its_places_taken_leaves_the_rest_to_others() {
    let dir = TempDir::new();
    let body = "case $line in *wait*) read -r _ < \"$here/gate\";; esac; answer hello; idle";
    let fake = FakeCli::script(&dir, body);
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "max_concurrent: 2")
        .start();
    let flood: Vec<_> = (0..3)
        .map(|_| gateway.send("alpha", &prompt("wait")))
        .collect();
    wait_for_runs(&fake, 1);
    // The gate is still closed: only a place that alpha could not take answers this.
    assert_eq!(gateway.ask("beta", &prompt("quick")).answer_text(), "hello");
    let waiting = fake
        .prompts()
        .iter()
        .filter(|line| line.contains("wait"))
        .count();
    assert_eq!(waiting, 1, "max_per_tenant is 1");
    gate.let_through(3);
    for connection in flood {
        assert_eq!(connection.response().answer_text(), "hello");
    }
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
fn cli_too_old_to_be_safe_is_refused_until_it_is_updated() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let new = std::fs::read_to_string(fake.path()).unwrap();
    let old = new.replace(&format!("{VERSION} (Claude Code)"), "2.1.197 (Claude Code)");
    assert_ne!(new, old);
    std::fs::write(fake.path(), &old).unwrap();
    let gateway = Setup::with_cli(dir, fake.path()).start();
    for body in [
        prompt("hi"),
        json!({"model": MODEL, "max_tokens": 9, "tool_choice": {"type": "none"},
        "messages": [{"role": "user", "content": "@/etc/hostname"}]}),
    ] {
        let refused = gateway.ask("alpha", &body);
        refused.assert_error(503, "api_error");
        assert!(refused.text().contains("2.1.197") && refused.text().contains("claude update"));
    }
    assert_eq!(fake.prompts().len(), 0, "it was given a client's text");
    std::fs::write(fake.path(), new).unwrap();
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    // And one that took its place while the gateway runs.
    let aside = fake.path().with_extension("old");
    std::fs::write(&aside, old).unwrap();
    let mode = std::fs::metadata(fake.path()).unwrap().permissions();
    std::fs::set_permissions(&aside, mode).unwrap();
    std::fs::rename(&aside, fake.path()).unwrap();
    let refused = gateway.ask("alpha", &prompt("hi"));
    refused.assert_error(503, "api_error");
    assert_eq!(fake.prompts().len(), 1, "it was given a client's text");
}

#[test]
fn second_daemon_on_one_state_directory_ends_before_it_touches_anything() {
    let (mut gateway, _fake) = gated(|setup| setup);
    let state = gateway.dir.path().join("state");
    let seed = gateway
        .dir
        .write("state/tenants/alpha/seeds/in-use.jsonl", "{}\n");
    let log = || {
        std::fs::metadata(state.join("sessions.jsonl"))
            .unwrap()
            .ino()
    };
    let before = log();
    let config = gateway.dir.path().join("config.yaml");
    let second = run_to_end(ccgw(&gateway.dir).arg(&config));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "{said}");
    let who = format!("another ccgw (process {})", gateway.pid());
    for part in [who.as_str(), state.to_str().unwrap(), "STATE_DIRECTORY"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(log(), before);
    assert!(seed.exists());
    // Who only looks may, and the next one begins as soon as this one is gone, however it went.
    let checked = run_to_end(ccgw(&gateway.dir).arg("--check").arg(&config));
    assert!(checked.status.success(), "{checked:?}");
    gateway.restart_after("KILL");
    assert!(!seed.exists());
    gateway.restart_after("TERM");
}

#[test]
fn daemon_without_the_cli_refuses_to_start_and_says_how_to_install_it() {
    let dir = TempDir::new();
    let missing = dir.path().join("no-such-claude");
    let setup = Setup::with_cli(dir, &missing);
    let output = run_to_end(&mut setup.command());
    assert_ne!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("no-such-claude")
            && text.contains("npm install -g @anthropic-ai/claude-code"),
        "{text}"
    );
}

#[test]
fn demo_serves_without_a_cli_and_says_so() {
    let dir = TempDir::new();
    let missing = dir.path().join("no-such-claude");
    let gateway = Setup::with_cli(dir, &missing).argument("--demo").start();
    assert!(
        gateway
            .ask("alpha", &prompt("words to say back"))
            .answer_text()
            .contains("words to say back")
    );
    // Its version is known a moment after the start.
    assert_eq!(gateway.health()["cli"]["stand_in"], true);
    gateway.log_contains("stand-in");
}

/// What `make run` does. The printed request is sent as it is printed.
#[test]
fn trial_without_a_cli_prints_a_request_that_streams_an_answer() {
    let dir = TempDir::new();
    let missing = dir.path().join("no-such-claude");
    let mut child = ccgw(&dir)
        .arg("--try")
        .env("CLAUDE_BIN", &missing)
        .env("PORT", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let told = lines.find(|line| line.contains("STAND-IN")).unwrap();
    assert!(told.contains("no model is asked"), "{told}");
    let curl = lines.find(|line| line.contains("curl -N")).unwrap();
    let address = curl.split("http://").nth(1).unwrap();
    let address = address.split("/v1/messages").next().unwrap();
    let data = lines.find(|line| line.contains("-d '")).unwrap();
    let body: Value = serde_json::from_str(data.split('\'').nth(1).unwrap()).unwrap();
    let answer = Client::new(address.parse().unwrap()).stream("/v1/messages", &[], &body);
    let deltas = answer.filter(|event| event.event == "content_block_delta");
    assert!(deltas.count() > 1);
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
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
fn daemon_without_tenants_serves_loopback_and_says_so() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let gateway = Setup::with_cli(dir, fake.path()).without_tenants().start();
    assert!(gateway.addr().ip().is_loopback());
    let answer = gateway.client().post("/v1/messages", &[], &prompt("hi"));
    assert_eq!(answer.answer_text(), "hello");
    gateway.log_contains("tenant");
}

#[test]
fn daemon_without_a_configuration_needs_the_cli_only() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let mut command = ccgw(&dir);
    command.env("CLAUDE_BIN", fake.path()).env("PORT", "0");
    let gateway = Gateway::start(command, dir, "no configuration".to_owned());
    assert!(gateway.addr().ip().is_loopback());
    assert_eq!(
        gateway
            .client()
            .post("/v1/messages", &[], &prompt("hi"))
            .answer_text(),
        "hello"
    );
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
