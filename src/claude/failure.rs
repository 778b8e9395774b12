//! What a failed run means to the caller.
//!
//! The gateway's own trouble (a CLI that is not signed in, a credential that was rejected) is a 503
//! and never a 401, 402 or 403: those make OpenClaw disable the tenant's key.

mod line;

use std::time::Duration;

use self::line::{last_lines, one_line};
use super::{
    event::{RateLimit, ResultLine},
    keeper::Exit,
};
use crate::api::{ApiError, ErrorKind};

/// A failure as it was told, before it is fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    kind: ErrorKind,
    words: Words,
    retry_after: Option<Duration>,
    cause: Cause,
}

/// What of a failure holds for requests to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is no credential, or the API does not take it.
    Login(Reach),
    /// A usage limit, and when it ends, in seconds since 1970.
    Limit { resets_at: u64, reach: Reach },
    /// Nothing that the next request must meet too.
    Other,
}

/// Whom it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    EveryModel,
    ThisModel,
}

/// Whose words describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Words {
    Ours(String),
    /// The CLI's, raw: secrets are still whole in it, and so can be found.
    Theirs {
        text: String,
        status: Option<u16>,
    },
}

/// What earlier lines said about why it failed.
#[derive(Debug, Default)]
pub(crate) struct Clues {
    /// `error` of the last assistant line.
    pub(crate) error: Option<String>,
    /// The usage limit that was reached.
    pub(crate) limit: Option<RateLimit>,
    pub(crate) retry_delay_ms: Option<u64>,
}

impl Failure {
    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the API has refused the request for what is in it.
    pub(crate) fn is_the_requests(&self) -> bool {
        let is_theirs = matches!(self.words, Words::Theirs { .. });
        is_theirs && matches!(self.kind, ErrorKind::InvalidRequest | ErrorKind::TooLarge)
    }

    /// The error to show: without the secrets that `redact` takes out, on one line, and with
    /// `Retry-After` counted from now.
    pub(crate) fn shown(self, unix_now: u64, redact: &dyn Fn(&str) -> String) -> ApiError {
        let mut message = match self.words {
            Words::Ours(text) => text,
            Words::Theirs { text, status } => {
                // Before the text is shortened and its blanks are folded, or a secret would be
                // there in part, or in a form nobody knows.
                phrase(self.kind, status, one_line(&redact(&text), TEXT_MAX))
            }
        };
        if let Cause::Limit { .. } = self.cause {
            // OpenClaw sits out a 429 in silence, for hours too, unless it is told that it is a usage limit.
            message = format!("the usage limit is reached: {message}");
        }
        let until = match self.cause {
            Cause::Limit { resets_at, .. } => {
                let seconds = resets_at.saturating_sub(unix_now).max(1);
                Some(Duration::from_secs(seconds))
            }
            Cause::Login(_) | Cause::Other => None,
        };
        ApiError {
            kind: self.kind,
            message,
            param: None,
            retry_after: until.or(self.retry_after),
        }
    }
}

fn phrase(kind: ErrorKind, status: Option<u16>, text: String) -> String {
    match kind {
        ErrorKind::Unavailable => format!(
            "the gateway's Claude Code CLI is not signed in or its credential was rejected ({text}); on the gateway's \
             host run `claude` as its user and sign in, or set the tenant's credential in config.yaml"
        ),
        ErrorKind::Internal if status.is_none() => format!("the Claude Code CLI failed: {text}"),
        _ => text,
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let ApiError {
            kind,
            message,
            param: _,
            retry_after,
        } = error;
        Failure {
            kind,
            words: Words::Ours(message),
            retry_after,
            cause: Cause::Other,
        }
    }
}

/// How many characters of the CLI's words are kept to look for secrets in; a result may repeat megabytes.
const RAW_MAX: usize = 64 << 10;

/// The failure that a `result` line with `is_error` stands for.
pub(crate) fn from_result(result: &ResultLine<'_>, clues: &Clues) -> Failure {
    let text: String = words(result).chars().take(RAW_MAX).collect();
    let kind = kind(result, clues, &one_line(&text, TEXT_MAX));
    let limited = kind == ErrorKind::RateLimited;
    Failure {
        kind,
        words: Words::Theirs {
            text,
            status: result.api_error_status,
        },
        retry_after: clues
            .retry_delay_ms
            .filter(|_| limited)
            .map(Duration::from_millis),
        cause: cause(kind, result.api_error_status, clues),
    }
}

