//! The headers that the listener itself acts on: framing, persistence, expectation, Host. Pure.
//!
//! Whatever two parsers could read in two ways is refused, because a proxy in front may have read
//! it the other way (request smuggling, RFC 9112 section 11.2).

use super::head::{Expectation, Persistence, Refusal, Version};

/// How the end of the body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Empty,
    /// `Content-Length`, at least 1.
    Length(u64),
    Chunked,
}

/// What the headers say about the message itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
    pub(super) expectation: Expectation,
}

/// Reads the headers of a request of this version.
pub(super) fn read(version: Version, headers: &[httparse::Header<'_>]) -> Result<Meaning, Refusal> {
    let mut found = Found::default();
    for header in headers {
        found.take(header.name, header.value.trim_ascii())?;
    }
    if version == Version::Http11 && !found.host {
        return Err(Refusal::bad("no Host header; HTTP/1.1 requires one"));
    }
    let persistence = match (found.close, found.keep_alive, version) {
        (true, _, _) | (false, false, Version::Http10) => Persistence::Close,
        _ => Persistence::Keep,
    };
    // RFC 9110 section 10.1.1: an HTTP/1.0 client does not wait, whatever it says.
    let expectation = match (found.expects_continue, version) {
        (true, Version::Http11) => Expectation::Continue,
        _ => Expectation::Nothing,
    };
    Ok(Meaning {
        framing: found.framing(version)?,
        persistence,
        expectation,
    })
}

/// Whether this is a `host[:port]` as RFC 3986 spells it, or empty, which RFC 9110 allows.
pub(super) fn is_host(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    value.iter().all(allowed)
}

#[derive(Default)]
struct Found {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Found {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.take_host(value)
        } else if is("content-length") {
            self.take_length(value)
        } else if is("transfer-encoding") {
            self.take_coding(value)
        } else if is("connection") {
            self.take_connection(value);
            Ok(())
        } else if is("expect") {
            self.take_expect(value)
        } else if is("content-encoding") && !value.eq_ignore_ascii_case(b"identity") {
            Err(Refusal::new(
                415,
                "a body with a Content-Encoding is not read; send it as it is",
            ))
        } else {
            Ok(())
        }
    }

    fn take_host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.host, true) {
            return Err(Refusal::bad("more than one Host header"));
        }
        match is_host(value) {
            true => Ok(()),
            false => Err(Refusal::bad("the Host header is not a host name")),
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::bad("Content-Length is not a plain decimal number"));
        }
        // Only digits, so what does not fit is a number beyond any limit: the listener's 413.
        let digits = std::str::from_utf8(value).unwrap_or_default();
        let length = digits.parse().unwrap_or(u64::MAX);
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Refusal::bad("more than one Content-Length header")),
        }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.chunked, true) {
            return Err(Refusal::bad("more than one Transfer-Encoding header"));
        }
        match value.eq_ignore_ascii_case(b"chunked") {
            true => Ok(()),
            false => Err(Refusal::new(
                501,
                "Transfer-Encoding must be exactly: chunked",
            )),
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        match self.expects_continue {
            true => Ok(()),
            false => Err(Refusal::new(417, "Expect must be exactly: 100-continue")),
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.chunked, self.length, version) {
            (true, Some(_), _) => Err(Refusal::bad(
                "both Content-Length and Transfer-Encoding; send only one",
            )),
            (true, None, Version::Http10) => {
                Err(Refusal::bad("Transfer-Encoding in an HTTP/1.0 request"))
            }
            (true, None, Version::Http11) => Ok(Framing::Chunked),
            (false, None | Some(0), _) => Ok(Framing::Empty),
            (false, Some(length), _) => Ok(Framing::Length(length)),
        }
    }
}
