//! What the engine is made of: programs of the machine, installed with apt-get where they are missing.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where Debian keeps the engine's programs; first, so that others of the same name are not taken.
const SYSTEM: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The programs needed, and the packages they come in.
const PARTS: [(&str, &str); 2] = [("dockerd", "docker.io"), ("busybox", "busybox-static")];

/// Sees to it that the engine can be started here.
pub(super) fn install() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("a Docker Engine of the test's own can be started by root only".to_owned());
    }
    // As several test processes may do this at once, the lock comes before the look.
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let lock = File::open(list).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| format!("cannot lock {list}: {error}"))?;
    let missing = PARTS.iter().filter(|(program, _)| find(program).is_none());
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    apt_get(&["update", "-qq"])?;
    apt_get(&[&["install", "-y", "-qq"], &packages[..]].concat())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    // Another apt-get may be at work, this process's lock or not.
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output();
    let output = output.map_err(|error| format!("cannot run apt-get: {error}"))?;
    let said = || format!("apt-get {arguments:?} failed: {}", text(&output));
    output.status.success().then_some(()).ok_or_else(said)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The search path for the engine's programs.
pub(super) fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{SYSTEM}:{own}")
}

/// A program on that path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = path();
    let mut candidates = path.split(':').map(|dir| Path::new(dir).join(program));
    candidates.find(|candidate| candidate.is_file())
}
