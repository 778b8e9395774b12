//! How answers look on the wire.

use super::*;
use crate::http::head::parse;

fn request(line: &str) -> Head {
    parse(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()).unwrap()
}

#[track_caller]
fn check(response: &Response, line: &str, then: Persistence, expect: &str) {
    let mut out = Vec::new();
    response.encode(&mut out, Some(&request(line)), then);
    assert_eq!(String::from_utf8(out).unwrap(), expect);
}

#[test]
fn whole_answer_has_its_length() {
    let response = Response::new(200).header("A", "b").body(b"hi".as_slice());
    let text = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi";
    check(&response, "GET / HTTP/1.1", Persistence::Keep, text);
    let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nA: b\r\nContent-Length: 2\r\n\r\nhi";
    check(&response, "GET / HTTP/1.1", Persistence::Close, text);
    check(&response, "GET / HTTP/1.0", Persistence::Close, text);
    let text = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\nContent-Length: 2\r\n\r\nhi";
    check(&response, "GET / HTTP/1.0", Persistence::Keep, text);
    let text = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n";
    check(&response, "HEAD / HTTP/1.1", Persistence::Keep, text);
}

#[test]
fn answer_without_content_has_no_length() {
    let response = Response::new(204).body(b"hi".as_slice());
    let text = "HTTP/1.1 204 No Content\r\n\r\n";
    check(&response, "GET / HTTP/1.1", Persistence::Keep, text);
}

#[test]
fn interim_and_impossible_statuses_become_500() {
    for status in [0, 100, 101, 199, 600, 1000] {
        let text = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        check(
            &Response::new(status),
            "GET / HTTP/1.1",
            Persistence::Keep,
            text,
        );
    }
}

#[test]
fn headers_that_would_split_or_reframe_the_answer_are_left_out() {
    let response = Response::new(200)
        .header("A", "b\r\nC: d")
        .header("A", "b\nC: d")
        .header("A", "b\0")
        .header("A\r\nB", "c")
        .header("A B", "c")
        .header("", "c")
        .header("content-length", "7")
        .header("Transfer-Encoding", "chunked")
        .header("Connection", "upgrade")
        .header("Tab", "a\tb\u{e9}");
    let text = "HTTP/1.1 200 OK\r\nTab: a\tb\u{e9}\r\nContent-Length: 0\r\n\r\n";
    check(&response, "GET / HTTP/1.1", Persistence::Keep, text);
}

#[track_caller]
fn check_stream(line: &str, expect: &str, framing: StreamFraming, then: Persistence) {
    let head = stream_head(
        &request(line),
        200,
        &[("A", "b"), ("C", "d\r\n")],
        Persistence::Keep,
    );
    assert_eq!(String::from_utf8(head.bytes).unwrap(), expect);
    assert_eq!((head.framing, head.then), (framing, then));
}

#[test]
fn stream_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0() {
    let chunked = "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_stream(
        "GET / HTTP/1.1",
        chunked,
        StreamFraming::Chunked,
        Persistence::Keep,
    );
    check_stream(
        "HEAD / HTTP/1.1",
        chunked,
        StreamFraming::HeadOnly,
        Persistence::Keep,
    );
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nA: b\r\n\r\n";
    check_stream(
        "GET / HTTP/1.0",
        closing,
        StreamFraming::UntilClose,
        Persistence::Close,
    );
}
