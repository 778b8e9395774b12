//! A `rate_limit_event` line: where a subscription's usage limits stand. The CLI writes it for
//! logins of a subscription only, from the API's `anthropic-ratelimit-unified-*` headers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Event, lenient};

/// What the line says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RateLimit {
    /// `allowed`, `allowed_warning` or `rejected`.
    pub(crate) status: String,
    /// When the limit named by `kind` ends, in seconds since 1970.
    #[serde(default, rename = "resetsAt", deserialize_with = "lenient")]
    pub(crate) resets_at: Option<u64>,
    /// The limit that decides: `five_hour`, `seven_day`, `seven_day_opus` and others.
    #[serde(default, rename = "rateLimitType", deserialize_with = "lenient")]
    pub(crate) kind: Option<String>,
    /// Every limit by its name.
    #[serde(default, rename = "unifiedWindows", deserialize_with = "lenient")]
    pub(crate) windows: BTreeMap<String, Window>,
}

/// Where one limit stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Window {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) status: Option<String>,
    /// How much of it is used; 1 is all.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) utilization: Option<f64>,
    /// In seconds since 1970.
    #[serde(default, rename = "resetsAt", deserialize_with = "lenient")]
    pub(crate) resets_at: Option<u64>,
}

impl RateLimit {
    pub(crate) fn is_rejection(&self) -> bool {
        self.status == "rejected"
    }
}

pub(super) fn read(line: &[u8]) -> serde_json::Result<Event<'_>> {
    #[derive(Deserialize)]
    struct Line {
        rate_limit_info: RateLimit,
    }
    let line: Line = serde_json::from_slice(line)?;
    Ok(Event::RateLimit(Box::new(line.rate_limit_info.plausible())))
}

/// Some words: they become headers, and clients take no endless ones.
const TEXT_MAX: usize = 64;

/// The year 2286. Milliseconds are later, and would be a wait of 50,000 years.
const TIME_MAX: u64 = 10_000_000_000;

impl RateLimit {
    /// Without what nobody could mean.
    fn plausible(mut self) -> Self {
        let short = |it: &String| it.len() <= TEXT_MAX;
        let soon = |it: &u64| *it <= TIME_MAX;
        if !short(&self.status) {
            self.status.clear();
        }
        self.kind = self.kind.filter(short);
        self.resets_at = self.resets_at.filter(soon);
        for window in self.windows.values_mut() {
            window.status = window.status.take().filter(short);
            window.resets_at = window.resets_at.filter(soon);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_mean_is_left_out() {
        let long = "x".repeat(65);
        let read = limit(&format!(
            r#"{{"status":"{long}","resetsAt":1795449204000,"rateLimitType":"{long}","unifiedWindows":{{"five_hour":{{"status":"{long}","resetsAt":9223372036854775808}}}}}}"#
        ));
        assert_eq!(
            (read.status.as_str(), read.resets_at, read.kind),
            ("", None, None)
        );
        let window = &read.windows["five_hour"];
        assert_eq!((&window.status, window.resets_at), (&None, None));
    }

    #[track_caller]
    fn limit(info: &str) -> RateLimit {
        let line = format!(r#"{{"type":"rate_limit_event","rate_limit_info":{info}}}"#);
        match super::super::parse(line.as_bytes()) {
            Ok(Event::RateLimit(limit)) => *limit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn limits_and_their_windows_are_read() {
        let read = limit(
            r#"{"status":"rejected","resetsAt":5,"rateLimitType":"five_hour","isUsingOverage":false,"unifiedWindows":{"five_hour":{"utilization":0.93,"resetsAt":7,"status":"allowed_warning"},"seven_day":{}}}"#,
        );
        assert!(read.is_rejection());
        assert_eq!(
            (read.resets_at, read.kind.as_deref()),
            (Some(5), Some("five_hour"))
        );
        let window = &read.windows["five_hour"];
        assert_eq!(
            (window.utilization, window.resets_at),
            (Some(0.93), Some(7))
        );
        assert_eq!(window.status.as_deref(), Some("allowed_warning"));
        assert_eq!(read.windows["seven_day"].utilization, None);
    }

    #[test]
    fn fields_of_other_types_count_as_absent() {
        let read = limit(
            r#"{"status":"allowed","resetsAt":"soon","rateLimitType":7,"unifiedWindows":[]}"#,
        );
        let bare = limit(r#"{"status":"allowed"}"#);
        assert_eq!(read, bare);
        assert!(!bare.is_rejection() && bare.windows.is_empty());
    }
}
