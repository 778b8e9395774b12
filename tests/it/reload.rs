//! A new configuration while requests are served.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, key_of, prompt},
    process::{signal, wait_until},
    setup::Setup,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(body: &str, setup: impl FnOnce(Setup) -> Setup) -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, body);
    let gateway = setup(Setup::with_cli(dir, fake.path())).start();
    (gateway, fake)
}

fn config(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.dir.path().join("config.yaml")).unwrap()
}

/// Puts another configuration in the place of the present one, as careful editors do.
fn replace(gateway: &Gateway, text: &str) {
    let new = gateway.dir.write("config.yaml.new", text);
    fs::rename(new, gateway.dir.path().join("config.yaml")).unwrap();
}

fn edit(gateway: &Gateway, from: &str, to: &str) {
    let text = config(gateway);
    assert!(text.contains(from), "{from} is not in {text}");
    replace(gateway, &text.replace(from, to));
}

#[test]
fn file_that_changes_is_taken_over_by_itself() {
    let (gateway, _fake) = start("answer fine; idle", |it| it);
    edit(&gateway, &key_of("alpha"), "another-key-of-alpha");
    let line = gateway.log_contains("configuration reloaded number=1 ");
    assert!(line.contains("tenant alpha changed (api_key)"), "{line}");
    assert_eq!(gateway.ask("alpha", &prompt("x")).status, 401);
    let headers = [("x-api-key", "another-key-of-alpha")];
    let answer = gateway
        .client()
        .post("/v1/messages", &headers, &prompt("x"));
    assert_eq!(answer.answer_text(), "fine");

    // In place, with a tenant more.
    let more = config(&gateway) + "  - name: gamma\n    api_key: secret-key-of-gamma-0123456789\n";
    gateway.dir.write("config.yaml", more);
    gateway.log_contains("tenant gamma added");
    assert_eq!(gateway.ask("gamma", &prompt("x")).answer_text(), "fine");

    // Without one.
    let text = config(&gateway);
    let at = text.find("  - name: beta").unwrap();
    let end = text.find("  - name: gamma").unwrap();
    replace(&gateway, &(text[..at].to_owned() + &text[end..]));
    gateway.log_contains("tenant beta removed");
    assert_eq!(gateway.ask("beta", &prompt("x")).status, 401);
    assert_eq!(gateway.ask("gamma", &prompt("x")).answer_text(), "fine");
    let log = gateway.log();
    assert!(!log.contains("another-key"), "{log}");
    gateway.stop();
}

#[test]
fn invalid_configuration_changes_nothing_and_names_every_problem() {
    let (gateway, _fake) = start("answer fine; idle", |it| it);
    let good = config(&gateway);
    let bad = format!("{good}    nonsense: 1\nsession:\n  ttl: soon\n");
    replace(&gateway, &bad);
    let line = gateway.log_contains("the new configuration is not valid");
    assert!(line.contains("nonsense") && line.contains("soon"), "{line}");
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "fine");

    fs::remove_file(gateway.dir.path().join("config.yaml")).unwrap();
    signal(gateway.pid(), "HUP");
    gateway.log_contains("not valid; the old one stays in force number=2");
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "fine");

    replace(&gateway, &good.replace("port: 0", "port: 1"));
    let line = gateway.log_contains("applies with the gateway's next start");
    assert!(line.contains("server.port"), "{line}");
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "fine");
    gateway.stop();
}

