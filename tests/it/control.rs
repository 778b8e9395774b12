//! The operator's socket and the commands that use it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, prompt},
    process::{DEAD_WITHIN, signal, wait_until, wait_until_gone},
    setup::{Setup, manage},
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs wait at the gate; one at a time.
fn gated() -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let body = "begin hello; read -r _ < \"$here/gate\"; end hello; idle";
    let fake = FakeCli::script(&dir, body);
    let setup = Setup::with_cli(dir, fake.path()).set("cli", "max_concurrent: 1");
    let gateway = setup.start();
    gateway.log_contains("the operator's socket is open");
    (gateway, fake)
}

fn socket(gateway: &Gateway) -> PathBuf {
    let line = gateway.log_contains("the operator's socket is open");
    line.split("path=").nth(1).unwrap().trim().into()
}

#[track_caller]
fn good(gateway: &Gateway, words: &[&str]) -> String {
    let output = manage(&gateway.dir, words);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {text} {errors}");
    text
}

#[track_caller]
fn bad(output: &Output, expect: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(expect), "{errors}");
}

fn runs(gateway: &Gateway) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&good(gateway, &["ps", "--json"])).unwrap();
    listed["runs"].as_array().unwrap().clone()
}

#[test]
fn what_runs_and_waits_is_listed_and_can_be_ended() {
    let (gateway, fake) = gated();
    let _gate = fake.gate();
    let first = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.prompts().len() == 1);
    let second = gateway.send("beta", &prompt("x"));
    wait_until(PATIENCE, "a queue", || gateway.health()["queued"] == 1);

    let listed = runs(&gateway);
    let states: Vec<_> = listed
        .iter()
        .map(|it| (&it["tenant"], &it["state"]))
        .collect();
    assert_eq!(
        json!(states),
        json!([["alpha", "running"], ["beta", "waiting"]])
    );
    assert!(listed[0]["rss_kib"].as_u64().unwrap() > 0);
    assert!(listed[1]["pid"].is_null());
    let status: Value = serde_json::from_str(&good(&gateway, &["status", "--json"])).unwrap();
    assert_eq!(
        (&status["running"], &status["queued"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["pid"], gateway.pid());
    let text = good(&gateway, &["status"]) + &good(&gateway, &["ps"]) + &good(&gateway, &["top"]);
    for part in [
        "1 of 1 runs, 1 waiting",
        "alpha",
        "beta",
        "waiting",
        "REQUEST",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }

    for (run, connection) in listed.iter().rev().zip([second, first]) {
        good(&gateway, &["cancel", run["request"].as_str().unwrap()]);
        let answer = connection.response();
        answer.assert_error(503, "api_error");
        assert!(answer.text().contains("operator"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("120"));
    }
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    wait_until(PATIENCE, "no runs", || runs(&gateway).is_empty());
    bad(
        &manage(&gateway.dir, &["cancel", "req_none"]),
        "no request req_none",
    );
    bad(
        &manage(&gateway.dir, &["cancel", "../reload"]),
        "is no request's id",
    );
    gateway.stop();
}

#[test]
fn reload_and_drain_are_ordered_and_answered() {
    let (mut gateway, fake) = gated();
    let mut gate = fake.gate();
    assert!(good(&gateway, &["reload"]).contains("changes: none"));
    let path = gateway.dir.path().join("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("max_concurrent: 1", "max_concurrent: 0"),
    )
    .unwrap();
    bad(&manage(&gateway.dir, &["reload"]), "max_concurrent");
    let status = good(&gateway, &["status"]);
    assert!(status.contains("REFUSED"), "{status}");
    fs::write(
        &path,
        text.replace("max_concurrent: 1", "max_concurrent: 2"),
    )
    .unwrap();
    // Whoever is first, the watcher or the order, it applies.
    good(&gateway, &["reload"]);
    assert!(good(&gateway, &["status"]).contains("of 2 runs"));

    let running = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.prompts().len() == 1);
    good(&gateway, &["drain"]);
    gateway.log_contains("stopping: no new connections");
    assert!(good(&gateway, &["status"]).contains("draining"));
    bad(&manage(&gateway.dir, &["reload"]), "ending");
    gate.let_through(1);
    assert_eq!(running.response().answer_text(), "hello");
    let socket = socket(&gateway);
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(!socket.exists());
    bad(
        &manage(&gateway.dir, &["status"]),
        "no running gateway answers",
    );
}

#[test]
fn socket_is_private_and_each_life_has_its_own() {
    let (mut gateway, _fake) = gated();
    let path = socket(&gateway);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);

    // A second daemon with the same state leaves the first its socket, and serves.
    let mut second = Command::new(env!("CARGO_BIN_EXE_ccgw"));
    let state = path.parent().unwrap();
    second
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", gateway.dir.path())
        .env("STATE_DIRECTORY", state)
        .arg(gateway.dir.path().join("config.yaml"));
    let second = Gateway::start(second, TempDir::new(), "none".to_owned());
    second.log_contains("no operator's socket");
    second.stop();
    assert!(good(&gateway, &["status"]).contains(&format!("process {}", gateway.pid())));

    // What a killed one leaves is replaced.
    gateway.kill();
    assert!(path.exists());
    let mut third = Command::new(env!("CARGO_BIN_EXE_ccgw"));
    third
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", gateway.dir.path())
        .env("STATE_DIRECTORY", state)
        .arg(gateway.dir.path().join("config.yaml"));
    let third = Gateway::start(third, TempDir::new(), "none".to_owned());
    third.log_contains("the operator's socket is open");
    UnixStream::connect(&path).unwrap();
    third.stop();
}

#[test]
fn garbage_and_silence_on_the_socket_harm_nobody() {
    let (gateway, fake) = gated();
    let path = socket(&gateway);
    let mut gate = fake.gate();
    let mut silent: Vec<UnixStream> = (0..50)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    for garbage in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST /drain HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&garbage[..garbage.len().min(30)]).unwrap();
        silent.push(stream);
    }
    gate.let_through(1);
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "hello");
    // tiny_http may leave others waiting behind connections that say nothing; callers are not touched by it.
    drop(silent);
    let mut odd = UnixStream::connect(&path).unwrap();
    odd.write_all(b"DELETE /status HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    odd.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("404") && answer.contains("GET /status"),
        "{answer}"
    );

    assert!(good(&gateway, &["status"]).contains("0 of 1 runs"));
    signal(gateway.pid(), "HUP");
    gateway.log_contains("configuration reloaded");
    gateway.stop();
}

#[test]
fn no_route_of_the_operators_is_on_the_public_port() {
    let (gateway, _fake) = gated();
    // The table as the program itself tells it.
    let mut stream = UnixStream::connect(socket(&gateway)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let table = body["error"]
        .as_str()
        .unwrap()
        .strip_prefix("there are ")
        .unwrap();
    let routes: Vec<(&str, &str)> = table
        .split(", ")
        .map(|it| it.split_once(' ').unwrap())
        .collect();
    assert!(routes.len() >= 5, "{table}");
    let key = crate::gateway::key_of("alpha");
    for (_, path) in routes {
        for prefix in ["", "/v1", "/control", "//"] {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let path = format!("{prefix}{path}");
                let connection = gateway
                    .client()
                    .open(method, &path, &[("x-api-key", &key)], None);
                assert_eq!(connection.response().status, 404, "{method} {path}");
            }
        }
    }
    gateway.stop();
}
