//! Errors in Anthropic's shape: <https://docs.claude.com/en/api/errors>.

use serde::Serialize;

use crate::api::{ApiError, ErrorKind};

/// An error as HTTP status and JSON body.
pub(crate) fn error(error: &ApiError, request_id: &str) -> (u16, Vec<u8>) {
    (names(error.kind).0, json(error, request_id))
}

/// An error as the last event of a stream.
pub(crate) fn error_frame(error: &ApiError, request_id: &str) -> Vec<u8> {
    let mut frame = b"event: error\ndata: ".to_vec();
    frame.extend_from_slice(&json(error, request_id));
    frame.extend_from_slice(b"\n\n");
    frame
}

/// Status and `error.type`.
fn names(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidRequest => (400, "invalid_request_error"),
        ErrorKind::Authentication => (401, "authentication_error"),
        ErrorKind::Permission => (403, "permission_error"),
        ErrorKind::UnknownResponse => (400, "invalid_request_error"),
        ErrorKind::NotFound | ErrorKind::NoRoute => (404, "not_found_error"),
        ErrorKind::MethodNotAllowed => (405, "invalid_request_error"),
        ErrorKind::RequestTimeout => (408, "timeout_error"),
        ErrorKind::TooLarge => (413, "request_too_large"),
        ErrorKind::RateLimited => (429, "rate_limit_error"),
        ErrorKind::Internal => (500, "api_error"),
        ErrorKind::Unavailable => (503, "api_error"),
        ErrorKind::Timeout => (504, "timeout_error"),
        ErrorKind::Overloaded => (529, "overloaded_error"),
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Body<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

fn json(error: &ApiError, request_id: &str) -> Vec<u8> {
    let error = Body {
        kind: names(error.kind).1,
        message: &error.message,
    };
    // Plain structs with string keys always serialise.
    serde_json::to_vec(&Envelope {
        kind: "error",
        error,
        request_id,
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: ErrorKind, status: u16, name: &str) {
        let failure = ApiError::new(kind, "say \"no\"\n");
        let json = format!(
            r#"{{"type":"error","error":{{"type":"{name}","message":"say \"no\"\n"}},"request_id":"req_1"}}"#
        );
        let (got, body) = error(&failure, "req_1");
        assert_eq!(
            (got, String::from_utf8(body).unwrap()),
            (status, json.clone())
        );
        let frame = String::from_utf8(error_frame(&failure, "req_1")).unwrap();
        assert_eq!(frame, format!("event: error\ndata: {json}\n\n"));
    }

    #[test]
    fn every_error_kind_has_the_apis_status_and_type() {
        check(ErrorKind::InvalidRequest, 400, "invalid_request_error");
        check(ErrorKind::Authentication, 401, "authentication_error");
        check(ErrorKind::Permission, 403, "permission_error");
        check(ErrorKind::NotFound, 404, "not_found_error");
        check(ErrorKind::NoRoute, 404, "not_found_error");
        check(ErrorKind::MethodNotAllowed, 405, "invalid_request_error");
        check(ErrorKind::RequestTimeout, 408, "timeout_error");
        check(ErrorKind::TooLarge, 413, "request_too_large");
        check(ErrorKind::RateLimited, 429, "rate_limit_error");
        check(ErrorKind::Internal, 500, "api_error");
        check(ErrorKind::Unavailable, 503, "api_error");
        check(ErrorKind::Timeout, 504, "timeout_error");
        check(ErrorKind::Overloaded, 529, "overloaded_error");
    }
}
