//! Folders that the gateway's user cannot enter: who is told, and of what.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use super::{Ended, Host, ended};
use crate::process::say_skipped;

/// Nobody's on this machine.
const SOMEBODY: u32 = 61_042;

const CLOSED: &str = "/work cannot be entered by the user that runs ccgw (permission denied)";

/// A host whose operator is an ordinary user, with a local instance that works in `work`, and a program that this user
/// can start.
fn host() -> Option<Host> {
    if !rustix::process::geteuid().is_root() {
        say_skipped("SKIPPED: folders of other users: needs root");
        return None;
    }
    let host = Host::new();
    let work = host.dir.create_dir("work");
    let text = serde_json::json!({"agents": {"defaults": {"model": "anthropic/claude-sonnet-4-6", "workspace": work}}});
    host.openclaw("", &text.to_string());
    host.dir.create_dir("cwd");
    fs::copy(env!("CARGO_BIN_EXE_ccgw"), host.dir.path().join("ccgw")).unwrap();
    for name in [
        "home",
        "home/.openclaw",
        "home/.openclaw/openclaw.json",
        "cwd",
    ] {
        chown(host.dir.path().join(name), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    // Its records are written by whoever runs it.
    let records = fs::Permissions::from_mode(0o777);
    fs::set_permissions(host.dir.path().join("fake-cli"), records).unwrap();
    Some(host)
}

#[track_caller]
fn as_somebody(host: &Host, program: &str, words: &[&str]) -> Ended {
    let inner = host.command(&host.dir.path().join(program), words);
    let mut command = Command::new("setpriv");
    command
        .args([
            &format!("--reuid={SOMEBODY}"),
            &format!("--regid={SOMEBODY}"),
        ])
        .arg("--clear-groups")
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(host.dir.path().join("cwd"))
        .env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    // Without root's own folders, where nobody else may look.
    command.env("PATH", "/usr/bin:/bin");
    ended(&mut command)
}

fn close(dir: &Path, mode: u32) {
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn closed_workspace_is_told_by_setup() {
    let Some(host) = host() else { return };
    let work = host.dir.path().join("work");
    close(&work, 0o700);
    as_somebody(&host, "ccgw", &["--setup", "--yes"])
        .good()
        .says(CLOSED)
        .says("root.conf")
        .says("Until then its runs have a private folder");
    assert!(!host.config_text().contains("working_dir"));
    // What can be read only is worked in, and told.
    fs::remove_file(host.config()).unwrap();
    close(&work, 0o755);
    as_somebody(&host, "ccgw", &["--setup", "--dry-run"])
        .good()
        .says("/work cannot be written by the user that runs ccgw (permission denied)");
    close(&work, 0o757);
    let said = as_somebody(&host, "ccgw", &["--setup", "--dry-run"]).good();
    assert!(!said.stdout.contains("cannot be"), "{}", said.stdout);
    assert!(said.stdout.contains("workspace "), "{}", said.stdout);
    // A link could lead anywhere once it is followed.
    fs::rename(&work, host.dir.path().join("real")).unwrap();
    symlink("real", &work).unwrap();
    let said = as_somebody(&host, "ccgw", &["--setup", "--dry-run"]).good();
    assert!(!said.stdout.contains("workspace "), "{}", said.stdout);
}

#[test]
fn closed_folders_are_told_by_check_and_doctor() {
    let Some(host) = host() else { return };
    let (work, media) = (host.dir.create_dir("work"), host.dir.create_dir("media"));
    close(&work, 0o700);
    close(&media, 0o700);
    let tenants = serde_json::json!([{
        "name": "alice", "api_key": "key-of-alice-0123456789", "working_dir": work, "mounts": {"/in/media": media},
    }]);
    let text = format!("tenants: {tenants}\n");
    fs::write(host.config(), &text).unwrap();
    chown(host.config(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    close(&host.config(), 0o600);
    let shut = [
        "work of alice cannot be entered by the user that runs ccgw",
        "media of alice cannot be entered by the user that runs ccgw",
    ];
    let mut said = as_somebody(&host, "ccgw", &["--check"]).good();
    for part in shut {
        said = said.says(part);
    }
    symlink("ccgw", host.dir.path().join("ccgw-manage")).unwrap();
    let doctor = ["doctor", "--quick", "--json"];
    let said = as_somebody(&host, "ccgw-manage", &doctor).bad();
    let lines = serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap();
    let lines = lines.as_array().unwrap().iter();
    let told: Vec<_> = lines.filter(|it| it["check"] == "folders").collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|it| it["status"] == "fail"), "{told:?}");

    // Root asks for the user whose directory it is.
    let named = format!("cannot be entered by user {SOMEBODY}");
    let check = |part: &str| {
        let config = host.config();
        let words = ["--check", config.to_str().unwrap()];
        let program = Path::new(env!("CARGO_BIN_EXE_ccgw"));
        ended(&mut host.command(program, &words)).good().says(part)
    };
    let said = check(&named);
    assert!(!said.stderr.contains("cannot be read"), "{}", said.stderr);
    chown(host.config(), Some(0), Some(0)).unwrap();
    check(&format!("cannot be read by user {SOMEBODY}"));
    // Nothing of all this where they are open.
    chown(host.config(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    close(&work, 0o757);
    close(&media, 0o755);
    let said = check("ok (1 tenants)");
    assert_eq!(said.stderr, "");
}
