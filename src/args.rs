//! The command line of ccgw: words in, a [`Command`] or a usage error out; touches nothing else.

use std::ffi::OsString;
use std::path::PathBuf;

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

use crate::manage::{
    say::Volume,
    service::{self, Docker},
    setup::{self, Mode, Skills},
};

/// What `argv`, without the program's name, asks for.
pub(crate) fn parse(argv: &[OsString]) -> Result<Command, UsageError> {
    let words = argv
        .iter()
        .map(|word| word.to_str().ok_or_else(|| not_text(word)))
        .collect::<Result<Vec<&str>, UsageError>>()?;
    if let Some(error) = words.iter().find_map(|word| foreign_spelling(word)) {
        return Err(error);
    }
    match Arguments::from_args(&["ccgw"], &words) {
        Ok(arguments) => arguments.command(),
        Err(exit) if exit.status.is_ok() => Ok(Command::Help(exit.output)),
        Err(exit) => Err(UsageError::new(exit.output.trim_end())),
    }
}

/// All options, for completions.
pub(crate) fn table() -> CommandInfoWithArgs {
    Arguments::get_args_info()
}

/// What to do. `config` is `None` when no file was named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve {
        config: Option<PathBuf>,
        demo: Demo,
    },
    /// Say what is wrong with the configuration, then exit.
    Check {
        config: Option<PathBuf>,
    },
    /// Make tenants of this machine's instances.
    Setup(setup::Options),
    /// The same for the machine's service, and the service itself.
    Service(service::Options),
    Version,
    /// The text for stdout.
    Help(String),
}

/// Which program answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demo {
    /// The configured CLI; without it the daemon does not start.
    Off,
    /// The built-in stand-in.
    On,
    /// The configured CLI, and the stand-in where it is missing; a request to send is printed.
    Try,
}

/// Why the words make no command, for stderr; the exit status is 2.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl UsageError {
    fn new(text: &str) -> Self {
        UsageError(format!(
            "{text}\nRun `ccgw --help` for what it understands."
        ))
    }
}

/// A gateway from OpenClaw instances to the Claude Code CLI.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help", "help"),
    note = "Without CONFIG, config.yaml in the working directory is read if it is there. The
environment variables PORT, HOST, DOCKER_HOST_IP, CLAUDE_BIN, CLI_TIMEOUT,
MAX_CONCURRENT, MAX_PER_TENANT, CLI_EFFORT and ISOLATION override it.",
    example = "Serve with the configuration in the working directory:
  $ {command_name}",
    example = "Find this machine's OpenClaw instances and point them here:
  $ {command_name} --setup",
    example = "The same for the service of the installed package, and start that:
  $ sudo {command_name} --setup --service",
    example = "Find every mistake in a configuration:
  $ {command_name} --check /etc/ccgw/config.yaml",
    example = "Try it without a Claude account, on another port:
  $ PORT=8080 {command_name} --demo",
    error_code(2, "The command line or the configuration is wrong.")
)]
struct Arguments {
    /// configuration file (YAML); config.example.yaml explains every key
    #[argh(positional, arg_name = "CONFIG")]
    config: Option<PathBuf>,

    /// check the configuration and exit: 0 when it is usable, 2 with all problems when not
    #[argh(switch)]
    check: bool,

    /// answer with the built-in stand-in instead of the Claude Code CLI
    #[argh(switch)]
    demo: bool,

    /// print a request to send; where the Claude Code CLI is missing, answer with the stand-in
    #[argh(switch, long = "try")]
    trial: bool,

    /// find this machine's OpenClaw instances, make them tenants, point them at the gateway, and exit
    #[argh(switch)]
    setup: bool,

    /// with --setup: show what would be done, and change nothing
    #[argh(switch)]
    dry_run: bool,

    /// with --setup: do not ask
    #[argh(switch)]
    yes: bool,

    /// with --setup: copy the instances' skills, whatever skills.sync says
    #[argh(switch)]
    skills: bool,

    /// with --setup: copy no skills
    #[argh(switch)]
    no_skills: bool,

    /// with --setup: say only what is not right
    #[argh(switch)]
    quiet: bool,

