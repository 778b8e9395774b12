//! An instance's openclaw.json with its included files: what it says. Pure, files come in as bytes.

mod edit;
mod include;
mod patch;
mod plan;
mod plugins;
mod source;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use include::{Merged, Mount};
use source::{Comments, Source};

pub(crate) use plan::{GatewayUrl, Plan, ProviderChange, Refusal};
pub(crate) use plugins::Plugin;

/// Gives a file's bytes by the path that the instance knows it by; `None` when it does not exist.
/// An error says why it cannot be read, without the path.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<Option<Vec<u8>>, String>;

/// What the settings say. It holds secrets, so it cannot be printed.
pub(crate) struct Settings {
    /// The root file is the first.
    sources: Vec<Source>,
    mounts: Vec<Mount>,
    /// All files merged, with variables as they are written.
    value: Value,
    /// The variables in it that have a value.
    variables: BTreeMap<String, String>,
}

/// A model that answers an agent's prompts first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrimaryModel {
    /// `None` for the agents that name no model of their own.
    pub(crate) agent: Option<String>,
    pub(crate) model: String,
}

impl Settings {
    /// Reads the root file, which need not exist, and all that it includes.
    ///
    /// `env` is the instance's environment. As in OpenClaw, its own `env.vars` fill what is missing.
    ///
    /// # Errors
    /// Names the file and what to do, and nothing of a file's content but paths.
    pub(crate) fn read(
        path: &Path,
        read: ReadFile<'_>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, String> {
        let Merged {
            sources,
            mounts,
            value,
        } = include::load(path, read)?;
        let mut settings = Settings {
            sources,
            mounts,
            value,
            variables: BTreeMap::new(),
        };
        let own: BTreeMap<_, _> = settings.env_vars().into_iter().collect();
        let known = |name: &str| {
            let set = |value: &String| !value.is_empty();
            env(name).filter(set).or_else(|| own.get(name).cloned())
        };
        let mut variables = BTreeMap::new();
        collect(&settings.value, &known, &mut variables);
        settings.variables = variables;
        Ok(settings)
    }

    /// The variables that the settings set for the instance's process.
    pub(crate) fn env_vars(&self) -> Vec<(String, String)> {
        let nested = self.fields(&["env", "vars"]);
        let legacy = self
            .fields(&["env"])
            .filter(|(name, _)| !matches!(*name, "vars" | "shellEnv"));
        let mut vars = Vec::<(String, String)>::new();
        for (name, value) in nested.chain(legacy) {
            let Some(text) = self.text(value) else {
                continue;
            };
            if is_variable(name) && !vars.iter().any(|(known, _)| known == name) {
                vars.push((name.to_owned(), text));
            }
        }
        vars
    }

    pub(crate) fn workspace(&self) -> Option<String> {
        self.at(&["agents", "defaults", "workspace"])
            .and_then(|value| self.text(value))
    }

    /// The ids of all agents; there is always `main`.
    pub(crate) fn agents(&self) -> Vec<String> {
        let entries = self
            .fields(&["agents", "entries"])
            .map(|(id, _)| id.to_owned());
        let list = self.at(&["agents", "list"]).and_then(Value::as_array);
        let list = list.into_iter().flatten();
        let list = list.filter_map(|it| Some(it.get("id")?.as_str()?.to_owned()));
        let mut all: Vec<String> = entries.chain(list).chain(["main".to_owned()]).collect();
        // They become part of a path.
        all.retain(|id| {
            id.bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
        });
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn gateway_port(&self) -> Option<u16> {
        let port = self.at(&["gateway", "port"])?.as_f64()?;
        // JSON5 has one kind of number; the cast is exact for what passes.
        let whole = port.fract() == 0.0 && (1.0..=f64::from(u16::MAX)).contains(&port);
        whole.then_some(port as u16)
    }

    /// The default first, then `agents.entries` by name, then the legacy list in its order. One that
    /// several agents share comes as often.
    pub(crate) fn primary_models(&self) -> Vec<PrimaryModel> {
        let default = self
            .at(&["agents", "defaults", "model"])
            .map(|model| (None, model));
        let entries = self
            .fields(&["agents", "entries"])
            .filter_map(|(id, agent)| {
                let model = agent.get("model")?;
                Some((Some(id.to_owned()), model))
            });
        let list = self.at(&["agents", "list"]).and_then(Value::as_array);
        let list = list.into_iter().flatten().filter_map(|agent| {
            let id = agent.get("id").and_then(|id| self.text(id));
            Some((Some(id.unwrap_or_default()), agent.get("model")?))
        });
        let models = default.into_iter().chain(entries).chain(list);
        models
            .filter_map(|(agent, model)| {
                let model = self.primary(model)?;
                Some(PrimaryModel { agent, model })
            })
            .collect()
    }

    /// The keys of all model providers.
    pub(crate) fn api_keys(&self) -> Vec<String> {
        let providers = self.fields(&["models", "providers"]);
        let keys = providers.filter_map(|(_, provider)| provider.get("apiKey"));
        keys.filter_map(|key| self.text(key)).collect()
    }

    /// Whether a rewrite by OpenClaw would lose comments.
    pub(crate) fn has_comments(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.comments == Comments::Some)
    }

    /// What must change so that the instance asks the gateway with this key.
    ///
    /// # Errors
    /// The gateway cannot serve the model that the instance uses.
    pub(crate) fn plan(&self, gateway: &GatewayUrl, key: &str) -> Result<Plan, Refusal> {
        plan::plan(self, gateway, key)
    }

    /// The new texts of the files that change, with everything else in them kept.
    ///
    /// # Errors
    /// The plan cannot be written into these files; nothing is to be written then.
    pub(crate) fn edited(&self, plan: &Plan) -> Result<Vec<(PathBuf, String)>, String> {
        edit::edited(self, plan)
    }

    /// A model setting: its name, or an object with it and fallbacks.
    fn primary(&self, model: &Value) -> Option<String> {
        let name = self.text(model.get("primary").unwrap_or(model))?;
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter()
            .try_fold(&self.value, |value, key| value.get(key))
    }

    fn fields(&self, path: &[&str]) -> impl Iterator<Item = (&str, &Value)> {
        let fields = self.at(path).and_then(Value::as_object);
        fields
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// A text as the instance reads it.
    fn text(&self, value: &Value) -> Option<String> {
        let known = |name: &str| self.variables.get(name).cloned();
        Some(variables::substituted(value.as_str()?, &known))
    }
}

/// The values of the variables in all texts.
fn collect(
    value: &Value,
    known: &dyn Fn(&str) -> Option<String>,
    into: &mut BTreeMap<String, String>,
) {
    match value {
        Value::String(text) => {
            for name in variables::names(text) {
                if let Some(value) = known(name) {
                    into.insert(name.to_owned(), value);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, known, into)),
        Value::Object(fields) => fields
            .values()
            .for_each(|field| collect(field, known, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_variable(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.starts_with(|first: char| !first.is_ascii_digit()) && name.bytes().all(is_name)
}

#[cfg(test)]
mod tests;
