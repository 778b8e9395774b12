//! A second in UTC, written as RFC 3339 does: `2026-12-31T23:59:59Z`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::problems::shown;
use crate::log::Timestamp;

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// By the clock on the wall, which may be set.
    pub(crate) fn now() -> Moment {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Moment(now.map_or(0, |it| it.as_secs()))
    }

    /// Reads the one way in which a moment is written.
    ///
    /// # Errors
    /// What was there, and how to write it.
    pub(super) fn parse(text: &str) -> Result<Moment, String> {
        read(text)
            // What no calendar has comes out as another day.
            .filter(|moment| moment.to_string() == text)
            .ok_or_else(|| {
                format!(
                    "{} is not a time in UTC, write one such as 2026-12-31T23:59:59Z",
                    shown(text)
                )
            })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp(u128::from(self.0) * 1000).to_string();
        f.write_str(&time.replace(".000Z", "Z"))
    }
}

fn read(text: &str) -> Option<Moment> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(Moment(days(year, month, day)? * 86_400 + seconds))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let number = |part: &str| match part.len() {
        2 | 4 => part.parse().ok(),
        _ => None,
    };
    let parts: Option<Vec<u64>> = text.split(separator).map(number).collect();
    parts?.try_into().ok()
}

/// A Gregorian date to days since 1970-01-01, counting years from March so that the leap day is last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year - u64::from(month <= 2);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let (era, of_era) = (year / 400, year % 400);
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-12-31T23:59:59Z", 1_798_761_599),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(Moment::parse(text), Ok(Moment(seconds)), "{text}");
            assert_eq!(Moment(seconds).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-12-31",
            "2026-12-31T23:59:59",
            "2026-12-31t23:59:59z",
            "2026-12-31 23:59:59Z",
            "2026-12-31T23:59:59+00:00",
            "2026-12-31T23:59:59.5Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-1-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:0éZ",
        ] {
            let error = Moment::parse(text).unwrap_err();
            assert!(error.contains("is not a time in UTC"), "{text}: {error}");
        }
    }
}
