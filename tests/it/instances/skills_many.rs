//! Many skills, and names that are no text.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::chown},
    path::Path,
};

use super::{
    Host,
    skills::{BUILT_IN, host, names, skill, states, text},
};
use crate::docker::{Engine, Image, Spec};

const MANY: usize = 500;

/// A file's name in Latin-1.
fn odd() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9 .txt")
}

fn many(dir: &Path) {
    for number in 0..MANY {
        let dir = skill(dir, &format!("skill-{number}"), "one of many");
        fs::write(dir.join("more"), number.to_string()).unwrap();
    }
}

/// A skill with such a file, and a directory of a skill that has such a name itself.
fn odd_ones(dir: &Path) {
    let dir_of_odd = skill(dir, "with-odd", "has an odd file");
    fs::write(dir_of_odd.join(odd()), "odd").unwrap();
    let odd_dir = dir.join(odd());
    fs::create_dir_all(&odd_dir).unwrap();
    fs::write(odd_dir.join("SKILL.md"), text("odd")).unwrap();
}

#[test]
fn many_skills_and_odd_names_go_both_ways() {
    let (host, here, there) = host();
    many(&there);
    odd_ones(&there);
    let pull = host.manage(&["skills", "pull"]).good();
    let pull = pull.says("501 new").says("left out: workspace");
    assert!(!pull.stdout.contains('\u{e9}') && pull.stdout.contains("caf\u{fffd}"));
    assert_eq!(fs::read(here.join("with-odd").join(odd())).unwrap(), b"odd");
    assert_eq!(names(&here).len(), MANY + 1);
    assert!(states(&host, "local").values().all(|it| it == "same"));

    fs::remove_dir_all(&there).unwrap();
    host.manage(&["skills", "push"]).good().says("501 new");
    assert_eq!(
        fs::read(there.join("with-odd").join(odd())).unwrap(),
        b"odd"
    );
    assert!(states(&host, "local").values().all(|it| it == "same"));
    // Here too, only what has a plain name is a skill.
    odd_ones(&here);
    host.manage(&["skills", "push"])
        .good()
        .says("left out: caf");
}

#[test]
fn many_skills_and_odd_names_come_out_of_a_container_and_go_in() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let state = host.dir.create_dir("state");
    host.dir.write("state/openclaw.json", BUILT_IN);
    let there = host.dir.create_dir("state/workspace/skills");
    many(&there);
    odd_ones(&there);
    for dir in [&state, &state.join("workspace"), &there] {
        chown(dir, Some(1000), Some(1000)).unwrap();
    }
    let _container = engine.container(
        Spec::new(Image::Busybox, "eve-openclaw-gateway-1").bind(&state, "/home/node/.openclaw"),
    );
    host.manage(&["add", "eve"]).good();
    let here = host.config().with_file_name("skills").join("eve");
    host.manage(&["skills", "pull", "eve"])
        .good()
        .says("501 new");
    assert_eq!(fs::read(here.join("with-odd").join(odd())).unwrap(), b"odd");
    assert!(states(&host, "eve").values().all(|it| it == "same"));

    fs::write(here.join("with-odd").join(odd()), "odd again").unwrap();
    host.manage(&["skills", "push", "eve", "--force"])
        .good()
        .says("1 replaced");
    assert_eq!(
        fs::read(there.join("with-odd").join(odd())).unwrap(),
        b"odd again"
    );
    // What the archive cannot say is refused, and not called otherwise.
    fs::write(there.join("with-odd/caf\u{e9}\nx"), "").unwrap();
    let diff = host.manage(&["skills", "diff", "eve"]).bad();
    diff.says("has a line break");
}
