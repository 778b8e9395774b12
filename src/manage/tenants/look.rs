//! A tenant of the configuration as commands show it: never its key, nor a variable's value.

use std::path::Path;

use serde::Serialize;

use crate::config::{self, Config, ConfigDir, Moment, Tenant};

/// What both lists and single looks show.
#[derive(Debug, Serialize)]
pub(super) struct Look {
    pub(super) name: String,
    /// Of the key; null where only its SHA-256 is known.
    pub(super) key_last4: Option<String>,
    pub(super) previous_key: Option<Previous>,
    pub(super) container: Option<String>,
    /// Null for a private folder.
    pub(super) working_dir: Option<String>,
    pub(super) config_dir: String,
    /// Names only.
    pub(super) env: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Previous {
    pub(super) until: String,
    pub(super) expired: bool,
}

impl Look {
    pub(super) fn at(tenant: &Tenant) -> Look {
        let previous = tenant.previous_key.map(|it| Previous {
            until: it.until.to_string(),
            expired: it.until <= Moment::now(),
        });
        let config_dir = match &tenant.config_dir {
            ConfigDir::Shared => "shared".to_owned(),
            ConfigDir::Private => "private".to_owned(),
            ConfigDir::Path(path) => path.display().to_string(),
        };
        let dir = tenant.working_dir.as_ref();
        Look {
            name: tenant.name.clone(),
            key_last4: tenant.key.last_four().map(str::to_owned),
            previous_key: previous,
            container: tenant.container.clone(),
            working_dir: dir.map(|it| it.display().to_string()),
            config_dir,
            env: tenant.env.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The key in a few characters.
    pub(super) fn key(&self) -> String {
        match &self.key_last4 {
            Some(end) => format!("…{end}"),
            None => "sha256".to_owned(),
        }
    }
}

/// The configuration, as the gateway reads it.
///
/// # Errors
/// Every problem of it.
pub(super) fn load(path: &Path) -> Result<Config, String> {
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(path, &env).map_err(|it| it.to_string())?;
    Ok(loaded.config)
}
