//! The real CLI in its sandbox, or as a user of its own, with tools that try to get out: each attempt is named, and
//! must fail.

mod login;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::ExitStatusExt,
    },
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::json;

use crate::{
    api::ScriptedApi,
    attempts,
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of, prompt},
    process::{
        DEAD_WITHIN, cmdline, descendants, is_alive, processes_with_cmdline, say_skipped,
        wait_until,
    },
    setup::Setup,
    temp::TempDir,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What keeps runs from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walls {
    Bwrap,
    User,
}

impl Walls {
    /// A set-up whose runs are kept so; `None`, said aloud, where that cannot be.
    pub(crate) fn setup(self, api: &ScriptedApi) -> Option<Setup> {
        let is_root = rustix::process::geteuid().is_root();
        match self {
            Walls::Bwrap if !Path::new("/usr/bin/bwrap").exists() => {
                say_skipped("SKIPPED: bubblewrap is not installed");
                None
            }
            Walls::Bwrap => Some(Setup::with_real_cli(api).isolation("bwrap")),
            Walls::User if !is_root => {
                say_skipped("SKIPPED: only root can give each tenant a user of its own");
                None
            }
            Walls::User => Some(Setup::with_real_cli(api).cli_for_all().isolation("user")),
        }
    }

    /// A folder of a tenant's, with what is in it.
    pub(crate) fn folder(self, dir: &Path, user: u32) {
        if self == Walls::User {
            let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
            for path in entries.chain([dir.to_owned()]) {
                chown(path, Some(user), Some(user)).unwrap();
            }
        }
    }
}

fn setup(api: &ScriptedApi) -> Option<Setup> {
    Walls::Bwrap.setup(api)
}

/// What a command prints that the tenant's model runs.
#[track_caller]
pub(crate) fn bash(gateway: &Gateway, tenant: &str, command: &str) -> String {
    let answer = gateway.ask(tenant, &prompt(&format!("[[bash:{command}]]")));
    answer.answer_text()
}

#[test]
fn nothing_of_another_tenant_or_of_the_gateway_can_be_read() {
    attempts::try_to_read(Walls::Bwrap);
}

#[test]
fn nothing_outside_can_be_changed_or_stopped() {
    attempts::try_to_change(Walls::Bwrap);
}

#[test]
fn run_costs_no_more_than_it_may() {
    try_to_cost(Walls::Bwrap);
}

pub(crate) fn try_to_cost(walls: Walls) {
    let api = ScriptedApi::start();
    let Some(setup) = walls.setup(&api) else {
        return;
    };
    let work = setup.dir.create_dir("work");
    if rustix::process::geteuid().is_root() {
        // A user that no other test has: processes are counted by user.
        let user = match walls {
            Walls::Bwrap => 61_001,
            Walls::User => 61_002,
        };
        chown(&work, Some(user), Some(user)).unwrap();
    }
    let gateway = setup
        .working_dir("alpha", &work)
        .set("sandbox", "max_processes: 200")
        .set("sandbox", "max_file_bytes: 1048576")
        .start();
    let bomb = "sh -c 'for i in $(seq 500); do sleep 600 >/dev/null 2>&1 & done; echo five-hundred-run'; echo end $?";
    let bombed = gateway.ask("alpha", &prompt(&format!("[[bash:{bomb}]]")));
    let said = bombed.text();
    // It may be the CLI itself that gets no more threads, and ends.
    assert!(said.contains("fork") || bombed.status == 500, "{said}");
    assert!(!said.contains("result: five-hundred-run"), "{said}");
    wait_until(DEAD_WITHIN, "the end of all", || {
        let tree = descendants(gateway.pid());
        !tree.iter().any(|pid| cmdline(*pid).starts_with("sleep"))
    });
    let said = bash(
        &gateway,
        "alpha",
        "head -c 2000000 /dev/zero > big; stat -c %s big; ulimit -c",
    );
    assert!(said.contains("1048576") && said.ends_with('0'), "{said}");
    let said = bash(
        &gateway,
        "alpha",
        "truncate -s 10G sparse; stat -c size=%s sparse",
    );
    assert!(said.contains("size=0"), "{said}");
    let said = bash(&gateway, "alpha", "cat /proc/self/oom_score_adj");
    assert!(said.ends_with("800"), "{said}");
    if walls == Walls::Bwrap {
        // All that a run can write to memory as files, and no more than that.
        let said = bash(&gateway, "alpha", "grep ' tmpfs rw' /proc/mounts");
        let size = |at: &str| {
            let mut mounts = said.lines().filter(|it| it.contains(&format!(" {at} ")));
            let options = mounts.next().unwrap_or_default().split([',', ' ']);
            options.filter_map(|it| it.strip_prefix("size=")).next()
        };
        let config = gateway.dir.path().join("claude-config-alpha");
        for (at, expect) in [
            ("/tmp", "262144k"),
            ("/dev/shm", "65536k"),
            (config.to_str().unwrap(), "65536k"),
        ] {
            assert_eq!(size(at), Some(expect), "{at}: {said}");
        }
        assert_eq!(said.lines().count(), 3, "{said}");
        let fill = "for at in /dev /proc /run /proc/acpi; do touch $at/x && echo written; done; \
                    touch /var/tmp/x && head -c 70000000 /dev/zero | split -b 1000000 - /dev/shm/ ; du -sm /dev/shm";
        let said = bash(&gateway, "alpha", &format!("{{ {fill}; }} 2>&1; ls /tmp/x"));
        assert!(
            !said.contains("written") && said.contains("No space left") && said.contains("/tmp/x"),
            "{said}"
        );
    }
}

