//! Connections that break the rules, stay too long or are too many: cut, and the rest goes on.

use std::time::Duration;

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, key_of, prompt},
    http_input::{chunked_post, raw, start},
    process::{resident_kib, wait_until},
    setup::Setup,
    temp::TempDir,
};

/// Far below the sizes that the hostile requests here announce.
const MEMORY_LIMIT_KIB: u64 = 32 * 1024;

#[test]
fn broken_framing_is_refused_and_closed() {
    let gateway = start(|setup| setup);
    #[track_caller]
    fn check(gateway: &Gateway, request: &str, statuses: &[u16]) {
        let mut connection = gateway.client().connect();
        // The refusal may come before all is sent.
        let _ = connection.send(request.as_bytes());
        let text = String::from_utf8(connection.read_to_close()).unwrap();
        let status = text
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .unwrap_or_default();
        assert!(statuses.contains(&status), "{request:.200?} got {text:?}");
        // One head, one end of a head: a smuggled second answer would bring its own.
        assert_eq!(
            text.matches("\r\n\r\n").count(),
            1,
            "more than one answer: {text:?}"
        );
    }
    let post = |headers: &str, body: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n{headers}\r\n{body}",
            key_of("alpha")
        )
    };
    let cases: [(String, &[u16]); 22] = [
        (
            post(
                "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[400],
        ),
        (
            post("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
            &[400],
        ),
        (post("content-length: 5, 6\r\n", "hello"), &[400]),
        (post("content-length: -5\r\n", "hello"), &[400]),
        (post("content-length: +5\r\n", "hello"), &[400]),
        (post("content-length: 0x5\r\n", "hello"), &[400]),
        (
            post("content-length: 99999999999999999999999\r\n", ""),
            &[400, 413],
        ),
        (post("content-length: 100000000000\r\n", ""), &[413]),
        (post("content-length: 34603008\r\n", ""), &[413]),
        (
            post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[400, 501],
        ),
        (
            post("transfer-encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            post("transfer-encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"),
            &[400],
        ),
        (
            post("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            &[400, 413],
        ),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), &[400]),
        ("GET /health HTTP/1.1\nhost: x\n\n".to_owned(), &[400]),
        (
            "GET /health HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n".to_owned(),
            &[400],
        ),
        (
            "GET /health HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n".to_owned(),
            &[400],
        ),
        ("GET /health HTTP/1.1\r\n\r\n".to_owned(), &[400]),
        (
            "GET /health HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(),
            &[400],
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[400, 505]),
        (
            format!(
                "GET /health HTTP/1.1\r\nhost: x\r\na: {}",
                "x".repeat(200_000)
            ),
            &[431],
        ),
    ];
    for (request, statuses) in &cases {
        check(&gateway, request, statuses);
    }
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    let resident = resident_kib(gateway.pid());
    assert!(resident < MEMORY_LIMIT_KIB, "{resident} KiB");
}

#[test]
fn chunked_bodies_and_expect_are_understood() {
    let gateway = start(|setup| setup);
    let body = prompt("hi").to_string();
    let (first, second) = body.split_at(10);
    let mut request = chunked_post();
    request += &format!(
        "{:x}\r\n{first}\r\n{:X};ext=1\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert_eq!(raw(&gateway, request.as_bytes()).answer_text(), "hello");

    let mut connection = gateway.client().connect();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        key_of("alpha"),
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.next_response().status, 100);
    connection.send(body.as_bytes()).unwrap();
    assert_eq!(connection.response().answer_text(), "hello");
}

#[test]
fn connection_serves_several_requests_in_their_order() {
    let gateway = start(|setup| setup);
    let mut connection = gateway.client().connect();
    connection
        .send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(connection.next_response().status, 200);
    assert_eq!(connection.next_response().status, 404);
    connection
        .send(b"HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(connection.read_to_close()).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "a HEAD answer has no body: {head:?}"
    );
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let gateway = start(|setup| setup);
    let mut connection = gateway.client().connect();
    connection.send(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let text = String::from_utf8(connection.read_to_close()).unwrap();
    assert!(
        text.starts_with("HTTP/1.") && text.contains(" 200 ") && !text.contains("chunked"),
        "{text}"
    );
}

#[test]
fn slow_sender_is_cut_at_the_deadline_while_others_are_served() {
    let gateway = start(|setup| {
        setup
            .set("server", "head_timeout: 1000")
            .set("server", "max_connections_per_ip: 1000")
    });
    let mut slow: Vec<_> = (0..500).map(|_| gateway.client().connect()).collect();
    for byte in "GET /he".as_bytes().chunks(1) {
        for connection in &mut slow {
            // A connection that is cut already is what this is about.
            let _ = connection.send(byte);
        }
        gateway.health();
    }
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    for connection in slow {
        // Only the deadline can end it: it never says that it is finished.
        let text = String::from_utf8(connection.read_to_close()).unwrap();
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 408 "),
            "{text}"
        );
    }
}

#[test]
fn slow_body_is_cut_at_the_deadline() {
    let gateway = start(|setup| setup.set("server", "body_timeout: 500"));
    let mut connection = gateway.client().connect();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: 100\r\n\r\n{{",
        key_of("alpha")
    );
    connection.send(head.as_bytes()).unwrap();
    let text = String::from_utf8(connection.read_to_close()).unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text:?}");
}

#[test]
fn too_many_connections_of_one_address_are_refused_and_others_go_on() {
    let gateway = start(|setup| setup.set("server", "max_connections_per_ip: 10"));
    let mut first = gateway.client().open("GET", "/health", &[], None);
    assert_eq!(first.next_response().status, 200);
    let held: Vec<_> = (0..30).map(|_| gateway.client().connect()).collect();
    first
        .send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(first.next_response().status, 200);
    drop(held);
    wait_until(Duration::from_secs(30), "a free place", || {
        let mut connection = gateway.client().connect();
        let sent = connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        sent.is_ok() && connection.read_to_close().starts_with(b"HTTP/1.1 200 ")
    });
}

#[test]
fn daemon_survives_more_connections_than_file_descriptors() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let setup = Setup::with_cli(dir, fake.path())
        .set("server", "max_connections_per_ip: 10000")
        .set("server", "max_connections: 10000");
    let gateway = setup.files_limit(96).start();
    gateway.log_contains("the limit on open files is too low");
    let mut first = gateway.client().open("GET", "/health", &[], None);
    assert_eq!(first.next_response().status, 200);
    let held: Vec<_> = (0..400).map(|_| gateway.client().connect()).collect();
    // The flood stands, and a run has all the descriptors it needs.
    let body = prompt("hi").to_string();
    let ask = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        key_of("alpha"),
        body.len()
    );
    first.send(ask.as_bytes()).unwrap();
    assert_eq!(first.next_response().status, 200);
    drop(held);
    wait_until(Duration::from_secs(30), "an answer after the flood", || {
        let mut connection = gateway.client().connect();
        let sent = connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        sent.is_ok() && connection.read_to_close().starts_with(b"HTTP/1.1 200 ")
    });
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
}

#[test]
fn daemon_whose_runs_cannot_have_their_files_says_so_and_ends() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let setup = Setup::with_cli(dir, fake.path()).set("cli", "max_concurrent: 64");
    let output = setup.files_limit(256).command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let expect = "64 runs at a time (cli.max_concurrent) need 424 open files, and the limit is 256";
    assert!(said.contains(expect), "{said}");
}

#[test]
fn client_that_leaves_in_any_phase_harms_nobody() {
    let gateway = start(|setup| setup.set("cli", "warm: off"));
    let body = prompt("hi").to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        key_of("alpha"),
        body.len()
    );
    for end in (0..request.len()).step_by(7).chain([request.len()]) {
        let mut connection = gateway.client().connect();
        connection.send(&request.as_bytes()[..end]).unwrap();
        if end % 2 == 0 {
            connection.finish_sending();
        }
    }
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    wait_until(Duration::from_secs(30), "the end of all runs", || {
        gateway.processes_of("alpha").is_empty()
    });
    gateway.stop();
}
