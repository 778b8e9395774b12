//! `ccgw-manage add`: a new tenant, and on request its instance pointed here.

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{
    Command, base_url,
    edit::{Missing, TAKEN_OVER, edit},
    look, output,
    report::{self, Applied, Lines},
};
use crate::{
    config::{
        self, Key, KeyHash, Secret,
        edit::{Change, NewTenant},
        last_four,
    },
    docker::Container,
    manage::{
        apply_command,
        connect::{self, Needs},
        doctor::Output,
        found::Found,
        given_key::GivenKey,
        say::{Mark, must_line},
        tenant_key,
    },
};

/// Add a tenant. Its key is shown once.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "add",
    help_triggers("-h", "--help"),
    example = "A tenant for an OpenClaw in a container, which is pointed here at once:
  $ ccgw-manage add alice --docker alice-openclaw --apply",
    example = "With a key from elsewhere:
  $ ccgw-manage add alice --key - < key.txt"
)]
pub(crate) struct AddArguments {
    /// a name of a-z, 0-9, _ and -
    #[argh(positional, arg_name = "NAME")]
    name: String,

    /// its key instead of a new random one; `-` reads it from stdin, where no other user sees it
    #[argh(option, arg_name = "KEY")]
    key: Option<String>,

    /// keep only the key's SHA-256 in the configuration
    #[argh(switch)]
    hashed: bool,

    /// where its runs work (default: a private folder)
    #[argh(option, arg_name = "DIR")]
    working_dir: Option<PathBuf>,

    /// the container of its OpenClaw (default: found by the tenant's name)
    #[argh(option, arg_name = "CONTAINER")]
    docker: Option<String>,

    /// point its instance at the gateway that runs
    #[argh(switch)]
    apply: bool,

    /// print a JSON object
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    name: String,
    key: Option<GivenKey>,
    storage: Storage,
    working_dir: Option<PathBuf>,
    container: Option<String>,
    then: Then,
    output: Output,
}

/// How the key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    Plain,
    Hashed,
}

/// What follows the change of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    Apply,
}

impl Then {
    pub(super) fn of(apply: bool) -> Then {
        match apply {
            true => Then::Apply,
            false => Then::Nothing,
        }
    }
}

impl AddArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        let container = self.docker.as_deref().map(config::parse_container);
        let container = container
            .transpose()
            .map_err(|why| format!("--docker: {why}"))?;
        let key = self.key.as_deref().map(GivenKey::parse).transpose()?;
        Ok(Command::Add(Options {
            name: config::parse_name(&self.name)?,
            key,
            storage: match self.hashed {
                true => Storage::Hashed,
                false => Storage::Plain,
            },
            working_dir: self.working_dir,
            container,
            then: Then::of(self.apply),
            output: output(self.json),
        }))
    }
}

