//! Containers that end, go or get another name while their skills are copied.

use std::{fs, path::PathBuf, process::Stdio, thread, time::Duration};

use super::{
    Host,
    skills::{BUILT_IN, names, skill, text},
};
use crate::docker::{Container, Engine, Image, Spec};

const SKILLS: usize = 100;

/// A host with the tenant `eve`, whose container it can make again and again with the same files.
struct Place<'e> {
    host: Host,
    engine: &'e Engine,
    here: PathBuf,
    state: PathBuf,
}

impl<'e> Place<'e> {
    fn new(engine: &'e Engine) -> Place<'e> {
        let host = Host::new().engine(engine);
        let state = host.dir.create_dir("state");
        host.dir.write("state/openclaw.json", BUILT_IN);
        host.manage(&["add", "eve"]).good();
        let here = host.config().with_file_name("skills").join("eve");
        Place {
            host,
            engine,
            here,
            state,
        }
    }

    /// Its number makes it another: the engine leaves a container that is read while it is removed.
    fn start(&self, number: u64) -> Container<'e> {
        let name = format!("eve-openclaw-gateway-{number}");
        let spec = Spec::new(Image::Busybox, name);
        self.engine
            .container(spec.bind(&self.state, "/home/node/.openclaw"))
    }
}

#[test]
fn container_that_goes_while_it_is_read_takes_no_skill_with_it() {
    let Some(engine) = Engine::own() else { return };
    let place = Place::new(&engine);
    let there = place.state.join("workspace/skills");
    for number in 0..SKILLS {
        let dir = skill(&there, &format!("s{number}"), "of the instance");
        fs::write(dir.join("more"), vec![b'x'; 10_000]).unwrap();
    }
    let own = skill(&place.here, "s0", "of the gateway");
    skill(&place.here, "s1", "of the gateway");
    let program = place.host.dir.path().join("bin/ccgw-manage");
    let pull = ["skills", "pull", "eve", "--delete"];
    let mut failed = 0;
    for number in 0..20 {
        let container = place.start(number);
        let mut command = place.host.command(&program, &pull);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        // One of them has a start, of up to what both take.
        let start = Duration::from_millis(number * 10);
        let child = thread::scope(|scope| {
            let removal = scope.spawn(move || {
                let _ = (number % 2 == 0).then(|| thread::sleep(start));
                drop(container);
            });
            let _ = (number % 2 == 1).then(|| thread::sleep(start));
            let child = command.spawn().unwrap();
            removal.join().unwrap();
            child
        });
        let output = child.wait_with_output().unwrap();
        failed += usize::from(!output.status.success());
        // Whatever it saw of the container, these two are in both.
        assert!(names(&place.here).len() >= 2, "{output:?}");
        for name in names(&place.here) {
            let file = place.here.join(&name).join("SKILL.md");
            let said = fs::read_to_string(file).unwrap();
            let whole = ["of the gateway", "of the instance"].map(text);
            assert!(whole.contains(&said), "{name}: {said}");
        }
    }
    assert!(failed > 0);
    assert!(
        fs::read_to_string(own.join("SKILL.md"))
            .unwrap()
            .contains("gateway")
    );
    place.host.manage(&pull).bad().says("start its container");
    let _container = place.start(20);
    place.host.manage(&pull).good();
    assert_eq!(names(&place.here).len(), SKILLS);
}

#[test]
fn container_with_a_new_name_is_read_to_its_end_and_then_unknown() {
    let Some(engine) = Engine::own() else { return };
    let place = Place::new(&engine);
    let there = place.state.join("workspace/skills");
    for number in 0..SKILLS {
        skill(&there, &format!("s{number}"), "of the instance");
    }
    let container = place.start(20);
    let program = place.host.dir.path().join("bin/ccgw-manage");
    let mut command = place.host.command(&program, &["skills", "pull", "eve"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    container.rename("zoe-openclaw-gateway-1");
    let output = child.unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // It had been found by then, or had not.
    match output.status.success() {
        true => assert!(said.contains("100 new"), "{said}"),
        false => assert!(said.contains("no running OpenClaw is called"), "{said}"),
    }
    let pull = ["skills", "pull", "eve", "--delete"];
    let before = names(&place.here);
    place.host.manage(&pull).bad().says("start its container");
    assert_eq!(names(&place.here), before);
    container.rename("eve-openclaw-gateway-1");
    place.host.manage(&pull).good();
    assert_eq!(names(&place.here).len(), SKILLS);
}
