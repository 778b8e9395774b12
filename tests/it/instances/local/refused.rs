//! What cannot be done, is refused or breaks off: it is told, and what was there stays.

use super::*;

#[test]
fn instance_that_cannot_be_connected_is_told_and_the_others_are_done() {
    let host = Host::new();
    let good = host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let other = host.openclaw("-ollama", r#"{agents:{defaults:{model:"ollama/llama3"}}}"#);
    let broken = host.openclaw("-broken", "{ agents: [");
    fs::create_dir_all(host.home(".openclaw-link")).unwrap();
    symlink("/etc/shadow", host.home(".openclaw-link/openclaw.json")).unwrap();
    fs::create_dir_all(host.home(".openclaw-dir/openclaw.json")).unwrap();
    host.openclaw("-huge", &" ".repeat(50 << 20));
    host.openclaw("-deep", &"[".repeat(100_000));
    host.openclaw(
        "-twice",
        r#"{models:{},models:{},agents:{defaults:{model:"anthropic/claude-opus-4-8"}}}"#,
    );
    let before = (fs::read(&other).unwrap(), fs::read(&broken).unwrap());
    host.setup(&[])
        .bad()
        .says("ollama/llama3")
        .says("agents.defaults.model.primary")
        .says("it is a link")
        .says("no regular file")
        .says("larger than");
    assert_eq!(
        (fs::read(&other).unwrap(), fs::read(&broken).unwrap()),
        before
    );
    assert!(
        fs::read_to_string(good)
            .unwrap()
            .contains(&host.key("local"))
    );
}

#[test]
fn nothing_to_connect_is_said_with_the_way_out() {
    let host = Host::new();
    host.setup(&[])
        .bad()
        .says("none found")
        .says("openclaw setup");
    assert!(!host.config().exists());
    let mut missing = Host::new();
    missing.cli = "/nowhere/claude".into();
    missing
        .setup(&[])
        .bad()
        .says("npm install -g @anthropic-ai/claude-code");
}

#[test]
fn full_disk_leaves_everything_as_it_was() {
    let host = Host::new();
    let small = host.dir.create_dir("home/.openclaw");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|it| it.success()) {
        eprintln!(
            "SKIPPED: full_disk_leaves_everything_as_it_was: no small file system can be mounted here"
        );
        return;
    }
    let _mount = Mounted(small.clone());
    let text = format!(
        "{{agents:{{defaults:{{model:'anthropic/claude-sonnet-4-6'}}}}, // {}\n}}",
        "x".repeat(30_000)
    );
    let file = host.openclaw("", &text);
    fs::write(small.join("filler"), vec![0; 24_000]).unwrap();
    host.setup(&["--no-skills"]).bad().says("No space left");
    assert_eq!(fs::read_to_string(file).unwrap(), text);
    let names: Vec<_> = fs::read_dir(&small)
        .unwrap()
        .flatten()
        .map(|it| it.file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn setup_that_is_killed_leaves_no_gateway_behind() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "echo 1 > \"$here/up\"; exec sleep 1000");
    let cli = fake.path().to_owned();
    let host = Host::with_cli(dir, cli);
    host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let mark = unique();
    let mut command = host.command(Path::new(env!("CARGO_BIN_EXE_ccgw")), &["--setup"]);
    let mut setup = command.env(MARK, &mark).spawn().unwrap();
    // It is in the middle of the proof: its gateway runs, and a run of that.
    wait_until(Duration::from_secs(60), "the run", || {
        !fake.note("up").is_empty()
    });
    setup.kill().unwrap();
    setup.wait().unwrap();
    wait_until_gone(DEAD_WITHIN, &format!("{MARK}={mark}"));
    // What it had changed is whole, and the next setup finds nothing to mend.
    host.setup(&["--dry-run"])
        .good()
        .says("points at the gateway already");
}

#[test]
fn change_that_openclaw_refuses_is_put_back() {
    let host = Host::new();
    let text = "{ // mine\n agents:{defaults:{model:'anthropic/claude-sonnet-4-6'}}}";
    let file = host.openclaw("", text);
    let env = host
        .dir
        .write("home/.openclaw/.env", "ANTHROPIC_API_KEY=sk-real\n");
    let refuses = host.dir.write(
        "bin/openclaw",
        "#!/bin/sh\necho 'Unrecognized key'; exit 1\n",
    );
    fs::set_permissions(refuses, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        host.dir.path().join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = host.command(Path::new(env!("CARGO_BIN_EXE_ccgw")), &["--setup"]);
    crate::instances::ended(command.env("PATH", path))
        .bad()
        .says("OpenClaw does not accept")
        .says("Unrecognized key")
        .says("its files are as they were");
    assert_eq!(fs::read_to_string(file).unwrap(), text);
    assert_eq!(
        fs::read_to_string(env).unwrap(),
        "ANTHROPIC_API_KEY=sk-real\n"
    );
}

#[test]
fn tenant_that_cannot_be_edited_does_not_stop_the_others() {
    let host = Host::new();
    let built_in =
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}},env:{vars:{A:"1"}}}"#;
    host.openclaw("", built_in);
    host.openclaw("-b", built_in);
    let text = "tenants:\n  - &me {name: local, api_key: my-own-key-of-it}\n";
    fs::write(host.config(), text).unwrap();
    host.setup(&[]).bad().says("tenant `local` has an anchor");
    assert!(host.config_text().starts_with(text));
    let second = fs::read_to_string(host.home(".openclaw-b/openclaw.json")).unwrap();
    assert!(second.contains(&host.key("local-b")));
}