#[derive(Serialize)]
struct Added<'a> {
    name: &'a str,
    /// Null when it was given.
    api_key: Option<&'a str>,
    key_last4: &'a str,
    base_url: Option<String>,
    config: &'a Path,
    backup: Option<PathBuf>,
    applied: Option<Applied>,
    warnings: Vec<String>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<bool, String> {
    let mut warnings: Vec<String> = Vec::new();
    let given = options.key.as_ref();
    warnings.extend(given.and_then(GivenKey::warning).map(str::to_owned));
    let key = match given {
        Some(given) => given.read()?,
        None => tenant_key::new()?,
    };
    let working_dir = options.working_dir.as_deref().map(absolute).transpose()?;
    if let Some(dir) = working_dir.as_ref().filter(|it| !it.is_dir()) {
        warnings.push(format!(
            "{} is no directory yet; runs need it",
            dir.display()
        ));
    }
    let needs = match &options.container {
        Some(container) => of_container(path, container, &mut warnings)?,
        None => Needs::default(),
    };
    warnings.extend(needs.closed.filter(|_| working_dir.is_none()));
    let mounts = match &working_dir {
        // The instance's own folders are not meant.
        Some(_) => Vec::new(),
        None => needs.mounts,
    };
    let working_dir = working_dir.or(needs.working_dir);
    let edited = edit(path, Missing::Make, |before| {
        if before.tenants.iter().any(|it| it.name == options.name) {
            return Err(format!(
                "tenant {} is there already; `ccgw-manage rotate` gives it a new key",
                options.name
            ));
        }
        Ok(vec![Change::AddTenant(NewTenant {
            name: options.name.clone(),
            key: stored(&key, options.storage),
            container: options.container.clone(),
            working_dir,
            mounts,
            env: needs.env,
        })])
    })?;
    if edited.before.tenants.is_empty() && edited.before.server.host.is_none() {
        warnings.push("a gateway that runs without tenants listens on this machine only, until it is restarted".to_owned());
    }
    warnings.extend(edited.notes);
    let lines = Lines::new(options.output);
    lines.changed(
        &format!("tenant {} is in", options.name),
        path,
        edited.backup.as_ref(),
    );
    let shown = given.is_none().then(|| key.expose());
    let base_url = look::load(path)
        .ok()
        .and_then(|it| base_url::of(&it, options.container.is_some()));
    if options.output == Output::Text {
        lines.ok(TAKEN_OVER);
        say_key(lines, shown, base_url.as_deref())?;
        warnings.iter().for_each(|it| lines.mark(Mark::Warn, it));
    }
    let findings = match options.then {
        Then::Nothing => None,
        Then::Apply => Some(report::findings(apply_command::point(
            path,
            &options.name,
            Some(&key),
        ))),
    };
    let applied = findings.as_deref().map(Applied::of);
    let good = applied.as_ref().is_none_or(|it| it.ok);
    if let Some(findings) = &findings {
        lines.findings(findings);
        if !good {
            lines.mark(
                Mark::Warn,
                &format!(
                    "the tenant stays; `ccgw-manage apply {}` tries again",
                    options.name
                ),
            );
        }
    }
    if options.output == Output::Json {
        report::json(&Added {
            name: &options.name,
            api_key: shown,
            key_last4: last_four(key.expose()),
            base_url,
            config: path,
            backup: edited.backup,
            applied,
            warnings,
        })?;
    }
    Ok(good)
}

/// What a running container needs of its tenant, as `ccgw --setup` would find it.
fn of_container(path: &Path, container: &str, warnings: &mut Vec<String>) -> Result<Needs, String> {
    let tenants = look::load(path).map(|it| it.tenants).unwrap_or_default();
    // It need not look like an OpenClaw; the name is nobody's.
    let claim = (container.to_owned(), String::new());
    let found = Found::search_with(&tenants, Some(claim));
    if found.engines.is_empty() {
        warnings.push("no engine answers, so the variables and the workspace of the container were not taken over".to_owned());
        return Ok(Needs::default());
    }
    let containers = || {
        found
            .instances
            .iter()
            .filter_map(|it| Some((it, it.container()?)))
    };
    let is_it = |it: &Container| it.plain_name() == container || it.id.starts_with(container);
    match containers().find(|(_, it)| is_it(it)) {
        Some((instance, _)) => connect::needs(&found.access(instance)),
        None => {
            let names: Vec<&str> = containers().map(|(_, it)| it.plain_name()).collect();
            Err(format!(
                "no running container is called `{container}`; of OpenClaws there are: {}",
                names.join(", ")
            ))
        }
    }
}

/// Shows what the instance needs. This is the only time.
pub(super) fn say_key(
    lines: Lines,
    key: Option<&str>,
    base_url: Option<&str>,
) -> Result<(), String> {
    let key = key.map(|it| format!("        ANTHROPIC_API_KEY={it}"));
    let url = base_url.map(|it| format!("        ANTHROPIC_BASE_URL={it}"));
    if key.is_some() {
        lines.ok("its key, which is not shown again:");
    }
    for line in key.iter().chain(&url) {
        must_line(line)?;
    }
    Ok(())
}

fn stored(key: &Secret, storage: Storage) -> Key {
    match storage {
        Storage::Plain => Key::Plain(key.clone()),
        Storage::Hashed => Key::Hashed(KeyHash::of(key.expose())),
    }
}

/// In the file relative paths start at its folder; on the command line, where the operator is.
fn absolute(dir: &Path) -> Result<PathBuf, String> {
    std::path::absolute(dir).map_err(|error| format!("--working-dir: {error}"))
}
