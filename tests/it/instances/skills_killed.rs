//! Pulls and pushes that are killed at any moment, and many that come at once.

use std::{
    fs,
    os::unix::{fs::chown, process::ExitStatusExt},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    Host,
    skills::{BUILT_IN, host, names, skill, states, text},
};
use crate::docker::{Engine, Image, Spec};

/// How often a command is killed; the moments are spread over what one takes.
const KILLS: u32 = 200;

/// As many skills as make it long enough to be hit in its middle.
const SKILLS: u32 = 20;

/// Gives all skills the content of a round, in two files each.
fn edit(dir: &Path, skills: u32, round: u32) {
    for number in 0..skills {
        let dir = skill(dir, &format!("s{number}"), &round.to_string());
        fs::write(dir.join("more"), round.to_string()).unwrap();
    }
}

/// The round that a skill is of; its files must agree.
#[track_caller]
fn round_of(skill: &Path) -> u32 {
    let more = fs::read_to_string(skill.join("more")).unwrap();
    assert_eq!(
        fs::read_to_string(skill.join("SKILL.md")).unwrap(),
        text(&more),
        "{}",
        skill.display()
    );
    assert_eq!(names(skill), ["SKILL.md", "more"]);
    more.parse().unwrap()
}

fn start(host: &Host, words: &[&str]) -> Child {
    let program = host.dir.path().join("bin/ccgw-manage");
    let mut command = host.command(&program, words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills it after a while; true when it was still running then.
fn kill_after(mut child: Child, while_: Duration) -> bool {
    let (_open, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(while_);
    let _ = child.kill();
    child.wait().unwrap().signal().is_some()
}

/// What a command takes here.
#[track_caller]
fn took(host: &Host, words: &[&str]) -> Duration {
    let start = Instant::now();
    host.manage(words).good();
    start.elapsed()
}

/// Steps that share no factor with a hundred hit all of it.
fn moment(usual: Duration, number: u32) -> Duration {
    usual * (number * 37 % 100) / 90
}

/// How long a command takes changes with the machine's load: a little more after one that was killed, less
/// after one that had ended by itself.
fn adapted(usual: Duration, was_killed: bool) -> Duration {
    match was_killed {
        true => usual * 21 / 20,
        false => usual * 9 / 10,
    }
}

/// A command that copies `from` one directory `to` the other, killed again and again.
#[track_caller]
fn check(host: &Host, words: &[&str], (from, to): (&Path, &Path)) {
    edit(from, SKILLS, 0);
    host.manage(words).good();
    edit(from, SKILLS, 1);
    let mut usual = took(host, words);
    let (mut killed, mut cut) = (0, 0);
    let mut before = vec![1; SKILLS as usize];
    for number in 0..KILLS {
        let round = number + 2;
        edit(from, SKILLS, round);
        let was_killed = kill_after(start(host, words), moment(usual, number));
        killed += u32::from(was_killed);
        usual = adapted(usual, was_killed);
        let skills = (0..SKILLS).map(|it| round_of(&to.join(format!("s{it}"))));
        let now: Vec<u32> = skills.collect();
        for (old, new) in before.iter().zip(&now) {
            assert!(new == old || *new == round, "{before:?} {now:?}");
        }
        cut += u32::from(now.contains(&round) && now.iter().any(|it| *it != round));
        before = now;
    }
    // Otherwise this proved nothing.
    assert!(killed > KILLS / 4 && cut > 0, "{killed} {cut}");
    host.manage(words).good();
    let left = names(to);
    assert!(left.iter().all(|it| !it.starts_with('.')), "{left:?}");
    assert!(states(host, "local").values().all(|it| it == "same"));
}

#[test]
fn pulls_that_are_killed_leave_each_skill_old_or_new() {
    let (host, here, there) = host();
    check(&host, &["skills", "pull", "--force"], (&there, &here));
}

#[test]
fn pushes_that_are_killed_leave_each_skill_old_or_new() {
    let (host, here, there) = host();
    check(&host, &["skills", "push", "--force"], (&here, &there));
}

#[test]
fn pushes_into_a_container_that_are_killed_are_made_good_by_the_next() {
    const SKILLS: u32 = 2;
    const KILLS: u32 = 20;
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let state = host.dir.create_dir("state");
    host.dir.write("state/openclaw.json", BUILT_IN);
    let there = host.dir.create_dir("state/workspace/skills");
    for dir in [&state, &state.join("workspace"), &there] {
        chown(dir, Some(1000), Some(1000)).unwrap();
    }
    let _container = engine.container(
        Spec::new(Image::Busybox, "eve-openclaw-gateway-1").bind(&state, "/home/node/.openclaw"),
    );
    host.manage(&["add", "eve"]).good();
    let here = host.config().with_file_name("skills").join("eve");
    let push = ["skills", "push", "eve", "--force"];
    edit(&here, SKILLS, 0);
    host.manage(&push).good();
    edit(&here, SKILLS, 1);
    let mut usual = took(&host, &push);
    let mut killed = 0;
    for number in 0..KILLS {
        let round = number + 2;
        edit(&here, SKILLS, round);
        let was_killed = kill_after(start(&host, &push), moment(usual, number));
        killed += u32::from(was_killed);
        usual = adapted(usual, was_killed);
        // The engine ends by itself what it has begun, and only one skill can be on its way.
        let missing = (0..SKILLS).filter(|it| !there.join(format!("s{it}")).exists());
        assert!(missing.count() <= 1);
        let pull = ["skills", "pull", "eve"];
        host.manage(&pull).good();
        for number in 0..SKILLS {
            let now = round_of(&there.join(format!("s{number}")));
            assert!(now <= round, "{now}");
        }
        assert_eq!(names(&there).len(), SKILLS as usize, "{:?}", names(&there));
    }
    assert!(killed > KILLS / 4, "{killed}");
    host.manage(&push).good();
    assert!(states(&host, "eve").values().all(|it| it == "same"));
}

#[test]
fn commands_at_once_take_turns() {
    let (host, here, there) = host();
    edit(&there, SKILLS, 1);
    edit(&here, SKILLS / 2, 0);
    let pull = ["skills", "pull", "--force"];
    let all = [
        pull.as_slice(),
        &pull,
        &["skills", "bisync"],
        &["skills", "clean"],
        &pull,
    ];
    let children: Vec<Child> = all.iter().map(|words| start(&host, words)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(states(&host, "local").values().all(|it| it == "same"));
    // The first of them has replaced the old ones, and only it.
    let kept = host.home(".local/state/ccgw/backups/local.skills");
    let kept: Vec<usize> = names(&kept)
        .iter()
        .map(|it| names(&kept.join(it)).len())
        .collect();
    assert_eq!(kept, [SKILLS as usize / 2]);
}
