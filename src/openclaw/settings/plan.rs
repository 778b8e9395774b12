//! What must change in the settings so that an instance asks the gateway. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::{PrimaryModel, Settings, patch, variables};
use crate::api::models;

/// What is to change. It holds the key, so it cannot be printed.
pub(crate) struct Plan {
    /// For `openclaw config patch`: objects merge, everything else is replaced. `{}` when the
    /// settings already say all of it.
    pub(crate) patch: Value,
    /// The providers that the patch changes.
    pub(crate) providers: Vec<ProviderChange>,
    /// What the operator should know, a sentence each.
    pub(crate) notices: Vec<String>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.patch.as_object().is_some_and(Map::is_empty)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderChange {
    pub(crate) id: String,
    pub(crate) api: Api,
    pub(crate) base_url: String,
    /// As the file writes it, without a login that it may hold.
    pub(crate) previous_base_url: Option<String>,
}

/// Why an instance cannot be pointed at the gateway, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The gateway as the instance reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayUrl {
    /// `http://172.17.0.1:3456`, without a slash at its end.
    pub(crate) origin: String,
}

/// Those of OpenClaw's provider APIs that the gateway serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    AnthropicMessages,
    OpenAiCompletions,
    OpenAiResponses,
}

impl Api {
    /// As openclaw.json writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Api::AnthropicMessages => "anthropic-messages",
            Api::OpenAiCompletions => "openai-completions",
            Api::OpenAiResponses => "openai-responses",
        }
    }

    fn parse(name: &str) -> Option<Api> {
        let all = [
            Api::AnthropicMessages,
            Api::OpenAiCompletions,
            Api::OpenAiResponses,
        ];
        all.into_iter().find(|api| api.name() == name)
    }

    /// OpenClaw adds `/v1` itself for Anthropic's API, where it also takes it in the URL.
    fn base_url(self, origin: &str) -> String {
        match self {
            Api::AnthropicMessages => origin.to_owned(),
            Api::OpenAiCompletions | Api::OpenAiResponses => format!("{origin}/v1"),
        }
    }
}

/// OpenClaw's built-in provider, which needs no entry.
const BUILT_IN: &str = "anthropic";

/// The provider that an instance without a model gets.
const OWN: &str = "ccgw";

const OWN_MODEL: &str = "claude-sonnet-4-6";

const PROVIDERS: [&str; 2] = ["models", "providers"];

/// The `agentRuntime` ids with which OpenClaw asks a model's provider itself.
const ASKS_PROVIDER: [&str; 2] = ["openclaw", "auto"];

pub(super) fn plan(settings: &Settings, gateway: &GatewayUrl, key: &str) -> Result<Plan, Refusal> {
    let mut draft = Draft {
        settings,
        origin: &gateway.origin,
        key: variables::literal(key),
        patch: Map::new(),
        providers: Vec::new(),
        notices: Vec::new(),
    };
    let models = settings.primary_models();
    match models.is_empty() {
        true => draft.introduce()?,
        false => draft.redirect(&models)?,
    }
    draft.finish()
}

struct Draft<'a> {
    settings: &'a Settings,
    origin: &'a str,
    /// As openclaw.json writes it.
    key: String,
    patch: Map<String, Value>,
    providers: Vec<ProviderChange>,
    notices: Vec<String>,
}

