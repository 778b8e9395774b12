//! Which of OpenClaw's plugins are on, by what the settings say of them.

use serde_json::Value;

use super::Settings;

/// What a plugin says of itself in its openclaw.plugin.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plugin {
    pub(crate) id: String,
    is_on_by_default: bool,
}

impl Plugin {
    /// `None` when it has no id.
    pub(crate) fn of_manifest(bytes: &[u8]) -> Option<Plugin> {
        let manifest: Value = serde_json::from_slice(bytes).ok()?;
        Some(Plugin {
            id: manifest["id"].as_str()?.to_owned(),
            is_on_by_default: manifest["enabledByDefault"] == true
                || has(&manifest["enabledByDefaultOnPlatforms"], "linux"),
        })
    }
}

impl Settings {
    /// As OpenClaw decides it for a plugin that it ships. What a configured channel switches on by itself
    /// is not seen here.
    pub(crate) fn is_on(&self, plugin: &Plugin) -> bool {
        let id = plugin.id.as_str();
        let plugins = self.at(&["plugins"]).unwrap_or(&Value::Null);
        let entry = &plugins["entries"][id]["enabled"];
        if plugins["enabled"] == false || has(&plugins["deny"], id) || entry == false {
            return false;
        }
        let slots = &plugins["slots"];
        if slots["memory"] == id || slots["contextEngine"] == id {
            return true;
        }
        let allow = &plugins["allow"];
        let is_allowed = allow.as_array().is_none_or(Vec::is_empty) || has(allow, id);
        is_allowed && (entry == true || plugin.is_on_by_default)
    }
}

fn has(list: &Value, word: &str) -> bool {
    let words = list.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).any(|it| it.trim() == word)
}
