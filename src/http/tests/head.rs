//! What the head parser takes and refuses, whole and in pieces.

use super::*;

const MAX: usize = 32 * 1024;

/// `Ok`: where the head ends and what it says. `Err`: the status and the message.
fn read(pieces: &[&[u8]]) -> Result<Option<(usize, String)>, (u16, String)> {
    let mut scanner = Scanner::default();
    let mut so_far = Vec::new();
    for piece in pieces {
        so_far.extend_from_slice(piece);
        let found = scanner.find_end(&so_far, MAX);
        if let Some(place) = found.map_err(|r| (r.status, r.message.into_owned()))? {
            let end = place.end;
            let head = parse(&so_far[place]).map_err(|r| (r.status, r.message.into_owned()))?;
            return Ok(Some((end, describe(&head))));
        }
    }
    Ok(None)
}

fn describe(head: &Head) -> String {
    format!(
        "{} {} {:?} {:?} {:?} {:?}",
        head.method(),
        head.path(),
        head.version(),
        head.framing,
        head.persistence,
        head.expectation
    )
}

/// Whole, split in two at every place, and byte by byte, an input must mean the same.
#[track_caller]
fn read_every_way(input: &[u8]) -> Result<Option<(usize, String)>, (u16, String)> {
    let whole = read(&[input]);
    for at in 1..input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(read(&[a, b]), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(&bytes), whole, "byte by byte");
    whole
}

#[track_caller]
fn check(input: &str, expect: &str) {
    match read_every_way(input.as_bytes()) {
        Ok(Some((end, description))) => {
            assert_eq!(description, expect);
            assert_eq!(end, input.len());
        }
        other => panic!("{input:?} gave {other:?}"),
    }
}

#[track_caller]
fn check_refused(input: impl AsRef<[u8]>, status: u16, message: &str) {
    match read_every_way(input.as_ref()) {
        Err(refusal) => {
            assert_eq!(refusal.0, status, "{}", refusal.1);
            assert!(refusal.1.contains(message), "{}", refusal.1);
        }
        other => panic!(
            "{:?} gave {other:?}",
            input.as_ref().escape_ascii().to_string()
        ),
    }
}

