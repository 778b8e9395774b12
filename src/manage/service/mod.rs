//! `ccgw --setup --service`: from the installed package to a gateway that serves, as root. It brings the service's user
//! to Docker and to the CLI's own sign-in, runs setup as that user, starts the service and has the doctor look at it.
//! Running it twice changes nothing.

mod unit;

use std::{
    fs,
    io::{self, IsTerminal},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use rustix::process::geteuid;

use self::unit::Unit;
use super::{
    say::{Say, Volume},
    setup::{self, Mode, Outcome, Skills},
    user::{User, asked},
};
use crate::{
    claude::program,
    config::{self, Config},
};

/// What `ccgw --setup --service` was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// For the setup itself; its configuration is the unit's.
    pub(crate) setup: setup::Options,
    pub(crate) docker: Docker,
}

/// Whether the service's user is let to Docker, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Docker {
    Let,
    /// `--no-docker`.
    Leave,
}

/// Of the engine that is the machine's. Others are their users' own.
const DOCKER: &str = "/var/run/docker.sock";

const INSTALL: &str =
    "install it for all users, as root: `npm install -g @anthropic-ai/claude-code`";

/// Variables of the terminal that programs of the service's user draw on.
const OF_THE_TERMINAL: [&str; 7] = [
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
];

/// What all steps go by.
struct Service {
    unit: Unit,
    user: User,
    /// Of programs that run as the user: what the unit gives the gateway, and what a terminal needs.
    env: Vec<(String, String)>,
    cli: PathBuf,
    mode: Mode,
    volume: Volume,
}

/// Does all of it.
///
/// # Errors
/// What is missing, with the way out.
pub(crate) fn run(options: &Options) -> Result<Outcome, String> {
    options.setup.volume.set();
    if !geteuid().is_root() {
        return Err("--service is for root: `sudo ccgw --setup --service`".to_owned());
    }
    let say = Say::new();
    let mut service = Service::look(options)?;
    say.head("Service");
    say.ok(&format!(
        "{} runs as {} with {}",
        unit::NAME,
        service.user.name,
        service.unit.config.display()
    ));
    say.ok(&format!("Claude Code CLI at {}", service.cli.display()));
    let joined = service.join_docker(say, options.docker)?;
    service.sign_in(say)?;
    let is_connected = service.set_up(options.setup.skills)?;
    if service.mode == Mode::Look {
        say.line("Then the service would be enabled and started, and the doctor would look at it.");
        return Ok(outcome(is_connected));
    }
    if !service.unit.config.exists() {
        return Err(format!(
            "{} was not written, so there is nothing to serve yet; when an instance runs, run this again",
            service.unit.config.display()
        ));
    }
    say.head("Service");
    service.start(joined)?;
    say.ok("enabled and started: `systemctl status ccgw`, `journalctl -u ccgw -f`");
    let is_well = service.doctor()?;
    Ok(outcome(is_connected && is_well))
}

fn outcome(is_good: bool) -> Outcome {
    match is_good {
        true => Outcome::Good,
        false => Outcome::Incomplete,
    }
}

impl Service {
    fn look(options: &Options) -> Result<Service, String> {
        let unit = Unit::read()?;
        if let Some(other) = options
            .setup
            .config
            .as_ref()
            .filter(|it| **it != unit.config)
        {
            return Err(format!(
                "the service's configuration is {}, not {}; leave it out",
                unit.config.display(),
                other.display()
            ));
        }
        let user = User::named(&unit.user).map_err(|why| {
            format!("the service's user is not there ({why}): install the package again")
        })?;
        let mut env = unit.env.clone();
        let of_ours = |name: &&str| std::env::var(name).ok().map(|it| ((*name).to_owned(), it));
        env.extend(OF_THE_TERMINAL.iter().filter_map(of_ours));
        let cli = installed(&unit, &user, &env)?;
        Ok(Service {
            unit,
            user,
            env,
            cli,
            mode: options.setup.mode,
            volume: options.setup.volume,
        })
    }

