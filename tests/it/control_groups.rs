//! What a run may take of the machine, by control groups: a run that wants more is stopped, and nobody else notices.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    api::ScriptedApi,
    fake_cli::FakeCli,
    gateway::{Gateway, prompt},
    process::{
        DEAD_WITHIN, descendants, is_alive, processes_with_cmdline, say_skipped, wait_until,
    },
    setup::Setup,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The least that a run can be given.
const LIMIT: &str = "memory_bytes: 268435456";

/// Much more than that, all of it in memory until the last byte is there.
const HOG: &str = "head -c 4000000000 /dev/zero | tail -n 1 | wc -c";

/// The gateway, if it could make groups here.
fn with_groups(setup: Setup) -> Option<Gateway> {
    let gateway = setup.start();
    if gateway.health()["limits"] == "" {
        say_skipped("SKIPPED: no control groups can be made here");
        return None;
    }
    Some(gateway)
}

/// A set-up with the real CLI in its sandbox, if there is one.
fn confined(api: &ScriptedApi) -> Setup {
    let isolation = match Path::new("/usr/bin/bwrap").exists() {
        true => "bwrap",
        false => "none",
    };
    Setup::with_real_cli(api).isolation(isolation)
}

#[track_caller]
fn bash(gateway: &Gateway, tenant: &str, command: &str) -> String {
    let answer = gateway.ask(tenant, &prompt(&format!("[[bash:{command}]]")));
    answer.answer_text()
}

/// The directories of the groups that a process is in because of us.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let groups = text.lines().filter(|it| it.contains("/ccgw-"));
    let dir = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next().unwrap().to_owned();
        let path = fields.next().unwrap().trim_start_matches('/').to_owned();
        Path::new("/sys/fs/cgroup").join(names).join(path)
    };
    groups.map(dir).collect()
}

/// What a file says that one of the groups has, by the name that it has in one version or the other.
fn setting(groups: &[PathBuf], names: [&str; 2]) -> String {
    let files = groups.iter().flat_map(|dir| names.map(|it| dir.join(it)));
    let mut texts = files.filter_map(|it| fs::read_to_string(it).ok());
    texts.next().unwrap_or_default().trim().to_owned()
}

/// The groups of a run that goes on, and the connection that holds it.
fn groups_of_a_run(gateway: &Gateway, tenant: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    wait_until(PATIENCE, "a run in its groups", || {
        let pids = gateway.processes_of(tenant);
        groups = pids.first().map(|it| groups_of(*it)).unwrap_or_default();
        !groups.is_empty()
    });
    groups
}

#[test]
fn run_that_eats_memory_is_stopped_and_nobody_else_notices() {
    let api = ScriptedApi::start();
    let setup = confined(&api).set("sandbox", LIMIT);
    let Some(gateway) = with_groups(setup.tenant_line("beta", "memory_bytes: auto")) else {
        return;
    };
    let other = gateway.send("beta", &prompt("[[hang]]"));
    api.wait_for_prompts(1);
    let beta = gateway.processes_of("beta");
    let said = gateway.ask("alpha", &prompt(&format!("[[bash:{HOG}; echo end]]")));
    let text = said.text();
    // The tool was ended, and the model heard so; or the CLI itself was, and the client hears why.
    assert!(!text.contains("4000000000"), "{text}");
    match said.status {
        200 => assert!(text.contains("end"), "{text}"),
        _ => assert!(text.contains("sandbox.memory_bytes"), "{text}"),
    }
    gateway.log_contains("a run wanted more memory or processes");
    assert_eq!(gateway.health()["status"], "ok");
    assert!(!beta.is_empty() && beta.iter().all(|it| is_alive(*it)));
    drop(other);
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "OK: hi");
    assert_eq!(gateway.ask("beta", &prompt("hi")).answer_text(), "OK: hi");
}

#[test]
fn cli_that_eats_memory_itself_is_told_of_in_words() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, &format!("{HOG}; exit 137"));
    let setup = Setup::with_cli(dir, fake.path()).isolation("none");
    let Some(gateway) = with_groups(setup.set("sandbox", LIMIT)) else {
        return;
    };
    let answer = gateway.ask("alpha", &prompt("hi"));
    answer.assert_error(500, "api_error");
    let text = answer.text();
    assert!(
        text.contains("the 256 MiB that it may take (sandbox.memory_bytes)"),
        "{text}"
    );
}

#[test]
fn processes_of_a_run_count_for_itself_and_for_no_other_of_the_same_user() {
    let api = ScriptedApi::start();
    let mut setup = confined(&api).set("sandbox", "max_processes: 150");
    for tenant in ["alpha", "beta"] {
        let work = setup.dir.create_dir(&format!("{tenant}-work"));
        if rustix::process::geteuid().is_root() {
            chown(&work, Some(61_003), Some(61_003)).unwrap();
        }
        setup = setup.working_dir(tenant, &work);
    }
    let Some(gateway) = with_groups(setup) else {
        return;
    };
    // Each of them within its limit, both together far above it.
    let hundred = "for i in $(seq 100); do sleep 61 & done; echo hundred; sleep 62";
    let first = gateway.send("alpha", &prompt(&format!("[[bash:{hundred}]]")));
    let asleep = || {
        let tree = descendants(gateway.pid());
        let all = processes_with_cmdline("sleep\x0061");
        all.iter().filter(|it| tree.contains(it)).count()
    };
    wait_until(PATIENCE, "the first hundred", || asleep() == 100);
    let many = "for i in $(seq 100); do sleep 1 & done; wait; echo hundred";
    assert!(bash(&gateway, "beta", many).ends_with("hundred"));
    drop(first);
    wait_until(DEAD_WITHIN, "the end of all", || asleep() == 0);
    // More than that is refused, to the tool, or to the CLI itself, which then ends.
    let bomb = "sh -c 'for i in $(seq 500); do sleep 61 & done; echo five-hundred'";
    let bombed = gateway.ask("alpha", &prompt(&format!("[[bash:{bomb}; true]]")));
    let text = bombed.text();
    assert!(!text.contains("result: five-hundred"), "{text}");
    let named = bombed.status == 200 || text.contains("(sandbox.max_processes)");
    assert!(named, "{text}");
    gateway.log_contains("a run wanted more memory or processes");
    wait_until(DEAD_WITHIN, "the end of all", || asleep() == 0);
}

