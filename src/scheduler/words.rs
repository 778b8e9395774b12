//! What those are told who do not get to run.

use std::time::Duration;

use super::Limits;
use crate::api::{ApiError, ErrorKind};

/// What a tenant is told that has too much waiting already; `run` is how long runs take, on average.
pub(super) fn queue_full(tenant: &str, limits: &Limits, run: Duration) -> ApiError {
    let depth = limits.depth_max;
    let wait = run / limits.per_tenant_max.max(1) as u32;
    ApiError::new(
        ErrorKind::RateLimited,
        format!(
            "the queue of tenant {tenant} is full (at most {depth} requests, {} MiB in all); try again later or raise cli.queue_depth",
            limits.bytes_max >> 20
        ),
    )
    .retry_after(wait.clamp(Duration::from_secs(1), Duration::from_secs(60)))
}

/// What everybody is told who comes too late.
pub(crate) fn shutting_down() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "the gateway is shutting down; send the request again",
    )
    .retry_after(Duration::from_secs(5))
}

/// What a client is told whose request the operator ended. The time to come back is longer than clients
/// repeat by themselves: what was ended on purpose shall not start again at once.
pub(crate) fn cancelled() -> ApiError {
    let text = "the gateway's operator ended this request";
    ApiError::new(ErrorKind::Unavailable, text).retry_after(Duration::from_secs(120))
}

/// What one is told whose time in the queue is over.
pub(super) fn waited_too_long(wait_max: Duration) -> ApiError {
    ApiError::new(
        ErrorKind::Overloaded,
        format!(
            "the request waited {} s in the queue (cli.queue_timeout) and its turn did not come; try again later",
            wait_max.as_secs()
        ),
    )
    .retry_after(Duration::from_secs(30))
}
