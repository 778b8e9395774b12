//! The operator's socket and the commands that use it.

mod socket;
mod top;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, prompt, run_to_end},
    process::{DEAD_WITHIN, wait_until, wait_until_gone},
    setup::{Setup, manage, manage_command},
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
fn no_route_of_the_operators_is_on_the_public_port() {
    let (gateway, _fake) = gated();
    // The table as the program itself tells it.
    let (status, table) = socket::said(&socket::sent(&gateway, b"GET / HTTP/1.0\r\n\r\n"));
    assert_eq!(status, 404);
    let table = table.strip_prefix("there are ").unwrap();
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

/// `remove` by somebody whose own state directory is not the gateway's, as root's is not that of a service.
fn removed_by_another(gateway: &Gateway, tenant: &str, name: &str, value: &Path) -> Value {
    let home = gateway.dir.path().join("another-home");
    let words = ["remove", tenant, "--yes", "--json"];
    let mut command = manage_command(&gateway.dir, &words);
    command
        .env_remove("STATE_DIRECTORY")
        .env_remove("XDG_STATE_HOME")
        .env("HOME", home)
        .env(name, value);
    let output = run_to_end(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn known(gateway: &Gateway) -> Value {
    let file = gateway.dir.path().join("state/tenants.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn removal_by_another_user_is_noted_where_the_gateway_looks() {
    let (mut gateway, _fake) = gated();
    let state = gateway.dir.path().join("state");
    let removed = removed_by_another(&gateway, "alpha", "RUNTIME_DIRECTORY", &state);
    assert_eq!(removed["warnings"], json!([]));
    assert_eq!(known(&gateway)["alpha"]["removed"], true);
    gateway.stop_only();
    // Nobody hears of it now, and nothing leads to the state directory.
    let nowhere = gateway.dir.path().join("nowhere");
    let removed = removed_by_another(&gateway, "beta", "RUNTIME_DIRECTORY", &nowhere);
    let told = removed["warnings"].to_string();
    assert!(
        told.contains("noted nowhere") && told.contains("start the gateway once"),
        "{told}"
    );
    assert_eq!(known(&gateway)["beta"]["removed"], false);
    // As it says.
    gateway.start_again();
    assert_eq!(known(&gateway)["beta"]["removed"], true);
    gateway.stop();
}
