//! Whether a failed run may be asked for again at once.
//!
//! OpenClaw repeats a failed request up to 9 times by itself, each time as a run of its own here. It gives
//! up at once where it is to wait for longer than the 90 s in which it repeats.

use std::time::Duration;

use crate::api::{ApiError, ErrorKind};

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// The model has said nothing yet: nothing is lost or done twice by asking again.
    None,
    Begun,
}

/// When a client may ask again for what was already worked at.
const NO_REPEAT: Duration = Duration::from_secs(120);

impl Work {
    /// The failure as the client is to see it. A run that has begun may have changed files and sent
    /// messages, and it has cost tokens; whoever repeats it by itself does all of that again.
    pub(super) fn failed(self, mut error: ApiError) -> ApiError {
        // A run that was out of time would be so again.
        if self == Work::None && error.kind != ErrorKind::Timeout {
            return error;
        }
        if error.kind == ErrorKind::RateLimited {
            // OpenClaw sits out a rate limit, however long, and then repeats.
            error.kind = ErrorKind::Overloaded;
        }
        let wait = error.retry_after.unwrap_or_default().max(NO_REPEAT);
        error.retry_after(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(work: Work, kind: ErrorKind, expect: (ErrorKind, Option<u64>)) {
        let error = ApiError::new(kind, "x").retry_after(Duration::from_secs(3));
        let shown = work.failed(error);
        let seconds = shown.retry_after.map(|it| it.as_secs());
        assert_eq!((shown.kind, seconds), expect);
    }

    #[test]
    fn what_has_begun_or_took_too_long_is_not_repeated_soon() {
        use ErrorKind::{Internal, Overloaded, RateLimited, Timeout};
        check(Work::None, Internal, (Internal, Some(3)));
        check(Work::None, RateLimited, (RateLimited, Some(3)));
        check(Work::None, Timeout, (Timeout, Some(120)));
        check(Work::Begun, Internal, (Internal, Some(120)));
        check(Work::Begun, RateLimited, (Overloaded, Some(120)));
    }

    #[test]
    fn a_limit_that_ends_later_is_told() {
        let error = ApiError::new(ErrorKind::Overloaded, "x").retry_after(Duration::from_secs(999));
        let shown = Work::Begun.failed(error);
        assert_eq!(shown.retry_after, Some(Duration::from_secs(999)));
    }
}
