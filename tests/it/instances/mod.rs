//! `ccgw --setup` and `ccgw-manage` on hosts with OpenClaw instances: local ones, containers, real ones.

mod closed;
mod containers;
mod engines;
mod local;
mod served;
mod service;
mod skills;
mod skills_containers;
mod skills_disks;
mod skills_hostile;
mod skills_killed;
mod skills_many;
mod skills_progress;
mod skills_served;
mod skills_sources;
mod tenants;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    docker::Engine,
    fake_cli::FakeCli,
    gateway::{Gateway, run_to_end},
    temp::{TempDir, unique},
};

/// A machine as its operator sees it: a home, a working directory, a CLI and perhaps an engine.
struct Host {
    dir: TempDir,
    cli: PathBuf,
    /// What `DOCKER_HOST` says.
    engine: String,
    port: u16,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Host {
    /// Whose CLI answers every request.
    fn new() -> Host {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, "answer OK; idle");
        let cli = fake.path().to_owned();
        Host::with_cli(dir, cli)
    }

    fn with_cli(dir: TempDir, cli: PathBuf) -> Host {
        let name = dir.create_dir("bin").join("ccgw-manage");
        symlink(env!("CARGO_BIN_EXE_ccgw"), name).unwrap();
        // An engine of the machine itself is nobody's here.
        let engine = format!("unix://{}", dir.path().join("no-engine").display());
        Host {
            dir,
            cli,
            engine,
            port: free_port(),
        }
    }

    fn engine(mut self, engine: &Engine) -> Host {
        self.engine = format!("unix://{}", engine.socket().display());
        self
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join("home").join(name)
    }

    /// Writes an openclaw.json of this machine.
    fn openclaw(&self, profile: &str, text: &str) -> PathBuf {
        self.dir
            .write(&format!("home/.openclaw{profile}/openclaw.json"), text)
    }

    fn config(&self) -> PathBuf {
        self.dir.create_dir("cwd").join("config.yaml")
    }

    fn config_text(&self) -> String {
        fs::read_to_string(self.config()).unwrap_or_default()
    }

    /// The key of a tenant in config.yaml, as setup writes it.
    #[track_caller]
    fn key(&self, tenant: &str) -> String {
        let text = self.config_text();
        let own = text.split_once(&format!("- name: {tenant}\n"));
        let own = own
            .unwrap_or_else(|| panic!("no tenant {tenant} in {text}"))
            .1;
        let line = own
            .lines()
            .find_map(|it| it.trim().strip_prefix("api_key: "));
        line.expect("a key").to_owned()
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.dir.create_dir("cwd"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.create_dir("home"))
            .env("PORT", self.port.to_string())
            .env("CLAUDE_BIN", &self.cli)
            // A script in the CLI's place writes down what it sees where a sandbox has nothing.
            .env("ISOLATION", "none")
            .env("DOCKER_HOST", &self.engine);
        command
    }

    #[track_caller]
    fn setup(&self, words: &[&str]) -> Ended {
        let words: Vec<&str> = ["--setup"].iter().chain(words).copied().collect();
        ended(&mut self.command(Path::new(env!("CARGO_BIN_EXE_ccgw")), &words))
    }

    #[track_caller]
    fn manage(&self, words: &[&str]) -> Ended {
        let program = self.dir.path().join("bin/ccgw-manage");
        ended(&mut self.command(&program, &with_config(words)))
    }

    /// With this on stdin.
    #[track_caller]
    fn manage_with(&self, words: &[&str], stdin: &str) -> Ended {
        let program = self.dir.path().join("bin/ccgw-manage");
        let mut command = self.command(&program, &with_config(words));
        let file = self.dir.write("stdin", stdin);
        // `run_to_end` closes stdin, so a program in between opens the file.
        let mut fed = Command::new("sh");
        fed.args(["-c", "exec \"$@\" < \"$0\""])
            .arg(file)
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.dir.create_dir("cwd"))
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                fed.env(name, value);
            }
        }
        command.env_clear();
        ended(&mut fed)
    }

    /// The gateway as it was set up.
    fn serve(&self) -> Gateway {
        let mark = unique();
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_ccgw")), &["config.yaml"]);
        command.env(crate::gateway::MARK, &mark);
        Gateway::start(command, TempDir::new(), mark)
    }
}

impl Ended {
    #[track_caller]
    fn good(self) -> Ended {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn bad(self) -> Ended {
        assert_eq!(self.code, Some(1), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn says(self, part: &str) -> Ended {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(all.contains(part), "no {part:?} in:\n{all}");
        self
    }
}

#[track_caller]
fn ended(command: &mut Command) -> Ended {
    let output = run_to_end(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The configuration need not be there yet.
fn with_config<'w>(words: &[&'w str]) -> Vec<&'w str> {
    [&["--config", "config.yaml"], words].concat()
}

/// A file that OpenClaw's own program wrote, or that has no comments.
#[track_caller]
fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Setup needs a port that it can tell the instances.
fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}
