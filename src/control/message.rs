//! HTTP on the operator's socket, as little of it as is needed: one request without a body, one answer, the end.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A head is a line and a few fields.
const HEAD_MAX: usize = 8 << 10;
const FIELDS_MAX: usize = 32;

/// What a peer asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Whole(Request),
    /// The beginning of a request.
    Part,
    /// No request that could be answered, with the reason.
    Wrong(&'static str),
}

/// A status and its JSON.
pub(super) type Answer = (u16, Value);

/// The answer that is an error.
pub(super) fn failed(status: u16, why: &str) -> Answer {
    (status, serde_json::json!({"error": why}))
}

pub(super) fn parse(head: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() < HEAD_MAX => return Parsed::Part,
        Ok(httparse::Status::Partial) => return Parsed::Wrong("the request's head is over 8 KiB"),
        Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Wrong("the request has over 32 header fields");
        }
        Err(_) => return Parsed::Wrong("this is no HTTP/1 request"),
    }
    let announces_body = request.headers.iter().any(|it| {
        // Any length but the plain 0 is refused here, so none is ever computed with.
        it.name.eq_ignore_ascii_case("transfer-encoding")
            || it.name.eq_ignore_ascii_case("content-length") && it.value != b"0"
    });
    match (request.method, request.path) {
        _ if announces_body => Parsed::Wrong("no request here has a body; send it without"),
        (Some(method), Some(path)) => Parsed::Whole(Request {
            method: method.to_owned(),
            path: path.to_owned(),
        }),
        _ => Parsed::Part,
    }
}

/// The answer as it goes over the socket.
pub(super) fn bytes_of((status, body): &Answer) -> Vec<u8> {
    let body = body.to_string() + "\n";
    let reason = reason(*status);
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Writes all of it to a socket that blocks.
///
/// # Errors
/// When the peer leaves, or does not take it until `deadline`.
pub(super) fn write(mut stream: &UnixStream, bytes: &[u8], deadline: Instant) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        422 => "Unprocessable Content",
        _ => "Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expect: Parsed) {
        assert_eq!(parse(head.as_bytes()), expect, "{head:?}");
    }

    fn whole(method: &str, path: &str) -> Parsed {
        Parsed::Whole(Request {
            method: method.to_owned(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn whole_requests_without_a_body_are_requests() {
        check("", Parsed::Part);
        check("GET /status HT", Parsed::Part);
        check("GET /status HTTP/1.1\r\nhost: x\r\n", Parsed::Part);
        check("GET /status HTTP/1.1\r\n\r\n", whole("GET", "/status"));
        check("GET /status HTTP/1.0\r\n\r\n", whole("GET", "/status"));
        let zero = "POST /reload HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        check(zero, whole("POST", "/reload"));
    }

    #[test]
    fn whatever_announces_a_body_is_refused() {
        for field in [
            "Content-Length: 5",
            "content-length: 100000000000",
            "content-length: 99999999999999999999999999",
            "content-length: -1",
            "content-length: 0, 5",
            "content-length: 0x0",
            "content-length: 0\r\ncontent-length: 7",
            "content-length:",
            "Transfer-Encoding: chunked",
        ] {
            let why = "no request here has a body; send it without";
            check(
                &format!("POST /reload HTTP/1.1\r\n{field}\r\n\r\n"),
                Parsed::Wrong(why),
            );
        }
    }

    #[test]
    fn answer_that_nobody_reads_is_given_up() {
        let (stream, peer) = UnixStream::pair().unwrap();
        let answer = vec![b'x'; 16 << 20];
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = write(&stream, &answer, deadline).unwrap_err();
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(Instant::now() >= deadline);
        drop(peer);
    }

    #[test]
    fn heads_are_bounded_and_of_http() {
        for garbage in ["\0\x01\x02", "GET\r\n\r\n", "GET /status HTTP/9.9\r\n\r\n"] {
            check(garbage, Parsed::Wrong("this is no HTTP/1 request"));
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_MAX));
        check(&long, Parsed::Wrong("the request's head is over 8 KiB"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        check(
            &many,
            Parsed::Wrong("the request has over 32 header fields"),
        );
    }
}
