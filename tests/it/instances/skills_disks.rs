//! Skills on disks that are full or read-only: what was there stays, and the text says why.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::skills::{description, host, names, skill};
use crate::temp::unique;

struct Mounted(PathBuf);

impl Mounted {
    /// A small file system over a directory; `None`, told, where it cannot be made.
    fn over(dir: &Path) -> Option<Mounted> {
        fs::create_dir_all(dir).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=256k,nr_inodes=200", &unique()];
        let status = Command::new("mount").args(options).arg(dir).status();
        if !status.is_ok_and(|it| it.success()) {
            crate::process::say_skipped("SKIPPED: no file system can be mounted here");
            return None;
        }
        Some(Mounted(dir.to_owned()))
    }

    fn remount(&self, how: &str) {
        let options = ["-o", &format!("remount,{how}")];
        let status = Command::new("mount").args(options).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

const FULL: &str = "make room on the disk";
const READ_ONLY: &str = "mounted so that nothing can be changed";

/// Copies between a normal disk and one over `to`, which is full or read-only.
#[track_caller]
fn check(words: &[&str], to_of: fn(&Path, &Path) -> (PathBuf, PathBuf)) {
    let (host, here, there) = host();
    let (from, to) = to_of(&here, &there);
    let Some(mounted) = Mounted::over(&to) else {
        return;
    };
    skill(&from, "a-new", "new");
    let changed = skill(&from, "changed", "new");
    fs::write(changed.join("large"), vec![1; 100_000]).unwrap();
    skill(&to, "changed", "old");
    fs::write(to.join("filler"), vec![0; 150_000]).unwrap();

    mounted.remount("ro");
    host.manage(words).bad().says(READ_ONLY);
    assert_eq!(names(&to), ["changed", "filler"]);
    mounted.remount("rw");
    // Room for one, and not for the other: what was done is told.
    host.manage(words).bad().says(FULL).says("1 new");
    assert_eq!(names(&to), ["a-new", "changed", "filler"]);
    assert!(description(&to, "changed").contains("old"));
    fs::remove_file(to.join("filler")).unwrap();
    host.manage(words).good().says("1 replaced");
    assert!(description(&to, "changed").contains("new"));
}

#[test]
fn pull_to_a_full_or_read_only_disk_leaves_what_was_there() {
    let to = |here: &Path, there: &Path| (there.to_owned(), here.to_owned());
    check(&["skills", "pull", "--force"], to);
}

#[test]
fn push_to_a_full_or_read_only_disk_leaves_what_was_there() {
    let to = |here: &Path, there: &Path| (here.to_owned(), there.to_owned());
    check(&["skills", "push", "--force"], to);
}

#[test]
fn nothing_is_replaced_where_no_backup_can_be_kept() {
    let (host, here, there) = host();
    skill(&here, "changed", "old");
    skill(&there, "changed", "new");
    skill(&here, "gone", "old");
    let backups = host.home(".local/state/ccgw/backups");
    let Some(mounted) = Mounted::over(&backups) else {
        return;
    };
    mounted.remount("ro");
    for option in ["--force", "--delete"] {
        let said = host.manage(&["skills", "pull", option]).bad();
        said.says("no backup can be kept").says(READ_ONLY);
        assert_eq!(names(&here), ["changed", "gone"]);
        assert!(description(&here, "changed").contains("old"));
    }
}
