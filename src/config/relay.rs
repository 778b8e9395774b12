//! The `relay` section: which `openclaw` commands runs may give their instance.

use std::time::Duration;

use super::keys;
use super::problems::{Place, Reported};
use super::section::{Reader, Section};
use super::tree::{Node, Value};
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

/// `None` when it is switched off.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Option<Relay>, Reported> {
    let switch =
        |text: &str| node.is_some_and(|it| matches!(&it.value, Value::Scalar(own) if own == text));
    if switch("off") {
        return Ok(None);
    }
    let node = node.filter(|_| !switch("on"));
    let mut s = reader.section(node, &keys::RELAY, "relay".to_owned());
    let allow = read_categories(&mut s);
    let timeout = s.get("timeout", Duration::from_secs(120), millis);
    Ok(Some(Relay {
        allow: allow?,
        timeout: timeout?,
    }))
}

fn read_categories(s: &mut Section<'_, '_>) -> Result<Vec<String>, Reported> {
    const KEY: &str = "allow";
    let all: Vec<(&str, &str)> = policy::categories().map(|it| (it, it)).collect();
    let Some(node) = s.node(KEY) else {
        return Ok(all.iter().map(|(name, _)| (*name).to_owned()).collect());
    };
    let Value::List(items) = &node.value else {
        let text = format!("expected a list of categories, found {}", node.value.kind());
        return Err(s.problem(KEY, Place::Line(node.line), &text));
    };
    let categories: Vec<_> = items
        .iter()
        .map(|item| {
            let parsed = match &item.value {
                Value::Scalar(text) => choice(text, &all).map(str::to_owned),
                other => Err(format!("expected a category, found {}", other.kind())),
            };
            parsed.map_err(|text| s.problem(KEY, Place::Line(item.line), &text))
        })
        .collect();
    categories.into_iter().collect()
}
