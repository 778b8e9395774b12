//! config.yaml to a [`Config`] that is valid by construction, or every problem at once.
//!
//! [`mod@file`] reads bytes, [`tree`] and [`build`] make a tree with line numbers of them, the
//! sections take their keys out of it through [`section`], and [`value`] turns text into values.
//! Nothing here starts, opens or creates anything, and the environment is passed in.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

mod build;
mod changes;
mod cli;
mod cors;
pub(crate) mod edit;
mod file;
mod isolation;
mod key;
mod keys;
mod moment;
mod network;
pub(crate) mod privacy;
mod problems;
mod relay;
mod secret;
mod section;
mod server;
mod session;
mod skills;
mod tenant;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod warm;

pub(crate) use changes::Changes;
pub(crate) use cli::{CONCURRENT_MAX, Cli, PermissionMode, StreamPolicy};
pub(crate) use cors::CorsOrigins;
pub(crate) use file::BYTES_MAX as FILE_BYTES_MAX;
pub(crate) use isolation::{Isolation, Memory, Mount, Reaches, Sandbox};
pub(crate) use key::{Key, KeyHash, last_four};
pub(crate) use moment::Moment;
pub(crate) use problems::Problems;
pub(crate) use relay::Relay;
pub(crate) use secret::Secret;
pub(crate) use server::DockerHostIp;
pub(crate) use server::Server;
pub(crate) use session::{Parallel, Session};
pub(crate) use skills::{Skills, SkillsSync};
pub(crate) use tenant::{
    CREDENTIALS, ConfigDir, KEY_BYTES_MAX, Tenant, is_variable_name, parse_container, parse_key,
    parse_name,
};
pub(crate) use warm::Warm;

use problems::{Place, Reported};
use section::Reader;
use tree::{Node, Value};
use value::Origin;

/// Reads the file at `path`; `env` answers for the environment variables that override it and for
/// `HOME`. Relative paths in the file start at the file's folder.
pub(crate) fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let mut problems = Problems::new(path);
    let content = file::read(path, &mut problems);
    let mode = content.as_ref().ok().map(|content| content.mode);
    let root = content.and_then(|content| tree::parse(&content.text, &mut problems));
    let dir = match std::path::absolute(path) {
        Ok(file) => file.parent().map(Path::to_path_buf).unwrap_or(file),
        Err(error) => {
            let text = format!("the working directory is gone ({error}), give the full path");
            let _ = problems.add(Place::File, text);
            return Err(problems);
        }
    };
    let config = read(&root, &origin(dir, env), env, problems)?;
    let notices = notices(path, &config, mode);
    let tenants = match root {
        Ok(Some(root)) if lists_tenants(&root) => TenantList::Present,
        _ => TenantList::Absent,
    };
    Ok(Loaded {
        config,
        notices,
        tenants,
    })
}

/// Whether a text would be a usable configuration at `path`, with the environment as in [`load`].
///
/// # Errors
/// Every problem.
pub(crate) fn check_text(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Problems> {
    parsed(path, text, env).map(drop)
}

/// A text as the configuration at `path`.
///
/// # Errors
/// Every problem.
pub(crate) fn parsed(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut problems = Problems::new(path);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = tree::parse(text, &mut problems);
    let dir = path.parent().unwrap_or(Path::new("/"));
    read(&root, &origin(dir.to_path_buf(), env), env, problems)
}

/// Any YAML document as JSON, its scalars as texts; `None` when it is not valid, or not within the bounds of
/// a configuration.
pub(crate) fn yaml_value(text: &str) -> Option<serde_json::Value> {
    let mut problems = Problems::new(Path::new(""));
    let root = tree::parse(text, &mut problems).ok()?;
    problems
        .is_empty()
        .then(|| root.map_or(serde_json::Value::Null, |it| it.value.into_json()))
}

/// A usable configuration and what the operator should hear about it at start.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// One sentence each, without a secret.
    pub(crate) notices: Vec<String>,
    pub(crate) tenants: TenantList,
}

/// Whether a file says who the tenants are, be it nobody (`tenants: []`). One that was emptied or cut off does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TenantList {
    Present,
    Absent,
}

/// What the operator of a login that several use should know.
pub(crate) const TERMS: &str = "Anthropic's terms do not allow other people's requests through it";

/// Everything that can be configured. All paths are absolute, except a bare `cli.bin`.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) cli: Cli,
    pub(crate) session: Session,
    pub(crate) skills: Skills,
    /// For tenants that say nothing of their own.
    pub(crate) isolation: Isolation,
    pub(crate) sandbox: Sandbox,
    /// `None` when runs have no `openclaw` command.
    pub(crate) relay: Option<Relay>,
    /// Names and keys are unique.
    pub(crate) tenants: Vec<Tenant>,
}

