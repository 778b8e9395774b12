//! One change of config.yaml by a command: locked, with what is over cleaned up, checked and told.

use std::path::{Path, PathBuf};

use crate::{
    config::{
        self, Config, Moment,
        edit::{self, Change, Field},
    },
    manage::store::Store,
};

/// What was done.
#[derive(Debug)]
pub(super) struct Edited {
    /// The configuration before.
    pub(super) before: Config,
    pub(super) backup: Option<PathBuf>,
    /// What was changed besides.
    pub(super) notes: Vec<String>,
}

/// Whether a file that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

/// Reads the file, lets `wanted` say what to change, and replaces it.
///
/// # Errors
/// Why it is as it was.
pub(super) fn edit(
    path: &Path,
    missing: Missing,
    wanted: impl FnOnce(&Config) -> Result<Vec<Change>, String>,
) -> Result<Edited, String> {
    let store = Store::open(path)?;
    let text = match (store.text(), missing) {
        (Some(text), _) => text.to_owned(),
        (None, Missing::Make) => edit::NEW_FILE.to_owned(),
        (None, Missing::Refuse) => {
            return Err(format!(
                "{}: there is no such file; `--config FILE` before the command names another",
                path.display()
            ));
        }
    };
    let before = parsed(path, &text)?;
    let (text, notes) = without_past(text, &before);
    let text = edit::edited(&text, &wanted(&before)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let backup = store.replace(&text)?.backup;
    Ok(Edited {
        before,
        backup,
        notes,
    })
}

/// As the daemon would read it, but for the environment, which is not the operator's.
fn parsed(path: &Path, text: &str) -> Result<Config, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let env = |name: &str| match name {
        "HOME" => std::env::var(name).ok(),
        _ => None,
    };
    let parsed = config::parsed(&path, text, &env);
    parsed
        .map_err(|problems| format!("nothing was changed, because there are mistakes:\n{problems}"))
}

/// Removes the previous keys whose time is over. Where that cannot be edited, they do no harm.
fn without_past(mut text: String, config: &Config) -> (String, Vec<String>) {
    let mut notes = Vec::new();
    for tenant in &config.tenants {
        let until = tenant.previous_key.map(|it| it.until);
        let Some(until) = until.filter(|it| *it <= Moment::now()) else {
            continue;
        };
        if let Ok(new) = edit::edited(&text, &without_previous(&tenant.name)) {
            text = new;
            let name = &tenant.name;
            notes.push(format!(
                "removed the previous key of {name}, whose time was over at {until}"
            ));
        }
    }
    (text, notes)
}

/// What takes a tenant's previous key away.
pub(super) fn without_previous(tenant: &str) -> [Change; 2] {
    [Field::PreviousKeySha256, Field::PreviousKeyUntil].map(|field| Change::Unset {
        tenant: tenant.to_owned(),
        field,
    })
}

/// What a running gateway does with it.
pub(super) const TAKEN_OVER: &str = "a gateway that runs takes it over by itself";
