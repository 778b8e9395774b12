//! Finds OpenClaw instances: which containers are some, which directories are, and what they are called.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::instance::{Instance, Place};
use crate::docker::{Container, Summary};

/// OpenClaw's own home in its image.
const IMAGE_HOME: &str = "/home/node";
const STATE_DIR: &str = ".openclaw";
const CONFIG_FILE: &str = "openclaw.json";

const FLEET_LABEL: &str = "openclaw.fleet.tenant";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const PROJECT_LABEL: &str = "com.docker.compose.project";
const GATEWAY: &str = "openclaw-gateway";
const CLI: &str = "openclaw-cli";

/// Containers that the operator has named as a tenant's.
#[derive(Debug, Default)]
pub(crate) struct Claims(Vec<(String, String)>);

impl Claims {
    /// Each a container, by its name or its id, and the tenant.
    pub(crate) fn new(claims: impl Iterator<Item = (String, String)>) -> Claims {
        Claims(claims.collect())
    }

    fn tenant_of(&self, container: &Container) -> Option<&str> {
        let is_it = |claimed: &str| {
            claimed == container.plain_name()
                || (claimed.len() >= SHORT_ID && container.id.starts_with(claimed))
        };
        let found = self.0.iter().find(|(claimed, _)| is_it(claimed));
        found.map(|(_, tenant)| tenant.as_str())
    }
}

/// As `docker ps` shows ids.
const SHORT_ID: usize = 12;

/// Why a container is an instance, and the name that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recognised {
    name: String,
    reason: String,
}

/// Whether a line of the list may be an instance, so that the rest need no closer look.
pub(crate) fn is_worth_a_look(summary: &Summary) -> bool {
    summary.state.is_empty() || summary.state == "running"
}

/// The instance that a container is, if it is one or is said to be one.
pub(crate) fn container(container: Container, claims: &Claims) -> Option<Instance> {
    let is_up = container.state.running && !container.state.paused;
    let claimed = claims.tenant_of(&container).filter(|_| is_up);
    let claimed = claimed.map(|tenant| Recognised {
        name: tenant.to_owned(),
        reason: "`container` in the configuration".to_owned(),
    });
    let Recognised { name, reason } = claimed.or_else(|| recognised(&container))?;
    let state_dir = state_dir(&container);
    let config_path = container
        .env("OPENCLAW_CONFIG_PATH")
        .map_or_else(|| state_dir.join(CONFIG_FILE), PathBuf::from);
    Some(Instance {
        name,
        config_path,
        state_dir,
        reason,
        place: Place::Docker(Box::new(container)),
    })
}

fn recognised(container: &Container) -> Option<Recognised> {
    let name = container.plain_name();
    let labels = &container.config.labels;
    let service = labels.get(SERVICE_LABEL).map(String::as_str);
    let is_excluded = service == Some(CLI)
        || without_number(name).ends_with(CLI)
        || name.starts_with("openclaw-sbx-")
        || labels
            .keys()
            .any(|label| label.starts_with("openclaw.sandbox"));
    if is_excluded || !container.state.running || container.state.paused {
        return None;
    }
    let found = |name: &str, reason: String| {
        Some(Recognised {
            name: tenant_name(name),
            reason,
        })
    };
    if let Some(tenant) = labels.get(FLEET_LABEL) {
        return found(tenant, format!("label {FLEET_LABEL}={tenant}"));
    }
    if service == Some(GATEWAY) {
        let project = labels.get(PROJECT_LABEL).map_or(name, String::as_str);
        return found(project, format!("compose service {GATEWAY}"));
    }
    if runs_a_gateway(container) && mounts_a_state(container) {
        let short = short_name(name).unwrap_or(name);
        return found(short, "it runs `gateway` with OpenClaw's state".to_owned());
    }
    // Another service of a project that has the word in its name is none.
    if service.is_some() {
        return None;
    }
    let short = short_name(name)?;
    found(short, format!("its name, {name}"))
}

fn runs_a_gateway(container: &Container) -> bool {
    let mut words = container.args.iter().map(String::as_str);
    let all = [container.path.as_str()].into_iter().chain(words.clone());
    let is_openclaw = |word: &str| word.contains("openclaw") || word.ends_with("dist/index.js");
    // A shell's `-c "… openclaw gateway …"` is one word.
    let is_gateway = |word: &str| word.split_whitespace().any(|it| it == "gateway");
    words.any(is_gateway) && all.clone().any(is_openclaw)
}

fn mounts_a_state(container: &Container) -> bool {
    let state = state_dir(container);
    container
        .mounts
        .iter()
        .any(|mount| state.starts_with(&mount.destination) && mount.destination != Path::new("/"))
}

/// `alice` of `alice-openclaw-gateway-1`, with either separator, for compose has had both; anything
/// else that has it in its name is its own name, as it was in the reference.
fn short_name(name: &str) -> Option<&str> {
    if !name.contains(GATEWAY) {
        return None;
    }
    let before = without_number(name).strip_suffix(GATEWAY);
    let short = before.map(|it| (it, it.trim_end_matches(['-', '_'])));
    match short {
        Some((before, short)) if !short.is_empty() && short.len() < before.len() => Some(short),
        _ => Some(name),
    }
}

