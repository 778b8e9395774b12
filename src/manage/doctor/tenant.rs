//! What must be right of one tenant and its instance.

use std::time::Duration;

use super::{Depth, Report, machine::login};
use crate::{
    api::models,
    config::{self, Config, ConfigDir, Moment},
    manage::{
        access::Access,
        apply::{self, EnvFiles, Target},
        ask::{Ask, CANNOT_ASK},
        beacon::{Beacon, SILENCE},
        found::Found,
        prove::{self, Finding},
        reach::{self, Answering},
        tenant_key,
    },
    openclaw::{instance::Instance, settings::Settings},
};

/// What all tenants are looked at with.
pub(super) struct Setting<'a> {
    pub(super) config: &'a Config,
    pub(super) found: &'a Found,
    pub(super) answering: &'a Answering,
    pub(super) depth: Depth,
    pub(super) beacon: Option<&'a Beacon>,
}

impl Setting<'_> {
    pub(super) fn tenant(&self, tenant: &config::Tenant, report: &mut Report) {
        let name = tenant.name.as_str();
        let mut add = |check, finding| report.add(Some(name), check, finding);
        if let Some(previous) = previous_key(tenant) {
            add("previous key", previous);
        }
        add("skills", self.skills(name));
        if tenant.config_dir != ConfigDir::Shared {
            add("login", login(self.config, &tenant.config_dir));
        }
        if let Some(why) = self.found.stranger(name) {
            return add("instance", Finding::fail(why, ""));
        }
        let Some(instance) = self.found.named(name) else {
            return add(
                "instance",
                Finding::warn(
                    "no running OpenClaw of this name was found",
                    "start its container; a tenant of something else needs nothing here",
                ),
            );
        };
        let access = self.found.access(instance);
        add("instance", Finding::ok(described(instance)));
        let origin = reach::origin(&access, (self.config, self.answering));
        let origin = match origin {
            Ok(origin) => origin,
            Err(why) => return add("reach", Finding::fail(why, "")),
        };
        add(
            "reach",
            Finding::ok(format!("reaches {origin} from inside")),
        );
        let read = apply::settings(&access);
        let key = match &read {
            Ok(read) => tenant_key::of(tenant, Some(read), None),
            Err(_) => tenant_key::of(tenant, None, None),
        };
        match &key {
            Ok(key) => self.pointed(&access, (&origin, key.expose()), &read, &mut add),
            Err(why) => add("key", Finding::fail(why, "")),
        }
        if self.depth == Depth::Whole {
            add("stream", self.stream(&access, &origin));
        }
    }

    /// Whether an instance asks here, with a key that is known.
    fn pointed(
        &self,
        access: &Access<'_>,
        (origin, key): (&str, &str),
        read: &Result<Settings, String>,
        add: &mut dyn FnMut(&'static str, Finding),
    ) {
        let runs = matches!(self.answering, Answering::Gateway { .. });
        if runs {
            let known = prove::key_is_known(access, origin, key);
            add(
                "key",
                match known {
                    Ok(()) => Finding::ok("the running gateway knows its key"),
                    Err(why) => Finding::fail(why, ""),
                },
            );
        }
        add("settings", settings(access, read, (origin, key)));
        if let (Ok(read), true) = (read, runs) {
            add("model", models(access, read, (origin, key)));
        }
    }

    fn skills(&self, tenant: &str) -> Finding {
        let dir = self.config.skills.dir.join(tenant);
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let count = entries
            .filter(|it| it.path().join("SKILL.md").is_file())
            .count();
        match count {
            0 => Finding::ok(format!("none in {}", dir.display())),
            count => Finding::ok(format!(
                "{count} in {} are shown to its runs",
                dir.display()
            )),
        }
    }

    /// Whether something between here and there ends connections that are silent.
    fn stream(&self, access: &Access<'_>, origin: &str) -> Finding {
        let Some(beacon) = self.beacon else {
            return Finding::warn("no port is free to try a silent stream with", "");
        };
        let host = origin.rsplit_once(':').map_or(origin, |(host, _)| host);
        let url = format!("{host}:{}/silent", beacon.port);
        let said = access.ask(&Ask {
            url: &url,
            key: None,
            body: None,
            timeout: SILENCE + Duration::from_secs(10),
        });
        match said {
            Ok(said) if said.body.contains(&beacon.word) => Finding::ok(format!(
                "a stream that is silent for {} s survives",
                SILENCE.as_secs()
            )),
            Ok(said) => Finding::warn(
                format!("somebody else answers at {url} ({})", said.status),
                "look for a proxy between the container and this machine",
            ),
            Err(why) => Finding::warn(
                format!(
                    "a stream that is silent for {} s does not survive: {why}",
                    SILENCE.as_secs()
                ),
                "a firewall that lets only the gateway's port through looks like this too; else look for a proxy with a short timeout",
            ),
        }
    }
}

