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
    assert!(line.contains("tenant alpha changed"), "{line}");
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
    let line = gateway.log_contains("applies with the next start");
    assert!(line.contains("server.port"), "{line}");
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "fine");
    gateway.stop();
}

#[test]
fn last_tenant_that_goes_leaves_the_door_shut() {
    let (gateway, _fake) = start("answer fine; idle", |it| {
        it.set("server", "cors_origins: []")
    });
    let text = config(&gateway);
    let without = &text[..text.find("tenants:").unwrap()];
    replace(&gateway, without);
    gateway.log_contains("tenants alpha, beta removed");
    // It listens on loopback, where programs need no key without tenants; a web page may not ask.
    let answer = gateway.client().post("/v1/messages", &[], &prompt("x"));
    assert_eq!(answer.answer_text(), "fine");
    gateway.stop();

    let (gateway, _fake) = start("answer fine; idle", |it| it.without_host());
    let text = config(&gateway);
    replace(&gateway, &text[..text.find("tenants:").unwrap()]);
    gateway.log_contains("tenants alpha, beta removed");
    // It listens on all addresses.
    for headers in [&[][..], &[("x-api-key", key_of("alpha").as_str())]] {
        let answer = gateway.client().post("/v1/messages", headers, &prompt("x"));
        assert_eq!(answer.status, 401);
    }
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
    gateway.log_contains("tenant alpha changed; cli.max_concurrent");
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
