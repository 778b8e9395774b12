//! The `relay` section: which `openclaw` commands runs may give their instance.

use std::time::Duration;

use super::keys;
use super::problems::Reported;
use super::section::Reader;
use super::tree::Node;
use super::value::{choice, millis};
use crate::relay::policy;

/// What runs may tell their instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relay {
    /// Categories of commands.
    pub(crate) allow: Vec<String>,
    /// How long one command may take.
    pub(crate) timeout: Duration,
}

/// More than there are.
const CATEGORIES_MAX: usize = 100;

/// `None` when it is switched off.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Option<Relay>, Reported> {
    let Some(mut s) = reader.switchable(node, &keys::RELAY, "relay".to_owned()) else {
        return Ok(None);
    };
    let all: Vec<(&str, &str)> = policy::categories().map(|it| (it, it)).collect();
    let category = |text: &str| choice(text, &all).map(str::to_owned);
    let allow = s.list(
        "allow",
        ("a category", "categories"),
        CATEGORIES_MAX,
        category,
    );
    let every = || policy::categories().map(str::to_owned).collect();
    let timeout = s.get("timeout", Duration::from_secs(120), millis);
    Ok(Some(Relay {
        allow: allow?.unwrap_or_else(every),
        timeout: timeout?,
    }))
}