fn cause(kind: ErrorKind, status: Option<u16>, clues: &Clues) -> Cause {
    let limit = clues.limit.as_ref();
    match (kind, limit.and_then(|it| it.resets_at)) {
        // An account may be forbidden one model and allowed another.
        (ErrorKind::Unavailable, _) if status == Some(403) => Cause::Login(Reach::ThisModel),
        (ErrorKind::Unavailable, _) => Cause::Login(Reach::EveryModel),
        (ErrorKind::RateLimited, Some(resets_at)) => {
            let reach = match limit.and_then(|it| it.kind.as_deref()) {
                Some("five_hour" | "seven_day") => Reach::EveryModel,
                // Weekly limits of single models, and what is not known yet.
                _ => Reach::ThisModel,
            };
            Cause::Limit { resets_at, reach }
        }
        _ => Cause::Other,
    }
}

fn words(result: &ResultLine<'_>) -> String {
    match (&result.result, &result.errors) {
        (Some(text), _) if !text.trim().is_empty() => (**text).to_owned(),
        (_, Some(errors)) if !errors.is_empty() => {
            errors.iter().map(|it| &**it).collect::<Vec<_>>().join("; ")
        }
        _ => result
            .terminal_reason
            .as_deref()
            .unwrap_or("no reason given")
            .to_owned(),
    }
}

fn kind(result: &ResultLine<'_>, clues: &Clues, text: &str) -> ErrorKind {
    let error = clues.error.as_deref().unwrap_or("");
    match result.api_error_status {
        Some(401 | 403) => ErrorKind::Unavailable,
        Some(404) => ErrorKind::NotFound,
        Some(413) => ErrorKind::TooLarge,
        Some(429) => ErrorKind::RateLimited,
        Some(529) => ErrorKind::Overloaded,
        Some(408 | 504) => ErrorKind::Timeout,
        Some(400..=499) => ErrorKind::InvalidRequest,
        Some(_) => ErrorKind::Internal,
        None if error == "authentication_failed" || text.starts_with("Not logged in") => {
            ErrorKind::Unavailable
        }
        None if text.starts_with("Request timed out") => ErrorKind::Timeout,
        None if error == "rate_limit" => ErrorKind::RateLimited,
        None if text.contains("Overloaded") => ErrorKind::Overloaded,
        None if text.starts_with("Prompt is too long") => ErrorKind::InvalidRequest,
        None => ErrorKind::Internal,
    }
}

