//! A moment in the file: RFC 3339 in UTC, `2026-11-24T20:15:00Z`. Pure.

/// Seconds since 1970.
///
/// # Errors
/// What is wrong with the text, and how it is written.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    read(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("`{shown}` is not a time, write it as 2026-11-24T20:15:00Z (UTC)")
    })
}

fn read(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_moment = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_moment.then(|| days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Since 1970-01-01.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|it| 365 + u64::from(is_leap(it))).sum();
    let months: u64 = (1..month).map(|it| days_of(year, it)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Timestamp;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for seconds in [
            0,
            951_782_400,
            951_868_799,
            1_709_164_800,
            1_795_464_900,
            4_102_444_799,
        ] {
            let shown = Timestamp(u128::from(seconds) * 1000).to_string();
            let text = shown.replace(".000Z", "Z");
            assert_eq!(parse(&text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-11-24",
            "2026-11-24T20:15:00",
            "2026-11-24T20:15:00+01:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "1969-01-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T20:15:+1Z",
        ] {
            assert!(parse(text).unwrap_err().contains("write it as"), "{text}");
        }
    }
}
