//! For how long a key that was replaced is still taken: `90s`, `15m`, `24h`, `7d`. Pure.

/// A key that lives longer was not replaced.
const SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Seconds.
///
/// # Errors
/// What was there, and how to write it.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "--grace: `{text}` is not a time, write one such as 90s, 15m, 24h or 7d; 0 ends the old key at once"
        )
    };
    if text == "0" {
        return Ok(0);
    }
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: Option<u64> = digits.parse().ok();
    let seconds = number.and_then(|it| it.checked_mul(unit));
    let seconds = seconds.filter(|it| *it <= SECONDS_MAX);
    seconds.ok_or_else(|| format!("--grace: `{text}` is too long, write at most 365d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("24h", 86_400),
            ("365d", SECONDS_MAX),
        ] {
            assert_eq!(parse(text), Ok(seconds));
        }
        for text in [
            "",
            "h",
            "24",
            "1.5h",
            "-1h",
            "1w",
            "366d",
            "99999999999999999999d",
            "1hé",
            " 1h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