    /// with --setup, as root: for the service of the installed package, with its user's access to Docker, the CLI's own
    /// sign-in, the service's start and a look at it
    #[argh(switch)]
    service: bool,

    /// with --service: leave the service's user without Docker
    #[argh(switch)]
    no_docker: bool,

    /// print the version and exit
    #[argh(switch)]
    version: bool,
}

impl Arguments {
    fn command(self) -> Result<Command, UsageError> {
        if self.version {
            return Ok(Command::Version);
        }
        if self
            .config
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(UsageError::new(
                "The configuration file's name is empty, write a path or leave it out.",
            ));
        }
        if self.no_docker && !self.service {
            return Err(UsageError::new(
                "--no-docker means something with --service only; add it.",
            ));
        }
        if self.setup && self.service {
            let docker = match self.no_docker {
                true => Docker::Leave,
                false => Docker::Let,
            };
            let setup = self.setup_options()?;
            return Ok(Command::Service(service::Options { setup, docker }));
        }
        if self.setup {
            return self.setup_options().map(Command::Setup);
        }
        let of_setup = [self.dry_run, self.yes, self.skills, self.no_skills];
        if of_setup.contains(&true) || self.quiet || self.service {
            return Err(UsageError::new(
                "--dry-run, --yes, --skills, --no-skills, --quiet and --service mean something with --setup only; add it.",
            ));
        }
        let config = self.config;
        let demo = match (self.check, self.demo, self.trial) {
            (true, false, false) => return Ok(Command::Check { config }),
            (true, ..) => {
                return Err(UsageError::new(
                    "--check starts nothing, so --demo and --try mean nothing with it; leave one out.",
                ));
            }
            (_, true, true) => {
                return Err(UsageError::new(
                    "--try uses the stand-in where it must, --demo always; leave one out.",
                ));
            }
            (_, true, _) => Demo::On,
            (_, _, true) => Demo::Try,
            _ => Demo::Off,
        };
        Ok(Command::Serve { config, demo })
    }

    fn setup_options(self) -> Result<setup::Options, UsageError> {
        if self.check || self.demo || self.trial {
            return Err(UsageError::new(
                "--setup serves nothing and checks by itself; leave out --check, --demo and --try.",
            ));
        }
        let skills = match (self.skills, self.no_skills) {
            (true, true) => {
                return Err(UsageError::new(
                    "--skills copies skills and --no-skills does not; leave one out.",
                ));
            }
            (true, false) => Skills::Copy,
            (false, true) => Skills::Leave,
            (false, false) => Skills::AsConfigured,
        };
        let mode = match (self.dry_run, self.yes) {
            (true, _) => Mode::Look,
            (false, true) => Mode::Do,
            (false, false) => Mode::Ask,
        };
        Ok(setup::Options {
            config: self.config,
            skills,
            mode,
            volume: Volume::of(self.quiet),
        })
    }
}

/// argh does not split `--option=value`. Here no option takes a value, so a split would only turn
/// the value into CONFIG; what was meant is told instead.
fn foreign_spelling(word: &str) -> Option<UsageError> {
    let (option, value) = word.split_once('=').unwrap_or((word, ""));
    match option {
        "--check" | "--demo" | "--try" | "--setup" | "--dry-run" | "--yes" | "--skills"
        | "--no-skills" | "--service" | "--no-docker" | "--version" | "--help"
            if word.contains('=') =>
        {
            let text = format!("{option} takes no value, write {option} without `={value}`.");
            Some(UsageError::new(&text))
        }
        "-c" | "--config" => Some(UsageError::new(
            "The configuration file is named without an option: ccgw config.yaml",
        )),
        "-V" => Some(UsageError::new("-V is not an option, write --version.")),
        _ => None,
    }
}

