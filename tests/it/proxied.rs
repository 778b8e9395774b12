//! The gateway behind a proxy: it says when it is about to stop, and knows who asks through the proxy.

use std::time::Duration;

use crate::{
    fake_cli::FakeCli,
    gateway::{key_of, prompt},
    process::{signal, wait_until},
    setup::{Setup, manage},
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn gateway_that_is_about_to_stop_says_so_and_serves_on() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello");
    let mut gateway = Setup::with_cli(dir, fake.path())
        .set("server", "drain_delay: 600000")
        .start();
    assert_eq!(gateway.health()["status"], "ok");
    let said = manage(&gateway.dir, &["drain"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("nothing new in 600 s"), "{said}");
    gateway.log_contains("leaving: /health says so");
    let health = gateway.client().get("/health", &[]);
    assert_eq!(health.status, 503, "{}", health.text());
    assert_eq!(health.json()["status"], "draining");
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "hello");
    // A signal now does not wait any longer.
    signal(gateway.pid(), "TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn gateway_stops_by_itself_after_its_delay() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("server", "drain_delay: 1")
        .start();
    gateway.stop();
}

#[test]
fn wrong_keys_are_counted_for_the_proxys_client_and_not_for_the_proxy() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("server", "proxy_protocol_from: [127.0.0.0/8]")
        .start();
    let ask = |client: &str, key: &str| {
        let mut connection = gateway.client().connect();
        let body = prompt("x").to_string();
        let request = format!(
            "PROXY TCP4 {client} 10.0.0.1 4711 80\r\nPOST /v1/messages HTTP/1.1\r\nhost: x\r\n\
             x-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // It may be refused before all of it has left.
        let _ = connection.send(request.as_bytes());
        connection.next_response().status
    };
    wait_until(PATIENCE, "too many wrong keys", || {
        ask("10.1.2.3", "wrong") == 429
    });
    assert_eq!(ask("10.1.2.3", &key_of("alpha")), 429);
    assert_eq!(ask("10.1.2.4", &key_of("alpha")), 200);
    gateway.log_contains("peer=10.1.2.3:4711");
    gateway.stop();
}
