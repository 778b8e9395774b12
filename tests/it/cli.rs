//! The real Claude Code CLI, installed once per checkout with npm from a pinned lock file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where package.json and its lock file are; `node_modules` in it is ignored by git.
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real-cli");
/// The version in tests/real-cli/package.json.
pub(crate) const VERSION: &str = "2.1.330";

/// The CLI's own executable, installed on first use.
///
/// # Panics
/// With the reason and the way out when it cannot be installed; a test never runs without it.
pub(crate) fn real_cli() -> &'static Path {
    static CLI: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match CLI.get_or_init(install) {
        Ok(path) => path,
        Err(problem) => panic!("the real Claude Code CLI is missing: {problem}"),
    }
}

fn install() -> Result<PathBuf, String> {
    let dir = Path::new(DIR);
    installed(dir, "package-lock.json", "node_modules", npm_ci)?;
    let binary = dir
        .join("node_modules/@anthropic-ai")
        .join(platform_package()?)
        .join("claude");
    check_version(&binary)?;
    Ok(binary)
}

/// Sees to it that `target` below `dir` holds what the `pinned` list there asks for. Installs under
/// a file lock, so that several test processes do not write over each other.
pub(crate) fn installed(
    dir: &Path,
    pinned: &str,
    target: &str,
    install: fn(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let (pinned, target) = (dir.join(pinned), dir.join(target));
    fs::create_dir_all(&target)
        .map_err(|error| format!("cannot make {}: {error}", target.display()))?;
    // The lock sits on the list itself, because npm empties node_modules.
    let lock = File::open(&pinned).map_err(|error| format!("{}: {error}", pinned.display()))?;
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", pinned.display()))?;
    let wanted = fs::read_to_string(&pinned).map_err(|error| error.to_string())?;
    // The stamp is written last and removed first, so a run killed half-way is done again.
    let stamp = target.join(".complete");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        // Not there on the first run, which is fine.
        let _ = fs::remove_file(&stamp);
        install(dir)?;
        fs::write(&stamp, &wanted)
            .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    }
    Ok(())
}

/// The npm package that holds the executable for this machine.
fn platform_package() -> Result<&'static str, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("claude-code-linux-x64"),
        "aarch64" => Ok("claude-code-linux-arm64"),
        other => Err(format!(
            "there is no Claude Code CLI for the architecture {other}; use x86_64 or aarch64"
        )),
    }
}

pub(crate) fn npm_ci(dir: &Path) -> Result<(), String> {
    // The CLI's install script only links the platform's executable, which the tests run directly.
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(dir)
        .output()
        .map_err(|error| format!("cannot run npm ({error}); install Node.js 20 or newer with npm, then run the tests again"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "`npm ci` in {} failed ({}); is a package registry reachable? npm said:\n{text}",
        dir.display(),
        output.status
    ))
}

fn check_version(binary: &Path) -> Result<(), String> {
    let again = "remove tests/real-cli/node_modules and run the tests again";
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} does not run ({error}); {again}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.starts_with(VERSION) {
        return Ok(());
    }
    Err(format!(
        "{} --version says {text:?} instead of {VERSION}; {again}",
        binary.display()
    ))
}
