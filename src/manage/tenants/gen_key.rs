//! `ccgw-manage gen-key`: a key that nobody has.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{Command, output, report};
use crate::{
    config::KeyHash,
    manage::{doctor::Output, say::must_line, tenant_key},
};

/// Print a new random key; nothing is changed.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "gen-key",
    help_triggers("-h", "--help"),
    example = "Keep only the key's SHA-256 in the configuration:
  $ ccgw-manage gen-key --json"
)]
pub(crate) struct GenKeyArguments {
    /// print a JSON object of api_key and api_key_sha256
    #[argh(switch)]
    json: bool,
}

impl GenKeyArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        Ok(Command::GenKey(output(self.json)))
    }
}

#[derive(Serialize)]
struct Made<'k> {
    api_key: &'k str,
    api_key_sha256: String,
}

pub(super) fn run(output: Output) -> Result<bool, String> {
    let key = tenant_key::new()?;
    let key = key.expose();
    match output {
        Output::Text => must_line(key)?,
        Output::Json => report::json(&Made {
            api_key: key,
            api_key_sha256: KeyHash::of(key).hex(),
        })?,
    }
    Ok(true)
}
