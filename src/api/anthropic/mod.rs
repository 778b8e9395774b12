//! Anthropic's Messages format: <https://docs.claude.com/en/api/messages>.

mod answer;
mod request;

use serde::Serialize;

pub(crate) use self::{
    answer::{Collector, StreamEncoder},
    request::parse,
};
use super::{ApiError, ErrorKind};

/// The keep-alive event, which clients count as life.
pub(crate) fn ping() -> &'static [u8] {
    b"event: ping\ndata: {\"type\": \"ping\"}\n\n"
}

/// An error as HTTP status and JSON body.
pub(crate) fn error(error: &ApiError, request_id: &str) -> (u16, Vec<u8>) {
    (status(error.kind), error_json(error, request_id))
}

/// An error as the last event of a stream.
pub(crate) fn error_frame(error: &ApiError, request_id: &str) -> Vec<u8> {
    let mut frame = b"event: error\ndata: ".to_vec();
    frame.extend_from_slice(&error_json(error, request_id));
    frame.extend_from_slice(b"\n\n");
    frame
}

fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidRequest => 400,
        ErrorKind::Authentication => 401,
        ErrorKind::Permission => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::MethodNotAllowed => 405,
        ErrorKind::RequestTimeout => 408,
        ErrorKind::TooLarge => 413,
        ErrorKind::RateLimited => 429,
        ErrorKind::Internal => 500,
        ErrorKind::Unavailable => 503,
        ErrorKind::Timeout => 504,
        ErrorKind::Overloaded => 529,
    }
}

/// The API's `error.type`: <https://docs.claude.com/en/api/errors>.
fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::MethodNotAllowed => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Internal | ErrorKind::Unavailable => "api_error",
        ErrorKind::RequestTimeout | ErrorKind::Timeout => "timeout_error",
        ErrorKind::Overloaded => "overloaded_error",
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

fn error_json(error: &ApiError, request_id: &str) -> Vec<u8> {
    let error = Body {
        kind: name(error.kind),
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

    #[test]
    fn every_error_kind_has_the_apis_status_and_type() {
        for (kind, status, name) in [
            (ErrorKind::InvalidRequest, 400, "invalid_request_error"),
            (ErrorKind::Authentication, 401, "authentication_error"),
            (ErrorKind::Permission, 403, "permission_error"),
            (ErrorKind::NotFound, 404, "not_found_error"),
            (ErrorKind::MethodNotAllowed, 405, "invalid_request_error"),
            (ErrorKind::RequestTimeout, 408, "timeout_error"),
            (ErrorKind::TooLarge, 413, "request_too_large"),
            (ErrorKind::RateLimited, 429, "rate_limit_error"),
            (ErrorKind::Internal, 500, "api_error"),
            (ErrorKind::Unavailable, 503, "api_error"),
            (ErrorKind::Timeout, 504, "timeout_error"),
            (ErrorKind::Overloaded, 529, "overloaded_error"),
        ] {
            let (got, body) = error(&ApiError::new(kind, "say \"no\""), "req_1");
            let expect = format!(
                r#"{{"type":"error","error":{{"type":"{name}","message":"say \"no\""}},"request_id":"req_1"}}"#
            );
            assert_eq!((got, String::from_utf8(body).unwrap()), (status, expect));
        }
    }
}
