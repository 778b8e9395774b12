//! OpenAI's Chat Completions format: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod request;

use serde::Serialize;

pub(crate) use self::{
    answer::{Collector, Identity, StreamEncoder},
    request::parse,
};
use super::{ApiError, ErrorKind};

/// An error as HTTP status and JSON body.
pub(crate) fn error(error: &ApiError) -> (u16, Vec<u8>) {
    (names(error.kind).0, error_json(error))
}

/// An error as the last event of a stream.
pub(crate) fn error_frame(error: &ApiError) -> Vec<u8> {
    let mut frame = b"data: ".to_vec();
    frame.extend_from_slice(&error_json(error));
    frame.extend_from_slice(b"\n\n");
    frame
}

/// Status, `type` and `code`. OpenAI has no 529; its clients retry a 503 the same way.
fn names(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => (400, "invalid_request_error", None),
        ErrorKind::Authentication => (401, "invalid_request_error", Some("invalid_api_key")),
        ErrorKind::Permission => (403, "invalid_request_error", Some("permission_denied")),
        ErrorKind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        ErrorKind::MethodNotAllowed => (405, "invalid_request_error", Some("method_not_supported")),
        ErrorKind::RequestTimeout => (408, "invalid_request_error", Some("request_timeout")),
        ErrorKind::TooLarge => (
            413,
            "invalid_request_error",
            Some("context_length_exceeded"),
        ),
        ErrorKind::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Internal => (500, "server_error", None),
        ErrorKind::Unavailable => (503, "server_error", Some("unavailable")),
        ErrorKind::Timeout => (504, "server_error", Some("timeout")),
        ErrorKind::Overloaded => (503, "server_error", Some("overloaded")),
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

fn error_json(error: &ApiError) -> Vec<u8> {
    let (_, kind, code) = names(error.kind);
    let error = Body {
        message: &error.message,
        kind,
        param: None,
        code,
    };
    // Plain structs with string keys always serialise.
    serde_json::to_vec(&Envelope { error }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_openais_shape() {
        for (kind, status, json) in [
            (
                ErrorKind::Authentication,
                401,
                r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            ),
            (
                ErrorKind::RateLimited,
                429,
                r#"{"error":{"message":"m","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#,
            ),
            (
                ErrorKind::Overloaded,
                503,
                r#"{"error":{"message":"m","type":"server_error","param":null,"code":"overloaded"}}"#,
            ),
            (
                ErrorKind::Internal,
                500,
                r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#,
            ),
        ] {
            let (got, body) = error(&ApiError::new(kind, "m"));
            assert_eq!(
                (got, String::from_utf8(body).unwrap().as_str()),
                (status, json)
            );
        }
    }
}