/// A CLI that ended, or closed its output, without a `result` line; `stderr` without secrets.
pub(crate) fn exited_without_result(exit: Option<Exit>, stderr: &str) -> ApiError {
    let how = match exit {
        Some(Exit::Code(code)) => format!("exited with status {code}"),
        Some(Exit::Signal(9)) => {
            "was killed by signal 9 (SIGKILL; by hand, or the system ran out of memory)".to_owned()
        }
        Some(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
        Some(Exit::Unknown) => "was lost: the process watching it was killed".to_owned(),
        None => "closed its output".to_owned(),
    };
    let last = last_lines(stderr.as_bytes(), STDERR_MAX);
    let said = if last.is_empty() {
        "and said nothing".to_owned()
    } else {
        format!("and said: {last}")
    };
    ApiError::new(
        ErrorKind::Internal,
        format!("the Claude Code CLI {how} before it answered, {said}"),
    )
}

/// Longest text of the CLI's that goes into an error, in bytes.
const TEXT_MAX: usize = 1000;

/// Longest end of its standard error, in characters.
const STDERR_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str) -> RateLimit {
        RateLimit {
            status: "rejected".to_owned(),
            resets_at: Some(1000),
            kind: Some(kind.to_owned()),
            windows: Default::default(),
        }
    }

    #[track_caller]
    fn check(result: &str, error: Option<&str>, kind: ErrorKind, part: &str) {
        let result: ResultLine<'_> = serde_json::from_str(result).unwrap();
        let clues = Clues {
            error: error.map(str::to_owned),
            limit: Some(limit("five_hour")),
            retry_delay_ms: Some(2488),
        };
        let error = from_result(&result, &clues).shown(900, &|text| text.to_owned());
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
        let limited = kind == ErrorKind::RateLimited;
        assert_eq!(error.message.starts_with("the usage limit"), limited);
        let expect = limited.then_some(Duration::from_secs(100));
        assert_eq!(error.retry_after, expect);
    }

    #[test]
    fn results_map_to_kinds() {
        let status = |code: u16| {
            format!(
                r#"{{"is_error":true,"api_error_status":{code},"result":"API Error: {code} x"}}"#
            )
        };
        for (code, kind) in [
            (400, ErrorKind::InvalidRequest),
            (401, ErrorKind::Unavailable),
            (403, ErrorKind::Unavailable),
            (404, ErrorKind::NotFound),
            (413, ErrorKind::TooLarge),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::Internal),
            (503, ErrorKind::Internal),
            (529, ErrorKind::Overloaded),
        ] {
            check(&status(code), None, kind, &format!("API Error: {code}"));
        }
    }

    #[test]
    fn failures_without_a_status_are_told_apart() {
        check(
            r#"{"result":"Not logged in · Please run /login"}"#,
            Some("authentication_failed"),
            ErrorKind::Unavailable,
            "sign in",
        );
        check(
            r#"{"result":"Request timed out. x"}"#,
            Some("server_error"),
            ErrorKind::Timeout,
            "timed out",
        );
        check(
            r#"{"errors":["Reached maximum number of turns (2)"],"terminal_reason":"max_turns"}"#,
            None,
            ErrorKind::Internal,
            "maximum number of turns",
        );
        check(
            r#"{"result":"  ","terminal_reason":"odd"}"#,
            None,
            ErrorKind::Internal,
            "odd",
        );
        check("{}", None, ErrorKind::Internal, "no reason");
    }

    #[test]
    fn only_credentials_and_limits_last() {
        #[track_caller]
        fn check(status: u16, kind: &str, expect: Cause) {
            let line = format!(r#"{{"is_error":true,"api_error_status":{status}}}"#);
            let result: ResultLine<'_> = serde_json::from_str(&line).unwrap();
            let clues = Clues {
                limit: Some(limit(kind)),
                ..Clues::default()
            };
            assert_eq!(
                from_result(&result, &clues).cause(),
                expect,
                "{status} {kind}"
            );
        }
        let ends = |reach| Cause::Limit {
            resets_at: 1000,
            reach,
        };
        check(401, "", Cause::Login(Reach::EveryModel));
        check(403, "", Cause::Login(Reach::ThisModel));
        check(429, "five_hour", ends(Reach::EveryModel));
        check(429, "seven_day", ends(Reach::EveryModel));
        check(429, "seven_day_opus", ends(Reach::ThisModel));
        check(500, "five_hour", Cause::Other);
        let result: ResultLine<'_> = serde_json::from_str(r#"{"api_error_status":429}"#).unwrap();
        assert_eq!(
            from_result(&result, &Clues::default()).cause(),
            Cause::Other
        );
        let result = serde_json::from_str(r#"{"result":"Not logged in"}"#).unwrap();
        let lost = from_result(&result, &Clues::default());
        assert_eq!(lost.cause(), Cause::Login(Reach::EveryModel));
    }

    #[test]
    fn secrets_are_taken_out_before_the_text_is_shortened() {
        let long = format!(
            r#"{{"result":"{} KEY  WITH\nBLANKS"}}"#,
            "x".repeat(TEXT_MAX - 6)
        );
        for line in [&long, r#"{"result":"is KEY  WITH\nBLANKS"}"#] {
            let result: ResultLine<'_> = serde_json::from_str(line).unwrap();
            let redact = |text: &str| text.replace("KEY  WITH\nBLANKS", "*");
            let error = from_result(&result, &Clues::default()).shown(0, &redact);
            assert!(!error.message.contains("KE"), "{}", error.message);
        }
    }

    #[test]
    fn silent_exits_are_described() {
        for (exit, stderr, expect) in [
            (
                Some(Exit::Code(1)),
                "one\n\x1b[31mtwo\x1b[0m \u{7}three\n\n",
                "exited with status 1 before it answered, and said: one | two three",
            ),
            (
                Some(Exit::Code(0)),
                "",
                "exited with status 0 before it answered, and said nothing",
            ),
            (Some(Exit::Signal(9)), "", "was killed by signal 9 (SIGKILL"),
            (Some(Exit::Signal(15)), "", "ended by signal 15"),
            (None, "", "closed its output"),
        ] {
            let error = exited_without_result(exit, stderr);
            assert!(error.message.contains(expect), "{}", error.message);
        }
    }

    #[test]
    fn foreign_text_is_bounded() {
        let error = exited_without_result(None, &"é".repeat(100_000));
        assert!(error.message.len() < 2 * STDERR_MAX + 200);
    }
}
