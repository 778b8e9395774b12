//! The Claude Code CLI as the operator installed it: there, new enough, and signed in as far as it says.

use std::{ffi::OsStr, os::unix::fs::MetadataExt, path::Path, time::Duration};

use super::{local_command, progress};
use crate::{
    claude::program::{self, is_safe},
    config::{Config, ConfigDir},
};

/// It starts in 80 ms through Node; a cold disk takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its version.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub(crate) fn version(config: &Config) -> Result<String, String> {
    let path = program::find(&config.cli.bin, std::env::var_os("PATH").as_ref())?;
    let name = path.to_string_lossy();
    let _step = progress::step(&format!("asking {name} for its version"));
    let ran = local_command::run(&name, &["--version"], &[], (b"", PATIENCE))?;
    let ran = ran.ok_or_else(|| format!("{name} is gone"))?;
    let version = ran.stdout.trim().to_owned();
    match ran.code {
        0 if is_safe(&version) => Ok(version),
        0 => Err(format!(
            "{name} is version `{version}`, too old to be given other people's text; update it with `claude update`"
        )),
        code => Err(format!(
            "`{name} --version` ended with {code}: {}",
            ran.stderr.trim()
        )),
    }
}

/// Whether it says that it is signed in, for one login. It does not ask anybody: only a real request
/// proves it.
///
/// # Errors
/// Why it cannot be asked.
pub(crate) fn signed_in(config: &Config, dir: &ConfigDir) -> Result<bool, String> {
    if let ConfigDir::Path(path) = dir
        && std::fs::metadata(path).is_ok_and(|it| it.uid() != rustix::process::geteuid().as_raw())
    {
        // The CLI would do what the settings say that its runs may have left there.
        return Err(format!(
            "{} is another user's: whether that one is signed in, only a request tells",
            path.display()
        ));
    }
    let path = program::find(&config.cli.bin, std::env::var_os("PATH").as_ref())?;
    let name = path.to_string_lossy();
    let env: Vec<(&str, &OsStr)> = match dir {
        ConfigDir::Path(path) => vec![("CLAUDE_CONFIG_DIR", Path::as_os_str(path))],
        ConfigDir::Shared | ConfigDir::Private => Vec::new(),
    };
    let _step = progress::step(&format!("asking {name} whether it is signed in"));
    let ran = local_command::run(&name, &["auth", "status", "--json"], &env, (b"", PATIENCE))?;
    let ran = ran.ok_or_else(|| format!("{name} is gone"))?;
    let said: serde_json::Value = serde_json::from_str(ran.stdout.trim())
        .map_err(|_| format!("`{name} auth status` said nothing that can be read"))?;
    Ok(said["loggedIn"] == true)
}
