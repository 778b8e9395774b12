//! Requests in every framing, on connections that live on or end.

use super::*;

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn connection_serves_one_request_after_the_other() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    for path in ["/a", "/b", "/c"] {
        client.send(get(path));
        assert_eq!(client.answer(), ok(&format!("GET {path} ")));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    let rejected = "GET /no HTTP/1.1\r\nHost: x\r\nX-Key: bad\r\n\r\n";
    let small = "POST /no HTTP/1.1\r\nHost: x\r\nX-Key: bad\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..20 {
        let body = post("Content-Length: 3\r\n", "abc");
        let chunked = post("Transfer-Encoding: chunked\r\n", "2\r\nde\r\n0\r\n\r\n");
        client.send([&get("/1"), rejected, &body, small, &chunked, &get("/2")].concat());
    }
    for _ in 0..20 {
        assert_eq!(client.answer(), ok("GET /1 "));
        assert_eq!(client.answer(), (401, "no".to_owned()));
        assert_eq!(client.answer(), ok("POST /a abc"));
        assert_eq!(client.answer(), (401, "no".to_owned()));
        assert_eq!(client.answer(), ok("POST /a de"));
        assert_eq!(client.answer(), ok("GET /2 "));
    }
}

#[test]
fn request_may_come_byte_by_byte() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    let chunked = post(
        "Transfer-Encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    );
    for byte in chunked.bytes().chain(get("/b").bytes()) {
        client.send([byte]);
    }
    assert_eq!(client.answer(), ok("POST /a abc"));
    assert_eq!(client.answer(), ok("GET /b "));
}

#[test]
fn large_bodies_arrive_whole() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    let body = "x".repeat(3_000_000);
    client.send(post("Content-Length: 3000000\r\n", &body));
    assert_eq!(client.answer(), ok("POST /a 3000000"));
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    client.send(post("Transfer-Encoding: chunked\r\n", &chunks));
    assert_eq!(client.answer(), ok("POST /a 3000000"));
}

#[test]
fn large_answer_leaves_as_the_client_reads_it() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send(get("/big") + &get("/after"));
    let (status, body) = client.answer();
    assert_eq!((status, body.len()), (200, 8 << 20));
    assert_eq!(client.answer(), ok("GET /after "));
}

#[test]
fn head_request_gets_the_head_only() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned() + &get("/b"));
    assert_eq!(client.head(), "HTTP/1.1 200 OK\r\nContent-Length: 8");
    assert_eq!(client.answer(), ok("GET /b "));
}

#[test]
fn http_1_0_connection_ends_unless_asked_to_stay() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(client.head().contains("\r\nConnection: keep-alive"));
    assert_eq!(client.exactly(7), "GET /a ");
    client.send("GET /b HTTP/1.0\r\n\r\n");
    assert!(client.head().contains("\r\nConnection: close"));
    assert_eq!(client.rest().unwrap(), "GET /b ");
}

#[test]
fn connection_close_is_honoured() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    let close = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.send(close.to_owned() + &get("/never"));
    assert!(client.head().contains("\r\nConnection: close"));
    assert_eq!(client.rest().unwrap(), "GET /a ");
}

#[test]
fn client_that_expects_it_is_told_to_continue() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send(post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""));
    assert_eq!(client.head(), "HTTP/1.1 100 Continue");
    client.send("abc");
    assert_eq!(client.answer(), ok("POST /a abc"));
    client.send(get("/b"));
    assert_eq!(client.answer(), ok("GET /b "));
}

#[test]
fn client_is_not_told_to_continue_in_vain() {
    #[track_caller]
    fn check(headers: &str, expect: u16) {
        let listener = start_echo(Limits::default());
        let mut client = connect(&listener);
        client.send(post(&format!("{headers}Expect: 100-continue\r\n"), ""));
        assert_eq!(client.answer().0, expect);
        client.expect_end();
    }
    check("X-Key: bad\r\nContent-Length: 3\r\n", 401);
    check("Content-Length: 100000000\r\n", 413);
    check("X-Key: bad\r\nTransfer-Encoding: chunked\r\n", 401);
}

#[test]
fn request_without_an_answer_gets_500() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    for path in ["/drop", "/panic"] {
        client.send(get(path));
        assert_eq!(client.answer().0, 500, "{path}");
    }
    client.send(get("/a"));
    assert_eq!(client.answer(), ok("GET /a "));
}

#[test]
fn panic_of_the_admission_check_gets_500_and_the_loop_lives() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Key: panic\r\n\r\n");
    assert_eq!(client.answer().0, 500);
    client.expect_end();
    let mut client = connect(&listener);
    client.send(get("/a"));
    assert_eq!(client.answer(), ok("GET /a "));
}

