//! The backups of config.yaml: their names, and how many are kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::log::Timestamp;

/// More than anybody looks through; each holds keys.
const BACKUPS_MAX: usize = 20;

/// Names to try before it is left to the operator: only what is no backup of ours can be in the way.
const TRIES: u32 = 10;

/// The names to try for a backup of `path` made now, beside it: `config.yaml.bak-20260131-235959`,
/// then the same with `-2` and so on. A number is not used again while later ones are there, so
/// the names stay in the order of time.
pub(super) fn names(path: &Path, unix_ms: u128) -> impl Iterator<Item = PathBuf> {
    let digits = Timestamp(unix_ms).to_string();
    let mut digits = digits.chars().filter(char::is_ascii_digit);
    let day: String = digits.by_ref().take(8).collect();
    let time: String = digits.take(6).collect();
    let now = format!("{day}-{time}");
    let this_second = stamp(&now).map(|(day, time, _)| (day, time));
    let of_this_second = |(day, time, number)| (this_second == Some((day, time))).then_some(number);
    let found = found(path).into_iter();
    let used = found.filter_map(|(stamp, _)| of_this_second(stamp)).max();
    let next = used.unwrap_or(0).saturating_add(1);
    let name = format!("{}{now}", prefix(path));
    (next..next.saturating_add(TRIES)).map(move |number| match number {
        1 => path.with_file_name(&name),
        number => path.with_file_name(format!("{name}-{number}")),
    })
}

/// Removes the oldest backups of `path` beyond [`BACKUPS_MAX`], but never `newest`: the clock may
/// have been set back. What is not named like a backup of ours stays.
pub(super) fn prune(path: &Path, newest: Option<&Path>) {
    let mut found = found(path);
    found.retain(|(_, path)| newest != Some(path));
    found.sort();
    let others_max = BACKUPS_MAX - newest.iter().count();
    let surplus = found.len().saturating_sub(others_max);
    for (_, path) in &found[..surplus] {
        // One too many does no harm, and the next edit tries again.
        let _ = fs::remove_file(path);
    }
}

/// The day, the time and the number of a backup.
type Stamp = (u32, u32, u32);

/// The backups of `path`; none when they cannot be listed.
fn found(path: &Path) -> Vec<(Stamp, PathBuf)> {
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else {
        return Vec::new();
    };
    let prefix = prefix(path);
    let backup = |entry: fs::DirEntry| {
        let stamp = stamp(entry.file_name().to_str()?.strip_prefix(&prefix)?)?;
        let is_file = entry.file_type().ok()?.is_file();
        is_file.then(|| (stamp, entry.path()))
    };
    entries.filter_map(|entry| backup(entry.ok()?)).collect()
}

/// The name of the backup of the file called `own` that a temporary name was made for.
pub(super) fn of_aside<'n>(name: &'n str, own: &str) -> Option<&'n str> {
    let (backup, _) = name.strip_prefix('.')?.rsplit_once(".ccgw-")?;
    stamp(backup.strip_prefix(own)?.strip_prefix(".bak-")?)?;
    Some(backup)
}

fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.bak-")
}

/// The stamp of `20260131-235959-2`; `None` for what is not written like it.
fn stamp(text: &str) -> Option<Stamp> {
    let number = |text: &str, length: usize| {
        let is_one = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| text.parse().ok()).flatten()
    };
    let (day, rest) = text.split_once('-')?;
    let (time, count) = match rest.split_once('-') {
        Some((time, count)) => (time, number(count, count.len())?),
        None => (rest, 1),
    };
    Some((number(day, 8)?, number(time, 6)?, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_time_and_a_number() {
        let names: Vec<_> = names(Path::new("/d/c.yaml"), 951_782_400_123).collect();
        assert_eq!(names[0], Path::new("/d/c.yaml.bak-20000229-000000"));
        assert_eq!(names[1], Path::new("/d/c.yaml.bak-20000229-000000-2"));
    }

    #[test]
    fn only_our_own_names_are_stamps() {
        #[track_caller]
        fn check(text: &str, expect: Option<Stamp>) {
            assert_eq!(stamp(text), expect);
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
}
