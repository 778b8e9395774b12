//! The request head: strict parsing of a peer's bytes into a [`Head`]. Pure, and no byte is
//! scanned twice however small the pieces in which it comes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::fields::{self, Framing};

/// More headers than this are refused with 431.
pub(super) const MAX_HEADERS: usize = 100;
/// RFC 9112 section 3 asks for at least 8000 bytes of request line.
pub(super) const MAX_TARGET_BYTES: usize = 8 * 1024;
/// RFC 9112 section 2.2 asks to skip at least one empty line before a request.
const MAX_EMPTY_LINES: usize = 4;

/// What a request says before its body. Everything in it has passed the strict rules of this file.
pub(crate) struct Head {
    /// The head as it came, which all the spans below point into.
    text: Box<str>,
    method: Span,
    /// `None` for an absolute-form target without a path, which means `/`.
    path: Option<Span>,
    query: Option<Span>,
    version: Version,
    headers: Vec<(Span, Span)>,
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
    pub(super) expectation: Expectation,
    /// What every answer to this request carries, the listener's own included.
    pub(super) answer_headers: Vec<AnswerHeader>,
}

/// A header of an answer.
pub(crate) type AnswerHeader = (&'static str, Cow<'static, str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// Whether a connection serves another request after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    Keep,
    Close,
}

/// Whether the client waits for `100 Continue` before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    Continue,
    Nothing,
}

/// Why a request is refused by the listener itself; the connection is closed after the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: Cow<'static, str>,
}

/// Finds the end of a head, and remembers how far it has looked.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    seen: usize,
    line_start: usize,
    empty_lines: usize,
    /// Where the request line begins, once an empty line cannot come before it any more.
    head_start: Option<usize>,
}

/// A part of [`Head::text`]. A head is a few KiB, so `u32` is plenty and halves the memory.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Head {
    /// The method as sent; methods are case-sensitive (RFC 9110 section 9.1).
    pub(crate) fn method(&self) -> &str {
        self.text_of(self.method)
    }

    /// The path of the target, without a query and still percent-encoded: begins with `/`, or is `*`.
    pub(crate) fn path(&self) -> &str {
        self.path.map_or("/", |path| self.text_of(path))
    }

    /// What follows the `?` of the target, still percent-encoded; empty without one.
    pub(crate) fn query(&self) -> &str {
        self.query.map_or("", |query| self.text_of(query))
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The first header of this name, in whatever case; without the blanks around its value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// Every header of this name, in the order in which they came.
    pub(crate) fn headers_named<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        let named = move |field: &&(Span, Span)| self.text_of(field.0).eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(named)
            .map(|field| self.text_of(field.1))
    }

    /// A head as another module's tests need it.
    #[cfg(test)]
    pub(crate) fn parse_for_tests(text: &str) -> Head {
        parse(text.as_bytes()).unwrap()
    }

    fn text_of(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }
}

impl fmt::Debug for Head {
    /// Headers and the query may hold keys, so they are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Head({} {} {:?})",
            self.method(),
            self.path(),
            self.version
        )
    }
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal {
            status,
            message: message.into(),
        }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(400, message)
    }
}

impl Scanner {
    /// Looks for the empty line that ends a head in everything received so far, and gives the
    /// head's place in it. `bytes` must begin with what earlier calls were given.
    pub(super) fn find_end(
        &mut self,
        bytes: &[u8],
        max: usize,
    ) -> Result<Option<Range<usize>>, Refusal> {
        let limit = bytes.len().min(max);
        while self.seen < limit {
            let at = self.seen;
            self.seen += 1;
            match bytes[at] {
                0 => return Err(Refusal::bad("NUL byte in the request head")),
                b'\n' => {
                    if let Some(start) = self.end_line(bytes, at)? {
                        return Ok(Some(start..at + 1));
                    }
                }
                _ if at > 0 && bytes[at - 1] == b'\r' => {
                    return Err(Refusal::bad("CR without LF in the request head"));
                }
                _ => {}
            }
        }
        if bytes.len() >= max {
            Err(self.too_large(max))
        } else {
            Ok(None)
        }
    }

