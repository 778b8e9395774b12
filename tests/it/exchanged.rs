//! An instance that exchanges a folder above its own for a link, again and again, while its runs are started: none of
//! them gets at another folder, or becomes its owner.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::{
    fake_cli::FakeCli, gateway::prompt, process::say_skipped, setup::Setup, temp::TempDir,
};

/// Before paths were looked at over no link, one in eight runs printed the other folder's file.
const RUNS: usize = 80;

const OTHERS: &str = "FILE-OF-THE-HOST";
const OTHERS_USER: u32 = 61_031;

/// Tells what is in its folders, and who it is.
const LOOK: &str = "look() { cat \"$1/file\" 2> /dev/null; }\n\
    answer \"$(look /home/node/.openclaw/media) $(look .) $(id -u)\"; idle";

/// Exchanges both until this is dropped.
struct Exchanging<'a> {
    paths: [PathBuf; 2],
    times: &'a AtomicUsize,
    over: &'a AtomicBool,
}

impl Exchanging<'_> {
    fn go_on(&self) {
        let [one, other] = &self.paths;
        while !self.over.load(Ordering::Relaxed) {
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            self.times.fetch_add(1, Ordering::Relaxed);
        }
        if one.is_symlink() {
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

fn folder(path: &Path, content: &str, user: u32) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("file"), content).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(path, Some(user), Some(user)).unwrap();
    }
}

#[test]
fn folder_above_that_is_exchanged_shows_no_run_another_folder() {
    if !Path::new("/usr/bin/bwrap").exists() {
        return say_skipped("SKIPPED: bubblewrap is not installed");
    }
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, LOOK);
    let data = dir.path().join("claw/data");
    for (above, content, user) in [
        (&data, "OWN", 61_032),
        (&dir.path().join("private"), OTHERS, OTHERS_USER),
    ] {
        folder(&above.join("media"), content, user);
        folder(&above.join("workspace"), content, user);
    }
    let link = dir.path().join("claw/link");
    symlink("../private", &link).unwrap();
    let mounts = json!({"/home/node/.openclaw/media": data.join("media")});
    let here = json!([dir.path().join("fake-cli")]);
    let gateway = Setup::with_cli(dir, fake.path())
        .isolation("bwrap")
        .set("sandbox", format!("read_only: {here}"))
        .working_dir("alpha", &data.join("workspace"))
        .tenant_line("alpha", format!("mounts: {mounts}"))
        .start();
    let look = || gateway.ask("alpha", &prompt("hi"));
    let (times, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let exchanging = Exchanging {
        paths: [data, link],
        times: &times,
        over: &over,
    };
    let said: Vec<String> = thread::scope(|scope| {
        scope.spawn(|| exchanging.go_on());
        let said = (0..RUNS).map(|_| look().text()).collect();
        over.store(true, Ordering::Relaxed);
        said
    });
    assert!(times.load(Ordering::Relaxed) > RUNS);
    let others_user = OTHERS_USER.to_string();
    for said in said {
        assert!(!said.contains(OTHERS), "{said}");
        assert!(!said.contains(&others_user), "{said}");
    }
    assert!(look().answer_text().starts_with("OWN OWN "));
}
