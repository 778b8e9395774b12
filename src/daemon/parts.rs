//! What a daemon makes of its configuration and its surroundings: the state directory, the program that answers,
//! the listener's limits, the skill text. Some of it is made again when the configuration changes.

use std::{ffi::OsString, io, path::Path, sync::Arc};

use crate::{
    args::Demo,
    claude::{
        command,
        probe::Cli,
        program::{self, Kind, Program},
    },
    config::{self, Config},
    http, log,
    state::{NotHeld, StateDir, tenants::Incarnations},
};

/// The state directory of this process, and of no other daemon.
///
/// # Errors
/// When there is none, it cannot be used, or another daemon has it.
pub(super) fn state() -> Result<StateDir, String> {
    let path = StateDir::locate(|name| std::env::var(name).ok())
        .ok_or("no place for state: set STATE_DIRECTORY, XDG_STATE_HOME or HOME")?;
    let shown = path.display();
    StateDir::hold(&path).map_err(|why| match why {
        NotHeld::Failed(why) => format!("cannot use the state directory: {why}"),
        NotHeld::ByAnother(pid) => {
            let who = pid.map_or_else(String::new, |it| format!(" (process {it})"));
            format!(
                "another ccgw{who} has the state directory {shown}; stop that one, or give this one a directory of its own (STATE_DIRECTORY)"
            )
        }
    })
}

/// What tells each tenant from one that had its name before.
///
/// # Errors
/// As [`StateDir::meet`].
pub(crate) fn incarnations(config: &Config, state: &StateDir) -> Result<Incarnations, String> {
    let tenants = config.tenants.iter();
    state.meet(tenants.map(|it| (it.name.as_str(), it.key_prints())))
}

/// What every run's environment begins with.
pub(super) fn base_env(state: &StateDir) -> Vec<(OsString, OsString)> {
    command::base_environment(|name| std::env::var_os(name), state.path())
}

/// The program that answers, which is asked for its version meanwhile.
///
/// # Errors
/// When it is not there.
pub(crate) fn cli(
    config: &Config,
    demo: Demo,
    (base_env, state): (&[(OsString, OsString)], &StateDir),
) -> Result<Arc<Cli>, String> {
    let program = program(config, demo)?;
    Ok(Cli::start(program, base_env.to_vec(), state.path()))
}

fn program(config: &Config, demo: Demo) -> Result<Program, String> {
    let found = || program::find(&config.cli.bin, std::env::var_os("PATH").as_ref());
    let path = match demo {
        Demo::On => return stand_in(),
        Demo::Off => found()?,
        Demo::Try => match found() {
            Ok(path) => path,
            Err(why) => {
                log::warn(&why, &[]);
                return stand_in();
            }
        },
    };
    Ok(Program {
        path,
        kind: Kind::ClaudeCode,
    })
}

fn stand_in() -> Result<Program, String> {
    let path = std::env::current_exe().map_err(|it| format!("cannot find this program: {it}"))?;
    log::warn(
        "DEMO: answers are made up by a built-in stand-in, no model is asked",
        &[],
    );
    Ok(Program {
        path,
        kind: Kind::StandIn,
    })
}

/// Who says by the PROXY protocol for whom it connects.
pub(super) fn is_proxy(server: &config::Server) -> http::IsProxy {
    let proxies = server.proxy_protocol_from.clone();
    Box::new(move |address| proxies.iter().any(|it| it.contains(address)))
}

/// The listener's limits that may change while it listens.
pub(crate) fn tunable(server: &config::Server) -> http::Tunable {
    http::Tunable {
        max_connections_per_ip: server.max_connections_per_ip,
        head_timeout: server.head_timeout,
        body_timeout: server.body_timeout,
        write_timeout: server.write_timeout,
    }
}

pub(super) fn limits_of(server: &config::Server) -> http::Limits {
    http::Limits {
        max_body_bytes: server.max_body_bytes,
        max_connections: server.max_connections,
        max_connections_per_ip: server.max_connections_per_ip,
        head_timeout: server.head_timeout,
        body_timeout: server.body_timeout,
        write_timeout: server.write_timeout,
        ..http::Limits::default()
    }
}

/// The built-in text, for a daemon that was installed without the file.
const SKILL_TEXT: &str = include_str!("../../openclaw-skill.md");

/// A skill file is a page of text; more than this is a mistake.
const SKILL_TEXT_MAX: u64 = 1 << 20;

/// # Errors
/// When there is a file that cannot be used.
pub(crate) fn skill_text(path: &Path) -> Result<String, String> {
    let bad = |why: String| format!("cli.skill_file {}: {why}", path.display());
    match std::fs::metadata(path) {
        Ok(it) if it.len() > SKILL_TEXT_MAX => return Err(bad("is larger than 1 MiB".to_owned())),
        // A device or a pipe has no end, or none that it tells, and a reload would wait for it.
        Ok(it) if !it.is_file() => return Err(bad("is no regular file".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info(
                "no skill file; the built-in text is used",
                &[("path", &path.display())],
            );
            return Ok(SKILL_TEXT.to_owned());
        }
        Err(error) => return Err(bad(error.to_string())),
    }
    std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))
}
