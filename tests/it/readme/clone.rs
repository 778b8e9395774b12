//! A copy of the sources in which the commands of README.md are run, with the program under test as if it had been
//! built there.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::{
    fake_cli::FakeCli,
    gateway::{Log, run_to_end},
    process::wait_until,
    temp::TempDir,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Clone {
    dir: TempDir,
    port: u16,
    serving: Option<Serving>,
}

impl Clone {
    pub(super) fn new() -> Clone {
        let dir = TempDir::new();
        copy(Path::new(ROOT), &dir.path().join("ccgw"));
        let built = dir.create_dir("ccgw/target/release");
        symlink(env!("CARGO_BIN_EXE_ccgw"), built.join("ccgw")).unwrap();
        let bin = dir.create_dir("bin");
        let fake = FakeCli::script(&dir, "answer hello; idle");
        symlink(fake.path(), bin.join("claude")).unwrap();
        // Whoever runs this test has what it takes.
        let sudo = dir.write("bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
        fs::set_permissions(sudo, fs::Permissions::from_mode(0o755)).unwrap();
        // Where setup finds no instance, it leaves none.
        let sources = dir.path().join("ccgw");
        fs::copy(
            sources.join("config.example.yaml"),
            sources.join("config.yaml"),
        )
        .unwrap();
        for name in ["home", "run"] {
            dir.create_dir(name);
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let serving = None;
        Clone { dir, port, serving }
    }

    fn command(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let dir = self.dir.path().display();
        // On another port, since a gateway may well serve on this machine; nothing else is another.
        let line = line.replace(":3456", &format!(":{}", self.port));
        let mut command = Command::new("sh");
        command
            .args(["-c", &line])
            .current_dir(self.dir.path().join("ccgw"))
            .env_clear()
            .env(
                "PATH",
                format!("{dir}/bin:{dir}/root/usr/local/bin:{path}:/usr/sbin"),
            )
            // So nothing of this machine is touched: packaging/test.sh installs into one of its own.
            .env("DESTDIR", format!("{dir}/root"))
            .env("HOME", format!("{dir}/home"))
            .env("XDG_STATE_HOME", format!("{dir}/state"))
            .env("DOCKER_HOST", format!("unix://{dir}/no-docker.sock"))
            .env("PORT", self.port.to_string())
            // It is built already.
            .env("CARGO", "true")
            // The script in the CLI's place writes down what it sees.
            .env("ISOLATION", "none");
        command
    }

    pub(super) fn run(&self, line: &str) -> Output {
        run_to_end(&mut self.command(line))
    }

    /// Starts what serves in place of what served before.
    pub(super) fn serve(&mut self, line: &str) {
        self.serving = None;
        let mut command = self.command(line);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        self.serving = Some(Serving(child));
        log.wait_for("listening on http://", PATIENCE);
    }
}

/// Dropping it ends it, with what it started.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // It may have ended, as it was told to.
        let _ = Command::new("kill")
            .args(["-s", "TERM", "--", &group])
            .output();
        wait_until(PATIENCE, "the end of what served", || {
            let kill = Command::new("kill")
                .args(["-s", "0", "--", &group])
                .output();
            self.0.try_wait().unwrap().is_some() && !kill.unwrap().status.success()
        });
    }
}

/// The sources, without what is made of them.
fn copy(from: &Path, to: &Path) {
    const MADE: [&str; 7] = [
        "target",
        ".git",
        "node_modules",
        ".venv",
        "config.yaml",
        ".run",
        "tests",
    ];
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        let (from, to): (PathBuf, PathBuf) = (entry.path(), to.join(&name));
        match entry.file_type().unwrap() {
            _ if MADE.iter().any(|it| name == *it) => {}
            it if it.is_dir() => copy(&from, &to),
            it if it.is_file() => drop(fs::copy(&from, &to).unwrap()),
            _ => {}
        }
    }
}
