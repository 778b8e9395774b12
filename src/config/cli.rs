//! The `cli` section: which program answers, how many at once, how long, and with which rights.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::Effort;

use super::keys;
use super::problems::Reported;
use super::section::{Reader, Section};
use super::tree::Node;
use super::value::{choice, millis, number};
use super::warm::{self, Warm};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cli {
    /// A bare name, for the search in `PATH`, or an absolute path.
    pub(crate) bin: PathBuf,
    /// How long one run may take.
    pub(crate) timeout: Duration,
    /// How long a run may write nothing at all.
    pub(crate) idle_timeout: Duration,
    /// Runs at once over all tenants.
    pub(crate) max_concurrent: usize,
    /// Runs at once of one tenant, at most `max_concurrent`.
    pub(crate) max_per_tenant: usize,
    /// Requests of one tenant that may wait; 0 refuses what cannot run now.
    pub(crate) queue_depth: usize,
    pub(crate) queue_timeout: Duration,
    /// How long runs may go on after the order to stop.
    pub(crate) drain_timeout: Duration,
    /// For requests that ask for none themselves.
    pub(crate) effort: Option<Effort>,
    /// Absolute; it need not exist.
    pub(crate) skill_file: PathBuf,
    pub(crate) stream: StreamPolicy,
    pub(crate) permission_mode: PermissionMode,
    /// Processes that may wait for work; `None` for none.
    pub(crate) warm: Option<Warm>,
}

/// Which of the CLI's turns a streaming client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamPolicy {
    /// Only the last turn, the answer itself.
    Final,
    /// The text of every turn as it comes.
    Live,
}

/// What the CLI may do without asking, in its own words (`claude --help`, `--permission-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermissionMode {
    BypassPermissions,
    AcceptEdits,
    DontAsk,
    Manual,
    Plan,
    Auto,
}

impl PermissionMode {
    /// The value of `--permission-mode`.
    pub(crate) fn cli_name(self) -> &'static str {
        match self {
            PermissionMode::BypassPermissions => "bypassPermissions",
            PermissionMode::AcceptEdits => "acceptEdits",
            PermissionMode::DontAsk => "dontAsk",
            PermissionMode::Manual => "manual",
            PermissionMode::Plan => "plan",
            PermissionMode::Auto => "auto",
        }
    }
}

const EFFORTS: [(&str, Option<Effort>); 5] = [
    ("low", Some(Effort::Low)),
    ("medium", Some(Effort::Medium)),
    ("high", Some(Effort::High)),
    ("xhigh", Some(Effort::Xhigh)),
    ("max", Some(Effort::Max)),
];

const STREAM_POLICIES: [(&str, StreamPolicy); 2] =
    [("final", StreamPolicy::Final), ("live", StreamPolicy::Live)];

const PERMISSION_MODES: [(&str, PermissionMode); 7] = [
    ("bypassPermissions", PermissionMode::BypassPermissions),
    ("acceptEdits", PermissionMode::AcceptEdits),
    ("dontAsk", PermissionMode::DontAsk),
    ("manual", PermissionMode::Manual),
    // What older CLIs call it.
    ("default", PermissionMode::Manual),
    ("plan", PermissionMode::Plan),
    ("auto", PermissionMode::Auto),
];

/// A CLI takes 150 MB or more, so this many would need 38 GB.
pub(crate) const CONCURRENT_MAX: usize = 256;

pub(super) fn read<'t>(reader: &mut Reader<'t>, node: Option<&'t Node>) -> Result<Cli, Reported> {
    let mut s = reader.section(node, &keys::CLI, "cli".to_owned());
    let origin = s.origin();
    let bin = s.get("bin", PathBuf::from("claude"), |text| origin.program(text));
    let timeout = s.get("timeout", Duration::from_secs(900), millis);
    let idle_timeout = s.get("idle_timeout", Duration::from_secs(300), millis);
    let runs = read_runs(&mut s);
    let queue_depth = s.get("queue_depth", 20, |text| number(text, 1..=1000));
    let queue_timeout = s.get("queue_timeout", Duration::from_secs(300), millis);
    let drain_timeout = s.get("drain_timeout", Duration::from_secs(30), millis);
    let effort = s.get("effort", None, |text| choice(text, &EFFORTS));
    let default_file = origin.dir.join("openclaw-skill.md");
    let skill_file = s.get("skill_file", default_file, |text| origin.path(text));
    let stream = s.get("stream", StreamPolicy::Final, |text| {
        choice(text, &STREAM_POLICIES)
    });
    let permission_mode = s.get(
        "permission_mode",
        PermissionMode::BypassPermissions,
        |text| choice(text, &PERMISSION_MODES),
    );
    let warm = s.node("warm");
    let warm = warm::read(reader, warm);
    let runs = runs?;
    Ok(Cli {
        bin: bin?,
        timeout: timeout?,
        idle_timeout: idle_timeout?,
        max_concurrent: runs.max_concurrent,
        max_per_tenant: runs.max_per_tenant,
        queue_depth: queue_depth?,
        queue_timeout: queue_timeout?,
        drain_timeout: drain_timeout?,
        effort: effort?,
        skill_file: skill_file?,
        stream: stream?,
        permission_mode: permission_mode?,
        warm: warm?,
    })
}

struct Runs {
    max_concurrent: usize,
    max_per_tenant: usize,
}

/// The two limits that depend on each other.
fn read_runs(s: &mut Section<'_, '_>) -> Result<Runs, Reported> {
    let in_range = |text: &str| number(text, 1..=CONCURRENT_MAX);
    let max_concurrent = s.get("max_concurrent", 3, in_range);
    let max_per_tenant = s.read("max_per_tenant", in_range);
    let (max_concurrent, max_per_tenant) = (max_concurrent?, max_per_tenant?);
    if let Some((per_tenant, place)) = max_per_tenant
        && per_tenant > max_concurrent
    {
        let text = format!(
            "`{per_tenant}` is more than cli.max_concurrent, write at most {max_concurrent} or \
             raise that limit"
        );
        return Err(s.problem("max_per_tenant", place, &text));
    }
    Ok(Runs {
        max_concurrent,
        max_per_tenant: max_per_tenant.map_or(1, |(value, _)| value),
    })
}
