//! `ccgw-manage show`: all that is known of one tenant.

use std::path::Path;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{
    Command,
    look::{self, Look},
    output, report,
};
use crate::{
    config::{Config, Tenant},
    manage::{
        doctor::Output,
        drift,
        found::Found,
        identities::Identities,
        say::{escaped, must_line},
        setup::state_path,
    },
};

/// Show all that is known of a tenant, and whether its instance points here.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
pub(crate) struct ShowArguments {
    /// the tenant
    #[argh(positional, arg_name = "TENANT")]
    name: String,

    /// print a JSON object
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    name: String,
    output: Output,
}

impl ShowArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        Ok(Command::Show(Options {
            name: self.name,
            output: output(self.json),
        }))
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    tenant: Look,
    skills: Skills,
    limits: Limits,
    /// Null when none was found.
    instance: Option<Instance>,
    /// The instance that this tenant was set up for, as far as one was.
    set_up_for: Option<String>,
}

#[derive(Serialize)]
struct Skills {
    dir: String,
    count: usize,
}

#[derive(Serialize)]
struct Limits {
    max_per_tenant: usize,
    queue_depth: usize,
    queue_timeout_ms: u128,
    timeout_ms: u128,
    idle_timeout_ms: u128,
}

#[derive(Serialize)]
struct Instance {
    place: String,
    config_path: String,
    points_here: bool,
    /// What is not as it should be; null when it points here.
    drift: Option<String>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<bool, String> {
    let config = look::load(path)?;
    let tenant = config.tenant(&options.name)?;
    let shown = Shown {
        tenant: Look::at(tenant),
        skills: skills(&config.skills.dir.join(&tenant.name)),
        limits: Limits {
            max_per_tenant: config.cli.max_per_tenant,
            queue_depth: config.cli.queue_depth,
            queue_timeout_ms: config.cli.queue_timeout.as_millis(),
            timeout_ms: config.cli.timeout.as_millis(),
            idle_timeout_ms: config.cli.idle_timeout.as_millis(),
        },
        instance: instance(&config, tenant),
        set_up_for: set_up_for(&tenant.name),
    };
    match options.output {
        Output::Json => report::json(&shown)?,
        Output::Text => {
            for (label, text) in lines(&shown) {
                must_line(&format!("{label:12}  {}", escaped(&text)))?;
            }
        }
    }
    Ok(true)
}

fn skills(dir: &Path) -> Skills {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let count = entries.filter(|it| it.path().join("SKILL.md").is_file());
    Skills {
        count: count.count(),
        dir: dir.display().to_string(),
    }
}

fn instance(config: &Config, tenant: &Tenant) -> Option<Instance> {
    let found = Found::search(&config.tenants);
    let instance = found.named(&tenant.name)?;
    let drift = drift::drifted(&found, instance, (config.server.port, tenant));
    Some(Instance {
        place: instance.whereabouts().to_owned(),
        config_path: instance.config_path.display().to_string(),
        points_here: drift.is_none(),
        drift,
    })
}

/// Nothing is made for it.
fn set_up_for(tenant: &str) -> Option<String> {
    let identities = Identities::load(&state_path().ok()?).ok()?;
    identities.of(tenant).map(str::to_owned)
}

fn lines(it: &Shown) -> Vec<(&'static str, String)> {
    let tenant = &it.tenant;
    let key = match &tenant.key_last4 {
        Some(_) => tenant.key(),
        None => "only its SHA-256 is in the configuration".to_owned(),
    };
    let mut lines = vec![("tenant", tenant.name.clone()), ("key", key)];
    lines.extend(tenant.previous_key.as_ref().map(|previous| {
        let text = match previous.expired {
            true => format!(
                "not taken any more since {}; the next change removes it",
                previous.until
            ),
            false => format!("taken until {}", previous.until),
        };
        ("previous key", text)
    }));
    let none = || "none".to_owned();
    let env = match tenant.env.is_empty() {
        true => none(),
        false => tenant.env.join(", "),
    };
    let limits = &it.limits;
    let seconds = |ms: u128| format!("{} s", ms as f64 / 1000.0);
    lines.extend([
        (
            "working dir",
            tenant
                .working_dir
                .clone()
                .unwrap_or_else(|| "private".to_owned()),
        ),
        ("config dir", tenant.config_dir.clone()),
        ("container", tenant.container.clone().unwrap_or_else(none)),
        ("variables", env),
        (
            "skills",
            format!("{} in {}", it.skills.count, it.skills.dir),
        ),
        (
            "limits",
            format!(
                "{} at one time, {} may wait for {}, a run takes at most {} ({} in silence)",
                limits.max_per_tenant,
                limits.queue_depth,
                seconds(limits.queue_timeout_ms),
                seconds(limits.timeout_ms),
                seconds(limits.idle_timeout_ms),
            ),
        ),
    ]);
    lines.push(match &it.instance {
        None => (
            "instance",
            "no running OpenClaw of this name was found".to_owned(),
        ),
        Some(instance) => (
            "instance",
            format!("{} ({})", instance.place, instance.config_path),
        ),
    });
    lines.extend(it.instance.as_ref().map(|instance| {
        let text = match &instance.drift {
            None => "yes".to_owned(),
            Some(what) => format!("no: {what}; `ccgw-manage apply {}` mends it", tenant.name),
        };
        ("points here", text)
    }));
    lines.extend(it.set_up_for.clone().map(|text| ("set up for", text)));
    lines
}
