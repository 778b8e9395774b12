//! `ccgw-manage` where it shows and changes the tenants of config.yaml, by exit status and output.

mod commands;
mod completions;
mod safety;
mod which;

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::temp::TempDir;

/// An operator's directory with a config.yaml, where no engine and no gateway is.
struct Desk {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Desk {
        let dir = TempDir::new();
        let name = dir.create_dir("bin").join("ccgw-manage");
        symlink(env!("CARGO_BIN_EXE_ccgw"), name).unwrap();
        dir.create_dir("cwd");
        Desk { dir }
    }

    /// With this config.yaml.
    fn with(text: &str) -> Desk {
        let desk = Desk::new();
        fs::write(desk.config(), text).unwrap();
        desk
    }

    fn cwd(&self) -> PathBuf {
        self.dir.path().join("cwd")
    }

    fn config(&self) -> PathBuf {
        self.cwd().join("config.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    /// Names in the directory but config.yaml and the lock.
    fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cwd()).unwrap().flatten();
        let names = entries.map(|it| it.file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|it| it != "config.yaml" && it != ".config.yaml.lock")
            .collect();
        names.sort();
        names
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("bin/ccgw-manage")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        let engine = self.dir.path().join("no-engine");
        command
            .args(words)
            .current_dir(self.cwd())
            .env_clear()
            .env("PATH", search_path(&self.dir.path().join("bin")))
            .env("HOME", self.dir.path())
            .env("DOCKER_HOST", format!("unix://{}", engine.display()))
            .stdin(Stdio::null());
        command
    }

    /// With its config.yaml, whether or not that is there yet.
    fn run(&self, words: &[&str]) -> Ended {
        let words = with_config(words);
        ended(&self.command(&words).output().unwrap())
    }

    /// With this on stdin.
    fn feed(&self, words: &[&str], stdin: &[u8]) -> Ended {
        let words = with_config(words);
        let mut command = self.command(&words);
        command.stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        ended(&child.wait_with_output().unwrap())
    }
}

fn with_config<'w>(words: &[&'w str]) -> Vec<&'w str> {
    match words.first() {
        Some(&"--config") => words.to_vec(),
        _ => [&["--config", "config.yaml"], words].concat(),
    }
}

impl Ended {
    #[track_caller]
    fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    fn good(self) -> Ended {
        self.exits(0)
    }

    #[track_caller]
    fn says(self, part: &str) -> Ended {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(all.contains(part), "no {part:?} in:\n{all}");
        self
    }

    #[track_caller]
    fn hides(self, part: &str) -> Ended {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(!all.contains(part), "{part:?} in:\n{all}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.stderr, "");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn ended(output: &Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn search_path(first: &Path) -> String {
    let rest = std::env::var("PATH").unwrap_or_default();
    format!("{}:{rest}", first.display())
}