impl Draft<'_> {
    /// For an instance that already uses models.
    fn redirect(&mut self, models: &[PrimaryModel]) -> Result<(), Refusal> {
        let mut apis = BTreeMap::<&str, Vec<Api>>::new();
        let mut others = Vec::new();
        for model in models {
            if let Some(runtime) = self.runtime_instead(model) {
                let why = format!(
                    "{:?} is answered by the runtime {runtime:?} of OpenClaw's own, so its provider is not asked: remove that agentRuntime from its settings",
                    model.model
                );
                match &model.agent {
                    None => {
                        return Err(Refusal(format!("its primary model {why} and run again")));
                    }
                    Some(agent) => self
                        .notices
                        .push(format!("agent {agent:?}: its model {why}")),
                }
            }
            match (self.served(&model.model), &model.agent) {
                (Some((provider, api)), _) => apis.entry(provider).or_default().push(api),
                (None, Some(agent)) => others.push((agent, &model.model)),
                (None, None) => return Err(not_served(&model.model)),
            }
        }
        if models.iter().all(|model| model.agent.is_some()) {
            self.notices.push(
                "agents.defaults.model.primary is not set: agents without a model of their own are left alone"
                    .to_owned(),
            );
        }
        for (provider, apis) in &apis {
            self.point(provider, apis);
        }
        for (agent, model) in others {
            let provider = model.split_once('/').map_or("", |(provider, _)| provider);
            self.notices.push(match apis.contains_key(provider) {
                true => format!(
                    "agent {agent:?}: its model {model:?} is not one that the gateway can serve, but its provider now points at the gateway: give the agent another model"
                ),
                false => format!(
                    "agent {agent:?}: its model {model:?} is not one that the gateway can serve, it is left alone"
                ),
            });
        }
        Ok(())
    }

    /// For an instance without any model.
    fn introduce(&mut self) -> Result<(), Refusal> {
        let id = match self.provider(OWN) {
            None => {
                self.add_own();
                OWN_MODEL.to_owned()
            }
            Some(entry) => {
                let ids = entries(entry).filter_map(|entry| self.id(entry));
                let id = ids.into_iter().find(|id| models::resolve(id).is_ok());
                let id = id.unwrap_or_else(|| OWN_MODEL.to_owned());
                let model = format!("{OWN}/{id}");
                let (_, api) = self.served(&model).ok_or_else(|| not_served(&model))?;
                self.point(OWN, &[api]);
                id
            }
        };
        let name = Value::from(format!("{OWN}/{id}"));
        let path = ["agents", "defaults", "model"];
        match self.settings.at(&path) {
            // An empty text: a model is a text or an object, and what is there need not change.
            Some(Value::String(_) | Value::Null) => self.put(&path, name),
            _ => self.put(&["agents", "defaults", "model", "primary"], name),
        }
        Ok(())
    }

    fn add_own(&mut self) {
        let api = Api::AnthropicMessages;
        let base_url = api.base_url(self.origin);
        let entry = json!({
            "baseUrl": base_url,
            "apiKey": self.key,
            "api": api.name(),
            "models": [{
                "id": OWN_MODEL,
                "name": "Claude Sonnet (ccgw)",
                "reasoning": true,
                "input": ["text", "image"],
                "contextWindow": 200_000,
                "maxTokens": 32_000,
                "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
            }],
        });
        self.put(&[PROVIDERS[0], PROVIDERS[1], OWN], entry);
        self.providers.push(ProviderChange {
            id: OWN.to_owned(),
            api,
            base_url,
            previous_base_url: None,
        });
    }

    /// Points a provider at the gateway, and with it those of its models that have a URL of their own.
    fn point(&mut self, provider: &str, apis: &[Api]) {
        // With models of both kinds the URL must end in `/v1`, which serves both.
        let openai = apis.iter().find(|api| **api != Api::AnthropicMessages);
        let Some(api) = openai.or(apis.first()).copied() else {
            return;
        };
        let base_url = api.base_url(self.origin);
        let entry = self.provider(provider).cloned().unwrap_or(Value::Null);
        let mut fields = Map::new();
        let models = self.pointed_models(provider, &entry);
        let wanted = [
            ("baseUrl", Some(Value::from(base_url.clone()))),
            ("apiKey", Some(Value::from(self.key.clone()))),
            ("models", models),
        ];
        for (field, value) in wanted {
            if let Some(value) = value.filter(|value| entry.get(field) != Some(value)) {
                fields.insert(field.to_owned(), value);
            }
        }
        if fields.is_empty() {
            return;
        }
        self.put(
            &[PROVIDERS[0], PROVIDERS[1], provider],
            Value::Object(fields),
        );
        let previous = entry.get("baseUrl").and_then(Value::as_str);
        self.providers.push(ProviderChange {
            id: provider.to_owned(),
            api,
            base_url,
            previous_base_url: previous.map(without_login),
        });
    }

    /// The provider's list of models with their own URLs changed; a patch can only replace all of it.
    fn pointed_models(&self, provider: &str, entry: &Value) -> Option<Value> {
        let mut list = entry.get("models")?.as_array()?.clone();
        for model in &mut list {
            let Some(id) = self.id(model).filter(|id| models::resolve(id).is_ok()) else {
                continue;
            };
            let api = self.api(provider, entry, &id);
            if let (Some(api), Some(url)) = (api, model.get_mut("baseUrl")) {
                *url = Value::from(api.base_url(self.origin));
            }
        }
        Some(Value::Array(list))
    }

    /// The provider and the API of a model that the gateway can serve.
    fn served<'m>(&self, model: &'m str) -> Option<(&'m str, Api)> {
        let (provider, id) = model.split_once('/')?;
        models::resolve(id).ok()?;
        let api = match self.provider(provider) {
            Some(entry) => self.api(provider, entry, id)?,
            None if provider == BUILT_IN => Api::AnthropicMessages,
            None => return None,
        };
        Some((provider, api))
    }

    /// The API of a model: its own, else its provider's, else what OpenClaw takes.
    fn api(&self, provider: &str, entry: &Value, id: &str) -> Option<Api> {
        let own = entries(entry)
            .filter(|model| self.id(model).as_deref() == Some(id))
            .find_map(|model| model.get("api"));
        match own.or_else(|| entry.get("api")) {
            Some(api) => Api::parse(&self.settings.text(api)?),
            None if provider == BUILT_IN => Some(Api::AnthropicMessages),
            None => Some(Api::OpenAiCompletions),
        }
    }

    /// Who answers a model in its provider's place. Runtimes are set for an exact model, for all
    /// of a provider's, or at the provider, in this order (measured with 2026.9.6: with
    /// `claude-cli` no request reaches the provider's URL).
    fn runtime_instead(&self, model: &PrimaryModel) -> Option<String> {
        let name = model.model.as_str();
        let (provider, id) = name.split_once('/')?;
        let of_agents = |name: &str| {
            let own = model.agent.as_deref();
            let own =
                own.and_then(|it| self.settings.at(&["agents", "entries", it, "models", name]));
            let shared = self.settings.at(&["agents", "defaults", "models", name]);
            [own, shared].into_iter().flatten().find_map(runtime)
        };
        let entry = self.provider(provider);
        let listed = entry.into_iter().flat_map(entries);
        let of_model = || {
            let mut own = listed.filter(|it| self.id(it).as_deref() == Some(id));
            own.find_map(runtime)
        };
        let chosen = of_agents(name)
            .or_else(of_model)
            .or_else(|| of_agents(&format!("{provider}/*")))
            .or_else(|| entry.and_then(runtime))?;
        (!ASKS_PROVIDER.contains(&chosen)).then(|| chosen.to_owned())
    }

    fn provider(&self, id: &str) -> Option<&Value> {
        self.settings.at(&[PROVIDERS[0], PROVIDERS[1], id])
    }

    fn id(&self, model: &Value) -> Option<String> {
        self.settings.text(model.get("id")?)
    }

    fn put(&mut self, path: &[&str], value: Value) {
        patch::put(&mut self.patch, path, value);
    }

    fn finish(self) -> Result<Plan, Refusal> {
        let patch = Value::Object(self.patch);
        if let Some(path) = patch::in_the_way(&self.settings.value, &patch) {
            return Err(Refusal(format!(
                "{path} in its settings is not an object, correct it and run again"
            )));
        }
        Ok(Plan {
            patch,
            providers: self.providers,
            notices: self.notices,
        })
    }
}

/// The entries of a provider's `models`.
fn entries(provider: &Value) -> impl Iterator<Item = &Value> {
    let list = provider.get("models").and_then(Value::as_array);
    list.into_iter().flatten()
}

/// A URL that may be shown.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
    match (scheme, authority.rfind('@')) {
        (_, None) => url.to_owned(),
        (scheme, Some(at)) => format!("{scheme}://[login]{}", &rest[at..]),
    }
}

fn runtime(policy: &Value) -> Option<&str> {
    policy.get("agentRuntime")?.get("id")?.as_str()
}

fn not_served(model: &str) -> Refusal {
    Refusal(format!(
        "its primary model {model:?} is not one that the gateway can serve: set agents.defaults.model.primary to e.g. \"{BUILT_IN}/{OWN_MODEL}\" and run again"
    ))
}