#[test]
fn nothing_of_a_run_stays() {
    try_to_stay(Walls::Bwrap);
}

pub(crate) fn try_to_stay(walls: Walls) {
    let api = ScriptedApi::start();
    let Some(setup) = walls.setup(&api) else {
        return;
    };
    let mut gateway = setup.start();
    let daemon = "setsid nohup tail -f /dev/null >/dev/null 2>&1 & echo started";
    assert_eq!(bash(&gateway, "alpha", daemon), "result: started");
    let left = || processes_with_cmdline("tail\0-f\0/dev/null");
    let own = |pid: &u32| descendants(gateway.pid()).contains(pid);
    wait_until(DEAD_WITHIN, "its end", || !left().iter().any(own));
    // And with the gateway itself, whatever ends it.
    let blocked = gateway.send(
        "alpha",
        &prompt(&format!(
            "[[bash:{}]]",
            "setsid tail -f /dev/null & tail -f /dev/null"
        )),
    );
    wait_until(PATIENCE, "both", || {
        left().iter().filter(|it| own(it)).count() == 2
    });
    let tree = descendants(gateway.pid());
    gateway.kill();
    wait_until(DEAD_WITHIN, "the end of all", || {
        !tree.iter().any(|pid| is_alive(*pid))
    });
    drop(blocked);
}

#[test]
fn instances_paths_lead_to_its_folders() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let work = setup.dir.create_dir("claw/workspace");
    setup.dir.write("claw/media/inbound/note.txt", "A-NOTE");
    let mounts = json!({
        "/home/node/.openclaw/workspace": work,
        "/home/node/.openclaw/media": setup.dir.path().join("claw/media"),
    });
    // As the user of an instance's container.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(&work, Some(1000), Some(1000)).unwrap();
    }
    let gateway = setup
        .working_dir("alpha", &work)
        .tenant_line("alpha", format!("mounts: {mounts}"))
        .start();
    let said = bash(
        &gateway,
        "alpha",
        "cat /home/node/.openclaw/media/inbound/note.txt; echo new > /home/node/.openclaw/workspace/new.txt; touch /home/node/.openclaw/media/x",
    );
    assert!(
        said.contains("A-NOTE") && said.contains("Read-only file system"),
        "{said}"
    );
    let new = work.join("new.txt");
    assert_eq!(fs::read_to_string(&new).unwrap(), "new\n");
    if is_root {
        assert_eq!(fs::metadata(&new).unwrap().uid(), 1000);
    }
}

#[test]
fn conversation_goes_on_in_the_sandbox() {
    go_on(Walls::Bwrap);
}

pub(crate) fn go_on(walls: Walls) {
    let api = ScriptedApi::start();
    for (warm, outcome) in [("on", "warm"), ("off", "resumed")] {
        let Some(setup) = walls.setup(&api) else {
            return;
        };
        let gateway = setup.set("cli", format!("warm: {warm}")).start();
        let mut messages = vec![json!({"role": "user", "content": "one"})];
        let first = say(&gateway, &messages);
        assert_eq!(first.header("x-ccgw-session"), Some("fresh"));
        messages.push(json!({"role": "assistant", "content": first.answer_text()}));
        messages.push(json!({"role": "user", "content": "two"}));
        let second = say(&gateway, &messages);
        assert_eq!(second.header("x-ccgw-session"), Some(outcome));
        second.answer_text();
        // A history that nobody has seen is given to the CLI as a file.
        messages[0] = json!({"role": "user", "content": "another"});
        let third = say(&gateway, &messages);
        assert_eq!(third.header("x-ccgw-session"), Some("reseeded"));
        assert!(api.last_prompt().mentions("another"));
        third.answer_text();
    }
}