#[test]
fn new_tenant_of_a_removed_ones_name_meets_nothing_of_it() {
    let body = "echo mine >> note; echo $(cat note) > \"$here/seen\"; answer fine; idle";
    let (mut gateway, fake) = start(body, |it| it);
    let ask = |gateway: &Gateway, key: &str| {
        let headers = [("x-api-key", key), ("idempotency-key", "one")];
        let client = gateway.client();
        let answer = client.post("/v1/messages", &headers, &prompt("x"));
        assert_eq!(answer.answer_text(), "fine");
        answer.header("x-ccgw-repeat").map(str::to_owned)
    };
    let own = key_of("alpha");
    assert_eq!(ask(&gateway, &own), None);
    let both = config(&gateway);
    let alpha = both.find("  - name: alpha").unwrap();
    let beta = both.find("  - name: beta").unwrap();
    let without = both[..alpha].to_owned() + &both[beta..];
    // Who comes back with the key that it had finds what is its own.
    replace(&gateway, &without);
    gateway.log_contains("tenant alpha removed");
    replace(&gateway, &both);
    gateway.log_contains("tenant alpha added");
    assert_eq!(ask(&gateway, &own).as_deref(), Some("stored"));
    // Somebody else does not.
    replace(&gateway, &without);
    gateway.log_contains("configuration reloaded number=3");
    replace(&gateway, &both.replace(&own, "another-key-of-alpha"));
    gateway.log_contains("configuration reloaded number=4");
    let aside = gateway.log_contains("what was private of that one is kept aside");
    assert_eq!(ask(&gateway, "another-key-of-alpha"), None);
    assert_eq!(fake.note("seen"), "mine\n");
    // And nothing was deleted.
    let removed = gateway.dir.path().join("state/removed");
    let kept = fs::read_dir(&removed).unwrap().next().unwrap().unwrap();
    assert!(aside.contains(kept.path().to_str().unwrap()), "{aside}");
    assert!(kept.path().join("workspace/note").exists());
    // What it says and does from now on is its own.
    gateway.restart_after("TERM");
    assert_eq!(ask(&gateway, "another-key-of-alpha"), None);
    assert_eq!(fake.note("seen"), "mine mine\n");
}

#[test]
fn job_of_a_removed_tenant_does_not_run_as_its_successor() {
    let body = "echo x >> \"$here/runs\"; read -r _ < \"$here/gate\"; answer fine; idle";
    let (gateway, fake) = start(body, |it| it.set("cli", "max_concurrent: 1"));
    let mut gate = fake.gate();
    let running = gateway.send("beta", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.note("runs") == "x\n");
    let old = gateway.send("alpha", &prompt("of the old one"));
    wait_until(PATIENCE, "its place in the queue", || {
        gateway.health()["queued"] == 1
    });
    let own = key_of("alpha");
    let both = config(&gateway);
    let alpha = both.find("  - name: alpha").unwrap();
    let beta = both.find("  - name: beta").unwrap();
    replace(&gateway, &(both[..alpha].to_owned() + &both[beta..]));
    gateway.log_contains("tenant alpha removed");
    replace(&gateway, &both.replace(&own, "another-key-of-alpha"));
    gateway.log_contains("tenant alpha added");
    let headers = [("x-api-key", "another-key-of-alpha")];
    let successors = gateway
        .client()
        .open("POST", "/v1/messages", &headers, Some(&prompt("x")));
    gate.let_through(3);
    assert_eq!(running.response().answer_text(), "fine");
    let refused = old.response();
    refused.assert_error(401, "authentication_error");
    assert!(refused.text().contains("no tenant has this key"));
    assert_eq!(successors.response().answer_text(), "fine");
    assert_eq!(fake.note("runs"), "x\nx\n");
    gateway.stop();
}

/// Without its tenants, and what is to stand in their place.
fn without_tenants(gateway: &Gateway, instead: &str) -> String {
    let text = config(gateway);
    text[..text.find("tenants:").unwrap()].to_owned() + instead
}

