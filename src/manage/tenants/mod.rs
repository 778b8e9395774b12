//! The commands that show tenants and change them in the configuration.

mod add;
mod base_url;
mod edit;
mod env;
mod gen_key;
mod grace;
mod list;
mod look;
mod removal;
mod remove;
mod report;
mod rotate;
mod show;

use std::path::Path;

pub(crate) use self::{
    add::AddArguments, env::EnvArguments, gen_key::GenKeyArguments, list::ListArguments,
    remove::RemoveArguments, rotate::RotateArguments, show::ShowArguments,
};
use super::doctor::Output;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    List(list::Options),
    Show(show::Options),
    Add(add::Options),
    Remove(remove::Options),
    Rotate(rotate::Options),
    Env(env::Options),
    GenKey(Output),
}

/// Does it; true when all of it went well.
///
/// # Errors
/// Why nothing was done.
pub(crate) fn run(config: &Path, command: &Command) -> Result<bool, String> {
    match command {
        Command::List(options) => list::run(config, options),
        Command::Show(options) => show::run(config, options),
        Command::Add(options) => add::run(config, options),
        Command::Remove(options) => remove::run(config, options),
        Command::Rotate(options) => rotate::run(config, options),
        Command::Env(options) => env::run(config, options),
        Command::GenKey(output) => gen_key::run(*output),
    }
}

fn output(json: bool) -> Output {
    match json {
        true => Output::Json,
        false => Output::Text,
    }
}
