//! Instances in containers: each tenant's commands reach its own, and nothing of them stays there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{PATIENCE, SILENT_AT_FIRST, SLOW_OR_FAST, check_places};
use crate::{
    api::ScriptedApi,
    docker::{Container, Engine, Image, Spec},
    fake_cli::FakeCli,
    gateway::prompt,
    process::{DEAD_WITHIN, wait_until},
    setup::Setup,
    temp::TempDir,
};

/// Instances whose `openclaw` is this script.
struct Instances<'a> {
    engine: &'a Engine,
    dir: TempDir,
    program: PathBuf,
}

impl<'a> Instances<'a> {
    fn new(engine: &'a Engine, script: &str) -> Self {
        let dir = TempDir::new();
        let program = dir.write("openclaw", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Instances {
            engine,
            dir,
            program,
        }
    }

    /// The one that is found to be this tenant's.
    fn of(&self, tenant: &str, image: Image) -> Container<'a> {
        self.dir.write(&format!("{tenant}/openclaw.json"), "{}");
        let state = self.dir.path().join(tenant);
        for path in [&state, &state.join("openclaw.json")] {
            chown(path, Some(1000), Some(1000)).unwrap();
        }
        let name = format!("{tenant}-openclaw-gateway-1");
        let spec = Spec::new(image, name)
            .bind(&state, "/home/node/.openclaw")
            .bind(&self.program, "/usr/local/bin/openclaw");
        self.engine.container(spec)
    }

    fn setup(&self, setup: Setup) -> Setup {
        let socket = format!("unix://{}", self.engine.socket().display());
        setup.daemon_env("DOCKER_HOST", &socket)
    }
}

#[test]
fn silent_commands_of_ended_runs_leave_their_places_for_a_container() {
    let Some(engine) = Engine::own() else { return };
    let instances = Instances::new(&engine, SILENT_AT_FIRST);
    let container = instances.of("alpha", Image::Busybox);
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, SLOW_OR_FAST);
    let setup = instances.setup(Setup::with_cli(dir, fake.path()));
    check_places(setup, "alpha", |_| {
        let listed = container.exec(&["ps"]).stdout;
        // The container's own `timeout` is another line of each.
        listed
            .lines()
            .filter(|it| it.ends_with(" sleep 600"))
            .count()
    });
}

#[test]
fn each_tenant_reaches_its_own_container() {
    let Some(engine) = Engine::own() else { return };
    let api = ScriptedApi::start();
    let instances = Instances::new(&engine, "echo \"$(hostname) $* $(id -u)\"");
    let setup = instances.setup(Setup::with_real_cli(&api));
    let containers = ["alpha", "beta"].map(|it| instances.of(it, Image::Busybox));
    let isolation = match Path::new("/usr/bin/bwrap").exists() {
        true => "bwrap",
        false => "none",
    };
    let gateway = setup.isolation(isolation).start();
    for (tenant, container) in ["alpha", "beta"].iter().zip(&containers) {
        let answer = gateway.ask(tenant, &prompt("[[bash:openclaw cron list --json]]"));
        let short = &container.id()[..12];
        assert_eq!(
            answer.answer_text(),
            format!("result: {short} cron list --json 1000")
        );
    }
    // One that was made anew is found again.
    let [first, _second] = containers;
    drop(first);
    let again = instances.of("alpha", Image::Busybox);
    let answer = gateway.ask("alpha", &prompt("[[bash:openclaw status]]"));
    let short = &again.id()[..12];
    assert_eq!(answer.answer_text(), format!("result: {short} status 1000"));
    let log = gateway.log();
    assert!(
        log.contains("tenant=alpha command=\"cron list\" exit=0"),
        "{log}"
    );
}

#[test]
fn command_in_a_container_ends_at_its_time_though_its_run_is_gone() {
    let Some(engine) = Engine::own() else { return };
    let instances = Instances::new(&engine, "trap '' TERM\nsleep 4242\nsleep 4243");
    let container = instances.of("alpha", Image::Busybox);
    let dir = TempDir::new();
    let body = "said=$(openclaw status 2>&1); answer \"$said\"; idle";
    let fake = FakeCli::script(&dir, body);
    let gateway = instances
        .setup(Setup::with_cli(dir, fake.path()))
        .set("relay", "timeout: 5000")
        .start();
    let sleeps = || container.exec(&["ps"]).stdout.contains("openclaw");
    let run = gateway.send("alpha", &crate::gateway::streaming(&prompt("hi")));
    wait_until(PATIENCE, "the command", sleeps);
    drop(run);
    wait_until(PATIENCE, "its end", || !sleeps());
    let answer = gateway.ask("alpha", &prompt("hi")).answer_text();
    assert!(
        answer.contains("it took too long and was ended"),
        "{answer}"
    );
}

/// What it started as well, though it has left its session.
#[test]
fn command_in_an_openclaw_container_ends_with_its_run() {
    let Some(engine) = Engine::own() else { return };
    let script = "[ \"$1\" = health ] && exec echo fine\ntrap '' TERM\nsetsid sleep 4244 &\nsleep 4244\nsleep 4244";
    let instances = Instances::new(&engine, script);
    let container = instances.of("alpha", Image::OpenClaw);
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, SLOW_OR_FAST);
    let setup = instances.setup(Setup::with_cli(dir, fake.path()));
    let gateway = setup.start();
    let left = || {
        let listed = container.exec(&["ps"]).stdout;
        let lines = listed
            .lines()
            .filter(|it| it.contains("4244") || it.contains("openclaw "));
        lines.count()
    };
    let run = gateway.send("alpha", &crate::gateway::streaming(&prompt("slow")));
    wait_until(PATIENCE, "the command", || left() >= 3);
    drop(run);
    wait_until(DEAD_WITHIN, "its end", || left() == 0);
    let answer = gateway.ask("alpha", &prompt("fast")).answer_text();
    assert_eq!(answer, "fine");
}
