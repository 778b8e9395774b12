//! The `session` section: how long a conversation that nobody continues is kept.

use std::time::Duration;

use super::keys;
use super::problems::Reported;
use super::section::Reader;
use super::tree::Node;
use super::value::{choice, seconds};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// How long after its last request a conversation is forgotten.
    pub(crate) ttl: Duration,
    /// How often forgotten conversations are looked for.
    pub(crate) cleanup_interval: Duration,
    pub(crate) parallel: Parallel,
}

/// What becomes of a request whose conversation is being answered already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parallel {
    /// It goes on from where its history ends, at once.
    Fork,
    /// It waits for its turn.
    Wait,
}

const PARALLEL: [(&str, Parallel); 2] = [("fork", Parallel::Fork), ("wait", Parallel::Wait)];

const DAY_SECS: u64 = 24 * 60 * 60;

/// The only times of the file in seconds, as older files have them.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Session, Reported> {
    let mut s = reader.section(node, &keys::SESSION, "session".to_owned());
    let ttl = s.get("ttl", Duration::from_secs(3600), |text| {
        seconds(text, 30 * DAY_SECS)
    });
    let cleanup_interval = s.get("cleanup_interval", Duration::from_secs(900), |text| {
        seconds(text, DAY_SECS)
    });
    let parallel = s.get("parallel", Parallel::Fork, |text| choice(text, &PARALLEL));
    Ok(Session {
        ttl: ttl?,
        cleanup_interval: cleanup_interval?,
        parallel: parallel?,
    })
}
