//! `ccgw --setup --service` with scripts in systemd's place; packaging/test.sh does it with a real one.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use super::{Ended, Host, ended};
use crate::process::say_skipped;

/// A machine with these programs, each of which writes down how it was called.
struct Machine {
    host: Host,
}

impl Machine {
    /// `None` where this is not root's.
    fn new() -> Option<Machine> {
        if !rustix::process::geteuid().is_root() {
            say_skipped("SKIPPED: the service's setup: needs root");
            return None;
        }
        let host = Host::new();
        let (dir, config) = (host.dir.path().display(), host.config());
        let (program, config) = (format!("{dir}/tools/ccgw"), config.display());
        let default = host.dir.write(
            "default",
            format!(
                "# mine\nPORT={}\nDOCKER_HOST=\"unix://{dir}/no-engine\"\nISOLATION=none\n",
                host.port
            ),
        );
        let shown = format!(
            "LoadState=loaded\nActiveState=inactive\nUser=root\n\
             ExecStart={{ path={program} ; argv[]={program} {config} ; ignore_errors=no }}\n\
             Environment=PATH={dir}/cli:/usr/bin:/bin\nEnvironmentFiles={} (ignore_errors=yes)\n",
            default.display()
        );
        host.dir.write("shown", shown);
        host.dir.write("home/.keep", "");
        host.dir.create_dir("cli");
        let tools = host.dir.create_dir("tools");
        symlink(env!("CARGO_BIN_EXE_ccgw"), tools.join("ccgw")).unwrap();
        let machine = Machine { host };
        machine.tool(
            "systemctl",
            "[ \"$1\" = show ] && exec cat \"$dir/shown\"; echo systemctl \"$@\" >> \"$dir/called\"",
        );
        machine.tool("getent", "echo \"$2:x:0:0::$dir/home:/bin/sh\"");
        machine.tool("id", "echo 0");
        machine.tool("journalctl", "exit 0");
        // The doctor is asked of a gateway that does not run here.
        machine.tool("ccgw-manage", "echo doctor \"$@\" >> \"$dir/called\"");
        Some(machine)
    }

    fn tool(&self, name: &str, body: &str) {
        let dir = self.host.dir.path().display();
        let text = format!("#!/bin/sh\ndir={dir}\n{body}\n");
        let path = self.host.dir.write(&format!("tools/{name}"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The CLI where the unit's PATH has it, signed in or not.
    fn cli(&self, logged_in: bool) {
        let (dir, cli) = (self.host.dir.path(), self.host.cli.display());
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = auth ] && {{ echo claude \"$@\" >> {0}/called; echo '{{\"loggedIn\": {logged_in}}}'; exit 0; }}\nexec {cli} \"$@\"\n",
            dir.display()
        );
        let path = self.host.dir.write("cli/claude", text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, words: &[&str]) -> Ended {
        let tools = self.host.dir.path().join("tools");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccgw"));
        command
            .args(["--setup", "--service"])
            .args(words)
            .current_dir(self.host.dir.create_dir("elsewhere"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
            .env("A_SECRET", "of-root");
        ended(&mut command)
    }

    fn called(&self) -> String {
        fs::read_to_string(self.host.dir.path().join("called")).unwrap_or_default()
    }
}

#[test]
fn what_is_missing_is_told_with_the_way_out() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine
        .run(&["--yes"])
        .bad()
        .says("is not on the service's PATH")
        .says("npm install -g @anthropic-ai/claude-code");
    machine.cli(true);
    machine
        .run(&["--yes", "other.yaml"])
        .bad()
        .says("not other.yaml; leave it out");
    machine.tool("getent", "exit 2");
    machine.run(&["--yes"]).bad().says("user is not there");
    machine.tool("systemctl", "echo LoadState=not-found");
    machine.run(&["--yes"]).bad().says("apt install ./ccgw_");
    machine.tool("systemctl", "echo no bus >&2; exit 1");
    machine
        .run(&["--yes"])
        .bad()
        .says("no systemd answers here");
    assert!(machine.called().is_empty(), "{}", machine.called());
}

#[test]
fn instances_are_set_up_and_the_service_is_started() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.cli(false);
    machine
        .run(&["--yes"])
        .bad()
        .says("none found")
        .says("was not written");
    let file = machine.host.openclaw(
        "",
        r#"{"agents":{"defaults":{"model":"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let before = fs::read(&file).unwrap();
    machine
        .run(&["--dry-run", "--no-skills"])
        .good()
        .says("the CLI is not signed in: `claude` as root")
        .says("Nothing was changed");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(
        !machine.called().contains("systemctl"),
        "{}",
        machine.called()
    );
    for _ in 0..2 {
        fs::write(machine.host.dir.path().join("called"), "").unwrap();
        machine.run(&["--yes"]).good().says("enabled and started");
        assert!(machine.host.config_text().contains("name: local"));
        let called = machine.called();
        let steps: Vec<&str> = called.lines().filter(|it| !it.contains("auth")).collect();
        let doctor = format!(
            "doctor --config {} doctor --quick",
            machine.host.config().display()
        );
        assert_eq!(
            steps,
            ["systemctl --quiet enable --now ccgw.service", &doctor]
        );
        // Where nobody sits there, nobody is asked.
        assert!(!called.contains("auth login"), "{called}");
    }
    assert_ne!(fs::read(&file).unwrap(), before);
}

#[test]
fn programs_of_the_services_user_have_the_units_environment_only() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.cli(true);
    let dir = machine.host.dir.path().display().to_string();
    let body = format!("#!/bin/sh\nenv > {dir}/seen\nexit 1\n");
    machine.host.dir.write("cli/claude", body);
    machine.run(&["--yes"]).bad().says("cannot start");
    let seen = fs::read_to_string(Path::new(&dir).join("seen")).unwrap();
    assert!(seen.contains("ISOLATION=none\n"), "{seen}");
    assert!(seen.contains(&format!("HOME={dir}/home\n")), "{seen}");
    assert!(!seen.contains("of-root"), "{seen}");
}
