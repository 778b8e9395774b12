//! Where a subscription's usage limits stand, as headers in the API's spelling. Only what the CLI told
//! is in them: the API has more, of which the CLI repeats nothing.

use crate::{
    claude::event::{RateLimit, Window},
    http::AnswerHeader,
};

/// The CLI's name of a limit, and the headers of its status, utilization and end.
type Names = (&'static str, [&'static str; 3]);

const WINDOWS: [Names; 2] = [
    (
        "five_hour",
        [
            "anthropic-ratelimit-unified-5h-status",
            "anthropic-ratelimit-unified-5h-utilization",
            "anthropic-ratelimit-unified-5h-reset",
        ],
    ),
    (
        "seven_day",
        [
            "anthropic-ratelimit-unified-7d-status",
            "anthropic-ratelimit-unified-7d-utilization",
            "anthropic-ratelimit-unified-7d-reset",
        ],
    ),
];

/// The headers that one line of the CLI's stands for.
pub(super) fn headers(limit: &RateLimit) -> Vec<AnswerHeader> {
    let mut headers = Vec::new();
    let mut put = |name, value: Option<String>| {
        headers.extend(value.map(|value| (name, value.into())));
    };
    let status = Some(limit.status.clone()).filter(|it| !it.is_empty());
    put("anthropic-ratelimit-unified-status", status);
    put(
        "anthropic-ratelimit-unified-reset",
        limit.resets_at.map(|it| it.to_string()),
    );
    put(
        "anthropic-ratelimit-unified-representative-claim",
        limit.kind.clone(),
    );
    for (name, [status, utilization, reset]) in WINDOWS {
        if let Some(window) = limit.windows.get(name) {
            let Window {
                status: said,
                utilization: used,
                resets_at,
            } = window;
            put(status, said.clone());
            put(utilization, used.map(|it| it.to_string()));
            put(reset, resets_at.map(|it| it.to_string()));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(info: &str, expect: &[(&str, &str)]) {
        let limit: RateLimit = serde_json::from_str(info).unwrap();
        let headers = headers(&limit);
        let got: Vec<_> = headers.iter().map(|(name, it)| (*name, &**it)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn only_what_was_told_becomes_a_header() {
        check(
            r#"{"status":"allowed"}"#,
            &[("anthropic-ratelimit-unified-status", "allowed")],
        );
        check(
            r#"{"status":"rejected","resetsAt":5,"rateLimitType":"five_hour","unifiedWindows":{"five_hour":{"utilization":0.93,"resetsAt":7,"status":"allowed_warning"},"seven_day":{"utilization":1},"seven_day_opus":{"utilization":1}}}"#,
            &[
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", "5"),
                (
                    "anthropic-ratelimit-unified-representative-claim",
                    "five_hour",
                ),
                ("anthropic-ratelimit-unified-5h-status", "allowed_warning"),
                ("anthropic-ratelimit-unified-5h-utilization", "0.93"),
                ("anthropic-ratelimit-unified-5h-reset", "7"),
                ("anthropic-ratelimit-unified-7d-utilization", "1"),
            ],
        );
    }
}