    /// Takes in the line that ends with the LF at `at`; gives the start of the head if it is over.
    fn end_line(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, Refusal> {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Refusal::bad(
                "LF without CR in the request head; end lines with CRLF",
            ));
        }
        let line_start = std::mem::replace(&mut self.line_start, at + 1);
        let empty = line_start + 1 == at;
        match self.head_start {
            Some(start) => return Ok(empty.then_some(start)),
            None if empty => self.empty_lines += 1,
            None => self.head_start = Some(line_start),
        }
        if self.empty_lines > MAX_EMPTY_LINES {
            return Err(Refusal::bad("too many empty lines before the request line"));
        }
        Ok(None)
    }

    fn too_large(&self, max: usize) -> Refusal {
        if self.head_start.is_none() {
            return Refusal::new(414, format!("request line is longer than {max} bytes"));
        }
        Refusal::new(
            431,
            format!("request head is larger than {max} bytes; send fewer headers"),
        )
    }
}

/// Reads a complete head, from its request line to the empty line inclusive.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut raw = httparse::Request::new(&mut slots);
    match raw.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
        Ok(_) => return Err(Refusal::bad("malformed request head")),
        Err(error) => return Err(syntax_refusal(error, bytes)),
    }
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(Refusal::bad("malformed request line"));
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refusal::bad("a header value is not UTF-8; encode it as ASCII"))?;
    let version = if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let path = path_of(method, target)?;
    let query = target.split_once('?').map(|(_, query)| query);
    let meaning = fields::read(version, raw.headers)?;
    let field = |header: &httparse::Header<'_>| {
        (
            Span::of(text, header.name.as_bytes()),
            Span::of(text, header.value.trim_ascii()),
        )
    };
    Ok(Head {
        method: Span::of(text, method.as_bytes()),
        path: path.map(|path| Span::of(text, path.as_bytes())),
        query: query.map(|query| Span::of(text, query.as_bytes())),
        version,
        headers: raw.headers.iter().map(field).collect(),
        framing: meaning.framing,
        persistence: meaning.persistence,
        expectation: meaning.expectation,
        answer_headers: Vec::new(),
        text: text.into(),
    })
}

impl Span {
    /// Where `part`, a slice of `text`, lies in it.
    fn of(text: &str, part: &[u8]) -> Span {
        let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: place(start),
            end: place(start + part.len()),
        }
    }
}

fn syntax_refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => Refusal::new(431, format!("more than {MAX_HEADERS} headers")),
        Error::Version if names_http(bytes) => {
            Refusal::new(505, "HTTP version not supported; use HTTP/1.1")
        }
        Error::HeaderName => Refusal::bad("malformed header name, or a folded header line"),
        Error::HeaderValue => Refusal::bad("control character in a header value"),
        _ => Refusal::bad("malformed request line"),
    }
}

/// Whether the request line ends in `HTTP/` and a number: another version rather than garbage.
fn names_http(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    let last = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let number = last.strip_prefix(b"HTTP/").unwrap_or_default();
    number.first().is_some_and(u8::is_ascii_digit)
        && number
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && !matches!(number, b"1.0" | b"1.1")
}

/// The path of a request target (RFC 9112 section 3.2), which ends where the query begins.
fn path_of<'a>(method: &str, target: &'a str) -> Result<Option<&'a str>, Refusal> {
    if target.len() > MAX_TARGET_BYTES {
        let message = format!("request target is longer than {MAX_TARGET_BYTES} bytes");
        return Err(Refusal::new(414, message));
    }
    if method == "CONNECT" {
        return Err(Refusal::new(
            501,
            "CONNECT is not served here; this is not a proxy",
        ));
    }
    if !target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(Refusal::bad(
            "request target holds a character that must be percent-encoded",
        ));
    }
    if target == "*" {
        return match method {
            "OPTIONS" => Ok(Some(target)),
            _ => Err(Refusal::bad("request target * is only for OPTIONS")),
        };
    }
    let path = target.split('?').next().unwrap_or_default();
    match path.starts_with('/') {
        true => Ok(Some(path)),
        false => path_of_absolute(path),
    }
}

/// The path of `http://host/path`, which a client that believes to talk to a proxy sends.
fn path_of_absolute(target: &str) -> Result<Option<&str>, Refusal> {
    let rest = strip_scheme(target, "http://").or_else(|| strip_scheme(target, "https://"));
    let Some(rest) = rest else {
        return Err(Refusal::bad("request target must begin with / or http://"));
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash..])),
        None => (rest, None),
    };
    if authority.is_empty() || !fields::is_host(authority.as_bytes()) {
        return Err(Refusal::bad("request target has no valid host"));
    }
    Ok(path)
}

fn strip_scheme<'a>(target: &'a str, scheme: &str) -> Option<&'a str> {
    let start = target.get(..scheme.len())?;
    start
        .eq_ignore_ascii_case(scheme)
        .then(|| &target[scheme.len()..])
}

#[cfg(test)]
#[path = "tests/head.rs"]
mod tests;
