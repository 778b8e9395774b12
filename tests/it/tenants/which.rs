//! Which configuration a command is about, and as whom root works on it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
};

use super::{Desk, ended};
use crate::{
    fake_cli::FakeCli,
    process::say_skipped,
    setup::{Setup, manage_command},
    temp::TempDir,
};

const NONE: &str = "no config.yaml is here";

#[test]
fn nothing_is_made_where_no_gateway_would_read_it() {
    let desk = Desk::new();
    for words in [&["add", "alice"][..], &["list"], &["doctor", "--quick"]] {
        let said = ended(&desk.command(words).output().unwrap());
        said.exits(1).says(NONE).says("--config FILE");
    }
    let made: Vec<_> = fs::read_dir(desk.cwd()).unwrap().collect();
    assert!(made.is_empty(), "{made:?}");
    // Who names it means it, and from then on it is the one that is here.
    desk.run(&["add", "alice"]).good().says("config.yaml");
    ended(&desk.command(&["add", "bob"]).output().unwrap()).good();
    assert!(desk.text().contains("bob"));
    // A key needs no configuration.
    fs::remove_file(desk.config()).unwrap();
    ended(&desk.command(&["gen-key"]).output().unwrap()).good();
}

#[test]
fn gateway_that_runs_is_asked_for_its_own() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    gateway.log_contains("the operator's socket is open");
    let config = gateway.dir.path().join("config.yaml");
    let elsewhere = TempDir::new();
    let mut add = manage_command(&gateway.dir, &["add", "carol"]);
    ended(&add.current_dir(elsewhere.path()).output().unwrap())
        .good()
        .says(&format!("tenant carol is in {}", config.display()));
    assert!(fs::read_to_string(&config).unwrap().contains("carol"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// With a user of this machine that has no shell, as the service's has none.
#[test]
fn root_works_as_whose_configuration_it_is() {
    if !rustix::process::geteuid().is_root() {
        say_skipped("SKIPPED: root's hand on another user's configuration: needs root");
        return;
    }
    let desk = Desk::with("tenants: []\n");
    // Where that user can start it.
    let program = desk.program();
    fs::remove_file(&program).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_ccgw"), program.with_file_name("ccgw")).unwrap();
    symlink("ccgw", &program).unwrap();
    const NOBODY: u32 = 65_534;
    for path in [desk.cwd(), desk.config()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    desk.run(&["add", "alice", "--key=key-of-alice-0123456789"])
        .good()
        .says("as nobody, whose config.yaml is");
    for name in desk
        .beside()
        .iter()
        .map(String::as_str)
        .chain(["config.yaml"])
    {
        let owner = fs::metadata(desk.cwd().join(name)).unwrap().uid();
        assert_eq!(owner, NOBODY, "{name}");
    }
    desk.run(&["list", "--names"]).good().says("alice");
    // Who says where the state is, is taken at its word.
    let mut named = desk.command(&["list", "--names"]);
    let named = named.env("STATE_DIRECTORY", desk.dir.path().join("state"));
    ended(&named.output().unwrap()).good().hides("as nobody");
}