#[test]
fn malformed_request_is_answered_once_and_ends_the_connection() {
    #[track_caller]
    fn check(listener: &Listener, input: &str, expect: u16) {
        let name: String = input.chars().take(80).collect();
        let mut client = connect(listener);
        // What follows must not be taken for a second request.
        client.send(input.to_owned() + &get("/smuggled"));
        let head = client.head();
        assert_eq!(status(&head), expect, "{name:?}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert!(
            !client.rest().unwrap().contains("\r\n\r\n"),
            "{name:?} was answered twice"
        );
    }
    let listener = start_echo(Limits::default());
    let both = "Content-Length: 40\r\nTransfer-Encoding: chunked\r\n";
    check(&listener, &post(both, "0\r\n\r\n"), 400);
    check(
        &listener,
        &post("Content-Length: 3\r\nContent-Length: 30\r\n", "abc"),
        400,
    );
    check(&listener, &post("Content-Length: -1\r\n", ""), 400);
    check(&listener, &post("Content-Length : 3\r\n", "abc"), 400);
    check(
        &listener,
        &post("Transfer-Encoding: xchunked\r\n", "abc"),
        501,
    );
    check(
        &listener,
        &post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n"),
        400,
    );
    check(
        &listener,
        &post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
        400,
    );
    check(
        &listener,
        &post("Transfer-Encoding: chunked\r\n", "fffffffffffffff\r\n"),
        413,
    );
    check(
        &listener,
        &post("Expect: 200-ok\r\nContent-Length: 3\r\n", "abc"),
        417,
    );
    check(&listener, "GET /a HTTP/1.1\nHost: x\n\n", 400);
    check(&listener, "GET /a HTTP/1.1\r\n\r\n", 400);
    check(
        &listener,
        "GET /a HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
        400,
    );
    check(&listener, "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n", 400);
    check(&listener, "\0", 400);
    check(&listener, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check(&listener, "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501);
    check(
        &listener,
        &format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000)),
        414,
    );
    check(&listener, &"A".repeat(40_000), 414);
    check(&listener, &post(&"A: b\r\n".repeat(200), ""), 431);
    check(
        &listener,
        &post(&format!("A: {}\r\n", "b".repeat(40_000)), ""),
        431,
    );
}

#[test]
fn body_of_a_get_request_is_never_kept() {
    #[track_caller]
    fn check(headers: &str, body: &str, expect: u16) {
        let listener = start_echo(Limits::default());
        let mut client = connect(&listener);
        client.send(format!("GET /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}"));
        assert_eq!(client.answer().0, expect);
    }
    check("Content-Length: 3\r\n", "abc", 413);
    check("Content-Length: 30000000\r\n", "", 413);
    check(
        "Transfer-Encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        413,
    );
    check("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", 200);
    check("Content-Length: 0\r\n", "", 200);
}

#[test]
fn giant_length_is_refused_and_the_listener_lives() {
    let listener = start_echo(Limits::default());
    for length in [
        "100000000000",
        "18446744073709551615",
        "99999999999999999999999999",
    ] {
        let mut client = connect(&listener);
        client.send(post(&format!("Content-Length: {length}\r\n"), ""));
        assert_eq!(client.answer().0, 413);
        client.expect_end();
    }
    let mut client = connect(&listener);
    client.send(get("/a"));
    assert_eq!(client.answer(), ok("GET /a "));
}

#[test]
fn rejected_request_with_a_small_body_keeps_its_connection() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    // The answer comes before the body does.
    client.send(post("X-Key: bad\r\nContent-Length: 65536\r\n", ""));
    assert_eq!(client.answer(), (401, "no".to_owned()));
    client.send("x".repeat(65_536) + &get("/a"));
    assert_eq!(client.answer(), ok("GET /a "));
}

#[test]
fn rejected_request_with_a_large_body_gets_its_answer_and_no_reset() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    client.send(post(
        "X-Key: bad\r\nContent-Length: 200000\r\n",
        &"x".repeat(200_000),
    ));
    let head = client.head();
    assert_eq!(status(&head), 401);
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert_eq!(client.rest().unwrap(), "no");
}

#[test]
fn full_queue_is_503_and_the_connection_lives_on() {
    let server = start_with(Limits::default(), 1);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.send(get("/a"));
    }
    // Whichever came second has no place in the queue.
    let refused = &mut clients[first_readable(&clients)];
    let head = refused.head();
    assert_eq!(status(&head), 503);
    assert!(
        head.contains("\r\nRetry-After: 1") && !head.contains("Connection"),
        "{head}"
    );
    let length = head.rsplit(": ").next().unwrap().parse().unwrap();
    refused.exactly(length);
    drop(server.next_request());
    refused.send(get("/b"));
    assert_eq!(server.next_request().head.path(), "/b");
}

#[test]
fn connection_ends_after_a_thousand_requests() {
    let listener = start_echo(Limits::default());
    let mut client = connect(&listener);
    let rejected = "GET /no HTTP/1.1\r\nHost: x\r\nX-Key: bad\r\n\r\n";
    for _ in 0..999 {
        client.send(rejected);
        assert!(!client.head().contains("Connection: close"));
        client.exactly(2);
    }
    client.send(get("/last"));
    assert!(client.head().contains("Connection: close"));
    assert_eq!(client.rest().unwrap(), "GET /last ");
}