/// `a-b` of `a-b-12`, and of `a-b` itself.
fn without_number(name: &str) -> &str {
    let rest = name.trim_end_matches(|last: char| last.is_ascii_digit());
    match rest.len() < name.len() && rest.ends_with(['-', '_']) {
        true => rest.trim_end_matches(['-', '_']),
        false => name,
    }
}

fn state_dir(container: &Container) -> PathBuf {
    if let Some(dir) = container.env("OPENCLAW_STATE_DIR") {
        return dir.into();
    }
    if let Some(home) = container.env("OPENCLAW_HOME") {
        return Path::new(home).join(STATE_DIR);
    }
    // The image's user is often set by number, and then HOME is not told.
    let mounted = container
        .mounts
        .iter()
        .find(|mount| mount.destination.ends_with(STATE_DIR));
    match (container.env("HOME"), mounted) {
        (Some(home), _) => Path::new(home).join(STATE_DIR),
        (None, Some(mount)) => mount.destination.clone(),
        (None, None) => Path::new(IMAGE_HOME).join(STATE_DIR),
    }
}

/// The instances of this user on this machine: `state_dir` is `OPENCLAW_STATE_DIR`, and `entries` the
/// names in `home`; `has_config` tells whether a directory has an openclaw.json.
pub(crate) fn local(
    home: &Path,
    state_dir: Option<&Path>,
    entries: &[String],
    has_config: &dyn Fn(&Path) -> bool,
) -> Vec<Instance> {
    let mut found = Vec::new();
    let mut add = |dir: PathBuf, name: &str, reason: String| {
        let is_new = found.iter().all(|it: &Instance| it.state_dir != dir);
        if is_new && has_config(&dir) {
            found.push(Instance {
                name: tenant_name(name),
                place: Place::Local,
                config_path: dir.join(CONFIG_FILE),
                state_dir: dir,
                reason,
            });
        }
    };
    add(
        home.join(STATE_DIR),
        "local",
        format!("~/{STATE_DIR}/{CONFIG_FILE}"),
    );
    let mut profiles: Vec<&String> = entries.iter().collect();
    profiles.sort();
    for entry in profiles {
        let profile = entry
            .strip_prefix(STATE_DIR)
            .and_then(|it| it.strip_prefix('-'));
        if let Some(profile) = profile.filter(|it| !it.is_empty()) {
            add(
                home.join(entry),
                &format!("local-{profile}"),
                format!("~/{entry}/{CONFIG_FILE}"),
            );
        }
    }
    if let Some(dir) = state_dir {
        let name = dir.file_name().map(|it| it.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        add(
            dir.to_owned(),
            &format!("local-{}", name.trim_start_matches('.')),
            "OPENCLAW_STATE_DIR".to_owned(),
        );
    }
    found
}

/// Gives those that would share a name a number; tells of each. The name of a tenant whose container is
/// named is that container's alone.
pub(crate) fn make_unique(instances: &mut [Instance], claims: &Claims) -> Vec<String> {
    let mut taken: HashSet<String> = claims.0.iter().map(|(_, tenant)| tenant.clone()).collect();
    let mut claimed = HashSet::new();
    let mut notices = Vec::new();
    for instance in instances {
        let is_claimed = instance
            .container()
            .is_some_and(|it| claims.tenant_of(it).is_some());
        // Two engines may each have a container of this name.
        if is_claimed && claimed.insert(instance.name.clone()) {
            continue;
        }
        let wanted = instance.name.clone();
        let mut number = 2;
        while !taken.insert(instance.name.clone()) {
            instance.name = numbered(&wanted, number);
            number += 1;
        }
        if instance.name != wanted {
            notices.push(format!(
                "{} would be `{wanted}` too; it is called `{}`",
                instance.whereabouts(),
                instance.name
            ));
        }
    }
    notices
}

/// The longest name that a tenant may have.
const NAME_MAX: usize = 63;

fn numbered(name: &str, number: usize) -> String {
    let suffix = format!("-{number}");
    let room = NAME_MAX - suffix.len();
    format!("{}{suffix}", &name[..name.len().min(room)])
}

/// A name as a tenant may have one. `openclaw`, which is what a compose project is called by default,
/// was `dc` in the reference, and its configurations are taken over.
fn tenant_name(name: &str) -> String {
    if name == "openclaw" {
        return "dc".to_owned();
    }
    let lower = name.to_lowercase();
    let plain: String = lower
        .chars()
        .map(|char| match char {
            'a'..='z' | '0'..='9' | '_' | '-' => char,
            _ => '-',
        })
        .take(NAME_MAX)
        .collect();
    let plain = plain.trim_start_matches(['-', '_']);
    match plain.is_empty() {
        true => "instance".to_owned(),
        false => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests;
