//! The command line of ccgw-manage: words in, a [`Command`] or a usage error out.

use std::{ffi::OsString, path::PathBuf};

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

use super::{
    apply::EnvFiles,
    completions::{CompletionsArguments, Shell},
    doctor::{self, Depth, Output},
    given_key::GivenKey,
    operator,
    say::Volume,
    skills, tenants,
};
use crate::config;

/// What to do. A configuration's path is empty where none was named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Doctor(doctor::Options),
    Apply(Apply),
    Operator(operator::Command),
    /// With the configuration's path.
    Tenants(PathBuf, tenants::Command),
    Skills(PathBuf, skills::args::Skills),
    Completions(Shell),
    Version,
    /// The text for stdout.
    Help(String),
}

impl Command {
    /// The configuration that it is about.
    pub(crate) fn config_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Command::Doctor(options) => Some(&mut options.config),
            Command::Apply(options) => Some(&mut options.config),
            Command::Tenants(_, tenants::Command::GenKey(_)) => None,
            Command::Tenants(config, _) | Command::Skills(config, _) => Some(config),
            Command::Operator(_) | Command::Completions(_) => None,
            Command::Version | Command::Help(_) => None,
        }
    }
}

/// Points instances at the gateway, or back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Apply {
    pub(crate) config: PathBuf,
    /// All when `None`.
    pub(crate) tenant: Option<String>,
    pub(crate) direction: Direction,
    pub(crate) env_files: EnvFiles,
    /// Of the tenant, where the configuration has only its hash.
    pub(crate) key: Option<GivenKey>,
    pub(crate) volume: Volume,
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Here,
    /// To where it was before.
    Back,
}

/// Reads `argv`, without the program's name.
///
/// # Errors
/// What is wrong, for stderr.
pub(crate) fn parse(argv: &[OsString]) -> Result<Command, String> {
    let mut words = Vec::new();
    for word in argv {
        let word = word
            .to_str()
            .ok_or_else(|| format!("`{}` is not UTF-8", word.to_string_lossy()))?;
        // argh itself takes an option's value as a word of its own only.
        match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => words.extend([option, value]),
            _ => words.push(word),
        }
    }
    known_by_now(&mut words).map_err(wrong)?;
    match Arguments::from_args(&["ccgw-manage"], &words) {
        Ok(arguments) => arguments.command().map_err(|why| wrong(&why)),
        Err(exit) if exit.status.is_ok() => Ok(Command::Help(exit.output)),
        Err(exit) => Err(wrong(&exit.output)),
    }
}

/// The words of the gateway's predecessor.
fn known_by_now(words: &mut [&str]) -> Result<(), &'static str> {
    let named = words.first() == Some(&"--config");
    let words = words.get_mut(if named { 2 } else { 0 }..);
    match words.unwrap_or_default() {
        [word @ "ls", ..] => *word = "list",
        [word @ "rm", ..] => *word = "remove",
        ["skills", "sync", ..] => {
            return Err(
                "`skills sync` is `skills pull` now; `--force` replaces those that differ, as it did",
            );
        }
        _ => {}
    }
    Ok(())
}

fn wrong(why: &str) -> String {
    let why = why.trim_end();
    format!("{why}\nRun `ccgw-manage --help` for what it understands.")
}

/// All commands with their options, for completions.
pub(super) fn table() -> CommandInfoWithArgs {
    Arguments::get_args_info()
}

/// Looks after the OpenClaw instances that use ccgw.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help", "help"),
    example = "See whether everything is right, and what to do where it is not:
  $ {command_name} doctor",
    example = "Point one instance at the gateway again, after an update changed its settings:
  $ {command_name} apply alice",
    example = "Add a tenant whose OpenClaw runs in a container, and point that here:
  $ {command_name} add alice --docker alice-openclaw --apply",
    example = "See what the gateway is doing, and end a request that takes too long:
  $ {command_name} ps
  $ {command_name} cancel req_0123",
    error_code(1, "Something is not right, or could not be done."),
    error_code(2, "The command line is wrong.")
)]
struct Arguments {
    /// configuration file (default: config.yaml here, that of the gateway that runs, or the service's)
    #[argh(option, arg_name = "FILE", default = "PathBuf::new()")]
    config: PathBuf,

    /// print the version and exit
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    command: Option<Subcommand>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Subcommand {
    List(tenants::ListArguments),
    Show(tenants::ShowArguments),
    Add(tenants::AddArguments),
    Remove(tenants::RemoveArguments),
    Rotate(tenants::RotateArguments),
    Env(tenants::EnvArguments),
    GenKey(tenants::GenKeyArguments),
    Skills(skills::args::Skills),
    Completions(CompletionsArguments),
    Doctor(DoctorArguments),
    Apply(ApplyArguments),
    Status(operator::Status),
    Ps(operator::Ps),
    Cancel(operator::Cancel),
    Reload(operator::Reload),
    Drain(operator::Drain),
    Top(operator::Top),
}

/// Check everything that must be right, from the CLI to a stream from inside each instance.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
struct DoctorArguments {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    tenant: Option<String>,

    /// leave out the stream that is silent for 15 s
    #[argh(switch)]
    quick: bool,

    /// say only what is not right
    #[argh(switch)]
    quiet: bool,

    /// print a JSON array of tenant, check, status, text and mend
    #[argh(switch)]
    json: bool,
}

/// Point instances at the gateway: openclaw.json, and .env where there is one.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "apply", help_triggers("-h", "--help"))]
struct ApplyArguments {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    tenant: Option<String>,

    /// put the files back as they were before the last change
    #[argh(switch)]
    revert: bool,

