//! The command line of ccgw-manage: words in, a [`Command`] or a usage error out.

use std::{ffi::OsString, path::PathBuf};

use argh::FromArgs;

use super::{
    apply::EnvFiles,
    completions::Completions,
    doctor::{self, Depth, Output},
    operator, skills, tenant_args,
};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Doctor(doctor::Options),
    Apply(Apply),
    Operator(operator::Command),
    /// With the configuration's path.
    Tenants(PathBuf, tenant_args::Command),
    Version,
    Skills(PathBuf, skills::args::Skills),
    /// For this shell.
    Completions(String),
    /// The text for stdout.
    Help(String),
}

/// Points instances at the gateway, or back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Apply {
    pub(crate) config: PathBuf,
    /// All when `None`.
    pub(crate) tenant: Option<String>,
    pub(crate) direction: Direction,
    pub(crate) env_files: EnvFiles,
    /// Where config.yaml has only its hash.
    pub(crate) key: Option<String>,
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
    match Arguments::from_args(&["ccgw-manage"], &words) {
        Ok(arguments) => Ok(arguments.command()),
        Err(exit) if exit.status.is_ok() => Ok(Command::Help(exit.output)),
        Err(exit) => Err(format!(
            "{}\nRun `ccgw-manage --help` for what it understands.",
            exit.output.trim_end()
        )),
    }
}

/// Looks after the OpenClaw instances that use ccgw.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help", "help"),
    example = "See whether everything is right, and what to do where it is not:
  $ {command_name} doctor",
    example = "Point one instance at the gateway again, after an update changed its settings:
  $ {command_name} apply alice",
    example = "See what the gateway is doing, and end a request that takes too long:
  $ {command_name} ps
  $ {command_name} cancel req_0123",
    error_code(1, "Something is not right, or could not be done."),
    error_code(2, "The command line is wrong.")
)]
struct Arguments {
    /// configuration file (default: config.yaml)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"config.yaml\")")]
    config: PathBuf,

    /// print the version and exit
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    command: Option<Subcommand>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Subcommand {
    Doctor(DoctorArguments),
    Apply(ApplyArguments),
    List(tenant_args::List),
    Show(tenant_args::Show),
    Add(tenant_args::Add),
    Remove(tenant_args::Remove),
    Rotate(tenant_args::Rotate),
    Env(tenant_args::Env),
    GenKey(tenant_args::GenKey),
    Completions(Completions),
    Skills(skills::args::Skills),
    Status(operator::Status),
    Ps(operator::Ps),
    Cancel(operator::Cancel),
    Reload(operator::Reload),
    Drain(operator::Drain),
    Top(operator::Top),
}

/// Check everything that must be right, from the CLI to a stream from inside each instance.
#[derive(FromArgs)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
struct DoctorArguments {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    tenant: Option<String>,

    /// leave out the stream that is silent for 15 s
    #[argh(switch)]
    quick: bool,

    /// print a JSON array of tenant, check, status, text and mend
    #[argh(switch)]
    json: bool,
}

/// Point instances at the gateway: openclaw.json, and .env where there is one.
#[derive(FromArgs)]
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

    /// the tenant's key, where config.yaml has only its hash; `-` reads it from standard input
    #[argh(option, arg_name = "KEY")]
    key: Option<String>,
}

impl Arguments {
    fn command(self) -> Command {
        let config = self.config;
        match self.command {
            _ if self.version => Command::Version,
            None => match Arguments::from_args(&["ccgw-manage"], &["--help"]) {
                Err(exit) => Command::Help(exit.output),
                Ok(_) => Command::Version,
            },
            Some(Subcommand::List(it)) => Command::Tenants(config, tenant_args::Command::List(it)),
            Some(Subcommand::Show(it)) => Command::Tenants(config, tenant_args::Command::Show(it)),
            Some(Subcommand::Add(it)) => Command::Tenants(config, tenant_args::Command::Add(it)),
            Some(Subcommand::Remove(it)) => {
                Command::Tenants(config, tenant_args::Command::Remove(it))
            }
            Some(Subcommand::Rotate(it)) => {
                Command::Tenants(config, tenant_args::Command::Rotate(it))
            }
            Some(Subcommand::Env(it)) => Command::Tenants(config, tenant_args::Command::Env(it)),
            Some(Subcommand::GenKey(it)) => {
                Command::Tenants(config, tenant_args::Command::GenKey(it))
            }
            Some(Subcommand::Skills(it)) => Command::Skills(config, it),
            Some(Subcommand::Completions(it)) => Command::Completions(it.shell),
            Some(Subcommand::Status(it)) => Command::Operator(operator::Command::Status(it)),
            Some(Subcommand::Ps(it)) => Command::Operator(operator::Command::Ps(it)),
            Some(Subcommand::Cancel(it)) => Command::Operator(operator::Command::Cancel(it)),
            Some(Subcommand::Reload(_)) => Command::Operator(operator::Command::Reload),
            Some(Subcommand::Drain(_)) => Command::Operator(operator::Command::Drain),
            Some(Subcommand::Top(_)) => Command::Operator(operator::Command::Top),
            Some(Subcommand::Doctor(doctor)) => Command::Doctor(doctor::Options {
                config,
                tenant: doctor.tenant,
                depth: match doctor.quick {
                    true => Depth::Quick,
                    false => Depth::Whole,
                },
                output: match doctor.json {
                    true => Output::Json,
                    false => Output::Text,
                },
            }),
            Some(Subcommand::Apply(apply)) => Command::Apply(Apply {
                config,
                tenant: apply.tenant,
                direction: match apply.revert {
                    true => Direction::Back,
                    false => Direction::Here,
                },
                env_files: match apply.no_env_file {
                    true => EnvFiles::LeaveAlone,
                    false => EnvFiles::Update,
                },
                key: apply.key,
            }),
        }
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
            }))
        };
        assert_eq!(
            words(&["doctor"]),
            doctor("config.yaml", None, Output::Text)
        );
        assert_eq!(
            words(&["--config=/x.yaml", "doctor", "a", "--json"]),
            doctor("/x.yaml", Some("a"), Output::Json)
        );
        assert_eq!(
            words(&["apply", "a", "--revert", "--no-env-file"]),
            Ok(Command::Apply(Apply {
                config: "config.yaml".into(),
                tenant: Some("a".to_owned()),
                direction: Direction::Back,
                env_files: EnvFiles::LeaveAlone,
                key: None,
            }))
        );
        assert_eq!(words(&["--version"]), Ok(Command::Version));
        for help in [&[][..], &["--help"], &["doctor", "--help"]] {
            assert!(matches!(words(help), Ok(Command::Help(text)) if text.contains("Usage")));
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for wrong in [&["doktor"][..], &["apply", "a", "b"], &["doctor", "--jsno"]] {
            let error = words(wrong).unwrap_err();
            assert!(error.ends_with("for what it understands."), "{error}");
        }
    }
}
