//! What a run asks the proxy for: `CONNECT`, or a request whose target is a whole `http://` address. Pure.

use std::ops::Range;

use super::host::Target;

/// Longer heads are refused.
pub(super) const HEAD_MAX: usize = 16 << 10;

const HEADERS_MAX: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What comes after it is not ours to read.
    Tunnel(Target),
    /// The head that the host is to get. There is one request on such a connection: the next may be for another host.
    Request(Target, Vec<u8>),
}

/// A status, and why.
pub(super) type Refusal = (u16, &'static str);

const NOT_A_PROXY_REQUEST: Refusal = (
    400,
    "this is a proxy: CONNECT HOST:PORT, or a request for http://HOST/...",
);

/// Where the first head in `bytes` ends; `from` of them were looked at before.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let from = from.saturating_sub(END.len() - 1);
    let found = memchr::memmem::find(&bytes[from..], END);
    found.map(|it| from + it + END.len())
}

/// A whole head.
///
/// # Errors
/// Whatever is not to the letter.
pub(super) fn parse(head: &[u8]) -> Result<Asked, Refusal> {
    let bare = |range: Range<usize>| head.get(range) != Some(b"\r");
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || bare(at - 1..at)) {
        return Err((400, "a line of the head does not end with CR LF"));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err((431, "more than 100 headers")),
        _ => return Err((400, "the head is no HTTP/1.1")),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(NOT_A_PROXY_REQUEST);
    };
    if method == "CONNECT" {
        let target = Target::parse(target, None);
        return target
            .map(Asked::Tunnel)
            .map_err(|_| (400, "CONNECT wants HOST:PORT"));
    }
    let rest = scheme_http(target).ok_or(NOT_A_PROXY_REQUEST)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = Target::parse(authority, Some(80)).map_err(|_| NOT_A_PROXY_REQUEST)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!(
        "{method} {slash}{path} HTTP/1.1\r\nHost: {}\r\n",
        shown(&target)
    )
    .into_bytes();
    for header in request.headers.iter().filter(|it| !is_of_the_hop(it.name)) {
        head.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
    }
    head.extend(b"Connection: close\r\n\r\n");
    Ok(Asked::Request(target, head))
}

fn scheme_http(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| &target[SCHEME.len()..])
}

/// A port that everybody takes for granted is not said.
fn shown(target: &Target) -> String {
    match target.port {
        80 => target.name.to_string(),
        _ => target.to_string(),
    }
}

/// What is said to the proxy, and the host's name, which the target says.
fn is_of_the_hop(name: &str) -> bool {
    const OWN: [&str; 8] = [
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "expect",
        "te",
    ];
    OWN.iter().any(|it| name.eq_ignore_ascii_case(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    #[test]
    fn tunnels_name_their_host_and_port() {
        for (head, expect) in [
            (
                "CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: other:1\r\n\r\n",
                "api.anthropic.com:443",
            ),
            ("CONNECT [::1]:80 HTTP/1.0\r\n\r\n", "[::1]:80"),
        ] {
            assert_eq!(
                parse(head.as_bytes()),
                Ok(Asked::Tunnel(target(expect))),
                "{head}"
            );
        }
    }

    #[track_caller]
    fn check_request(head: &str, to: &str, sent: &str) {
        let expect = Asked::Request(target(to), sent.as_bytes().to_vec());
        assert_eq!(parse(head.as_bytes()), Ok(expect), "{head}");
    }

    #[test]
    fn requests_are_sent_on_with_the_host_of_their_target() {
        check_request(
            "POST http://127.0.0.1:8080/v1/messages?beta=true HTTP/1.1\r\nHost: evil\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\n\
             Content-Length: 2\r\nX-Key: a  b\r\n\r\n",
            "127.0.0.1:8080",
            "POST /v1/messages?beta=true HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 2\r\nX-Key: a  b\r\nConnection: close\r\n\r\n",
        );
        check_request(
            "GET HTTP://Example.com HTTP/1.1\r\n\r\n",
            "example.com:80",
            "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        );
        check_request(
            "GET http://example.com?x HTTP/1.1\r\n\r\n",
            "example.com:80",
            "GET /?x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        );
    }

    #[test]
    fn what_is_not_to_the_letter_is_refused() {
        for (head, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
            ("GET https://example.com/ HTTP/1.1\r\n\r\n".to_owned(), 400),
            (
                "GET http://user@example.com/ HTTP/1.1\r\n\r\n".to_owned(),
                400,
            ),
            ("GET http:///x HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("CONNECT example.com HTTP/1.1\r\n\r\n".to_owned(), 400),
            (
                "CONNECT http://example.com:443 HTTP/1.1\r\n\r\n".to_owned(),
                400,
            ),
            ("CONNECT 2130706433:80 HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("CONNECT a:443 HTTP/1.1\nHost: b\r\n\r\n".to_owned(), 400),
            (
                "CONNECT a:443 HTTP/1.1\r\nX: 1\r\n folded\r\n\r\n".to_owned(),
                400,
            ),
            ("CONNECT a:443 HTTP/2\r\n\r\n".to_owned(), 400),
            ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400),
            (
                format!("CONNECT a:443 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)),
                431,
            ),
        ] {
            let refused = parse(head.as_bytes()).map_err(|(status, _)| status);
            assert_eq!(refused, Err(status), "{head}");
        }
    }

    #[test]
    fn end_of_a_head_is_found_wherever_it_is_cut() {
        let text = b"CONNECT a:1 HTTP/1.1\r\n\r\nrest";
        for cut in 0..text.len() {
            let early = end(&text[..cut], 0);
            assert_eq!(early.or_else(|| end(text, cut)), Some(24), "{cut}");
        }
    }
}