/// Alpha's conversation goes on.
pub(crate) fn say(gateway: &Gateway, messages: &[serde_json::Value]) -> Response {
    let body = json!({"model": MODEL, "max_tokens": 100, "messages": messages});
    gateway.ask("alpha", &body)
}

#[test]
fn folder_that_holds_what_must_not_be_seen_is_refused() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let all = setup.dir.path().to_owned();
    let gateway = setup
        .working_dir("alpha", &all)
        .working_dir("beta", Path::new("/usr/share"))
        .start();
    let answer = gateway.ask("alpha", &prompt("hi"));
    answer.assert_error(503, "api_error");
    let text = answer.text();
    assert!(text.contains("no run of this tenant may see"), "{text}");
    let answer = gateway.ask("beta", &prompt("hi"));
    assert!(
        answer.text().contains("the system's own"),
        "{}",
        answer.text()
    );
}

#[test]
fn link_that_an_instance_puts_in_the_way_is_not_followed() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let work = setup.dir.create_dir("claw/workspace");
    let media = setup.dir.create_dir("claw/media");
    let secret = setup.dir.create_dir("private");
    fs::write(secret.join("file"), "FILE-OF-THE-HOST").unwrap();
    let mounts = json!({"/home/node/.openclaw/media": media});
    let gateway = setup
        .working_dir("alpha", &work)
        .tenant_line("alpha", format!("mounts: {mounts}"))
        .start();
    let look = "[[bash:cat /home/node/.openclaw/media/file; true]]";
    gateway.ask("alpha", &prompt(look)).answer_text();
    for dir in [&media, &work] {
        fs::remove_dir_all(dir).unwrap();
        std::os::unix::fs::symlink(&secret, dir).unwrap();
        let refused = gateway.ask("alpha", &prompt(look));
        refused.assert_error(503, "api_error");
        assert!(
            refused.text().contains("leads over a link"),
            "{}",
            refused.text()
        );
        fs::remove_file(dir).unwrap();
        fs::create_dir(dir).unwrap();
    }
    gateway.ask("alpha", &prompt(look)).answer_text();
    assert!(
        !api.prompts()
            .iter()
            .any(|it| it.mentions("FILE-OF-THE-HOST"))
    );
}

#[test]
fn what_an_earlier_life_left_is_ended_at_the_start() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let state = dir.path().join("state");
    let left = |state: &Path| {
        Command::new("sleep")
            .arg("600")
            .env("CCGW_STATE", state)
            .spawn()
            .unwrap()
    };
    let mut own = left(&state);
    let mut others = left(&dir.path().join("state2"));
    let gateway = Setup::with_cli(dir, fake.path()).start();
    assert_eq!(own.wait().unwrap().signal(), Some(9));
    gateway.log_contains("ended processes that an earlier life left");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    assert_eq!(others.try_wait().unwrap(), None);
    others.kill().unwrap();
    others.wait().unwrap();
}

#[test]
fn without_bubblewrap_auto_runs_and_says_so_and_bwrap_refuses() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    // One that works nowhere.
    let broken = dir.write(
        "bin/bwrap",
        "#!/bin/sh\necho no namespaces today >&2\nexit 1\n",
    );
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().join("bin").display());
    let gateway = Setup::with_cli(dir, fake.path())
        .isolation("auto")
        .tenant_line("beta", "isolation: bwrap")
        .daemon_env("PATH", &path)
        .start();
    gateway.log_contains("no namespaces today");
    gateway.log_contains("requests will be refused");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
    let refused = gateway.ask("beta", &prompt("hi"));
    refused.assert_error(503, "api_error");
    assert!(
        refused.text().contains("no namespaces today"),
        "{}",
        refused.text()
    );
    let health = gateway.health();
    assert_eq!(health["tenants"][0]["isolation"], "none");
    assert_eq!(health["tenants"][1]["isolation"], "impossible");
}