fn not_text(word: &OsString) -> UsageError {
    let shown = word.to_string_lossy();
    UsageError::new(&format!("`{shown}` is not UTF-8, write a name that is."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse_words(words: &[&str]) -> Result<Command, String> {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&argv).map_err(|error| error.to_string())
    }

    #[test]
    fn words_become_commands() {
        #[track_caller]
        fn check(words: &[&str], expect: Command) {
            assert_eq!(parse_words(words), Ok(expect));
        }
        let serve = |config: Option<&str>, demo| Command::Serve {
            config: config.map(PathBuf::from),
            demo,
        };
        let checks = |config: Option<&str>| Command::Check {
            config: config.map(PathBuf::from),
        };
        check(&[], serve(None, Demo::Off));
        check(&["a.yaml"], serve(Some("a.yaml"), Demo::Off));
        check(&["--demo"], serve(None, Demo::On));
        check(&["--demo", "a.yaml"], serve(Some("a.yaml"), Demo::On));
        check(&["a.yaml", "--demo"], serve(Some("a.yaml"), Demo::On));
        check(&["--try"], serve(None, Demo::Try));
        check(&["--try", "a.yaml"], serve(Some("a.yaml"), Demo::Try));
        check(&["--check"], checks(None));
        check(&["--check", "a=b.yaml"], checks(Some("a=b.yaml")));
        check(&["--", "--check"], serve(Some("--check"), Demo::Off));
        let setup = |config: Option<&str>, skills, mode| {
            Command::Setup(setup::Options {
                config: config.map(PathBuf::from),
                skills,
                mode,
                volume: Volume::Usual,
            })
        };
        check(&["--setup"], setup(None, Skills::AsConfigured, Mode::Ask));
        check(
            &["--setup", "a.yaml", "--yes", "--no-skills"],
            setup(Some("a.yaml"), Skills::Leave, Mode::Do),
        );
        check(
            &["--dry-run", "--setup", "--yes", "--skills"],
            setup(None, Skills::Copy, Mode::Look),
        );
        let service = |docker| {
            Command::Service(service::Options {
                setup: setup::Options {
                    config: None,
                    skills: Skills::AsConfigured,
                    mode: Mode::Do,
                    volume: Volume::Usual,
                },
                docker,
            })
        };
        let words = ["--setup", "--service", "--yes", "--no-docker"];
        check(&words[..3], service(Docker::Let));
        check(&words, service(Docker::Leave));
        check(&["--version"], Command::Version);
        check(&["--check", "--version", "x"], Command::Version);
    }

    #[test]
    fn wrong_words_are_named_with_the_way_out() {
        #[track_caller]
        fn check(words: &[&str], part: &str) {
            let error = parse_words(words).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(
                error.ends_with("\nRun `ccgw --help` for what it understands."),
                "{error}"
            );
        }
        check(&["--chekc"], "--chekc");
        check(&["a", "b"], "Unrecognized argument: b");
        check(&[""], "name is empty");
        check(&["--check", "--demo"], "leave one out");
        check(&["--check", "--try"], "leave one out");
        check(&["--demo", "--try"], "leave one out");
        check(&["--check=a.yaml"], "--check takes no value");
        check(&["--config=a.yaml"], "without an option: ccgw");
        check(&["-c", "a.yaml"], "without an option: ccgw");
        check(&["-V"], "write --version");
        check(&["--setup", "--demo"], "leave out");
        check(&["--setup", "--skills", "--no-skills"], "leave one out");
        check(&["--yes"], "with --setup only");
        check(&["--service"], "with --setup only");
        check(&["--setup", "--no-docker"], "with --service only");
    }

    #[test]
    fn words_that_are_no_text_are_refused() {
        let word = OsString::from_vec(b"a\xff".to_vec());
        assert!(
            parse(&[word])
                .unwrap_err()
                .to_string()
                .contains("`a\u{fffd}` is not UTF-8")
        );
    }

    #[test]
    fn help_shows_usage_options_and_examples() {
        for word in ["--help", "-h", "help"] {
            let Ok(Command::Help(text)) = parse_words(&[word]) else {
                panic!("{word} is not help");
            };
            let parts = [
                "Usage: ccgw ",
                "CONFIG",
                "--check",
                "--demo",
                "--try",
                "--version",
                "Examples:",
            ];
            for part in parts {
                assert!(text.contains(part), "{part} is missing in:\n{text}");
            }
            assert!(
                text.contains("$ ccgw --check /etc/ccgw/config.yaml"),
                "{text}"
            );
        }
    }
}
