//! What an instance can put beside its skills: links out, devices, too much of anything.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use super::{
    Host,
    skills::{BUILT_IN, host, names, skill},
};
use crate::docker::{Engine, Image, Spec};

/// A skill with everything in it that is no plain file; two plain files are left of it.
fn odd(there: &Path) {
    let dir = skill(there, "odd", "has everything in it");
    for (link, to) in [("passwd", "/etc/passwd"), ("up", "../.."), ("loop", ".")] {
        symlink(to, dir.join(link)).unwrap();
    }
    for words in [&["pipe", "p"][..], &["device", "c", "1", "5"]] {
        let made = Command::new("mknod").current_dir(&dir).args(words).status();
        assert!(made.unwrap().success());
    }
    fs::write(dir.join("suid"), "x").unwrap();
    fs::set_permissions(dir.join("suid"), fs::Permissions::from_mode(0o6777)).unwrap();
}

#[track_caller]
fn check(host: &Host, tenant: &str, (here, there): (&Path, &Path)) {
    odd(there);
    let pull = ["skills", "pull", tenant];
    host.manage(&pull).good().says("1 new");
    assert_eq!(names(&here.join("odd")), ["SKILL.md", "suid"]);
    let mode = fs::metadata(here.join("odd/suid")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o755);

    // Refused before any of it is read.
    let large = skill(there, "large", "x").join("large");
    File::create(&large).unwrap().set_len(1 << 30).unwrap();
    host.manage(&pull)
        .bad()
        .says("more than 5000 files or 64 MiB");
    fs::remove_file(large).unwrap();
    for number in 0..21_000 {
        symlink("x", there.join(format!("large/{number}"))).unwrap();
    }
    host.manage(&pull).bad().says("more than 20000 entries");
    assert_eq!(names(here), ["odd"]);
}

#[test]
fn hostile_directories_of_this_machine_are_refused() {
    let (host, here, there) = host();
    check(&host, "local", (&here, &there));
}

#[test]
fn hostile_directories_of_a_container_are_refused() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let state = host.dir.create_dir("state");
    host.dir.write("state/openclaw.json", BUILT_IN);
    let there = host.dir.create_dir("state/workspace/skills");
    let spec = Spec::new(Image::Busybox, "eve-openclaw-gateway-1");
    let _container = engine.container(spec.bind(&state, "/home/node/.openclaw"));
    host.manage(&["add", "eve"]).good();
    let here = host.config().with_file_name("skills").join("eve");
    check(&host, "eve", (&here, &there));
}