#[test]
fn last_tenant_that_is_taken_out_leaves_the_door_shut() {
    let (gateway, _fake) = start("answer fine; idle", |it| {
        it.set("server", "cors_origins: []")
    });
    replace(&gateway, &without_tenants(&gateway, "tenants: []\n"));
    gateway.log_contains("tenants alpha, beta removed");
    // It listens on loopback, where programs need no key without tenants; a web page may not ask.
    let answer = gateway.client().post("/v1/messages", &[], &prompt("x"));
    assert_eq!(answer.answer_text(), "fine");
    gateway.stop();

    let (gateway, _fake) = start("answer fine; idle", |it| it.without_host());
    replace(&gateway, &without_tenants(&gateway, "tenants: []\n"));
    gateway.log_contains("tenants alpha, beta removed");
    // It listens on all addresses.
    for headers in [&[][..], &[("x-api-key", key_of("alpha").as_str())]] {
        let answer = gateway.client().post("/v1/messages", headers, &prompt("x"));
        assert_eq!(answer.status, 401);
    }
    gateway.stop();
}

#[test]
fn file_that_lost_its_tenants_is_refused() {
    let (gateway, _fake) = start("answer fine; idle", |it| it);
    let whole = config(&gateway);
    let lost = [
        String::new(),
        without_tenants(&gateway, ""),
        without_tenants(&gateway, "tenants:\n"),
    ];
    for (number, text) in (1..).zip(lost) {
        replace(&gateway, &text);
        let line = gateway.log_contains(&format!(
            "not valid; the old one stays in force number={number}"
        ));
        assert!(line.contains("write `tenants: []`"), "{line}");
        assert_eq!(gateway.ask("beta", &prompt("x")).answer_text(), "fine");
        let without_key = gateway.client().post("/v1/messages", &[], &prompt("x"));
        assert_eq!(without_key.status, 401);
    }
    replace(&gateway, &whole);
    gateway.log_contains("configuration reloaded number=4 changes=none");
    gateway.stop();
}

#[test]
fn another_program_answers_from_the_next_request_on() {
    let (gateway, fake) = start(
        "begin old; read -r _ < \"$here/gate\"; end old; idle",
        |it| it,
    );
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.prompts().len() == 1);
    let dir = TempDir::new();
    let other = FakeCli::script(&dir, "answer new; idle");
    let [old, new] = [&fake, &other].map(|it| it.path().display().to_string());
    edit(&gateway, &old, &new);
    gateway.log_contains("changes=cli.bin");
    assert_eq!(gateway.ask("beta", &prompt("x")).answer_text(), "new");
    gate.let_through(1);
    assert_eq!(running.response().answer_text(), "old");

    edit(&gateway, &new, "/nowhere/claude");
    let line = gateway.log_contains("not valid; the old one stays in force");
    assert!(
        line.contains("/nowhere/claude is not an executable"),
        "{line}"
    );
    assert_eq!(gateway.ask("beta", &prompt("x")).answer_text(), "new");
    gateway.stop();
}

#[test]
fn limits_of_the_listener_apply_to_new_connections() {
    let (gateway, _fake) = start("answer fine; idle", |it| {
        it.set("server", "head_timeout: 600000")
    });
    edit(
        &gateway,
        "head_timeout: 600000",
        "head_timeout: 100\n  max_connections_per_ip: 2",
    );
    gateway.log_contains("server.max_connections_per_ip, server.head_timeout");
    let mut slow = gateway.client().connect();
    slow.send(b"GET /health HTTP/1.1\r\n").unwrap();
    assert_eq!(slow.response().status, 408);
    edit(&gateway, "head_timeout: 100", "head_timeout: 600000");
    gateway.log_contains("changes=server.head_timeout");
    let held = [gateway.client().connect(), gateway.client().connect()];
    wait_until(PATIENCE, "a third that is refused", || {
        gateway.client().get("/health", &[]).status == 429
    });
    drop(held);
    wait_until(PATIENCE, "room again", || {
        gateway.client().get("/health", &[]).status == 200
    });
    gateway.stop();
}

