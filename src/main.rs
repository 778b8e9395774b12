//! ccgw: a gateway from OpenClaw instances to the Claude Code CLI.
//!
//! One binary, several programs: the gateway itself and its operator's tool; `openclaw`, by which runs reach their
//! instance; and hidden ones that the gateway starts as processes of their own: the keeper of a run, what a sandbox
//! begins with, and the stand-in CLI.

mod api;
mod args;
mod claude;
mod config;
mod control;
mod daemon;
mod docker;
mod egress;
mod gateway;
mod http;
mod ids;
mod log;
mod manage;
mod memory;
mod no_links;
mod openclaw;
mod processes;
mod relay;
mod reload;
mod replace;
mod scheduler;
mod session;
mod state;
mod systemd;
mod turn;
mod watch;

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use args::{Command, Demo};
use config::{Config, Loaded};
use manage::setup::{First, Outcome};

/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut argv: Vec<_> = std::env::args_os().skip(1).collect();
    // Before everything that its first word could be taken for.
    if is_called(relay::NAME) {
        return relay::client::main(&argv);
    }
    match argv.first().and_then(|it| it.to_str()) {
        Some("keeper") => return claude::keeper::main(),
        Some("enter") => return claude::sandbox::enter(&argv[1..]),
        Some("forward") => return claude::sandbox::forward(&argv[1..]),
        Some("become") => return claude::sandbox::become_user(&argv[1..]),
        // As another user, who may have no such link.
        Some("manage") => return manage(&argv[1..]),
        Some("stand-in") => return claude::stand_in::main(argv.drain(1..)),
        _ => {}
    }
    if is_called("ccgw-manage") {
        return manage(&argv);
    }
    match args::parse(&argv) {
        Ok(Command::Serve { config, demo }) => serve(config.as_deref(), demo),
        Ok(Command::Check { config }) => check(config.as_deref()),
        Ok(Command::Setup(options)) => set_up(|| {
            let file = options.config.as_deref();
            let file = file.unwrap_or(Path::new("config.yaml"));
            manage::owner::act_as(&[], &argv, file)?;
            manage::setup::run(&options)
        }),
        Ok(Command::Service(options)) => set_up(|| manage::service::run(&options)),
        Ok(Command::Version) => say(concat!("ccgw ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Help(text)) => say(text.trim_end()),
        Err(error) => fail(USAGE, &error.to_string()),
    }
}

/// One file under several names.
fn is_called(name: &str) -> bool {
    let program = std::env::args_os().next().map(PathBuf::from);
    program.is_some_and(|it| it.file_name().is_some_and(|it| it == name))
}

fn manage(argv: &[OsString]) -> ExitCode {
    use manage::args::Command;
    manage::progress::enable();
    let parsed = match manage::args::parse(argv) {
        Ok(mut command) => match locate(&mut command, argv) {
            Ok(()) => Ok(command),
            Err(why) => {
                return fail(
                    1,
                    &manage::say::escaped_lines(&format!("ccgw-manage: {why}")),
                );
            }
        },
        Err(error) => Err(error),
    };
    let done = match parsed {
        Ok(Command::Doctor(options)) => manage::doctor::run(&options),
        Ok(Command::Apply(options)) => manage::apply_command::run(&options),
        Ok(Command::Tenants(config, command)) => manage::tenants::run(&config, &command),
        Ok(Command::Skills(file, skills)) => manage::skills::run(&file, &skills),
        Ok(Command::Completions(shell)) => manage::completions::run(shell),
        Ok(Command::Operator(command)) => manage::operator::run(&command),
        Ok(Command::Version) => return say(concat!("ccgw-manage ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Help(text)) => return say(text.trim_end()),
        Err(error) => return fail(USAGE, &manage::say::escaped_lines(&error)),
    };
    match done {
        Ok(_) if let Some(why) = manage::say::unsaid() => fail(1, &format!("ccgw-manage: {why}")),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Some of it may be an instance's words.
        Err(error) => fail(
            1,
            &manage::say::escaped_lines(&format!("ccgw-manage: {error}")),
        ),
    }
}

/// Finds the configuration that a command is about, and becomes whose it is.
fn locate(command: &mut manage::args::Command, argv: &[OsString]) -> Result<(), String> {
    let Some(config) = command.config_mut() else {
        return Ok(());
    };
    *config = manage::which::find(config)?;
    manage::owner::act_as(&["manage"], argv, config)
}

fn set_up(work: impl FnOnce() -> Result<Outcome, String>) -> ExitCode {
    manage::progress::enable();
    match work() {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(1),
        // Some of it may be an instance's words.
        Err(error) => fail(1, &manage::say::escaped_lines(&format!("ccgw: {error}"))),
    }
}

fn serve(path: Option<&Path>, demo: Demo) -> ExitCode {
    manage::companion::end_with_parent();
    if std::env::var_os("LOG_FORMAT").is_some_and(|it| it == "json") {
        log::init(log::Format::Json);
    }
    if path.is_none() && demo == Demo::Off && !Path::new("config.yaml").exists() {
        match manage::setup::first() {
            Ok(First::Done) => {}
            Ok(First::Declined) => return ExitCode::from(1),
            Err(error) => return fail(1, &format!("ccgw: {error}")),
        }
    }
    let file = path.unwrap_or(Path::new("config.yaml"));
    let mended = config::privacy::make_private(file);
    let read_at = watch::look(file);
    let (loaded, source) = match load(path) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(USAGE, &problems),
    };
    memory::give_large_blocks_back();
    log::start();
    for notice in mended.iter().chain(&loaded.notices) {
        log::warn(notice, &[]);
    }
    let ended = daemon::serve(loaded.config, (file, read_at), &source, demo);
    log::finish();
    match ended {
        Ok(code) => code,
        Err(error) => fail(1, &format!("ccgw: {error}")),
    }
}

fn check(path: Option<&Path>) -> ExitCode {
    match load(path) {
        Ok((loaded, source)) => {
            for notice in &loaded.notices {
                complain(notice);
            }
            let file = path.unwrap_or(Path::new("config.yaml"));
            for notice in manage::folders::notices(file, &loaded.config) {
                complain(&manage::say::escaped(&notice));
            }
            say(&format!(
                "{source}: ok ({} tenants)",
                loaded.config.tenants.len()
            ))
        }
        Err(problems) => fail(USAGE, &problems),
    }
}

/// The configuration and where it came from. Without a file that was asked for by name, the
/// defaults serve.
fn load(path: Option<&Path>) -> Result<(Loaded, String), String> {
    let env = |name: &str| std::env::var(name).ok();
    let file = path.map_or_else(|| PathBuf::from("config.yaml"), Path::to_path_buf);
    if path.is_none() && !file.exists() {
        let dir = std::env::current_dir()
            .map_err(|error| format!("the working directory is gone: {error}"))?;
        let config = Config::default_in(&dir, &env).map_err(|problems| problems.to_string())?;
        return Ok((
            Loaded {
                config,
                notices: Vec::new(),
                tenants: config::TenantList::Absent,
            },
            "defaults (no config.yaml here)".to_owned(),
        ));
    }
    let loaded = config::load(&file, &env).map_err(|problems| problems.to_string())?;
    Ok((loaded, file.display().to_string()))
}

fn say(text: &str) -> ExitCode {
    // A reader that left, `head` for one, is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    // A closed stderr has nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

fn fail(status: u8, text: &str) -> ExitCode {
    complain(text);
    ExitCode::from(status)
}
