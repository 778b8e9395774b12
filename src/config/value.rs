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
                        "{shown} needs HOME, which is not set to an absolute path, write the full \
                         path"
                    ));
                };
                home.join(rest.trim_start_matches('/'))
            }
            Some(_) => {
                let shown = shown(text);
                return Err(format!(
                    "{shown} names another user's home, which is not looked up, write the full \
                     path"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The value, or the start of the error.
    #[track_caller]
    fn check<T: std::fmt::Debug + PartialEq>(result: Result<T, String>, expect: Result<T, &str>) {
        match (result, expect) {
            (Err(error), Err(start)) => assert!(error.starts_with(start), "{error}"),
            (result, expect) => assert_eq!(result, expect.map_err(str::to_owned)),
        }
    }

    #[test]
    fn numbers_are_plain_decimal_digits_in_range() {
        let number = |text| number::<u16>(text, 2..=300);
        check(number("2"), Ok(2));
        check(number("300"), Ok(300));
        for text in ["1", "301", "0", "-5", "65536", "99999999999999999999999999"] {
            let expect = format!("`{text}` is out of range, write a whole number from 2 to 300");
            check(number(text), Err(&expect));
        }
        for text in [
            "", "-", "+3", "1_0", "0x10", "1e2", "3.0", " 3", "3 ", "٣", "--3", "true",
        ] {
            let expect = format!("`{text}` is not a number in plain digits, write a whole number");
            check(number(text), Err(&expect));
        }
        for text in ["03", "00", "-01"] {
            check(number(text), Err(&format!("`{text}` starts with a zero")));
        }
    }

    #[test]
    fn times_are_never_zero() {
        check(millis("1"), Ok(Duration::from_millis(1)));
        check(millis("86400000"), Ok(Duration::from_secs(86400)));
        check(millis("86400001"), Err("`86400001` is out of range"));
        check(
            millis("0"),
            Err("`0` is no time at all (it does not switch the limit off)"),
        );
        check(seconds("60", 60), Ok(Duration::from_secs(60)));
        check(
            seconds("61", 60),
            Err("`61` is out of range, write a whole number from 1 to 60"),
        );
        check(seconds("0", 60), Err("`0` is no time at all"));
        check(seconds("1s", 60), Err("`1s` is not a number"));
    }

    #[test]
    fn addresses_are_not_looked_up() {
        check(ip("10.0.0.1"), Ok(IpAddr::from([10, 0, 0, 1])));
        check(ip("::"), Ok(std::net::Ipv6Addr::UNSPECIFIED.into()));
        check(ip("LOCALHOST"), Ok(Ipv4Addr::LOCALHOST.into()));
        for text in [
            "",
            "[::1]",
            "10.0.0.1:80",
            "10.0.0",
            "010.0.0.1",
            "example.org",
        ] {
            check(ip(text), Err(&format!("`{text}` is not an IP address")));
        }
    }

    #[test]
    fn choices_are_exact_and_a_slip_gets_a_hint() {
        let choice = |text| choice(text, &[("low", 1), ("medium", 2), ("high", 3)]);
        check(choice("low"), Ok(1));
        check(
            choice("Low"),
            Err("`Low` is not a valid choice, did you mean `low`?"),
        );
        check(
            choice("hihg"),
            Err("`hihg` is not a valid choice, did you mean `high`?"),
        );
        let expect = "`turbo` is not a valid choice, write one of low, medium, high";
        check(choice("turbo"), Err(expect));
    }

    #[test]
    fn paths_become_absolute() {
        let origin = Origin {
            dir: PathBuf::from("/etc/ccgw"),
            home: Some(PathBuf::from("/home/u")),
        };
        let path = |text| origin.path(text).map(|path| path.display().to_string());
        let ok = |text: &str| Ok(text.to_owned());
        check(path("skills"), ok("/etc/ccgw/skills"));
        check(path("./a//b/./c/"), ok("/etc/ccgw/a/b/c"));
        check(path("../x"), ok("/etc/ccgw/../x"));
        check(path("/srv/x"), ok("/srv/x"));
        check(path("~/x"), ok("/home/u/x"));
        check(path("~"), ok("/home/u"));
        check(path("~//etc"), ok("/home/u/etc"));
        check(path("~bob/x"), Err("`~bob/x` names another user's home"));
        check(path("a\0b"), Err("`a\\0b` is not a path"));
        check(path("a\nb"), Err("`a\\nb` is not a path"));

        let program = |text| origin.program(text).map(|path| path.display().to_string());
        check(program("claude"), ok("claude"));
        check(program("./claude"), ok("/etc/ccgw/claude"));
        check(program("bin/claude"), ok("/etc/ccgw/bin/claude"));
        check(program("~/claude"), ok("/home/u/claude"));
        check(program(".."), Err("`..` is a folder"));

        let homeless = Origin {
            home: None,
            ..origin
        };
        check(homeless.path("~/x"), Err("`~/x` needs HOME"));
    }
}
