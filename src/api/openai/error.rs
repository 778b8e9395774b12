//! Errors in OpenAI's shape: <https://platform.openai.com/docs/guides/error-codes>.

use serde::Serialize;

use crate::api::{ApiError, ErrorKind};

/// An error as HTTP status and JSON body.
pub(crate) fn error(error: &ApiError) -> (u16, Vec<u8>) {
    (names(error.kind).0, json(error))
}

/// What the API calls such an error.
pub(crate) fn code(error: &ApiError) -> &'static str {
    names(error.kind).2.unwrap_or("server_error")
}

/// An error as the last event of a stream.
pub(crate) fn error_frame(error: &ApiError) -> Vec<u8> {
    let mut frame = b"data: ".to_vec();
    frame.extend_from_slice(&json(error));
    frame.extend_from_slice(b"\n\n");
    frame
}

/// Status, `type` and `code`. OpenAI has no 529; its clients retry a 503 the same way.
fn names(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => (400, "invalid_request_error", None),
        ErrorKind::UnknownResponse => (
            400,
            "invalid_request_error",
            Some("previous_response_not_found"),
        ),
        ErrorKind::Authentication => (401, "invalid_request_error", Some("invalid_api_key")),
        ErrorKind::Permission => (403, "invalid_request_error", Some("permission_denied")),
        ErrorKind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        ErrorKind::NoRoute => (404, "invalid_request_error", Some("unknown_url")),
        ErrorKind::MethodNotAllowed => (405, "invalid_request_error", Some("method_not_supported")),
        ErrorKind::RequestTimeout => (408, "invalid_request_error", Some("request_timeout")),
        ErrorKind::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
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
    param: Option<&'a str>,
    code: Option<&'static str>,
}

fn json(error: &ApiError) -> Vec<u8> {
    let (_, kind, code) = names(error.kind);
    let error = Body {
        message: &error.message,
        kind,
        param: error.param.as_deref(),
        code,
    };
    // Plain structs with string keys always serialise.
    serde_json::to_vec(&Envelope { error }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: ErrorKind, status: u16, name: &str, code: Option<&str>) {
        let failure = ApiError::new(kind, "say \"no\"\n");
        let code = code.map_or("null".to_owned(), |it| format!("\"{it}\""));
        let json = format!(
            r#"{{"error":{{"message":"say \"no\"\n","type":"{name}","param":null,"code":{code}}}}}"#
        );
        let (got, body) = error(&failure);
        assert_eq!(
            (got, String::from_utf8(body).unwrap()),
            (status, json.clone())
        );
        let frame = String::from_utf8(error_frame(&failure)).unwrap();
        assert_eq!(frame, format!("data: {json}\n\n"));
    }

    #[test]
    fn field_that_is_wrong_is_named() {
        let failure = ApiError::new(ErrorKind::InvalidRequest, "no").param("messages[0].role");
        let body = String::from_utf8(error(&failure).1).unwrap();
        assert!(body.contains(r#""param":"messages[0].role""#), "{body}");
    }

    #[test]
    fn every_error_kind_has_openais_status_type_and_code() {
        const REQUEST: &str = "invalid_request_error";
        check(ErrorKind::InvalidRequest, 400, REQUEST, None);
        check(
            ErrorKind::Authentication,
            401,
            REQUEST,
            Some("invalid_api_key"),
        );
        check(
            ErrorKind::Permission,
            403,
            REQUEST,
            Some("permission_denied"),
        );
        check(ErrorKind::NotFound, 404, REQUEST, Some("model_not_found"));
        check(ErrorKind::NoRoute, 404, REQUEST, Some("unknown_url"));
        check(
            ErrorKind::MethodNotAllowed,
            405,
            REQUEST,
            Some("method_not_supported"),
        );
        check(
            ErrorKind::RequestTimeout,
            408,
            REQUEST,
            Some("request_timeout"),
        );
        check(ErrorKind::TooLarge, 413, REQUEST, Some("request_too_large"));
        check(
            ErrorKind::RateLimited,
            429,
            "rate_limit_error",
            Some("rate_limit_exceeded"),
        );
        check(ErrorKind::Internal, 500, "server_error", None);
        check(
            ErrorKind::Unavailable,
            503,
            "server_error",
            Some("unavailable"),
        );
        check(ErrorKind::Timeout, 504, "server_error", Some("timeout"));
        check(
            ErrorKind::Overloaded,
            503,
            "server_error",
            Some("overloaded"),
        );
    }
}
