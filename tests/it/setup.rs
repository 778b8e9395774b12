//! A configuration of its own for each test, and the daemon's command line.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::json;

use crate::{
    api::ScriptedApi,
    cli::real_cli,
    gateway::{Gateway, MARK, key_of, run_to_end},
    temp::{TempDir, unique},
};

/// The program under test.
const CCGW: &str = env!("CARGO_BIN_EXE_ccgw");

const DOCKERS_CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
    +net_bind_service,+sys_chroot,+mknod,+audit_write,+setfcap";

/// A configuration that is not running yet: the tenants alpha and beta, and what a test adds.
pub(crate) struct Setup {
    /// Whether processes of the CLI wait for work, where no line says so.
    waits: bool,
    isolation: &'static str,
    top: Vec<&'static str>,
    pub(crate) dir: TempDir,
    mark: String,
    tenants: Vec<Tenant>,
    /// Lines of the configuration by section.
    settings: Vec<(&'static str, String)>,
    /// Environment of the daemon itself.
    env: Vec<(String, String)>,
    /// How many files the daemon may have open at most.
    files_limit: Option<u32>,
    /// Whether root is no more than in a container.
    with_a_containers_root: bool,
    /// More arguments of the daemon, before the configuration's path.
    arguments: Vec<&'static str>,
}

struct Tenant {
    name: &'static str,
    env: Vec<(String, String)>,
    working_dir: Option<PathBuf>,
    lines: Vec<String>,
}

impl Setup {
    /// A set-up whose CLI is this program.
    pub(crate) fn with_cli(dir: TempDir, cli: &Path) -> Setup {
        let mark = unique();
        let tenant = |name| Tenant {
            name,
            env: vec![(MARK.to_owned(), format!("{mark}-{name}"))],
            working_dir: None,
            lines: Vec::new(),
        };
        let tenants = vec![tenant("alpha"), tenant("beta")];
        let mut setup = Setup {
            waits: false,
            // A test says so where a sandbox is its subject, or must not matter.
            isolation: "none",
            top: Vec::new(),
            dir,
            tenants,
            mark,
            settings: Vec::new(),
            env: Vec::new(),
            files_limit: None,
            with_a_containers_root: false,
            arguments: Vec::new(),
        };
        setup = setup
            .set("server", "port: 0")
            .set("server", "host: 127.0.0.1");
        setup.set("cli", format!("bin: {}", json!(cli)))
    }

    /// A set-up with the real CLI, which finds the scripted API instead of the vendor's.
    pub(crate) fn with_real_cli(api: &ScriptedApi) -> Setup {
        let mut setup = Setup::with_cli(TempDir::new(), real_cli());
        setup.waits = true;
        for name in ["alpha", "beta"] {
            let config_dir = setup.dir.create_dir(&format!("claude-config-{name}"));
            setup = setup
                .tenant_env(name, "ANTHROPIC_BASE_URL", &api.url())
                .tenant_env(name, "ANTHROPIC_API_KEY", "test-key")
                .tenant_env(name, "CLAUDE_CONFIG_DIR", config_dir.to_str().unwrap());
        }
        setup
    }

    /// Has the CLI where every user can run it, wherever this checkout is.
    pub(crate) fn cli_for_all(mut self) -> Setup {
        let cli = self.dir.path().join("cli");
        let own = real_cli();
        if fs::hard_link(own, &cli).is_err() {
            fs::copy(own, &cli).unwrap();
        }
        self.settings.retain(|(_, line)| !line.starts_with("bin:"));
        self.set("cli", format!("bin: {}", json!(cli)))
    }

    /// Adds a line such as `max_concurrent: 1` to a section of the configuration.
    pub(crate) fn set(mut self, section: &'static str, line: impl Into<String>) -> Setup {
        self.settings.push((section, line.into()));
        self
    }

    /// Adds a line at the top level.
    pub(crate) fn top(mut self, line: &'static str) -> Setup {
        self.top.push(line);
        self
    }