/// How long the key before the present one is still taken.
fn previous_key(tenant: &config::Tenant) -> Option<Finding> {
    let until = tenant.previous_key?.until;
    Some(match until <= Moment::now() {
        true => Finding::warn(
            format!("its previous key is not taken any more since {until}"),
            "the next change with ccgw-manage removes it from the configuration",
        ),
        false => Finding::ok(format!("its previous key is taken until {until}")),
    })
}

fn described(instance: &Instance) -> String {
    format!("{} ({})", instance.whereabouts(), instance.reason)
}

/// An instance has a handful of models; each is a request from inside of it.
const MODELS_ASKED: usize = 4;

/// Whether the gateway takes the models that its agents start with. Those of other providers are not its business.
fn models(access: &Access<'_>, settings: &Settings, (origin, key): (&str, &str)) -> Finding {
    let mut names: Vec<String> = Vec::new();
    for model in settings.primary_models() {
        match model.model.split_once('/') {
            Some((_, id)) if models::resolve(id).is_ok() => names.push(id.to_owned()),
            _ => {}
        }
    }
    // Of two agents with the same one; and no model's name needs escapes in a URL.
    names.sort();
    names.dedup();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    names.retain(|it| it.bytes().all(is_plain));
    names.truncate(MODELS_ASKED);
    if names.is_empty() {
        let mend =
            "set agents.defaults.model.primary to a Claude model, or run `ccgw-manage apply`";
        return Finding::warn("none of its models is one that the gateway serves", mend);
    }
    for name in &names {
        let url = format!("{origin}/v1/models/{name}");
        let said = access.ask(&Ask {
            url: &url,
            key: Some(key),
            body: None,
            timeout: Duration::from_secs(10),
        });
        match said {
            Ok(said) if said.status == 200 => {}
            Ok(said) => {
                let text = format!("the gateway answers {} for {name:?}", said.status);
                return Finding::fail(text, "give the agent a model that `GET /v1/models` lists");
            }
            Err(why) if why == CANNOT_ASK => return Finding::warn(why, ""),
            Err(why) => return Finding::fail(why, ""),
        }
    }
    Finding::ok(format!("the gateway takes {}", names.join(", ")))
}

fn settings(
    access: &Access<'_>,
    settings: &Result<Settings, String>,
    (origin, key): (&str, &str),
) -> Finding {
    let mend = format!(
        "`ccgw-manage apply {}` points it here",
        access.instance.name
    );
    let target = Target {
        origin,
        key,
        env_files: EnvFiles::LeaveAlone,
    };
    let plan = settings.as_ref().map_err(Clone::clone);
    match plan.and_then(|settings| apply::plan(settings, &target)) {
        Ok(plan) if plan.is_empty() => match plan.notices.first() {
            Some(notice) => Finding::warn(notice, ""),
            None => Finding::ok("openclaw.json points at the gateway, with its key"),
        },
        Ok(plan) => {
            let providers: Vec<String> = plan
                .providers
                .iter()
                .map(|it| {
                    let now = it.previous_base_url.as_deref().unwrap_or("nothing");
                    format!("provider {} points at {now}", it.id)
                })
                .collect();
            Finding::fail(
                format!(
                    "openclaw.json is not as it should be: {}",
                    providers.join(", ")
                ),
                mend,
            )
        }
        Err(why) => Finding::fail(why, ""),
    }
}
