//! Edits of config.yaml's text that keep the operator's comments, order and line endings.
//!
//! [`spots`] and [`walk`] find where the values stand, [`tenants`] and [`entries`] plan what to write there in
//! the shape of [`lines`] and [`scalar`], and [`effect`] proves that the new text means the old
//! one with the change and nothing else. Pure: no file is touched here.

use std::fmt;
use std::path::{Path, PathBuf};

mod effect;
mod entries;
mod lines;
mod scalar;
mod spots;
mod tenants;
#[cfg(test)]
mod tests;
mod walk;

use super::key::Key;
use super::problems::{Problems, shown};
use super::secret::Secret;
use super::tree::{self, Node};
use spots::Page;

/// `text` with all `changes`, one after the other; every other byte stays as it is.
///
/// # Errors
/// When the text is not a valid tree, or has a shape that cannot be edited without guessing.
pub(crate) fn edited(text: &str, changes: &[Change]) -> Result<String, EditError> {
    let (mark, text) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (BYTE_ORDER_MARK, rest),
        None => ("", text),
    };
    let mut text = text.to_owned();
    for change in changes {
        text = edited_once(&text, change)?;
    }
    Ok(format!("{mark}{text}"))
}

/// The text of a config.yaml that was not there before, without tenants.
pub(crate) const NEW_FILE: &str = "\
# Configuration of ccgw. config.example.yaml explains every key; what is left out has its default.
# This file holds keys, so only its owner may read it: chmod 600 config.yaml
";

/// One edit.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// At the end of the list.
    AddTenant(NewTenant),
    RemoveTenant(String),
    /// Replaces the value, or adds it behind the tenant's key.
    Set {
        tenant: String,
        field: Field,
        value: Secret,
    },
    /// Nothing happens where it is not set.
    Unset {
        tenant: String,
        field: Field,
    },
    /// Replaces the variable, or adds it at the end.
    SetEnv {
        tenant: String,
        name: String,
        value: Secret,
    },
    UnsetEnv {
        tenant: String,
        name: String,
    },
}

/// What of a tenant can be changed besides its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    ApiKey,
    ApiKeySha256,
    PreviousKeySha256,
    PreviousKeyUntil,
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Field::ApiKey => "api_key",
            Field::ApiKeySha256 => "api_key_sha256",
            Field::PreviousKeySha256 => "previous_key_sha256",
            Field::PreviousKeyUntil => "previous_key_until",
        }
    }

    /// Behind which entry it is written where it is new: the last of these that is there.
    fn follows(self) -> &'static [&'static str] {
        const ORDER: [&str; 4] = ["name", "api_key", "api_key_sha256", "previous_key_sha256"];
        match self {
            Field::ApiKey | Field::ApiKeySha256 => &ORDER[..1],
            Field::PreviousKeySha256 => &ORDER[..3],
            Field::PreviousKeyUntil => &ORDER,
        }
    }
}

/// A tenant to write; keys that are not here keep their defaults.
#[derive(Debug, Clone)]
pub(crate) struct NewTenant {
    pub(crate) name: String,
    pub(crate) key: Key,
    pub(crate) container: Option<String>,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) mounts: Vec<super::Mount>,
    pub(crate) env: Vec<(String, Secret)>,
}

/// Why nothing was changed: the line, if there is one, what is there and the way out. Never a
/// secret.
#[derive(Debug)]
pub(crate) struct EditError(String);

impl EditError {
    fn new(text: impl Into<String>) -> Self {
        EditError(text.into())
    }

    fn at(line: usize, text: impl fmt::Display) -> Self {
        EditError(format!("line {line}: {text}"))
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EditError {}

const BYTE_ORDER_MARK: &str = "\u{feff}";

fn edited_once(text: &str, change: &Change) -> Result<String, EditError> {
    let tree = parsed(text).map_err(EditError::new)?;
    let page = Page::of(text)?;
    let plan = match change {
        Change::AddTenant(tenant) => tenants::add(&page, tree.as_ref(), tenant)?,
        Change::RemoveTenant(name) => tenants::remove(&page, tree.as_ref(), name)?,
        Change::Set {
            tenant,
            field,
            value,
        } => {
            let tenant = tenants::find(&page, tree.as_ref(), tenant)?;
            let value = scalar::written(value.expose());
            entries::set(&page, tenant.spot, (*field, &value))?
        }
        Change::Unset { tenant, field } => {
            let tenant = tenants::find(&page, tree.as_ref(), tenant)?;
            match tenant.spot.entry(field.name()) {
                Some(_) => entries::remove(&page, (tenant.key, tenant.spot), field.name())?,
                None => Vec::new(),
            }
        }
        Change::SetEnv {
            tenant,
            name,
            value,
        } => {
            let tenant = tenants::find(&page, tree.as_ref(), tenant)?;
            let entry = (scalar::written(name), scalar::written(value.expose()));
            tenants::set_variable(&page, tenant.spot, (name, &entry.0, &entry.1))?
        }
        Change::UnsetEnv { tenant, name } => {
            let tenant = tenants::find(&page, tree.as_ref(), tenant)?;
            tenants::unset_variable(&page, tenant.spot, name)?
        }
    };
    let new = lines::spliced(text, plan).ok_or_else(|| unproven(change))?;
    let expected = effect::expected(tree, change);
    match (parsed(&new), expected) {
        (Ok(found), Some(expected)) if effect::is_same(found.as_ref(), Some(&expected)) => Ok(new),
        _ => Err(unproven(change)),
    }
}

/// The tree, or every problem as text. A text with a problem is not edited at all: what is left
/// out of its tree could not be compared.
fn parsed(text: &str) -> Result<Option<Node>, String> {
    let mut problems = Problems::new(Path::new("config.yaml"));
    match tree::parse(text, &mut problems) {
        Ok(tree) if problems.is_empty() => Ok(tree),
        _ => Err(problems.sorted().to_string()),
    }
}

fn unproven(change: &Change) -> EditError {
    let (tenant, what) = match change {
        Change::AddTenant(tenant) => (&tenant.name, "add tenant"),
        Change::RemoveTenant(name) => (name, "remove tenant"),
        Change::Set { tenant, .. } | Change::Unset { tenant, .. } => {
            (tenant, "change the key of tenant")
        }
        Change::SetEnv { tenant, .. } | Change::UnsetEnv { tenant, .. } => {
            (tenant, "change the env of tenant")
        }
    };
    EditError(format!(
        "the file is written in a way that cannot be edited safely, so it was left as it is; {what} \
         {} by hand, or write the list of tenants as config.example.yaml does",
        shown(tenant)
    ))
}