    pub(crate) fn tenant_env(mut self, tenant: &str, name: &str, value: &str) -> Setup {
        self.tenant(tenant)
            .env
            .push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn working_dir(mut self, tenant: &str, dir: &Path) -> Setup {
        self.tenant(tenant).working_dir = Some(dir.to_owned());
        self
    }

    /// How runs are kept from each other; `none` where a test does not say.
    pub(crate) fn isolation(mut self, isolation: &'static str) -> Setup {
        self.isolation = isolation;
        self
    }

    /// Adds a line such as `config_dir: private` to a tenant.
    pub(crate) fn tenant_line(mut self, tenant: &str, line: impl Into<String>) -> Setup {
        self.tenant(tenant).lines.push(line.into());
        self
    }

    /// Gives a tenant another name.
    pub(crate) fn called(mut self, tenant: &str, name: &'static str) -> Setup {
        self.tenant(tenant).name = name;
        self
    }

    /// Takes a variable out of a tenant's environment.
    pub(crate) fn without_tenant_env(mut self, tenant: &str, name: &str) -> Setup {
        self.tenant(tenant).env.retain(|(known, _)| known != name);
        self
    }

    /// A port that stays the same when the daemon is started again.
    pub(crate) fn fixed_port(mut self) -> Setup {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        self.settings.retain(|(_, line)| !line.starts_with("port:"));
        self.set("server", format!("port: {port}"))
    }

    /// Listening on the default address, which is every one with tenants.
    pub(crate) fn without_host(mut self) -> Setup {
        self.settings.retain(|(_, line)| !line.starts_with("host:"));
        self
    }

    pub(crate) fn without_tenants(mut self) -> Setup {
        self.tenants.clear();
        self
    }

    pub(crate) fn daemon_env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn argument(mut self, argument: &'static str) -> Setup {
        self.arguments.push(argument);
        self
    }

    /// With what Docker leaves root of its powers.
    pub(crate) fn with_a_containers_root(mut self) -> Setup {
        self.with_a_containers_root = true;
        self
    }

    pub(crate) fn files_limit(mut self, files: u32) -> Setup {
        self.files_limit = Some(files);
        self
    }

    /// Puts a skill into the layout `skills/<tenant>/<skill>/SKILL.md`.
    pub(crate) fn skill(self, tenant: &str, name: &str, description: &str) -> Setup {
        let text =
            format!("---\nname: {name}\ndescription: {description}\n---\nThe body of {name}.\n");
        self.dir
            .write(&format!("skills/{tenant}/{name}/SKILL.md"), text);
        self
    }

    /// One more tenant, like the others but for its name.
    pub(crate) fn and(mut self, name: &'static str) -> Setup {
        let mark = (MARK.to_owned(), format!("{}-{name}", self.mark));
        self.tenants.push(Tenant {
            name,
            env: vec![mark],
            working_dir: None,
            lines: Vec::new(),
        });
        self
    }

    fn tenant(&mut self, name: &str) -> &mut Tenant {
        self.tenants
            .iter_mut()
            .find(|tenant| tenant.name == name)
            .expect("the tenants are alpha and beta")
    }

    /// The configuration as YAML; every value is quoted as JSON, which YAML reads the same.
    fn yaml(&self) -> String {
        let mut yaml = format!("isolation: {}\n", self.isolation);
        for line in &self.top {
            yaml += &format!("{line}\n");
        }
        for section in ["server", "cli", "session", "skills", "sandbox", "relay"] {
            let lines = self
                .settings
                .iter()
                .filter(|(of, _)| *of == section)
                .map(|(_, line)| format!("  {line}\n"));
            let mut lines: String = lines.collect();
            // What a script counts must not change with what was started ahead.
            if section == "cli" && !self.waits && !lines.contains("  warm:") {
                lines += "  warm: off\n";
            }
            if !lines.is_empty() {
                yaml += &format!("{section}:\n{lines}");
            }
        }
        if self.tenants.is_empty() {
            return yaml;
        }
        yaml += "tenants:\n";
        for tenant in &self.tenants {
            yaml += &format!(
                "  - name: {}\n    api_key: {}\n",
                tenant.name,
                json!(key_of(tenant.name))
            );
            if let Some(dir) = &tenant.working_dir {
                yaml += &format!("    working_dir: {}\n", json!(dir));
            }
            for line in &tenant.lines {
                yaml += &format!("    {line}\n");
            }
            yaml += "    env:\n";
            for (name, value) in &tenant.env {
                yaml += &format!("      {name}: {}\n", json!(value));
            }
        }
        yaml
    }

    /// Writes the configuration and builds the daemon's command, without starting it.
    pub(crate) fn command(&self) -> Command {
        let config = self.dir.write("config.yaml", self.yaml());
        let program = match self.files_limit {
            None if self.with_a_containers_root => {
                let mut program = Command::new("setpriv");
                program.args(["--bounding-set", DOCKERS_CAPABILITIES, CCGW]);
                program
            }
            None => Command::new(CCGW),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args([
                    "-c",
                    &format!("ulimit -n {files} && exec \"$0\" \"$@\""),
                    CCGW,
                ]);
                shell
            }
        };
        let mut command = cleaned(program, &self.dir);
        command
            .args(&self.arguments)
            .arg(config)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon and waits until it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        Gateway::start(self.command(), self.dir, self.mark)
    }
    /// Starts the daemon as systemd does that passes it a socket of this name.
    #[track_caller]
    pub(crate) fn start_on(self, socket: OwnedFd, name: &str) -> Gateway {
        let command = self.listening_on(name);
        Gateway::start_on(Stdio::from(socket), command, self.dir, self.mark)
    }

    /// The daemon's command, which takes its standard input for a socket that systemd passes.
    pub(crate) fn listening_on(&self, name: &str) -> Command {
        let command = self.command();
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg("exec 3<&0 </dev/null; LISTEN_PID=$$; export LISTEN_PID; exec \"$@\"")
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.dir.path())
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("LISTEN_FDS", name.split(':').count().to_string())
            .env("LISTEN_FDNAMES", name);
        shell
    }
}

/// The daemon's program with an environment of nothing but what it needs.
pub(crate) fn ccgw(dir: &TempDir) -> Command {
    let mut command = cleaned(Command::new(CCGW), dir);
    // A script in the CLI's place writes down what it sees where a sandbox has nothing.
    command.env("ISOLATION", "none");
    command
}

fn cleaned(mut command: Command, dir: &TempDir) -> Command {
    let home = dir.create_dir("home");
    let state = dir.create_dir("state");
    command
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_STATE_HOME", &state)
        .env("STATE_DIRECTORY", &state);
    command
}

/// The operator's tool, with the environment of the daemon whose directory this is.
pub(crate) fn manage(dir: &TempDir, words: &[&str]) -> Output {
    run_to_end(&mut manage_command(dir, words))
}

pub(crate) fn manage_command(dir: &TempDir, words: &[&str]) -> Command {
    let program = dir.path().join("ccgw-manage");
    if !program.exists() {
        std::os::unix::fs::symlink(CCGW, &program).unwrap();
    }
    let mut command = cleaned(Command::new(program), dir);
    command.args(words);
    command
}
