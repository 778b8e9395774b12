//! The `openclaw` command of a run: it reaches the instance of its own tenant, with what a run may say.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    time::Duration,
};

mod containers;

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, prompt},
    process::{DEAD_WITHIN, processes_with_env, wait_until},
    setup::Setup,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The tenant of the instance of this machine.
pub(crate) const LOCAL: &str = "local";

/// An instance of this machine whose `openclaw` is this script.
pub(crate) fn with_instance(setup: Setup, script: &str) -> Setup {
    setup.dir.write("home/.openclaw/openclaw.json", "{}");
    let program = setup
        .dir
        .write("programs/openclaw", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = program.parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    setup
        .called("alpha", LOCAL)
        .daemon_env("PATH", &path)
        .daemon_env("DOCKER_HOST", "unix:///nowhere.sock")
}

/// A CLI whose answer is what this command says.
fn script(command: &str) -> (TempDir, FakeCli) {
    let dir = TempDir::new();
    let body = format!(
        "said=$({command} 2>&1); code=$?; answer \"$(printf %s \"$said\" | tr '\\n' '|') ($code)\"; idle"
    );
    let fake = FakeCli::script(&dir, &body);
    (dir, fake)
}

#[track_caller]
fn check(script_of_instance: &str, command: &str, expect: &str) {
    let (dir, fake) = script(command);
    let gateway = with_instance(Setup::with_cli(dir, fake.path()), script_of_instance).start();
    let answer = gateway.ask(LOCAL, &prompt("hi")).answer_text();
    assert_eq!(answer, expect, "{command}");
}

#[test]
fn words_output_and_exit_code_come_through_as_they_are() {
    check(
        "for it in \"$@\"; do echo \"[$it]\"; done; echo oops >&2; exit 3",
        "openclaw cron add --name 'a b' --message '$(id) `id` ; | é'",
        "[cron]|[add]|[--name]|[a b]|[--message]|[$(id) `id` ; | é]|oops (3)",
    );
}

#[test]
fn instances_own_directory_is_meant_and_nothing_of_the_tenant_reaches_it() {
    check(
        "echo \"${OPENCLAW_STATE_DIR##*/} ${ANTHROPIC_API_KEY-none} ${CCGW_RELAY-none}\"",
        "openclaw status",
        ".openclaw none none (0)",
    );
}

#[test]
fn what_is_not_for_runs_is_refused_with_the_reason() {
    check(
        "echo ran",
        "openclaw agent --message hi",
        "openclaw: it would ask the gateway while the gateway waits for you; answer yourself (1)",
    );
    check(
        "echo ran",
        "openclaw config set models.providers.anthropic.baseUrl http://elsewhere",
        "openclaw: `models` is not for runs to change; there are: agents, bindings, broadcast, channels, cron, messages, session, ui (1)",
    );
}

/// The instance's command has the gateway's rights: it must not read for a run what the run does not see.
#[test]
fn files_of_this_machine_are_named_only_in_the_tenants_own_folder() {
    let dir = TempDir::new();
    let (own, secret) = (dir.create_dir("own"), dir.write("secret.png", "secret"));
    let picture = dir.write("own/a.png", "a");
    std::os::unix::fs::symlink(&secret, own.join("link.png")).unwrap();
    std::os::unix::fs::symlink(dir.path(), own.join("out")).unwrap();
    fs::hard_link(&secret, own.join("hard.png")).unwrap();
    let send = |path: &str| format!("openclaw message send --target x --media {path}");
    let inside = |name: &str| send(&own.join(name).display().to_string());
    for (command, ran) in [
        (inside("a.png"), true),
        (send("https://example.com/a.png"), true),
        (send(&secret.display().to_string()), false),
        (inside("link.png"), false),
        (inside("out/secret.png"), false),
        (inside("hard.png"), false),
        (inside("../secret.png"), false),
        (inside("none.png"), false),
        (send("a.png"), false),
        (
            format!("openclaw cron scratch id --file {}", picture.display()),
            false,
        ),
        (
            format!("openclaw sessions --store {}", picture.display()),
            false,
        ),
        (
            format!("openclaw nodes screen record --out {}", picture.display()),
            false,
        ),
    ] {
        let (programs, fake) = script(&command);
        let setup = Setup::with_cli(programs, fake.path()).working_dir("alpha", &own);
        let gateway = with_instance(setup, "echo ran").start();
        let answer = gateway.ask(LOCAL, &prompt("hi")).answer_text();
        assert_eq!(answer == "ran (0)", ran, "{command}: {answer}");
    }
}

#[test]
fn operator_decides_what_runs_may_say() {
    for (lines, expect) in [
        (
            &["allow: [status]"][..],
            "openclaw: `cron` is not for runs; there are: status (1)",
        ),
        (
            &["timeout: 300"][..],
            "openclaw: it took too long and was ended (1)",
        ),
    ] {
        let (dir, fake) = script("openclaw cron list");
        let mut setup = with_instance(Setup::with_cli(dir, fake.path()), "exec sleep 600");
        for line in lines {
            setup = setup.set("relay", *line);
        }
        let gateway = setup.start();
        assert_eq!(gateway.ask(LOCAL, &prompt("hi")).answer_text(), expect);
    }
}

#[test]
fn endless_output_is_cut_off_and_its_program_ended() {
    let (dir, fake) = script("{ openclaw cron list 2>&1; } | tail -c 50");
    let gateway = with_instance(Setup::with_cli(dir, fake.path()), "exec yes").start();
    let answer = gateway.ask(LOCAL, &prompt("hi")).answer_text();
    assert!(answer.contains("it says more than 4 MiB"), "{answer}");
    wait_until(DEAD_WITHIN, "the end of the program", || {
        processes_with_env(&format!("{}/home/.openclaw", gateway.dir.path().display())).is_empty()
    });
}

/// The only socket there is.
fn socket(gateway: &Gateway) -> PathBuf {
    let entries = fs::read_dir(gateway.dir.path().join("state/relay")).unwrap();
    let mut sockets = entries
        .map(|it| it.unwrap().path())
        .filter(|it| !it.is_dir());
    sockets.next().unwrap()
}

/// Up to its end, which is a reset where it was not listened to.
fn said_by(mut stream: UnixStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn hostile_peers_cost_nothing_and_hold_up_nobody() {
    let (dir, fake) = script("openclaw status");
    let gateway = with_instance(Setup::with_cli(dir, fake.path()), "echo fine").start();
    assert_eq!(gateway.ask(LOCAL, &prompt("hi")).answer_text(), "fine (0)");
    let socket = socket(&gateway);
    let connect = || UnixStream::connect(&socket).unwrap();
    let garbage: [&[u8]; 5] = [
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x02{}",
        b"\0\0\0\x09{\"words\":",
        b"",
    ];
    for bytes in garbage {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let text = said_by(stream);
        assert!(text.contains("this is no call"), "{text}");
    }
    // Silent ones take all places of this tenant, and are told to leave in time.
    let silent: Vec<UnixStream> = (0..4).map(|_| connect()).collect();
    wait_until(PATIENCE, "that there is no place", || {
        said_by(connect()).contains("too many commands")
    });
    drop(silent);
    wait_until(PATIENCE, "a place", || {
        gateway.ask(LOCAL, &prompt("hi")).answer_text() == "fine (0)"
    });
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn command_ends_with_its_run() {
    for script in ["while :; do echo more; sleep 0.1; done", SILENT] {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, "openclaw sessions tail; answer never; idle");
        let gateway = with_instance(Setup::with_cli(dir, fake.path()), script).start();
        let connection = gateway.send(LOCAL, &crate::gateway::streaming(&prompt("hi")));
        let commands = || processes_with_env(&of_instance(&gateway));
        wait_until(PATIENCE, "the command", || !commands().is_empty());
        drop(connection);
        wait_until(DEAD_WITHIN, "its end", || commands().is_empty());
    }
}

/// The mark of what runs for the instance of this machine.
fn of_instance(gateway: &Gateway) -> String {
    let dir = gateway.dir.path().display();
    format!("OPENCLAW_STATE_DIR={dir}/home/.openclaw")
}

/// It says nothing, and ends long after everybody has lost patience.
const SILENT: &str = "exec sleep 600";

#[test]
fn command_ends_with_the_daemon() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "openclaw sessions tail; answer never; idle");
    let setup = with_instance(Setup::with_cli(dir, fake.path()), SILENT);
    let gateway = setup.set("cli", "drain_timeout: 100").start();
    let _run = gateway.send(LOCAL, &prompt("hi"));
    let mark = of_instance(&gateway);
    wait_until(PATIENCE, "the command", || {
        !processes_with_env(&mark).is_empty()
    });
    gateway.stop();
    wait_until(DEAD_WITHIN, "its end", || {
        processes_with_env(&mark).is_empty()
    });
}