    /// leave .env alone
    #[argh(switch)]
    no_env_file: bool,

    /// say only what is not right
    #[argh(switch)]
    quiet: bool,

    /// the tenant's key, where the configuration has only its SHA-256; `-` reads it from stdin
    #[argh(option, arg_name = "KEY")]
    key: Option<String>,

    /// print a JSON array of tenant, status, text and mend
    #[argh(switch)]
    json: bool,
}

impl Arguments {
    fn command(self) -> Result<Command, String> {
        let config = self.config;
        let of_tenants = |command| Command::Tenants(config.clone(), command);
        let command = match self.command {
            _ if self.version => return Ok(Command::Version),
            Some(command) => command,
            None => {
                return Ok(match Arguments::from_args(&["ccgw-manage"], &["--help"]) {
                    Err(exit) => Command::Help(exit.output),
                    Ok(_) => Command::Version,
                });
            }
        };
        match command {
            Subcommand::List(it) => it.command().map(of_tenants),
            Subcommand::Show(it) => it.command().map(of_tenants),
            Subcommand::Add(it) => it.command().map(of_tenants),
            Subcommand::Remove(it) => it.command().map(of_tenants),
            Subcommand::Rotate(it) => it.command().map(of_tenants),
            Subcommand::Env(it) => it.command().map(of_tenants),
            Subcommand::GenKey(it) => it.command().map(of_tenants),
            Subcommand::Skills(it) => Ok(Command::Skills(config, it)),
            Subcommand::Completions(it) => Ok(Command::Completions(it.shell)),
            Subcommand::Status(it) => Ok(Command::Operator(operator::Command::Status(it))),
            Subcommand::Ps(it) => Ok(Command::Operator(operator::Command::Ps(it))),
            Subcommand::Cancel(it) => Ok(Command::Operator(operator::Command::Cancel(it))),
            Subcommand::Reload(_) => Ok(Command::Operator(operator::Command::Reload)),
            Subcommand::Drain(_) => Ok(Command::Operator(operator::Command::Drain)),
            Subcommand::Top(_) => Ok(Command::Operator(operator::Command::Top)),
            Subcommand::Doctor(it) => Ok(it.command(config)),
            Subcommand::Apply(it) => it.command(config),
        }
    }
}

impl DoctorArguments {
    fn command(self, config: PathBuf) -> Command {
        Command::Doctor(doctor::Options {
            config,
            tenant: self.tenant,
            depth: match self.quick {
                true => Depth::Quick,
                false => Depth::Whole,
            },
            output: match self.json {
                true => Output::Json,
                false => Output::Text,
            },
            volume: Volume::of(self.quiet),
        })
    }
}

impl ApplyArguments {
    fn command(self, config: PathBuf) -> Result<Command, String> {
        if self.key.is_some() && (self.tenant.is_none() || self.revert) {
            return Err("--key is one tenant's: name it, and leave out --revert".to_owned());
        }
        // It becomes a part of paths, and may be of no tenant any more.
        let tenant = self.tenant.as_deref().map(config::parse_name).transpose()?;
        Ok(Command::Apply(Apply {
            config,
            tenant,
            direction: match self.revert {
                true => Direction::Back,
                false => Direction::Here,
            },
            env_files: match self.no_env_file {
                true => EnvFiles::LeaveAlone,
                false => EnvFiles::Update,
            },
            key: self.key.as_deref().map(GivenKey::parse).transpose()?,
            volume: Volume::of(self.quiet),
            output: match self.json {
                true => Output::Json,
                false => Output::Text,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Command, String> {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&argv)
    }

    #[test]
    fn words_become_commands() {
        let doctor = |config: &str, tenant: Option<&str>, output| {
            Ok(Command::Doctor(doctor::Options {
                config: config.into(),
                tenant: tenant.map(str::to_owned),
                depth: Depth::Whole,
                output,
                volume: Volume::Usual,
            }))
        };
        assert_eq!(words(&["doctor"]), doctor("", None, Output::Text));
        assert_eq!(
            words(&["--config=/x.yaml", "doctor", "a", "--json"]),
            doctor("/x.yaml", Some("a"), Output::Json)
        );
        assert_eq!(
            words(&["apply", "a", "--revert", "--no-env-file", "--quiet"]),
            Ok(Command::Apply(Apply {
                config: PathBuf::new(),
                tenant: Some("a".to_owned()),
                direction: Direction::Back,
                env_files: EnvFiles::LeaveAlone,
                key: None,
                volume: Volume::Quiet,
                output: Output::Text,
            }))
        );
        assert_eq!(words(&["--version"]), Ok(Command::Version));
        for (old, new) in [
            (&["ls", "--names"][..], &["list", "--names"][..]),
            (&["rm", "a", "--yes"], &["remove", "a", "--yes"]),
            (&["--config=x", "ls"], &["--config", "x", "list"]),
        ] {
            assert!(words(new).is_ok());
            assert_eq!(words(old), words(new));
        }
        for help in [&[][..], &["--help"], &["doctor", "--help"]] {
            assert!(matches!(words(help), Ok(Command::Help(text)) if text.contains("Usage")));
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for wrong in [
            &["doktor"][..],
            &["apply", "a", "b"],
            &["doctor", "--jsno"],
            &["apply", "../x"],
            &["apply", "--key", "-"],
            &["add", "A b"],
            &["rotate", "a", "--grace", "soon"],
            &["env", "a"],
            &["remove", "a", "--json"],
            &["completions", "csh"],
            &["skills", "sync"],
        ] {
            let error = words(wrong).unwrap_err();
            assert!(error.ends_with("for what it understands."), "{error}");
        }
    }
}