    fn command(&self, program: &Path) -> Command {
        self.user.command(program, &self.env)
    }

    /// Lets the user to Docker, where its socket is and that is wanted. True when it was not before.
    fn join_docker(&mut self, say: Say, docker: Docker) -> Result<bool, String> {
        let Ok(socket) = fs::metadata(DOCKER) else {
            return Ok(false);
        };
        let name = self.user.name.clone();
        let is_open = self.user.is_root() || self.user.is_in(socket.gid());
        match docker {
            _ if is_open || !socket.file_type().is_socket() => return Ok(false),
            Docker::Leave => {
                say.warn(&format!("{name} may not use Docker (--no-docker), so instances in containers are not found"));
                return Ok(false);
            }
            Docker::Let if socket.gid() == 0 => {
                say.warn(&format!("{DOCKER} is of root's group, so {name} cannot use Docker: give the socket to a group of its own (`docker`)"));
                return Ok(false);
            }
            Docker::Let => {}
        }
        let line = asked("getent", &["group", &socket.gid().to_string()])?;
        let group = line.split(':').next().unwrap_or_default();
        let what = match self.mode {
            Mode::Look => "would come",
            Mode::Ask | Mode::Do => "comes",
        };
        say.warn(&format!(
            "{name} {what} into the group {group}, to find instances in containers; who may use Docker is as good as root. \
             --no-docker leaves it out, `gpasswd -d {name} {group}` takes it back"
        ));
        if self.mode != Mode::Look {
            asked("usermod", &["-aG", group, &name])?;
        }
        self.user.join(socket.gid());
        Ok(self.mode != Mode::Look)
    }

    /// Where the user has no login and some tenant will need it, the CLI's own sign-in.
    fn sign_in(&self, say: Say) -> Result<(), String> {
        if self.is_signed_in()? {
            say.ok("the CLI says that it is signed in");
            return Ok(());
        }
        let by_hand = match self.user.is_root() {
            true => "`claude` as root".to_owned(),
            false => format!("`sudo -u {} -H claude`", self.user.name),
        };
        let ways = format!(
            "{by_hand} signs in; tenants with a credential of their own in config.yaml need no login"
        );
        let is_here = io::stdin().is_terminal() && io::stdout().is_terminal();
        match self.config() {
            Ok(config) if !config.tenants.is_empty() && config.sharing_a_login().is_empty() => {
                say.ok("no tenant needs the CLI's login: each has a credential of its own");
                return Ok(());
            }
            _ if self.mode == Mode::Look || !is_here => {
                say.warn(&format!("the CLI is not signed in: {ways}"));
                return Ok(());
            }
            _ => {}
        }
        say.line(&format!(
            "\nThe Claude Code CLI is not signed in as {}. It asks for that itself now; Ctrl-C goes on without.\n",
            self.user.name
        ));
        let mut login = self.command(&self.cli);
        // Whatever it ends with: what counts is whether it is signed in then.
        let _ = to_its_end(login.args(["auth", "login"]))?;
        match self.is_signed_in()? {
            true => say.ok("the CLI says that it is signed in"),
            false => say.warn(&format!("the CLI is not signed in still: {ways}")),
        }
        Ok(())
    }

