//! `isolation` and `sandbox`: what keeps tenants' runs from each other and from this machine, and what a run may cost.

use std::path::PathBuf;

use super::keys;
use super::problems::{Place, Reported};
use super::section::{Reader, Section};
use super::tree::{Entry, Node, Value};
use super::value::{choice, number};
use crate::egress::Host;

/// What keeps a tenant's runs from the others and from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// The strongest that works here.
    Auto,
    /// Namespaces of its own, by bubblewrap; without it nothing runs.
    Bwrap,
    /// A system user of each tenant's own, which only a gateway of root's can give; without it nothing runs.
    User,
    /// Nothing: runs are processes of the gateway's user like any other.
    None,
}

const ISOLATIONS: [(&str, Isolation); 4] = [
    ("auto", Isolation::Auto),
    ("bwrap", Isolation::Bwrap),
    ("user", Isolation::User),
    ("none", Isolation::None),
];

impl Isolation {
    pub(crate) fn name(self) -> &'static str {
        let named = ISOLATIONS.iter().find(|(_, it)| *it == self);
        named.map_or("", |(name, _)| name)
    }
}

pub(super) fn parse(text: &str) -> Result<Isolation, String> {
    choice(text, &ISOLATIONS)
}

/// What a run reaches of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaches {
    /// What this machine reaches, and this machine.
    Shared,
    /// Its API, and the hosts that are named for it.
    Api,
}

const NETWORKS: [(&str, Reaches); 2] = [("shared", Reaches::Shared), ("api", Reaches::Api)];

impl Reaches {
    pub(crate) fn name(self) -> &'static str {
        let named = NETWORKS.iter().find(|(_, it)| *it == self);
        named.map_or("", |(name, _)| name)
    }
}

pub(super) fn parse_network(text: &str) -> Result<Reaches, String> {
    choice(text, &NETWORKS)
}

/// What a run in a sandbox sees, and may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// Absolute; seen by all runs, beside the system's own.
    pub(crate) read_only: Vec<PathBuf>,
    /// Processes and threads of one run.
    pub(crate) max_processes: u64,
    /// The largest file that a run may write.
    pub(crate) max_file_bytes: u64,
    pub(crate) memory_bytes: Memory,
    pub(crate) cpu_weight: u64,
    pub(crate) network: Reaches,
    /// Beside its API.
    pub(crate) hosts: Vec<Host>,
}

/// How much memory one run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Half of what there is.
    Auto,
    Bytes(u64),
    Unlimited,
}

/// The CLI alone takes 150 to 230 MB.
const MEMORY_MIN: u64 = 256 << 20;

pub(super) fn parse_memory(text: &str) -> Result<Memory, String> {
    match text {
        "auto" => Ok(Memory::Auto),
        "0" => Ok(Memory::Unlimited),
        _ => number(text, MEMORY_MIN..=u64::MAX >> 2)
            .map(Memory::Bytes)
            .map_err(|it| format!("{it}, auto, or 0 for no limit")),
    }
}

/// As the kernel has it (cgroups(7), `cpu.weight`).
pub(super) fn parse_weight(text: &str) -> Result<u64, String> {
    number(text, 1..=10_000)
}

/// A folder of this machine under the name that runs see it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) inside: PathBuf,
    pub(crate) host: PathBuf,
}

/// Each is an argument of bubblewrap's.
const PATHS_MAX: usize = 100;

/// Each connection is compared with all of them.
const HOSTS_MAX: usize = 1000;

pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Sandbox, Reported> {
    let mut s = reader.section(node, &keys::SANDBOX, "sandbox".to_owned());
    let origin = s.origin();
    let read_only = s.list("read_only", ("a path", "paths"), PATHS_MAX, |text| {
        origin.path(text)
    });
    let max_processes = s.get("max_processes", 1024, |text| number(text, 16..=1 << 22));
    let max_file_bytes = s.get("max_file_bytes", 2 << 30, |text| {
        number(text, 1 << 20..=u64::MAX >> 1)
    });
    let memory_bytes = s.get("memory_bytes", Memory::Auto, parse_memory);
    let cpu_weight = s.get("cpu_weight", 100, parse_weight);
    let network = s.get("network", Reaches::Shared, parse_network);
    let hosts = s.list("hosts", ("a host", "hosts"), HOSTS_MAX, Host::parse);
    Ok(Sandbox {
        read_only: read_only?.unwrap_or_default(),
        max_processes: max_processes?,
        max_file_bytes: max_file_bytes?,
        memory_bytes: memory_bytes?,
        cpu_weight: cpu_weight?,
        network: network?,
        hosts: hosts?.unwrap_or_default(),
    })
}

/// A tenant's `mounts`.
pub(super) fn read_mounts(s: &mut Section<'_, '_>) -> Result<Vec<Mount>, Reported> {
    const KEY: &str = "mounts";
    let entries = s.map(KEY);
    if entries.len() > PATHS_MAX {
        let text = format!("{} paths, write at most {PATHS_MAX}", entries.len());
        return Err(s.problem(KEY, Place::Line(entries[0].line), &text));
    }
    let mounts: Vec<_> = entries.iter().map(|entry| read_mount(s, entry)).collect();
    mounts.into_iter().collect()
}

fn read_mount(s: &mut Section<'_, '_>, entry: &Entry) -> Result<Mount, Reported> {
    let inside = parse_inside(&entry.key);
    let host = match &entry.node.value {
        Value::Scalar(text) => s.origin().path(text),
        other => Err(format!("expected a path, found {}", other.kind())),
    };
    match (inside, host) {
        (Ok(inside), Ok(host)) => Ok(Mount { inside, host }),
        (Err(text), _) | (_, Err(text)) => Err(s.problem("mounts", Place::Line(entry.line), &text)),
    }
}

/// Where the sandbox has its own, nothing else may be.
const TAKEN: [&str; 9] = [
    "/usr", "/etc", "/proc", "/dev", "/sys", "/run", "/bin", "/sbin", "/lib",
];

fn parse_inside(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let plain = path
        .components()
        .skip(1)
        .all(|it| matches!(it, std::path::Component::Normal(_)));
    if !path.is_absolute() || !plain || text.chars().any(char::is_control) {
        return Err(format!(
            "{} is not a full path, write one such as /home/node/.openclaw",
            super::problems::shown(text)
        ));
    }
    if path.parent().is_none() || TAKEN.iter().any(|it| path.starts_with(it)) {
        return Err(format!(
            "{} is the system's own, write a path elsewhere",
            super::problems::shown(text)
        ));
    }
    Ok(path)
}
