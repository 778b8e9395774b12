//! `cli.warm`: which processes of the CLI may wait for work, and what they may cost.

use std::time::Duration;

use super::keys;
use super::problems::Reported;
use super::section::Reader;
use super::tree::Node;
use super::value::{millis, number};

/// What processes that wait for work may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Warm {
    pub(crate) max_processes: usize,
    /// How long one may wait.
    pub(crate) idle_timeout: Duration,
    /// Resident memory of all of them; `None` is half of what there would be without them.
    pub(crate) memory_bytes: Option<u64>,
}

/// Each takes some 160 MB.
const PROCESSES_MAX: usize = 256;

/// `None` when it is switched off.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Option<Warm>, Reported> {
    let Some(mut s) = reader.switchable(node, &keys::WARM, "cli.warm".to_owned()) else {
        return Ok(None);
    };
    let max_processes = s.get("max_processes", 4, |text| number(text, 1..=PROCESSES_MAX));
    let idle_timeout = s.get("idle_timeout", Duration::from_secs(600), millis);
    let memory_bytes = s.get("memory_bytes", None, |text| match text {
        "auto" => Ok(None),
        _ => number(text, 1..=u64::MAX).map(Some),
    });
    Ok(Some(Warm {
        max_processes: max_processes?,
        idle_timeout: idle_timeout?,
        memory_bytes: memory_bytes?,
    }))
}