#[test]
fn tenant_may_have_limits_of_its_own_and_a_reload_changes_them() {
    let api = ScriptedApi::start();
    let setup = confined(&api)
        .set("sandbox", "memory_bytes: 1073741824")
        .set("sandbox", "max_processes: 500")
        .tenant_line("beta", "memory_bytes: 536870912")
        .tenant_line("beta", "cpu_weight: 50");
    let Some(gateway) = with_groups(setup) else {
        return;
    };
    let check = |tenant: &str, memory: &str, weights: [&str; 2]| {
        let hanging = gateway.send(tenant, &prompt("[[hang]]"));
        let groups = groups_of_a_run(&gateway, tenant);
        let found = setting(&groups, ["memory.limit_in_bytes", "memory.max"]);
        assert_eq!(found, memory, "{tenant}");
        assert_eq!(setting(&groups, ["pids.max", "-"]), "500", "{tenant}");
        let weight = setting(&groups, ["cpu.shares", "cpu.weight"]);
        assert!(weights.contains(&&*weight), "{tenant}: {weight}");
        drop(hanging);
        wait_until(DEAD_WITHIN, "its end", || {
            gateway.processes_of(tenant).is_empty()
        });
    };
    check("alpha", "1073741824", ["1024", "100"]);
    check("beta", "536870912", ["512", "50"]);
    let file = gateway.dir.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("1073741824", "805306368")).unwrap();
    gateway.log_contains("configuration reloaded number=1 ");
    check("alpha", "805306368", ["1024", "100"]);
}

/// The directories of the groups that a daemon has made here.
pub(crate) fn groups_made_by(pid: u32) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bases = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let base = Path::new("/sys/fs/cgroup").join(names);
        Some(base.join(path.trim_start_matches('/')))
    });
    let is_its = |it: &fs::DirEntry| {
        let name = it.file_name().display().to_string();
        name.starts_with("ccgw-") && name.contains(&format!(".{pid}."))
    };
    let entries = bases.flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    entries.filter(is_its).map(|it| it.path()).collect()
}

/// What a daemon that was killed left, where nobody starts it again.
pub(crate) fn remove_groups_of(pid: u32) {
    wait_until(DEAD_WITHIN, "groups with nobody in them", || {
        let groups = groups_made_by(pid);
        groups
            .iter()
            .all(|it| fs::remove_dir(it).is_ok() || !it.exists())
    });
}

#[test]
fn empty_groups_of_a_dead_daemon_are_removed_by_any_other() {
    let start = |dir: TempDir| {
        let fake = FakeCli::script(&dir, "sleep 63");
        with_groups(Setup::with_cli(dir, fake.path()).isolation("none"))
    };
    let Some(mut killed) = start(TempDir::new()) else {
        return;
    };
    let Some(living) = start(TempDir::new()) else {
        return;
    };
    let runs = [&killed, &living].map(|it| it.send("alpha", &prompt("hi")));
    groups_of_a_run(&killed, "alpha");
    let of_the_living = groups_of_a_run(&living, "alpha");
    let pid = killed.pid();
    let tree = descendants(pid);
    killed.kill();
    wait_until(DEAD_WITHIN, "the end of all", || {
        !tree.iter().any(|it| is_alive(*it))
    });
    assert!(!groups_made_by(pid).is_empty());
    let _other = start(TempDir::new());
    wait_until(DEAD_WITHIN, "the end of the groups", || {
        groups_made_by(pid).is_empty()
    });
    assert!(of_the_living.iter().all(|it| it.exists()));
    drop(runs);
}

#[test]
fn no_group_stays() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "sleep 63");
    let setup = Setup::with_cli(dir, fake.path()).isolation("none");
    let Some(mut gateway) = with_groups(setup) else {
        return;
    };
    let hanging = gateway.send("alpha", &prompt("hi"));
    let groups = groups_of_a_run(&gateway, "alpha");
    let tree = descendants(gateway.pid());
    gateway.kill();
    drop(hanging);
    wait_until(DEAD_WITHIN, "the end of all", || {
        !tree.iter().any(|it| is_alive(*it))
    });
    // Nobody was left to remove them; and one who fled from everything else is found by them.
    let mut fled = Command::new("sleep").arg("64").spawn().unwrap();
    for group in &groups {
        fs::write(group.join("cgroup.procs"), fled.id().to_string()).unwrap();
    }
    gateway.start_again();
    gateway.log_contains("ended processes that an earlier life left");
    fled.wait().unwrap();
    wait_until(DEAD_WITHIN, "the end of the groups", || {
        !groups.iter().any(|it| it.exists())
    });
    // An orderly end leaves none.
    let hanging = gateway.send("alpha", &prompt("hi"));
    let groups = groups_of_a_run(&gateway, "alpha");
    drop(hanging);
    gateway.stop();
    assert!(!groups.iter().any(|it| it.exists()));
}
