//! `ccgw-manage skills`, with local instances and containers of a real Docker Engine.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::Host;
use crate::docker::{Engine, Image, Spec};

pub(super) const BUILT_IN: &str =
    r#"{"agents":{"defaults":{"model":"anthropic/claude-sonnet-4-6"}}}"#;

pub(super) fn text(description: &str) -> String {
    format!("---\nname: x\ndescription: {description}\n---\nBody\n")
}

pub(super) fn skill(dir: &Path, name: &str, description: &str) -> PathBuf {
    let dir = dir.join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("SKILL.md"), text(description)).unwrap();
    dir
}

/// A host with the tenant `local`, whose skills are here and there.
pub(super) fn host() -> (Host, PathBuf, PathBuf) {
    let host = Host::new();
    host.openclaw("", BUILT_IN);
    let there = host.home(".openclaw/workspace/skills");
    host.manage(&["add", "local"]).good();
    let here = host.config().with_file_name("skills").join("local");
    (host, here, there)
}

pub(super) fn description(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name).join("SKILL.md")).unwrap_or_default()
}

/// The state of each skill, as `diff` tells it.
pub(super) fn states(host: &Host, tenant: &str) -> BTreeMap<String, String> {
    let said = host.manage(&["skills", "diff", tenant, "--json"]).good();
    let rows: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| {
            let newer = text(row, "newer");
            let state = format!("{} {newer}", text(row, "state"));
            (text(row, "skill"), state.trim_end().to_owned())
        })
        .collect()
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn skills_go_both_ways_and_nothing_is_lost() {
    let (host, here, there) = host();
    skill(&there, "one", "of the instance");
    skill(&there, "both", "theirs");
    skill(&there.join("group"), "nested", "of a group");
    skill(
        &host.home(".openclaw/skills"),
        "managed",
        "of openclaw itself",
    );
    skill(&here, "two", "of the gateway");
    let own = skill(&here, "both", "ours");
    let late = fs::File::open(own.join("SKILL.md")).unwrap();
    late.set_modified(std::time::SystemTime::now() + Duration::from_secs(60))
        .unwrap();

    let state = states(&host, "local");
    let expect = [
        ("both", "changed here"),
        ("managed", "only there"),
        ("nested", "only there"),
        ("one", "only there"),
        ("two", "only here"),
    ];
    assert_eq!(
        state,
        expect
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .into()
    );

    host.manage(&["skills", "bisync"]).good().says("3 new");
    assert_eq!(names(&here), ["both", "managed", "nested", "one", "two"]);
    assert_eq!(names(&there), ["both", "group", "one", "two"]);
    assert!(description(&here, "both").contains("ours"));
    assert!(description(&there, "both").contains("theirs"));

    host.manage(&["skills", "pull", "local"])
        .good()
        .says("because they differ: both");
    assert!(description(&here, "both").contains("ours"));
    host.manage(&["skills", "pull", "local", "--force"])
        .good()
        .says("1 replaced");
    assert!(description(&here, "both").contains("theirs"));
    let kept = host.home(".local/state/ccgw/backups/local.skills");
    let stamp = kept.join(&names(&kept)[0]);
    assert!(description(&stamp, "both.here").contains("ours"));

    fs::remove_dir_all(here.join("one")).unwrap();
    skill(&here, "two", "changed");
    host.manage(&["skills", "push", "local", "--force"])
        .good()
        .says("1 replaced")
        .says("not on the other side: one");
    assert!(description(&there, "two").contains("changed"));
    assert!(there.join("one").exists());
    host.manage(&["skills", "push", "local", "--delete"])
        .good()
        .says("1 removed");
    assert!(!there.join("one").exists());
    let all: Vec<String> = names(&kept)
        .iter()
        .flat_map(|it| names(&kept.join(it)))
        .collect();
    assert!(all.contains(&"one.instance".to_owned()), "{all:?}");
    let list = host.manage(&["skills", "list"]).good();
    assert!(list.stdout.contains("of a group"), "{}", list.stdout);
}