/// A request with these header lines besides Host.
fn with(headers: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

#[test]
fn request_line_is_taken_apart() {
    check(
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        "GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a/b Http11 Empty Keep Nothing",
    );
    check(
        "GET /? HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / Http11 Empty Keep Nothing",
    );
    check(
        "get /%41 HTTP/1.1\r\nHost: x\r\n\r\n",
        "get /%41 Http11 Empty Keep Nothing",
    );
    check(
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * Http11 Empty Keep Nothing",
    );
    check(
        "GET //a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET //a Http11 Empty Keep Nothing",
    );
}

#[test]
fn absolute_target_gives_its_path() {
    check(
        "GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        "GET HTTPS://x:8/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / Http11 Empty Keep Nothing",
    );
    check(
        "GET http://x?a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / Http11 Empty Keep Nothing",
    );
    check(
        "GET http://[::1]:8/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
}

#[test]
fn bad_request_line_is_refused() {
    let refused = |line: &str, status, message| {
        check_refused(format!("{line}\r\nHost: x\r\n\r\n"), status, message);
    };
    refused("GET http:///a HTTP/1.1", 400, "valid host");
    refused("GET http://user@x/a HTTP/1.1", 400, "valid host");
    refused("GET ftp://x/a HTTP/1.1", 400, "begin with /");
    refused("GET a HTTP/1.1", 400, "begin with /");
    refused("GET * HTTP/1.1", 400, "only for OPTIONS");
    refused("GET /a#b HTTP/1.1", 400, "percent-encoded");
    refused("GET /\u{e9} HTTP/1.1", 400, "percent-encoded");
    refused("GET /\u{7f} HTTP/1.1", 400, "");
    refused("GET /\t HTTP/1.1", 400, "");
    refused("GET  /a HTTP/1.1", 400, "request line");
    refused("GET /a  HTTP/1.1", 400, "request line");
    refused("GET /a HTTP/1.1 ", 400, "request line");
    refused(" GET /a HTTP/1.1", 400, "request line");
    refused("G\u{e9}T /a HTTP/1.1", 400, "request line");
    refused("G(T /a HTTP/1.1", 400, "request line");
    refused("GET /a", 400, "request line");
    refused("GET", 400, "request line");
    refused("GET /a HTTQ/1.1", 400, "request line");
    refused("GET /a http/1.1", 400, "request line");
    refused("GET /a HTTP/", 400, "request line");
    refused("CONNECT x:443 HTTP/1.1", 501, "CONNECT");
    refused("CONNECT /a HTTP/1.1", 501, "CONNECT");
}

#[test]
fn other_versions_are_refused() {
    check_refused("GET /a HTTP/2.0\r\nHost: x\r\n\r\n", 505, "use HTTP/1.1");
    check_refused("GET /a HTTP/1.2\r\nHost: x\r\n\r\n", 505, "use HTTP/1.1");
    check_refused("GET /a HTTP/0.9\r\nHost: x\r\n\r\n", 505, "use HTTP/1.1");
    check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "use HTTP/1.1");
}

#[test]
fn line_ends_are_strict() {
    check_refused("GET /a HTTP/1.1\nHost: x\n\n", 400, "LF without CR");
    check_refused("GET /a HTTP/1.1\r\nHost: x\n\r\n", 400, "LF without CR");
    check_refused("GET /a HTTP/1.1\r\nHost: x\r\n\n", 400, "LF without CR");
    check_refused(
        "GET /a HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        400,
        "CR without LF",
    );
    check_refused("GET /a HTTP/1.1\r\nHost: x\r\r\n\r\n", 400, "CR without LF");
    check_refused("\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "LF without CR");
}

#[test]
fn empty_lines_before_a_request_are_skipped_up_to_a_bound() {
    let request = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    check(
        &format!("\r\n{request}"),
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        &format!("{}{request}", "\r\n".repeat(4)),
        "GET /a Http11 Empty Keep Nothing",
    );
    check_refused(format!("{}{request}", "\r\n".repeat(5)), 400, "empty lines");
    assert_eq!(read_every_way(b"\r\n\r\n"), Ok(None));
}

#[test]
fn headers_are_strict() {
    check_refused(with("A : b\r\n"), 400, "header name");
    check_refused(with("A: b\r\n c\r\n"), 400, "folded");
    check_refused(with("A: b\r\n\tc\r\n"), 400, "folded");
    check_refused(with(": b\r\n"), 400, "header name");
    check_refused(with("A\r\n"), 400, "header name");
    check_refused(with("A(: b\r\n"), 400, "header name");
    check_refused(with("\u{e9}: b\r\n"), 400, "header name");
    check_refused(with("A: b\0c\r\n"), 400, "NUL");
    check_refused(with("A: b\u{1}c\r\n"), 400, "control character");
    check_refused(with("A: b\u{7f}c\r\n"), 400, "control character");
    check_refused(
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: \xe9\r\n\r\n",
        400,
        "UTF-8",
    );
    check_refused("GET /a HTTP/1.1\r\n Host: x\r\n\r\n", 400, "folded");
}

#[test]
fn host_is_required_once_and_must_be_one() {
    check(
        "GET /a HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        "GET /a HTTP/1.1\r\nhOST: [::1]:80\r\n\r\n",
        "GET /a Http11 Empty Keep Nothing",
    );
    check(
        "GET /a HTTP/1.0\r\n\r\n",
        "GET /a Http10 Empty Close Nothing",
    );
    check_refused("GET /a HTTP/1.1\r\n\r\n", 400, "no Host");
    check_refused(
        "GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        400,
        "more than one Host",
    );
    check_refused(
        "GET /a HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
        400,
        "more than one Host",
    );
    check_refused(
        "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        400,
        "not a host name",
    );
    check_refused(
        "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
        400,
        "not a host name",
    );
    check_refused(
        "GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n",
        400,
        "not a host name",
    );
}

#[test]
fn framing_is_unambiguous() {
    let huge = u64::MAX;
    check(
        &with("Content-Length: 0\r\n"),
        "POST /a Http11 Empty Keep Nothing",
    );
    check(
        &with("content-length:  3 \r\n"),
        "POST /a Http11 Length(3) Keep Nothing",
    );
    check(
        &with("Content-Length: 003\r\n"),
        "POST /a Http11 Length(3) Keep Nothing",
    );
    check(
        &with("Content-Length: 99999999999999999999999\r\n"),
        &format!("POST /a Http11 Length({huge}) Keep Nothing"),
    );
    check(
        &with("Transfer-Encoding: Chunked\r\n"),
        "POST /a Http11 Chunked Keep Nothing",
    );
    for length in [
        "+3", "-1", "3, 3", "3,3", "0x3", "3 3", "", "\u{663}", "3.0", "1e3",
    ] {
        let head = with(&format!("Content-Length: {length}\r\n"));
        check_refused(head, 400, "plain decimal");
    }
    let two = "Content-Length: 3\r\nContent-Length: 3\r\n";
    check_refused(with(two), 400, "more than one Content-Length");
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    check_refused(with(both), 400, "both");
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n";
    check_refused(with(both), 400, "both");
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    check_refused(with(twice), 400, "more than one Transfer-Encoding");
    for coding in [
        "xchunked",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "",
        "chunked;a=b",
    ] {
        let head = with(&format!("Transfer-Encoding: {coding}\r\n"));
        check_refused(head, 501, "exactly: chunked");
    }
    let old = "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_refused(old, 400, "HTTP/1.0");
}

#[test]
fn persistence_follows_version_and_connection_options() {
    let new = |value: &str| with(&format!("Connection: {value}\r\n"));
    let old = |value: &str| format!("GET /a HTTP/1.0\r\nConnection: {value}\r\n\r\n");
    check(&new("close"), "POST /a Http11 Empty Close Nothing");
    check(&new("x, Close"), "POST /a Http11 Empty Close Nothing");
    check(
        &new("keep-alive, close"),
        "POST /a Http11 Empty Close Nothing",
    );
    check(&new("closed"), "POST /a Http11 Empty Keep Nothing");
    check(
        &new("keep-alive\r\nConnection: close"),
        "POST /a Http11 Empty Close Nothing",
    );
    check(&old("keep-alive"), "GET /a Http10 Empty Keep Nothing");
    check(&old("x"), "GET /a Http10 Empty Close Nothing");
}

#[test]
fn compressed_bodies_are_refused_with_the_reason() {
    let coded = |coding: &str| {
        with(&format!(
            "Content-Length: 3\r\nContent-Encoding: {coding}\r\n"
        ))
    };
    check(&coded("Identity"), "POST /a Http11 Length(3) Keep Nothing");
    check_refused(coded("gzip"), 415, "Content-Encoding");
}

#[test]
fn only_100_continue_may_be_expected() {
    let body = "Content-Length: 3\r\n";
    check(
        &with(&format!("Expect: 100-Continue\r\n{body}")),
        "POST /a Http11 Length(3) Keep Continue",
    );
    check_refused(
        with(&format!("Expect: 200-ok\r\n{body}")),
        417,
        "100-continue",
    );
    check_refused(
        with(&format!("Expect: 100-continue, x\r\n{body}")),
        417,
        "100-continue",
    );
    let old = format!("POST /a HTTP/1.0\r\nExpect: 100-continue\r\n{body}\r\n");
    check(&old, "POST /a Http10 Length(3) Close Nothing");
}

#[test]
fn sizes_are_limited() {
    let target = "a".repeat(MAX_TARGET_BYTES - 1);
    assert!(parse(format!("GET /{target} HTTP/1.0\r\n\r\n").as_bytes()).is_ok());
    let refusal = parse(format!("GET /{target}a HTTP/1.0\r\n\r\n").as_bytes()).unwrap_err();
    assert_eq!(refusal.status, 414);
    let lines = |count: usize| "A: b\r\n".repeat(count - 1);
    assert!(parse(with(&lines(MAX_HEADERS)).as_bytes()).is_ok());
    let refusal = parse(with(&lines(MAX_HEADERS + 1)).as_bytes()).unwrap_err();
    assert_eq!(
        (refusal.status, &*refusal.message),
        (431, "more than 100 headers")
    );
}

#[test]
fn endless_head_is_cut_at_the_limit() {
    #[track_caller]
    fn check_limit(input: &str, expect: Result<Option<usize>, u16>) {
        let found = Scanner::default().find_end(input.as_bytes(), 64);
        assert_eq!(
            found.map(|p| p.map(|p| p.end)).map_err(|r| r.status),
            expect
        );
    }
    let padded = |count: usize| format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(count));
    check_limit(&padded(41), Ok(Some(64)));
    check_limit(&padded(42), Err(431));
    check_limit(&padded(42)[..63], Ok(None));
    check_limit(&padded(42)[..64], Err(431));
    check_limit(&"G".repeat(64), Err(414));
    check_limit(&"G".repeat(63), Ok(None));
}

#[test]
fn headers_are_found_in_any_case_and_in_order() {
    let head = parse(with("X-A:  1 \r\nx-a: \u{e9}\r\nY:\r\n").as_bytes()).unwrap();
    assert_eq!(head.header("x-A"), Some("1"));
    assert_eq!(
        head.headers_named("X-A").collect::<Vec<_>>(),
        ["1", "\u{e9}"]
    );
    assert_eq!(head.header("y"), Some(""));
    assert_eq!(head.header("z"), None);
}

#[test]
fn debug_text_shows_no_secret() {
    let head = "GET /a?key=s3cret HTTP/1.1\r\nHost: x\r\nX-Api-Key: s3cret\r\n\r\n";
    let text = format!("{:?}", parse(head.as_bytes()).unwrap());
    assert_eq!(text, "Head(GET /a Http11)");
}

#[test]
fn query_is_told_apart_from_the_path() {
    for (target, expect) in [
        ("/a", ("/a", "")),
        ("/a?", ("/a", "")),
        ("/a?b=1&c", ("/a", "b=1&c")),
        ("/a?b?c", ("/a", "b?c")),
        ("http://x/a?b", ("/a", "b")),
        ("http://x?b", ("/", "b")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = parse(head.as_bytes()).unwrap();
        assert_eq!((head.path(), head.query()), expect, "{target}");
    }
}