#[test]
fn what_is_known_of_a_credential_outlives_a_reload() {
    let limited = r#"printf '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%s,"rateLimitType":"five_hour"}}\n' $(($(date +%s) + 3600))
printf '{"type":"result","is_error":true,"api_error_status":429,"result":"You have hit your limit"}\n'; idle; exit 1"#;
    let (gateway, fake) = start(limited, |it| {
        it.tenant_env("alpha", "ANTHROPIC_API_KEY", "alphas-credential")
    });
    let ask = || {
        let answer = gateway.ask("alpha", &prompt("x"));
        assert_eq!(answer.status, 429, "{}", answer.text());
        answer.text().contains("known from an earlier request")
    };
    assert!(!ask());
    // Beta's key is none of alpha's business.
    edit(&gateway, &key_of("beta"), "another-key-of-beta");
    gateway.log_contains("tenant beta changed (api_key)");
    assert!(ask());
    assert_eq!(fake.prompts().len(), 1);
    // Another credential may have no limit.
    edit(&gateway, "alphas-credential", "another-credential");
    gateway.log_contains("tenant alpha changed (env)");
    assert!(!ask());
    assert_eq!(fake.prompts().len(), 2);
    gateway.stop();
}

#[test]
fn runs_keep_what_they_started_with_and_limits_change() {
    let body = "begin $MARKED; read -r _ < \"$here/gate\"; end $MARKED; idle";
    let (gateway, fake) = start(body, |it| {
        it.set("cli", "max_concurrent: 1")
            .tenant_env("alpha", "MARKED", "before")
    });
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.prompts().len() == 1);
    let queued = gateway.send("beta", &prompt("x"));
    wait_until(PATIENCE, "a queue", || gateway.health()["queued"] == 1);

    let text = config(&gateway).replace("max_concurrent: 1", "max_concurrent: 3");
    replace(&gateway, &text.replace("\"before\"", "\"after\""));
    gateway.log_contains("tenant alpha changed (env); cli.max_concurrent");
    // The one that waited has its place now, and so has another one.
    wait_until(PATIENCE, "two runs", || fake.prompts().len() == 2);
    let second = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a queue of alpha", || {
        gateway.health()["queued"] == 1
    });
    edit(
        &gateway,
        "max_concurrent: 3",
        "max_concurrent: 3\n  max_per_tenant: 2",
    );
    gateway.log_contains("changes=cli.max_per_tenant");
    wait_until(PATIENCE, "three runs", || fake.prompts().len() == 3);
    gate.let_through(3);
    assert_eq!(running.response().answer_text(), "before");
    assert_eq!(second.response().answer_text(), "after");
    assert_eq!(queued.response().status, 200);

    edit(
        &gateway,
        "max_concurrent: 3\n  max_per_tenant: 2",
        "max_concurrent: 1",
    );
    gateway.log_contains("cli.max_concurrent, cli.max_per_tenant");
    let first = gateway.send("alpha", &prompt("x"));
    let other = gateway.send("beta", &prompt("x"));
    wait_until(PATIENCE, "one of two", || {
        let health = gateway.health();
        health["running"] == 1 && health["queued"] == 1
    });
    gate.let_through(2);
    assert_eq!(first.response().answer_text(), "after");
    assert_eq!(other.response().status, 200);
    gateway.stop();
}

const RELOADS: usize = 1000;

#[test]
fn thousand_reloads_under_load_lose_no_request() {
    let (gateway, _fake) = start("answer fine; idle", |it| it.set("cli", "max_concurrent: 2"));
    let good = config(&gateway);
    let variants = [
        good.replace("max_concurrent: 2", "max_concurrent: 4"),
        good.replace("name: beta", "name: gamma"),
        format!("{good}    nonsense: 1\n"),
        good.clone(),
    ];
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "fine");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=RELOADS {
            replace(&gateway, &variants[number % variants.len()]);
            signal(gateway.pid(), "HUP");
            // The watcher may be first, and then takes a number of its own.
            gateway.log_contains(&format!(" number={number} "));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 0);
    gateway.stop();
}