impl Config {
    /// The configuration without a file: defaults and no tenants. `dir`, an absolute path, stands
    /// for the file's folder, and the environment overrides as ever.
    pub(crate) fn default_in(
        dir: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Problems> {
        let problems = Problems::new(&dir.join("config.yaml"));
        read(&Ok(None), &origin(dir.to_path_buf(), env), env, problems)
    }

    /// The tenant of this name.
    ///
    /// # Errors
    /// Those that there are.
    pub(crate) fn tenant(&self, name: &str) -> Result<&Tenant, String> {
        let found = self.tenants.iter().find(|it| it.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tenants.iter().map(|it| it.name.as_str()).collect();
            match names.is_empty() {
                true => format!("no tenant is called `{name}`; there are none"),
                false => format!(
                    "no tenant is called `{name}`; there are: {}",
                    names.join(", ")
                ),
            }
        })
    }

    /// The tenants whose runs use the login of the gateway's user.
    pub(crate) fn sharing_a_login(&self) -> Vec<&str> {
        let sharing = self.tenants.iter().filter(|it| it.shares_the_login());
        sharing.map(|it| it.name.as_str()).collect()
    }

    /// The address to listen on: the configured one, else every address with tenants, and
    /// loopback without.
    pub(crate) fn bind_address(&self) -> IpAddr {
        self.server
            .host
            .unwrap_or_else(|| server::default_address(&self.tenants))
    }
}

fn origin(dir: PathBuf, env: &dyn Fn(&str) -> Option<String>) -> Origin {
    let home = env("HOME").map(PathBuf::from);
    Origin {
        dir,
        home: home.filter(|home| home.is_absolute()),
    }
}

/// Takes the sections out of the tree. Without a tree the environment is still checked, so that
/// its problems come together with the file's.
fn read(
    root: &Result<Option<Node>, Reported>,
    origin: &Origin,
    env: &dyn Fn(&str) -> Option<String>,
    problems: Problems,
) -> Result<Config, Problems> {
    let mut reader = Reader {
        problems,
        origin,
        env,
    };
    match read_sections(&mut reader, root.as_ref().map(Option::as_ref)) {
        Ok(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(reader.problems.sorted()),
    }
}

fn read_sections<'t>(
    reader: &mut Reader<'t>,
    root: Result<Option<&'t Node>, &Reported>,
) -> Result<Config, Reported> {
    let mut top = reader.section(root.unwrap_or(None), &keys::TOP, String::new());
    let [server, cli, session, skills, sandbox, relay, tenants] = [
        "server", "cli", "session", "skills", "sandbox", "relay", "tenants",
    ]
    .map(|key| top.node(key));
    let isolation = top.get("isolation", Isolation::Auto, isolation::parse);
    // Without a tree nothing is known of the tenants, and "no tenants" would be a wrong problem.
    let tenants = match root {
        Ok(_) => tenant::read(reader, tenants),
        Err(reported) => Err(*reported),
    };
    let server = server::read(reader, server, &tenants);
    let cli = cli::read(reader, cli);
    let session = session::read(reader, session);
    let skills = skills::read(reader, skills);
    let sandbox = isolation::read(reader, sandbox);
    let relay = relay::read(reader, relay);
    if let (Ok(server), Ok(tenants)) = (&server, &tenants) {
        refuse_example_key(server, tenants, &mut reader.problems);
    }
    Ok(Config {
        server: server?,
        cli: cli?,
        session: session?,
        skills: skills?,
        isolation: isolation?,
        sandbox: sandbox?,
        relay: relay?,
        tenants: tenants?,
    })
}

fn lists_tenants(root: &Node) -> bool {
    let Value::Map(entries) = &root.value else {
        return false;
    };
    let mut entries = entries.iter().filter(|it| it.key == "tenants");
    entries.any(|it| matches!(it.node.value, Value::List(_)))
}

fn notices(path: &Path, config: &Config, mode: Option<u32>) -> Vec<String> {
    let file = path.display();
    let mut notices = Vec::new();
    if let Some(mode) = mode
        && mode & 0o077 != 0
        && !config.tenants.is_empty()
    {
        notices.push(format!(
            "{file} holds keys and other users can reach it (mode {mode:04o}), \
             run: chmod 600 {file}"
        ));
    }
    let example = KeyHash::of(EXAMPLE_KEY);
    for tenant in &config.tenants {
        if tenant.key.hash() == example {
            let name = &tenant.name;
            notices.push(format!(
                "the key of tenant {name} is the one of config.example.yaml, which everybody \
                 knows; `ccgw-manage rotate {name}` makes another"
            ));
        }
    }
    notices
}

/// On loopback it is told only, for who tries.
fn refuse_example_key(server: &Server, tenants: &[Tenant], problems: &mut Problems) {
    let default = || server::default_address(tenants);
    if server.host.unwrap_or_else(default).is_loopback() {
        return;
    }
    let example = KeyHash::of(EXAMPLE_KEY);
    for tenant in tenants.iter().filter(|it| it.key.hash() == example) {
        let text = format!(
            "the key of tenant {} is the one of config.example.yaml, which everybody knows, and the gateway would \
             listen on more than loopback: write one that `ccgw-manage gen-key` makes",
            tenant.name
        );
        let _ = problems.add(Place::File, text);
    }
}

/// The key in config.example.yaml.
const EXAMPLE_KEY: &str = "change-me-to-a-long-random-text";