#[test]
fn what_an_instance_calls_a_skill_stays_data() {
    let (host, here, there) = host();
    let trap = host.dir.path().join("trap");
    let evil = format!("$(touch {})", trap.display());
    for name in [
        evil.replace('/', "_").as_str(),
        "a b",
        "-rf",
        "x;y",
        "\u{1b}[31m",
    ] {
        skill(&there, name, "odd");
    }
    let inner = skill(&there, "inner", "x");
    fs::write(
        inner.join("SKILL.md"),
        format!(
            "---\nname: '{evil}'\ndescription: |\n  \u{1b}]0;x $(touch {0}) `touch {0}`\n---\n",
            trap.display()
        ),
    )
    .unwrap();
    symlink("/etc/passwd", inner.join("link")).unwrap();
    symlink("/etc", there.join("etc")).unwrap();
    fs::create_dir_all(there.join("clash")).unwrap();
    skill(&there, "Clash", "x");
    skill(&there, "clash", "x");
    let said = host.manage(&["skills", "pull"]).good().says("left out");
    assert!(!said.stdout.contains('\u{1b}'), "{said:?}");
    assert_eq!(names(&here), ["Clash", "inner"]);
    assert_eq!(names(&here.join("inner")), ["SKILL.md"]);
    assert!(!trap.exists());
    let list = host.manage(&["skills", "list"]).good();
    assert!(!list.stdout.contains('\u{1b}'), "{list:?}");

    fs::write(there.join("inner/large"), vec![0; 17 << 20]).unwrap();
    host.manage(&["skills", "pull", "--force"])
        .good()
        .says("16 MiB");
    assert!(!here.join("inner/large").exists());
    fs::remove_dir_all(&there).unwrap();
    symlink("/etc", &there).unwrap();
    host.manage(&["skills", "pull"]).bad().says("it is a link");
}

#[test]
fn container_gives_its_skills_and_takes_ours() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let state = host.dir.create_dir("state-of-eve");
    host.dir.write("state-of-eve/openclaw.json", BUILT_IN);
    let workspace = host.dir.create_dir("state-of-eve/workspace");
    for dir in [&state, &state.join("openclaw.json"), &workspace] {
        chown(dir, Some(1000), Some(1000)).unwrap();
    }
    let container = engine.container(
        Spec::new(Image::OpenClaw, "eve-openclaw-gateway-1").bind(&state, "/home/node/.openclaw"),
    );
    host.manage(&["add", "eve"]).good();
    let here = host.config().with_file_name("skills").join("eve");

    // OpenClaw's own.
    let seen = container.exec(&["openclaw", "skills", "list", "--json"]);
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    let mut shipped: Vec<_> = seen["skills"].as_array().unwrap().iter().collect();
    shipped.sort_by_key(|it| it["name"].as_str());
    let shipped: Vec<_> = shipped
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    host.manage(&["skills", "pull", "eve", "--all"])
        .good()
        .says("(bundled)")
        .says("(extension browser)");
    assert_eq!(names(&here), shipped);
    assert!(states(&host, "eve").values().all(|it| it == "only here"));
    let list = host
        .manage(&["skills", "list", "eve", "--all", "--json"])
        .good();
    let list: Vec<Value> = serde_json::from_str(&list.stdout).unwrap();
    let of = |name: &str| list.iter().find(|it| it["skill"] == name).unwrap();
    let canvas = json!({"id": "canvas", "enabled": true});
    assert_eq!(
        (&of("canvas")["source"], &of("canvas")["plugin"]),
        (&json!("extension"), &canvas)
    );
    // Its plugin is off, so nobody is given it.
    let off = json!({"id": "crabbox", "enabled": false});
    assert_eq!(
        (&of("crabbox-apps")["plugin"], &of("crabbox-apps")["here"]),
        (&off, &json!(false))
    );
    let list = host.manage(&["skills", "list", "eve", "--all"]).good();
    list.says("extension crabbox, off");

    fs::remove_dir_all(&here).unwrap();
    skill(&here, "ours", "of the gateway");
    host.manage(&["skills", "push", "eve"]).good().says("1 new");
    let pushed = workspace.join("skills/ours");
    let owner = fs::metadata(pushed.join("SKILL.md")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (1000, 1000));
    let seen = container.exec(&["openclaw", "skills", "list", "--json"]);
    // It calls it as its front matter does.
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    let seen = seen["skills"].as_array().unwrap();
    let ours = seen.iter().find(|it| it["description"] == "of the gateway");
    assert_eq!(ours.unwrap()["source"], "openclaw-workspace");

    skill(&here, "ours", "changed here");
    fs::write(pushed.join("theirs"), "x").unwrap();
    host.manage(&["skills", "push", "eve"])
        .good()
        .says("because they differ: ours");
    host.manage(&["skills", "push", "eve", "--force"])
        .good()
        .says("1 replaced");
    assert!(description(&workspace.join("skills"), "ours").contains("changed here"));
    assert_eq!(names(&workspace.join("skills")), ["ours"]);
    assert_eq!(names(&pushed), ["SKILL.md"]);

    // What a killed push leaves: the old one is put back, what was on its way goes.
    fs::rename(&pushed, workspace.join("skills/.ours.ccgw-old-0123")).unwrap();
    let half = skill(&workspace.join("skills"), ".ours.ccgw-4567", "half");
    for path in [&half, &half.join("SKILL.md")] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    host.manage(&["skills", "pull", "eve"])
        .good()
        .says("2 left by a command that was killed");
    assert_eq!(names(&workspace.join("skills")), ["ours"]);
    assert_eq!(states(&host, "eve")["ours"], "same");

    container.stop();
    host.manage(&["skills", "push", "eve"])
        .bad()
        .says("start its container");
}
