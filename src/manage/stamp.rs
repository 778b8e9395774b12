//! When a backup was made, as its name says it: `20260131-235959`, then the same with `-2` and so on.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::log::Timestamp;

/// The day, the time and the number of a backup. Backups are in the order of their stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    day: u32,
    time: u32,
    pub(super) number: u32,
}

impl Stamp {
    pub(super) fn now() -> Stamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Stamp::at(now.map_or(0, |it| it.as_millis()))
    }

    /// The first of a second.
    pub(super) fn at(unix_ms: u128) -> Stamp {
        let digits = Timestamp(unix_ms).to_string();
        let digits = digits.bytes().filter(u8::is_ascii_digit);
        let mut number = digits.map(|it| u32::from(it - b'0'));
        let mut of = |count| number.by_ref().take(count).fold(0, |sum, it| sum * 10 + it);
        Stamp {
            day: of(8),
            time: of(6),
            number: 1,
        }
    }

    /// `None` for what is not written like one.
    pub(super) fn parse(text: &str) -> Option<Stamp> {
        let number = |text: &str, length: usize| {
            let is_one = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
            is_one.then(|| text.parse().ok()).flatten()
        };
        let (day, rest) = text.split_once('-')?;
        let (time, count) = match rest.split_once('-') {
            Some((time, count)) => (time, number(count, count.len())?),
            None => (rest, 1),
        };
        Some(Stamp {
            day: number(day, 8)?,
            time: number(time, 6)?,
            number: count,
        })
    }

    /// The first stamp from this one on, of the same second, that comes after all of these.
    pub(super) fn after(self, used: impl Iterator<Item = Stamp>) -> Stamp {
        let of_this_second = used.filter(|it| (it.day, it.time) == (self.day, self.time));
        let last = of_this_second.map(|it| it.number).max();
        let next = last.map_or(self.number, |it| it.saturating_add(1));
        self.numbered(next)
    }

    pub(super) fn numbered(self, number: u32) -> Stamp {
        Stamp { number, ..self }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:06}", self.day, self.time)?;
        match self.number {
            1 => Ok(()),
            number => write!(f, "-{number}"),
        }
    }
}

/// The path of a new backup in a directory of them.
pub(super) fn free(dir: &Path) -> PathBuf {
    let used = named(dir).into_iter().filter_map(|(stamp, _)| stamp);
    dir.join(Stamp::now().after(used).to_string())
}

/// Removes the oldest directories of backups, so that one more is not too many.
pub(super) fn prune(dir: &Path, max: usize) {
    let all = named(dir);
    let surplus = (all.len() + 1).saturating_sub(max);
    for (_, old) in &all[..surplus] {
        // One that stays takes a little room, no more.
        let _ = fs::remove_dir_all(old);
    }
}

/// All in a directory of backups, oldest first. Those of older versions, which were called otherwise, were
/// before any of today's.
pub(super) fn named(dir: &Path) -> Vec<(Option<Stamp>, PathBuf)> {
    // A directory that is not there holds none.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .map(|it| (it.file_name().to_str().and_then(Stamp::parse), it.path()))
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_stamps() {
        #[track_caller]
        fn check(text: &str, expect: Option<(u32, u32, u32)>) {
            let expect = expect.map(|(day, time, number)| Stamp { day, time, number });
            assert_eq!(Stamp::parse(text), expect);
            if let Some(stamp) = expect {
                assert_eq!(stamp.to_string(), text);
            }
        }
        check("20000229-000001", Some((20_000_229, 1, 1)));
        check("20000229-000001-12", Some((20_000_229, 1, 12)));
        for other in [
            "",
            "mine",
            "20000229",
            "2000-02-29",
            "20000229-1",
            "20000229-000001-",
            "20000229-000001-x",
            "20000229-000001.old",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn a_number_is_not_used_again_while_later_ones_are_there() {
        let now = Stamp::at(951_782_400_123);
        assert_eq!(now.to_string(), "20000229-000000");
        let used = |numbers: &'static [u32]| numbers.iter().map(move |it| now.numbered(*it));
        assert_eq!(now.after(used(&[])), now);
        assert_eq!(now.after(used(&[1, 3])).number, 4);
        let later = Stamp::at(951_782_401_000);
        assert_eq!(later.after(used(&[1, 3])), later);
        assert!(now.numbered(10) > now.numbered(9) && later > now.numbered(10));
    }
}
