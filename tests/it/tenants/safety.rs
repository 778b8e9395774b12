//! config.yaml when edits are killed, come at once, or cannot be written.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::Desk;
use crate::temp::unique;

const TEXT: &str = "# mine\ntenants:\n  - name: a\n    api_key: key-of-a # one\n# end\n";

/// How often an edit is killed; the moments are spread over what one takes.
const KILLS: u64 = 200;

#[test]
fn killed_edits_leave_the_old_file_or_the_new_one() {
    let desk = Desk::with(TEXT);
    let rounds: [&[&str]; 3] = [
        &["add", "b", "--key", "key-of-b"],
        &["rotate", "b", "--key", "new-key-of-b", "--grace", "0s"],
        &["remove", "b", "--yes"],
    ];
    let states = [
        TEXT.to_owned(),
        TEXT.replace("# end", "  - name: b\n    api_key: key-of-b\n# end"),
        TEXT.replace("# end", "  - name: b\n    api_key: new-key-of-b\n# end"),
    ];
    let mut usual = took(&desk, &states, &rounds);
    let mut killed = 0;
    for number in 0..KILLS {
        let step = (number % 3) as usize;
        let (old, new) = (&states[step], &states[(step + 1) % 3]);
        fs::write(desk.config(), old).unwrap();
        let mut child = desk
            .command(rounds[step])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Steps that share no factor with the rounds hit all of each.
        thread::sleep(usual * (number * 37 % 100) as u32 / 80);
        child.kill().unwrap();
        let was_killed = child.wait().unwrap().signal().is_some();
        killed += u64::from(was_killed);
        // How long an edit takes changes with the machine's load.
        usual = match was_killed {
            true => usual * 21 / 20,
            false => usual * 9 / 10,
        };
        let now = desk.text();
        assert!(now == *old || now == *new, "{now}");
        for name in desk
            .beside()
            .iter()
            .filter(|it| it.starts_with("config.yaml.bak-"))
        {
            let backup = fs::read_to_string(desk.cwd().join(name)).unwrap();
            assert!(states.contains(&backup), "{name}: {backup}");
        }
    }
    assert!(killed > KILLS / 10, "{killed}");
    // The next edit finds nothing in its way, and what was left, with keys in it, is gone.
    fs::write(desk.config(), &states[0]).unwrap();
    desk.run(rounds[0]).good();
    assert_eq!(desk.text(), states[1]);
    let backups = desk.beside();
    assert!(
        backups.iter().all(|it| it.starts_with("config.yaml.bak-")),
        "{backups:?}"
    );
    assert!(backups.len() <= 20, "{backups:?}");
}

/// What one edit takes here.
fn took(desk: &Desk, states: &[String], rounds: &[&[&str]]) -> Duration {
    let start = std::time::Instant::now();
    for (state, words) in states.iter().zip(rounds) {
        fs::write(desk.config(), state).unwrap();
        desk.run(words).good();
    }
    start.elapsed() / 3
}

#[test]
fn edits_at_once_all_land() {
    const EDITS: usize = 20;
    let desk = Desk::with(TEXT);
    thread::scope(|scope| {
        let desk = &desk;
        for number in 0..EDITS {
            scope.spawn(move || {
                desk.run(&["add", &format!("t{number}")]).good();
                desk.run(&["env", "a", "set", &format!("V{number}=1")])
                    .good();
            });
        }
    });
    let text = desk.text();
    assert_eq!(text.matches("  - name: t").count(), EDITS, "{text}");
    assert_eq!(text.matches("      V").count(), EDITS, "{text}");
    assert!(
        text.starts_with("# mine\n") && text.ends_with("# end\n"),
        "{text}"
    );
    assert_eq!(desk.beside().len(), 20);
    desk.run(&["list", "--names"]).good().says("a\n");
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    /// A file system over the directory; `None`, told, where it cannot be made.
    fn over(desk: &Desk, options: &str) -> Option<Mounted> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, &unique()])
            .arg(desk.cwd())
            .status();
        if !status.is_ok_and(|it| it.success()) {
            crate::process::say_skipped("SKIPPED: no file system can be mounted here");
            return None;
        }
        Some(Mounted(desk.cwd()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn full_disk_leaves_everything_as_it_was() {
    let desk = Desk::new();
    let Some(_mounted) = Mounted::over(&desk, "size=64k") else {
        return;
    };
    let text = format!("{TEXT}# {}\n", "x".repeat(20_000));
    fs::write(desk.config(), &text).unwrap();
    fs::write(desk.cwd().join(".config.yaml.lock"), "").unwrap();
    // Room for a backup at most, then for none.
    for filler in [16_000, 36_000] {
        fs::write(desk.cwd().join("filler"), vec![0; filler]).unwrap();
        for words in [
            &["add", "b"][..],
            &["rotate", "a"],
            &["env", "a", "set", "X=1"],
            &["remove", "a", "--yes"],
        ] {
            desk.run(words).exits(1).says("make room on the disk");
            assert_eq!(desk.text(), text);
            assert_eq!(desk.beside(), ["filler"]);
        }
    }
    desk.run(&["list"]).good();
}

#[test]
fn read_only_disk_is_told_and_can_be_read() {
    let desk = Desk::new();
    let Some(mounted) = Mounted::over(&desk, "size=1m") else {
        return;
    };
    fs::write(desk.config(), TEXT).unwrap();
    let status = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&mounted.0)
        .status();
    assert!(status.unwrap().success());
    for words in [
        &["add", "b"][..],
        &["rotate", "a"],
        &["remove", "a", "--yes"],
    ] {
        desk.run(words)
            .exits(1)
            .says("mounted so that nothing can be changed");
    }
    desk.run(&["show", "a"]).good().says("…of-a");
    assert_eq!(desk.text(), TEXT);
}

#[test]
fn two_editors_wait_and_a_stuck_one_is_named() {
    let desk = Desk::with(TEXT);
    let lock = fs::File::create(desk.cwd().join(".config.yaml.lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting = desk
        .command(&["add", "b"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    assert_eq!(desk.text(), TEXT);
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    assert!(desk.text().contains("name: b"));
}
