//! The official client libraries, and others that people use, against the gateway with the real CLI.
//!
//! The scripts in `tests/sdk/` do the asking and check what their library makes of the answers.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    api::ScriptedApi,
    cli::{installed, npm_ci},
    gateway::{Gateway, key_of, run_to_end},
    process::wait_until,
    setup::Setup,
};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk");

/// Runs a script to its end, which must be a good one, and waits until nothing of its runs is left:
/// each script ends with a call that its client breaks off.
#[track_caller]
fn check(program: &Path, script: &str) {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "max_per_tenant: 2")
        .set("cli", "warm: off")
        .start();
    let output = run_to_end(&mut command(program, script, &gateway));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success() && output.stdout.starts_with(b"ok "),
        "{script}: {}\n{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    wait_until(Duration::from_secs(30), "the end of all runs", || {
        gateway.processes_of("alpha").is_empty()
    });
    gateway.stop();
}

fn command(program: &Path, script: &str, gateway: &Gateway) -> Command {
    let mut command = Command::new(program);
    command
        .arg(script)
        .current_dir(DIR)
        .env("GATEWAY", format!("http://{}", gateway.addr()))
        .env("KEY", key_of("alpha"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    for name in [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "OPENAI_API_KEY",
        "HTTP_PROXY",
        "http_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn check_with_node(script: &str) {
    installed(Path::new(DIR), "package-lock.json", "node_modules", npm_ci).unwrap();
    check(Path::new("node"), script);
}

#[track_caller]
fn check_with_python(script: &str) {
    if !has_python() {
        // Past the capture of the test harness: CI looks for it.
        let text =
            format!("SKIPPED: {script}: python3 with venv is not installed (python3-venv)\n");
        io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    installed(Path::new(DIR), "requirements.txt", ".venv", pip_install).unwrap();
    check(&python(), script);
}

fn python() -> PathBuf {
    Path::new(DIR).join(".venv/bin/python")
}

pub(crate) fn has_python() -> bool {
    let probe = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output();
    probe.is_ok_and(|it| it.status.success())
}

/// Makes `.venv` in a directory by its requirements.txt.
pub(crate) fn pip_install(dir: &Path) -> Result<(), String> {
    let run = |command: &mut Command| {
        let output = command
            .current_dir(dir)
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    };
    run(Command::new("python3").args(["-m", "venv", "--clear", ".venv"]))?;
    run(Command::new(dir.join(".venv/bin/python")).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--requirement",
        "requirements.txt",
    ]))
}

#[test]
fn anthropics_sdk_for_javascript_is_served() {
    check_with_node("anthropic.mjs");
}

#[test]
fn openais_sdk_for_javascript_is_served() {
    check_with_node("openai.mjs");
}

#[test]
fn langchain_vercel_and_pi_are_served() {
    check_with_node("others.mjs");
}

#[test]
fn anthropics_sdk_for_python_is_served() {
    check_with_python("anthropic_sdk.py");
}

#[test]
fn openais_sdk_for_python_is_served() {
    check_with_python("openai_sdk.py");
}
