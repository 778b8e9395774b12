//! A full disk is told in clear words, costs no answer that needs no disk, and everything goes on when there is room
//! again.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    api::ScriptedApi,
    fake_cli::FakeCli,
    gateway::{Gateway, prompt, run_to_end},
    process::{DEAD_WITHIN, say_skipped, wait_until},
    setup::Setup,
    temp::{TempDir, unique},
};

/// A small file system over a directory, for as long as this lives.
struct Small(PathBuf);

impl Small {
    /// `None`, told, where it cannot be made.
    fn over(dir: &Path, size: &str) -> Option<Small> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), &unique()])
            .arg(dir)
            .status();
        if !status.is_ok_and(|it| it.success()) {
            say_skipped("SKIPPED: no file system can be mounted here");
            return None;
        }
        Some(Small(dir.to_owned()))
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Small {
    fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Runs that end have a look at it for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn confined(setup: Setup) -> Setup {
    match Path::new("/usr/bin/bwrap").exists() {
        true => setup.isolation("bwrap"),
        false => setup,
    }
}

#[track_caller]
fn bash(gateway: &Gateway, command: &str) -> String {
    let answer = gateway.ask("alpha", &prompt(&format!("[[bash:{command}]]")));
    answer.answer_text()
}

#[test]
fn full_working_directory_is_the_tools_own_trouble() {
    let api = ScriptedApi::start();
    let setup = Setup::with_real_cli(&api);
    let work = setup.dir.create_dir("work");
    let Some(small) = Small::over(&work, "2m") else {
        return;
    };
    let gateway = confined(setup.working_dir("alpha", &work)).start();
    small.fill();
    let said = bash(&gateway, "echo text > file; echo code $?");
    let has = said.to_lowercase().contains("no space left on device");
    assert!(has, "{said}");
    small.make_room();
    assert!(bash(&gateway, "echo text > file; cat file").ends_with("text"));
}

#[test]
fn full_state_directory_is_told_and_room_is_used_again() {
    let api = ScriptedApi::start();
    let setup = confined(Setup::with_real_cli(&api).set("cli", "warm: off"));
    let state = setup.dir.create_dir("state");
    let Some(small) = Small::over(&state, "300m") else {
        return;
    };
    let gateway = setup.start();
    // Before anything of the tenant's is there, and after.
    for _ in 0..2 {
        small.fill();
        let answer = gateway.ask("alpha", &prompt("hi"));
        let text = answer.text();
        match answer.status {
            200 => assert!(text.contains("OK: hi"), "{text}"),
            _ => assert!(text.contains("No space left"), "{text}"),
        }
        assert_eq!(gateway.health()["status"], "ok");
        small.make_room();
        assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "OK: hi");
    }
}

#[test]
fn nothing_is_left_of_a_run_but_its_session() {
    let api = ScriptedApi::start();
    let gateway = confined(Setup::with_real_cli(&api).set("cli", "warm: off")).start();
    let state = gateway.dir.path().join("state");
    let history = serde_json::json!({"model": crate::gateway::MODEL, "max_tokens": 100, "messages": [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}]});
    let files = || {
        let mut dirs = vec![state.clone(), std::env::temp_dir()];
        let mut files = Vec::new();
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_ours = path.starts_with(&state);
                match entry.file_type().is_ok_and(|it| it.is_dir()) {
                    true if is_ours => dirs.push(path),
                    _ if is_ours || path.ends_with("left-by-a-run") => files.push(path),
                    _ => {}
                }
            }
        }
        files.retain(|it| !it.ends_with("sessions.jsonl") && !it.starts_with(state.join("relay")));
        files.sort_unstable();
        files
    };
    gateway.ask("alpha", &history).answer_text();
    // The client has its answer while its process still ends.
    let seeds = state.join("tenants/alpha/seeds");
    let are_gone = || !files().iter().any(|it| it.starts_with(&seeds));
    wait_until(DEAD_WITHIN, "the end of the first history", are_gone);
    let before = files();
    bash(&gateway, "echo x > /tmp/left-by-a-run; echo done");
    let again = gateway.ask("alpha", &history);
    assert_eq!(again.header("x-ccgw-session"), Some("reseeded"));
    wait_until(DEAD_WITHIN, "the end of the second history", are_gone);
    assert_eq!(files(), before);
}

#[test]
fn state_directory_that_cannot_be_written_is_told_with_the_way_out() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer fine; idle");
    let setup = Setup::with_cli(dir, fake.path());
    let state = setup.dir.create_dir("state");
    let Some(small) = Small::over(&state, "1m") else {
        return;
    };
    small.make_read_only();
    let refused = run_to_end(&mut setup.command());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_ne!(refused.status.code(), Some(0), "{said}");
    for part in [
        state.to_str().unwrap(),
        "ccgw keeps its state there: mount it for writing",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn root_leaves_nothing_of_its_own_in_the_way_of_the_directorys_owner() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer fine; idle");
    let setup = Setup::with_cli(dir, fake.path());
    let state = setup.dir.create_dir("state");
    if std::os::unix::fs::chown(&state, Some(12_345), Some(12_345)).is_err() {
        return say_skipped("SKIPPED: only root gives files away");
    }
    let gateway = setup.start();
    gateway.log_contains("root uses the state directory of another user");
    for name in ["lock", "tenants.json"] {
        let found = fs::metadata(state.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 12_345), "{name}");
    }
    gateway.stop();
}
