//! Attempts of a tenant's run to get at what is not its own. Each names the words by which it fails, and is tried in
//! no isolation too, where it must succeed if this machine lets it: so no attempt passes because it is a bad one.

mod changing;

pub(crate) use self::changing::try_to_change;

use std::{fs, path::Path};

use crate::{
    api::ScriptedApi,
    client::Connection,
    gateway::{Gateway, key_of, prompt},
    process::{cmdline, is_alive, wait_until},
    sandbox::{PATIENCE, Walls, bash},
    setup::Setup,
};

/// What everything that alpha must not have is marked with.
const BETA: &str = "SECRET-OF-BETA";

struct Attempt {
    what: &'static str,
    command: String,
    /// One of these must be said, parted by `|`.
    fails: &'static str,
    outside: Outside,
}

/// What happens in no isolation.
enum Outside {
    /// It succeeds, and says this.
    Says(&'static str),
    /// Another command does, which harms nobody or takes less time.
    Instead(String, &'static str),
    /// None of the words of its failure is said.
    FailsOtherwise,
    /// This machine or this user does not have it, or it would harm the machine.
    NotTried,
}
use Outside::{FailsOtherwise, Instead, NotTried, Says};

fn attempt(
    what: &'static str,
    command: impl Into<String>,
    (fails, outside): (&'static str, Outside),
) -> Attempt {
    Attempt {
        what,
        command: command.into(),
        fails,
        outside,
    }
}

/// What an attempt has before it.
struct Scene {
    dir: String,
    /// The gateway's process.
    pid: u32,
    /// Beta's home, and a process of its run.
    home: String,
    other: u32,
}

/// Two tenants, the second with something to steal in each place where a tenant has anything, and a run that goes on.
fn two(api: &ScriptedApi, setup: Setup, walls: Option<Walls>) -> (Gateway, Scene, Connection) {
    // Each run has a process of its own, so that it is known which one is whose.
    let setup = setup
        .set("cli", "warm: off")
        .tenant_env("beta", "BETA_TOKEN", BETA)
        .skill("alpha", "weather", "tells the weather")
        .skill("beta", "traffic", BETA);
    setup.dir.write("config.yaml.bak", "api_key: of-a-backup");
    let work = setup.dir.create_dir("beta-work");
    fs::write(work.join("notes.txt"), BETA).unwrap();
    if let Some(walls) = walls {
        walls.folder(&work, 61_011);
    }
    let gateway = setup.working_dir("beta", &work).start();
    // A session of its own, a home and a file in it.
    let said = bash(&gateway, "beta", &format!("echo {BETA} | tee $HOME/file"));
    assert!(said.contains(BETA), "{said}");
    // Alpha's folders, and its socket.
    bash(&gateway, "alpha", "touch here");
    let (before, earlier) = (api.prompts().len(), gateway.processes_of("beta"));
    let run = gateway.send("beta", &prompt("[[hang]]"));
    api.wait_for_prompts(before + 1);
    let mut other = None;
    wait_until(PATIENCE, "a run of beta's", || {
        // Neither what is left of the first run, nor what the CLI starts for a moment.
        let mut all = gateway.processes_of("beta").into_iter();
        other = all.find(|it| !earlier.contains(it) && cmdline(*it).contains("--print"));
        other.is_some()
    });
    let dir = gateway.dir.path().display().to_string();
    let home = match walls {
        Some(_) => format!("{dir}/state/tenants/beta/home"),
        None => format!("{dir}/home"),
    };
    let scene = Scene {
        dir,
        pid: gateway.pid(),
        home,
        other: other.unwrap(),
    };
    (gateway, scene, run)
}

/// What each command prints: all of them in one run, since each run takes a second.
fn say(gateway: &Gateway, commands: &[String]) -> Vec<String> {
    const END: &str = "=END=";
    let each = |it: &String| format!("( {it}; ) 2>&1; echo {END}");
    let all: Vec<String> = commands.iter().map(each).collect();
    let said = bash(gateway, "alpha", &all.join("; "));
    let mut said: Vec<String> = said.split(END).map(str::to_owned).collect();
    let rest = said.pop();
    assert_eq!(said.len(), commands.len(), "{said:#?}, and then {rest:?}");
    said
}

fn has_one(said: &str, words: &str) -> bool {
    let said = said.to_lowercase();
    words.split('|').any(|it| said.contains(&it.to_lowercase()))
}

/// Each of them within the walls, and in none.
fn check(walls: Walls, attempts: fn(&Scene, Walls) -> Vec<Attempt>) {
    let api = ScriptedApi::start();
    let Some(setup) = walls.setup(&api) else {
        return;
    };
    let (gateway, scene, run) = two(&api, setup, Some(walls));
    let all = attempts(&scene, walls);
    let commands: Vec<String> = all.iter().map(|it| it.command.clone()).collect();
    let secrets = [BETA, &key_of("beta"), "api_key"];
    for (attempt, said) in all.iter().zip(say(&gateway, &commands)) {
        let what = attempt.what;
        assert!(has_one(&said, attempt.fails), "{what}: {said}");
        for secret in secrets {
            assert!(!said.contains(secret), "{what}: {said}");
        }
        if let Says(success) = attempt.outside {
            assert!(!said.contains(success), "{what}: {said}");
        }
    }
    assert_eq!(gateway.health()["status"], "ok");
    let other = scene.other;
    assert!(
        is_alive(other),
        "{other} of {:?}",
        gateway.processes_of("beta")
    );
    drop((run, gateway));

    let setup = Setup::with_real_cli(&api).isolation("none");
    let (gateway, scene, _run) = two(&api, setup, None);
    let mut all = attempts(&scene, walls);
    all.retain(|it| !matches!(it.outside, NotTried));
    let command = |it: &Attempt| match &it.outside {
        Instead(other, _) => other.clone(),
        _ => it.command.clone(),
    };
    let commands: Vec<String> = all.iter().map(command).collect();
    for (attempt, said) in all.iter().zip(say(&gateway, &commands)) {
        let succeeds = match attempt.outside {
            Says(success) | Instead(_, success) => said.contains(success),
            FailsOtherwise | NotTried => !has_one(&said, attempt.fails),
        };
        assert!(succeeds, "outside, {}: {said}", attempt.what);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where only root can do it.
fn as_root(outside: Outside) -> Outside {
    match is_root() {
        true => outside,
        false => NotTried,
    }
}

fn if_there(path: &str, outside: Outside) -> Outside {
    match Path::new(path).exists() {
        true => outside,
        false => NotTried,
    }
}

/// Whether this machine lets root mount: in most containers it does not.
fn can_mount() -> bool {
    let mut command = std::process::Command::new("unshare");
    is_root()
        && command
            .args(["-m", "true"])
            .status()
            .is_ok_and(|it| it.success())
}

/// A device with the bytes of a disk or of the memory, if there is one.
fn disk() -> Option<String> {
    let mut names: Vec<String> = fs::read_dir("/dev")
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|it| {
            ["vd", "sd", "nvme", "mem"]
                .iter()
                .any(|kind| it.starts_with(kind))
        })
        .collect();
    names.sort();
    let mut paths = names.iter().map(|it| format!("/dev/{it}"));
    paths.find(|it| {
        fs::File::open(it).is_ok_and(|file| std::io::Read::read(&mut &file, &mut [0]).is_ok())
    })
}

const CLOSED: &str = "No such file|permission denied";
const NOT_WRITTEN: &str = "read-only file system|permission denied";
const NOT_PERMITTED: &str = "not permitted";
const NOBODY: &str = "No such process|not permitted|permission denied";

pub(crate) fn try_to_read(walls: Walls) {
    check(walls, reading);
}

fn reading(scene: &Scene, walls: Walls) -> Vec<Attempt> {
    let Scene { dir, pid, home, .. } = scene;
    // What a search is for must not be found in the run's own words.
    let search = |places: &str| format!("grep -rls 'SECRET-OF-B[E]TA' {places} || echo nothing");
    let everywhere = match walls {
        Walls::Bwrap => search("/tmp /home /root /var /srv /mnt /opt /run /etc /dev/shm"),
        // The run sees all of this machine's files, which takes too long.
        Walls::User => search(&format!("{dir} /home /root /etc")),
    };
    let disk = disk();
    // Root itself may look into others only where it has CAP_SYS_PTRACE; else the run shows that it can look into itself.
    let others = |own: String, success| match Path::new("/proc/1/root/etc").exists() {
        true => Says(success),
        false => Instead(own, success),
    };
    let opened = |path: &str| format!("head -c 1 {path} > /dev/null && echo opened");
    let can_read = |path: &str| {
        fs::File::open(path).is_ok_and(|mut it| {
            std::io::Read::read(&mut it, &mut [0]).is_ok_and(|count| count == 1)
        })
    };
    vec![
        attempt(
            "the configuration",
            format!("cat {dir}/config.yaml"),
            (CLOSED, Says("api_key")),
        ),
        attempt(
            "its backups",
            format!("cat {dir}/config.yaml.bak"),
            (CLOSED, Says("of-a-backup")),
        ),
        attempt(
            "the other's folder",
            format!("cat {dir}/beta-work/notes.txt"),
            (CLOSED, Says(BETA)),
        ),
        attempt(
            "the other's home",
            format!("cat {home}/file"),
            (CLOSED, Says(BETA)),
        ),
        attempt(
            "the other's sessions",
            format!(
                "grep -rsoh 'SECRET-OF-B[E]TA' {dir}/claude-config-beta | head -n 1 | grep . || echo nothing"
            ),
            ("nothing", Says(BETA)),
        ),
        attempt(
            "the other's skills",
            format!("cat {dir}/skills/beta/traffic/SKILL.md"),
            (CLOSED, Says(BETA)),
        ),
        attempt(
            "the gateway's state",
            opened(&format!("{dir}/state/sessions.jsonl")),
            (CLOSED, Says("opened")),
        ),
        attempt(
            "the other's state",
            format!("ls {dir}/state/tenants/beta && echo listed"),
            (CLOSED, Says("listed")),
        ),
        attempt(
            "what the other's runs leave for a while",
            format!("ls {dir}/state/tenants/beta/tmp/x {dir}/state/tenants/beta/seeds/x"),
            (CLOSED, NotTried),
        ),
        attempt(
            "everything that can be read",
            everywhere,
            ("nothing", Instead(search(dir), "notes.txt")),
        ),
        attempt(
            "a way around by links",
            format!("ln -sf {dir} d; cat d/beta-work/notes.txt; rm -f d"),
            (CLOSED, Says(BETA)),
        ),
        attempt(
            "a second name",
            format!("ln {dir}/config.yaml h && cat h; rm -f h"),
            (
                "No such file|permission denied|not permitted|cross-device",
                Says("api_key"),
            ),
        ),
        attempt(
            "up from the own folder",
            "cat ../../../../beta-work/notes.txt",
            (CLOSED, Says(BETA)),
        ),
        attempt(
            "through the first process",
            format!("cat /proc/1/root{dir}/config.yaml"),
            (
                CLOSED,
                others(format!("cat /proc/self/root{dir}/config.yaml"), "api_key"),
            ),
        ),
        attempt(
            "environments in /proc",
            "grep -haoz '^BETA_TOKEN=.*' /proc/[0-9]*/environ 2> /dev/null | tr -cd A-Z_=- | grep . || echo nothing",
            ("nothing", Says(BETA)),
        ),
        attempt(
            "the gateway's environment",
            opened(&format!("/proc/{pid}/environ")),
            (CLOSED, others(opened("/proc/self/environ"), "opened")),
        ),
        attempt(
            "the gateway's memory",
            opened(&format!("/proc/{pid}/maps")),
            (CLOSED, others(opened("/proc/self/maps"), "opened")),
        ),
        attempt(
            "passwords",
            "cat /etc/shadow",
            (CLOSED, as_root(Says("root:"))),
        ),
        attempt(
            "private keys of the machine",
            "cd /etc/ssl/private && echo entered",
            (
                CLOSED,
                if_there("/etc/ssl/private", as_root(Says("entered"))),
            ),
        ),
        attempt(
            "disks",
            opened(disk.as_deref().unwrap_or("/dev/mem")),
            (
                CLOSED,
                if disk.is_some() {
                    Says("opened")
                } else {
                    NotTried
                },
            ),
        ),
        attempt(
            "kernel memory",
            "test $(head -c 1 /proc/kcore | wc -c) = 1 && echo opened || echo nothing",
            (
                "nothing",
                if can_read("/proc/kcore") {
                    Says("opened")
                } else {
                    NotTried
                },
            ),
        ),
    ]
}
