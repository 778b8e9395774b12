//! Answers as bytes: the whole [`Response`], and the head of a streamed one.

use std::borrow::Cow;
use std::fmt;

use super::head::{AnswerHeader, Head, Persistence, Version};

/// A whole answer. Its framing headers are the listener's business: `Content-Length`,
/// `Transfer-Encoding` and `Connection` among the headers are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<AnswerHeader>,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Response {
    pub(crate) fn new(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Cow::Borrowed(b""),
        }
    }

    pub(crate) fn header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Cow<'static, [u8]>>) -> Self {
        self.body = body.into();
        self
    }

    /// Appends the answer to `request` (`None`: one that could not be read) as it goes out.
    pub(super) fn encode(&self, out: &mut Vec<u8>, request: Option<&Head>, then: Persistence) {
        start(out, self.status, request, then);
        let of_request = request.map_or(&[][..], |head| &head.answer_headers);
        for (name, value) in self.headers.iter().chain(of_request) {
            put_header(out, name, value);
        }
        // RFC 9110 section 6.4.1: these have no body, and 204 must not even say that it has none.
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            put(out, format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        out.extend_from_slice(b"\r\n");
        if !bodiless && !request.is_some_and(is_head_request) {
            out.extend_from_slice(&self.body);
        }
    }
}

/// How the bytes of a streamed answer leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamFraming {
    Chunked,
    /// HTTP/1.0 knows no chunks: the end of the connection is the end of the answer.
    UntilClose,
    /// The answer to HEAD ends with its head.
    HeadOnly,
}

/// The head of a streamed answer as it goes out, and what it promises.
pub(super) struct StreamHead {
    pub(super) bytes: Vec<u8>,
    pub(super) framing: StreamFraming,
    pub(super) then: Persistence,
}

pub(super) fn stream_head(
    request: &Head,
    status: u16,
    headers: &[(&str, &str)],
    then: Persistence,
) -> StreamHead {
    let framing = match request.version() {
        _ if is_head_request(request) => StreamFraming::HeadOnly,
        Version::Http11 => StreamFraming::Chunked,
        Version::Http10 => StreamFraming::UntilClose,
    };
    let then = match framing {
        StreamFraming::UntilClose => Persistence::Close,
        StreamFraming::Chunked | StreamFraming::HeadOnly => then,
    };
    let mut bytes = Vec::with_capacity(256);
    start(&mut bytes, status, Some(request), then);
    for (name, value) in headers {
        put_header(&mut bytes, name, value);
    }
    for (name, value) in &request.answer_headers {
        put_header(&mut bytes, name, value);
    }
    if request.version() == Version::Http11 {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    StreamHead {
        bytes,
        framing,
        then,
    }
}

fn is_head_request(request: &Head) -> bool {
    request.method() == "HEAD"
}

fn start(out: &mut Vec<u8>, status: u16, request: Option<&Head>, then: Persistence) {
    // A status outside of this range would be read as an interim answer, or not at all.
    let status = if (200..=599).contains(&status) {
        status
    } else {
        500
    };
    put(
        out,
        format_args!("HTTP/1.1 {status} {}\r\n", reason(status)),
    );
    match (then, request.map(Head::version)) {
        (Persistence::Close, _) | (_, None) => out.extend_from_slice(b"Connection: close\r\n"),
        (Persistence::Keep, Some(Version::Http10)) => {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        (Persistence::Keep, Some(Version::Http11)) => {}
    }
}

/// A header that would split the answer, or contradict its framing, is left out.
fn put_header(out: &mut Vec<u8>, name: &str, value: &str) {
    let ours = ["content-length", "transfer-encoding", "connection"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let sound = !name.is_empty()
        && name.bytes().all(token)
        && !ours.iter().any(|known| known.eq_ignore_ascii_case(name))
        && !value
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t');
    if sound {
        put(out, format_args!("{name}: {value}\r\n"));
    }
}

pub(super) fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing into a Vec cannot fail.
    let _ = std::io::Write::write_fmt(out, text);
}

/// The reason phrase; RFC 9112 section 4 lets it be empty, and clients ignore it.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        529 => "Overloaded",
        _ => "",
    }
}

#[cfg(test)]
#[path = "tests/response.rs"]
mod tests;
