//! How a daemon starts, with what, and when it refuses to.

use super::*;

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
