//! One scalar's text to a number, duration, address, choice or path. Pure; an error says what the
//! value was and what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::keys::closest;
use super::problems::shown;

/// A day: no limit of time needs more, and none can be switched off.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A whole number in decimal digits, without sign, `_`, exponent or leading zeros.
pub(super) fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let advice = format!("a whole number from {} to {}", range.start(), range.end());
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown = shown(text);
        return Err(format!(
            "{shown} is not a number in plain digits, write {advice}"
        ));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        // YAML 1.1 reads 0123 as octal; guessing would be wrong for somebody.
        let shown = shown(text);
        return Err(format!("{shown} starts with a zero, write {advice}"));
    }
    match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        // Digits that do not fit the type are out of range as well.
        _ => Err(format!("{} is out of range, write {advice}", shown(text))),
    }
}

/// Milliseconds, from 1 to a day.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    not_zero(text, "milliseconds")?;
    number(text, 1..=DAY_MS).map(Duration::from_millis)
}

/// Seconds, from 1 to `max`.
pub(super) fn seconds(text: &str, max: u64) -> Result<Duration, String> {
    not_zero(text, "seconds")?;
    number(text, 1..=max).map(Duration::from_secs)
}

fn not_zero(text: &str, unit: &str) -> Result<(), String> {
    if text == "0" {
        return Err(format!(
            "`0` is no time at all (it does not switch the limit off), write at least 1, in {unit}"
        ));
    }
    Ok(())
}

/// An IPv4 or IPv6 address, or `localhost`.
pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| {
        format!(
            "{} is not an IP address, write one such as 127.0.0.1 or \"::1\" (names are not \
             looked up, except localhost)",
            shown(text)
        )
    })
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names = words.iter().map(|(word, _)| *word);
    let advice = match closest(text, names.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!(
            "write one of {}",
            names.collect::<Vec<_>>().as_slice().join(", ")
        ),
    };
    Err(format!("{} is not a valid choice, {advice}", shown(text)))
}

/// Where relative paths and `~/` start.
pub(super) struct Origin {
    /// The folder of the configuration file, absolute.
    pub(super) dir: PathBuf,
    /// `$HOME`, if it is an absolute path.
    pub(super) home: Option<PathBuf>,
}

impl Origin {
    /// The absolute path that `text` means. `..` stays as it is, because it may follow a link.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            let shown = shown(text);
            return Err(format!(
                "{shown} is not a path, write one without control characters"
            ));
        }
        let path = match text.strip_prefix('~') {
            None => self.dir.join(text),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let Some(home) = &self.home else {
                    let shown = shown(text);
                    return Err(format!(
                        "{shown} needs HOME, which is not set to an absolute path, write the full path"
                    ));
                };
                home.join(rest.trim_start_matches('/'))
            }
            Some(_) => {
                let shown = shown(text);
                return Err(format!(
                    "{shown} names another user's home, which is not looked up, write the full path"
                ));
            }
        };
        Ok(without_dots(&path))
    }

    /// A program: a bare name stays one, for the search in `PATH`; anything else is a path.
    pub(super) fn program(&self, text: &str) -> Result<PathBuf, String> {
        let path = self.path(text)?;
        if text.contains('/') || text.starts_with('~') {
            return Ok(path);
        }
        if matches!(text, "." | "..") {
            return Err(format!("{} is a folder, write a program", shown(text)));
        }
        Ok(PathBuf::from(text))
    }
}

fn without_dots(path: &Path) -> PathBuf {
    // `components` leaves out every `.` and doubled `/`.
    path.components().collect()
}
