//! Where skills come from and where they go: OpenClaw's package here, groups, links, and what is in the way.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Ended, Host, ended,
    skills::{description, host, names, skill, states, text},
};

/// OpenClaw's package as npm would install it, with one skill of its own and one of each plugin.
fn package(host: &Host, plugins: &[(&str, &str)]) -> PathBuf {
    let dir = &host.dir;
    dir.write("npm/package.json", "{}");
    let program = dir.write("npm/openclaw.mjs", "");
    dir.write("npm/skills/shipped/SKILL.md", text("shipped"));
    for (name, manifest) in plugins {
        let at = format!("npm/dist/extensions/{name}");
        dir.write(&format!("{at}/openclaw.plugin.json"), manifest);
        dir.write(
            &format!("{at}/skills/of-{name}/SKILL.md"),
            text("of a plugin"),
        );
    }
    symlink(program, dir.path().join("bin/openclaw")).unwrap();
    dir.path().join("npm")
}

/// With the host's own programs on the path.
#[track_caller]
fn manage(host: &Host, words: &[&str]) -> Ended {
    let bin = host.dir.path().join("bin");
    let mut command = host.command(&bin.join("ccgw-manage"), words);
    let path = std::env::var("PATH").unwrap();
    ended(command.env("PATH", format!("{}:{path}", bin.display())))
}

#[test]
fn plugins_bring_their_skills_while_they_are_on() {
    let (host, here, _) = host();
    package(
        &host,
        &[
            ("alpha", r#"{"id": "alpha", "enabledByDefault": true}"#),
            ("beta", r#"{"id": "beta"}"#),
            ("broken", "{"),
        ],
    );
    let plugins = || {
        let list = manage(&host, &["skills", "list", "--all", "--json"]).good();
        let rows: Vec<Value> = serde_json::from_str(&list.stdout).unwrap();
        let on = |name: &str| {
            let row = rows.iter().find(|it| it["skill"] == name);
            row.map(|it| it["plugin"]["enabled"].clone())
        };
        assert_eq!(on("of-broken"), None);
        assert_eq!(on("shipped"), Some(Value::Null));
        [on("of-alpha"), on("of-beta")].map(|it| it == Some(true.into()))
    };
    assert_eq!(plugins(), [true, false]);
    manage(&host, &["skills", "pull", "--all"])
        .good()
        .says("2 new");
    assert_eq!(names(&here), ["of-alpha", "shipped"]);
    host.openclaw(
        "",
        r#"{"plugins": {"deny": ["alpha"], "entries": {"beta": {"enabled": true}}}}"#,
    );
    assert_eq!(plugins(), [false, true]);
    let diff = manage(&host, &["skills", "diff", "--all"]).good();
    assert!(diff.stdout.contains("extension beta"), "{}", diff.stdout);
    // It belongs to nobody's instance by itself.
    let own = manage(&host, &["skills", "list"]).good();
    assert!(!own.stdout.contains("of-beta"), "{}", own.stdout);
}

#[test]
fn skills_of_a_group_and_of_the_home_keep_their_places() {
    let (host, here, there) = host();
    skill(&there.join("group"), "nested", "of a group");
    skill(&host.home(".agents/skills"), "personal", "of the home");
    host.manage(&["skills", "pull"])
        .good()
        .says("personal (~/.agents)");
    assert_eq!(names(&here), ["nested", "personal"]);
    skill(&here, "nested", "changed here");
    host.manage(&["skills", "push", "--force"])
        .good()
        .says("1 replaced");
    assert_eq!(names(&there), ["group"]);
    assert!(description(&there.join("group"), "nested").contains("changed here"));
    assert_eq!(states(&host, "local")["nested"], "same");
    fs::remove_dir_all(here.join("nested")).unwrap();
    host.manage(&["skills", "push", "--delete"])
        .good()
        .says("1 removed");
    assert_eq!(names(&there.join("group")), [""; 0]);
}

#[test]
fn what_is_no_skill_is_in_nobodys_way() {
    let (host, here, there) = host();
    let elsewhere = skill(host.dir.path(), "elsewhere", "of the operator");
    for (dir, other) in [(&here, &there), (&there, &here)] {
        fs::create_dir_all(dir).unwrap();
        let name = if dir == &here { "a" } else { "b" };
        symlink(&elsewhere, dir.join(name)).unwrap();
        skill(other, name, "of the other side");
    }
    let kept = |dir: &Path, name: &str| fs::read_link(dir.join(name)).unwrap() == elsewhere;
    for words in [["skills", "pull", "--force"], ["skills", "push", "--force"]] {
        host.manage(&words)
            .good()
            .says("something that is no skill");
    }
    assert!(kept(&here, "a") && kept(&there, "b"));
    assert!(description(&elsewhere, "").contains("of the operator"));
}

#[test]
fn nothing_is_removed_when_a_side_shows_nothing_or_something_odd() {
    let (host, here, there) = host();
    let own = ["one", "two"].map(|name| skill(&here, name, "of the gateway"));
    let delete = ["skills", "pull", "--delete"];
    host.manage(&delete).bad().says("looks like a mistake");
    assert!(own.iter().all(|it| it.exists()));
    // Too large is not gone.
    skill(&there, "one", "of the instance");
    fs::write(there.join("one/large"), vec![0; 17 << 20]).unwrap();
    skill(&there, "three", "of the instance");
    host.manage(&delete).good().says("1 removed").says("16 MiB");
    assert_eq!(names(&here), ["one", "three"]);
    fs::remove_dir_all(&here).unwrap();
    let delete = ["skills", "push", "--delete"];
    host.manage(&delete).bad().says("looks like a mistake");
    assert_eq!(names(&there), ["one", "three"]);
}
