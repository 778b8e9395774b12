//! Answers that are no stream: errors, and JSON.

use std::time::Duration;

use super::super::route::Format;
use crate::{
    api::{ApiError, anthropic, openai},
    http::Response,
};

/// The longest `Retry-After` that the official SDKs obey: told a longer one, they ask again within
/// seconds, unless `x-should-retry` forbids it.
const SDK_PATIENCE: Duration = Duration::from_secs(60);

/// An error as a whole response in the caller's format.
pub(crate) fn error_response(format: Format, error: &ApiError, request_id: &str) -> Response {
    let (status, body) = match format {
        Format::Anthropic => anthropic::error(error, request_id),
        Format::OpenAi => openai::error(error),
    };
    let response = json(status, body).header(request_id_header(format), request_id.to_owned());
    match error.retry_after {
        Some(after) => {
            let response = response.header("retry-after", seconds(after).to_string());
            match after > SDK_PATIENCE {
                true => response.header("x-should-retry", "false"),
                false => response,
            }
        }
        None => response,
    }
}

/// Rounded up: a client that comes back a moment early is refused again.
fn seconds(after: Duration) -> u128 {
    after.as_millis().div_ceil(1000)
}

/// An error inside a stream has no headers. OpenClaw reads the time from these words as well.
pub(super) fn with_time_in_words(error: &ApiError) -> ApiError {
    let mut error = error.clone();
    if let Some(after) = error.retry_after {
        error.message += &format!("; try again in {} seconds", seconds(after));
    }
    error
}

/// A whole response in JSON.
pub(crate) fn json(status: u16, body: Vec<u8>) -> Response {
    Response::new(status)
        .header("content-type", "application/json")
        .body(body)
}

pub(super) fn request_id_header(format: Format) -> &'static str {
    match format {
        Format::Anthropic => "request-id",
        Format::OpenAi => "x-request-id",
    }
}