    fn is_signed_in(&self) -> Result<bool, String> {
        let mut status = self.command(&self.cli);
        status
            .args(["auth", "status", "--json"])
            .stdin(Stdio::null());
        let output = status.output().map_err(|error| cannot(&status, &error))?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            format!(
                "`{} auth status` said nothing that can be read",
                self.cli.display()
            )
        })?;
        Ok(said["loggedIn"] == true)
    }

    fn config(&self) -> Result<Config, String> {
        configured(&self.unit)
    }

    /// `ccgw --setup` as the user; true when all instances are connected.
    fn set_up(&self, skills: Skills) -> Result<bool, String> {
        let mut command = self.command(&self.unit.program);
        command.arg("--setup").arg(&self.unit.config);
        command.args(match self.mode {
            Mode::Ask => None,
            Mode::Do => Some("--yes"),
            Mode::Look => Some("--dry-run"),
        });
        command.args(match skills {
            Skills::AsConfigured => None,
            Skills::Copy => Some("--skills"),
            Skills::Leave => Some("--no-skills"),
        });
        command.args((self.volume == Volume::Quiet).then_some("--quiet"));
        let ended = to_its_end(&mut command)?;
        match ended.code() {
            Some(code) => Ok(code == 0),
            None => Err("setup was interrupted, so the service was left as it is".to_owned()),
        }
    }

    /// A gateway that runs has the groups that its user had when it was started.
    fn start(&self, joined: bool) -> Result<(), String> {
        let mut steps = vec![vec!["enable", "--now", unit::NAME]];
        if joined && self.unit.is_active {
            steps.push(vec!["restart", unit::NAME]);
        }
        for words in steps {
            let mut command = Command::new("systemctl");
            if to_its_end(command.arg("--quiet").args(&words))?.success() {
                continue;
            }
            let mut log = Command::new("journalctl");
            // What systemctl said stands there already.
            let _ = to_its_end(log.args(["-u", unit::NAME, "-n", "15", "--no-pager"]));
            return Err(format!(
                "`systemctl {}` failed; the end of the service's log stands above",
                words.join(" ")
            ));
        }
        Ok(())
    }

    fn doctor(&self) -> Result<bool, String> {
        let mut command = self.command(&self.unit.program.with_file_name("ccgw-manage"));
        command.arg("--config").arg(&self.unit.config);
        command.args(["doctor", "--quick"]);
        command.args((self.volume == Volume::Quiet).then_some("--quiet"));
        Ok(to_its_end(&mut command)?.success())
    }
}

/// As the service would read it; the defaults where there is none yet.
fn configured(unit: &Unit) -> Result<Config, String> {
    let env = |name: &str| unit.variable(name);
    match unit.config.exists() {
        true => match config::load(&unit.config, &env) {
            Ok(loaded) => Ok(loaded.config),
            Err(problems) => Err(problems.to_string()),
        },
        false => {
            let dir = unit.config.parent().unwrap_or(Path::new("/"));
            Config::default_in(dir, &env).map_err(|it| it.to_string())
        }
    }
}

/// The CLI that the service would start, which its user can start too.
fn installed(unit: &Unit, user: &User, env: &[(String, String)]) -> Result<PathBuf, String> {
    let bin = configured(unit)?.cli.bin;
    let path = unit.variable("PATH").unwrap_or_default();
    let cli = program::find(&bin, Some(&path.clone().into())).map_err(|_| {
        let bin = bin.display();
        format!("the Claude Code CLI `{bin}` is not on the service's PATH ({path}): {INSTALL}")
    })?;
    let mut version = user.command(&cli, env);
    let ran = version.arg("--version").stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| cannot(&version, &error))?;
    match ran.status.success() {
        true => Ok(cli),
        false => Err(format!(
            "{} cannot start {} ({}): {INSTALL}",
            user.name,
            cli.display(),
            String::from_utf8_lossy(&ran.stderr).trim()
        )),
    }
}

/// Runs a program on our own terminal. Ctrl-C is the program's, and what it means for us follows from its end.
fn to_its_end(command: &mut Command) -> Result<ExitStatus, String> {
    let ignored = Arc::new(AtomicBool::new(false));
    let signal = signal_hook::consts::SIGINT;
    let handler = signal_hook::flag::register(signal, ignored).map_err(|it| it.to_string())?;
    let status = command.status();
    signal_hook::low_level::unregister(handler);
    status.map_err(|error| cannot(command, &error))
}

fn cannot(command: &Command, error: &io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program} cannot be started: {error}"),
    }
}