/// A CLI that asks its instance for something that takes long, or at once for something else.
const SLOW_OR_FAST: &str = "case $line in *slow*) openclaw status;; esac; said=$(openclaw health 2>&1); answer \"$said\"; idle";

/// As many runs as a tenant may have commands leave while these are silent; then there is a place at once.
#[track_caller]
fn check_places(setup: Setup, tenant: &str, commands: impl Fn(&Gateway) -> usize) {
    let gateway = setup
        .set("cli", "max_concurrent: 5")
        .set("cli", "max_per_tenant: 5")
        .start();
    let slow = || gateway.send(tenant, &crate::gateway::streaming(&prompt("slow")));
    let runs: Vec<_> = (0..4).map(|_| slow()).collect();
    wait_until(PATIENCE, "the commands", || commands(&gateway) >= 4);
    drop(runs);
    let fast = || gateway.ask(tenant, &prompt("fast")).answer_text();
    let mut said = String::new();
    wait_until(DEAD_WITHIN, "a place", || {
        said = fast();
        said == "fine" || !said.contains("too many commands")
    });
    assert_eq!(said, "fine");
}

const SILENT_AT_FIRST: &str = "[ \"$1\" = health ] && { echo fine; exit; }; exec sleep 600";

#[test]
fn silent_commands_of_ended_runs_leave_their_places_here() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, SLOW_OR_FAST);
    let setup = with_instance(Setup::with_cli(dir, fake.path()), SILENT_AT_FIRST);
    check_places(setup, LOCAL, |gateway| {
        processes_with_env(&of_instance(gateway)).len()
    });
}

#[test]
fn switched_off_it_is_not_there() {
    let (dir, fake) = script("command -v openclaw");
    let setup = Setup::with_cli(dir, fake.path())
        .called("alpha", LOCAL)
        .daemon_env("PATH", "/usr/bin:/bin")
        .top("relay: off");
    let gateway = setup.start();
    let answer = gateway.ask(LOCAL, &prompt("hi")).answer_text();
    assert!(!answer.contains("/relay/bin/openclaw"), "{answer}");
}
