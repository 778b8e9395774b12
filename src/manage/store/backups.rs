//! The backups of config.yaml: their names, and how many are kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::manage::stamp::Stamp;

/// More than anybody looks through; each holds keys.
const BACKUPS_MAX: usize = 20;

/// Names to try before it is left to the operator: only what is no backup of ours can be in the way.
const TRIES: u32 = 10;

/// The names to try for a backup of `path` made now, beside it: `config.yaml.bak-20260131-235959`,
/// then the same with `-2` and so on. A number is not used again while later ones are there, so
/// the names stay in the order of time.
pub(super) fn names(path: &Path, unix_ms: u128) -> impl Iterator<Item = PathBuf> {
    let used = found(path).into_iter().map(|(stamp, _)| stamp);
    let first = Stamp::at(unix_ms).after(used);
    let prefix = prefix(path);
    (first.number..first.number.saturating_add(TRIES))
        .map(move |number| path.with_file_name(format!("{prefix}{}", first.numbered(number))))
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

/// The backups of `path`; none when they cannot be listed.
fn found(path: &Path) -> Vec<(Stamp, PathBuf)> {
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else {
        return Vec::new();
    };
    let prefix = prefix(path);
    let backup = |entry: fs::DirEntry| {
        let stamp = Stamp::parse(entry.file_name().to_str()?.strip_prefix(&prefix)?)?;
        let is_file = entry.file_type().ok()?.is_file();
        is_file.then(|| (stamp, entry.path()))
    };
    entries.filter_map(|entry| backup(entry.ok()?)).collect()
}

/// The name of the backup of the file called `own` that a temporary name was made for.
pub(super) fn of_aside<'n>(name: &'n str, own: &str) -> Option<&'n str> {
    let (backup, _) = name.strip_prefix('.')?.rsplit_once(".ccgw-")?;
    Stamp::parse(backup.strip_prefix(own)?.strip_prefix(".bak-")?)?;
    Some(backup)
}

fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.bak-")
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
}
