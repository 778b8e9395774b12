//! What lets web pages of configured origins read answers (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! Keys travel in headers that the page sets itself, never as browser credentials, so nothing here
//! ever allows those.

use std::borrow::Cow;

use crate::{
    config::CorsOrigins,
    http::{AnswerHeader, Head, Response},
};

/// How long a browser may remember what a preflight told it, in seconds; Chromium takes no more.
const MAX_AGE: &str = "7200";

/// More names of headers than any client asks for, in bytes.
const REQUESTED_MAX: usize = 2048;

/// What every answer to this request carries, errors and streams included.
pub(crate) fn answer_headers(origins: &CorsOrigins, head: &Head) -> Vec<AnswerHeader> {
    let mut headers = Vec::new();
    let allowed = match origins {
        CorsOrigins::Nobody => return headers,
        CorsOrigins::Anybody => Some(Cow::Borrowed("*")),
        CorsOrigins::These(known) => {
            // A cache must not give one origin what was said to another, or to none.
            headers.push(("vary", "Origin".into()));
            origin(head)
                .filter(|origin| known.iter().any(|it| it == origin))
                .map(|origin| origin.to_owned().into())
        }
    };
    // Nobody asks to be told this but a browser.
    if let (Some(allowed), Some(_)) = (allowed, origin(head)) {
        headers.push(("access-control-allow-origin", allowed));
        // All of them: without browser credentials `*` is every header.
        headers.push(("access-control-expose-headers", "*".into()));
    }
    headers
}

/// Adds to the answer of an OPTIONS request what a preflight asks, if it is one from a page that may.
pub(super) fn preflight(
    origins: &CorsOrigins,
    head: &Head,
    methods: &str,
    answer: Response,
) -> Response {
    let may = answer_headers(origins, head)
        .iter()
        .any(|(name, _)| *name == "access-control-allow-origin");
    if !may || head.header("access-control-request-method").is_none() {
        return answer;
    }
    let answer = answer
        .header("access-control-allow-methods", methods.to_owned())
        .header("access-control-max-age", MAX_AGE);
    // Not `*`, which leaves `Authorization` out.
    match head.header("access-control-request-headers") {
        Some(wanted) if is_list_of_names(wanted) => answer
            .header("vary", "Access-Control-Request-Headers")
            .header("access-control-allow-headers", wanted.to_owned()),
        _ => answer,
    }
}

/// The one origin of a request; several are nobody's.
fn origin(head: &Head) -> Option<&str> {
    let mut origins = head.headers_named("origin");
    match (origins.next(), origins.next()) {
        (Some(origin), None) => Some(origin),
        _ => None,
    }
}

fn is_list_of_names(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_, ".contains(&byte);
    text.len() <= REQUESTED_MAX && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, headers: &str) -> Head {
        Head::parse_for_tests(&format!("{method} / HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
    }

    fn these() -> CorsOrigins {
        CorsOrigins::These(vec!["https://a.example".into(), "https://b.example".into()])
    }

    /// Headers as `name: value` lines.
    fn lines<'a>(headers: impl IntoIterator<Item = &'a AnswerHeader>) -> Vec<String> {
        let line = |(name, value): &AnswerHeader| format!("{name}: {value}");
        headers.into_iter().map(line).collect()
    }

    #[track_caller]
    fn check(origins: &CorsOrigins, request: &str, expect: &[&str]) {
        let headers = answer_headers(origins, &head("POST", request));
        assert_eq!(lines(&headers), expect, "{request}");
    }

    #[test]
    fn only_configured_origins_are_allowed() {
        const EXPOSED: &str = "access-control-expose-headers: *";
        const A: &str = "origin: https://a.example\r\n";
        const VARY: &str = "vary: Origin";
        check(&CorsOrigins::Nobody, A, &[]);
        check(
            &CorsOrigins::Anybody,
            A,
            &["access-control-allow-origin: *", EXPOSED],
        );
        check(&CorsOrigins::Anybody, "", &[]);
        let allowed = "access-control-allow-origin: https://a.example";
        check(&these(), A, &[VARY, allowed, EXPOSED]);
        check(&these(), "", &[VARY]);
        for other in [
            "https://c.example",
            "https://a.example.c",
            "http://a.example",
            "null",
            "",
        ] {
            check(&these(), &format!("origin: {other}\r\n"), &[VARY]);
        }
        check(&these(), &format!("{A}{A}"), &[VARY]);
    }

    #[test]
    fn preflight_is_answered_for_pages_that_may() {
        const A: &str = "origin: https://a.example\r\naccess-control-request-method: POST\r\n";
        let ask = |origins: &CorsOrigins, request: &str| {
            let head = head("OPTIONS", request);
            lines(&preflight(origins, &head, "POST, OPTIONS", Response::new(204)).headers)
        };
        let plain = [
            "access-control-allow-methods: POST, OPTIONS",
            "access-control-max-age: 7200",
        ];
        assert_eq!(ask(&these(), A), plain);
        let with_headers =
            format!("{A}access-control-request-headers: authorization, x-api-key\r\n");
        assert_eq!(
            ask(&these(), &with_headers)[2..],
            [
                "vary: Access-Control-Request-Headers",
                "access-control-allow-headers: authorization, x-api-key"
            ]
        );
        let odd = format!("{A}access-control-request-headers: a;b\r\n");
        assert_eq!(ask(&these(), &odd), plain);
        let none: [&str; 0] = [];
        assert_eq!(ask(&these(), "origin: https://a.example\r\n"), none);
        assert_eq!(
            ask(&these(), "access-control-request-method: POST\r\n"),
            none
        );
        assert_eq!(ask(&CorsOrigins::Nobody, A), none);
    }
}
