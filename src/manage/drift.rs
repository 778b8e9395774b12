//! Notices when an instance no longer points at the gateway: an update of OpenClaw may have rewritten
//! its settings. It only looks and tells; `ccgw-manage apply` mends it.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use super::{
    apply::{self, EnvFiles, Target},
    found::Found,
    tenant_key,
};
use crate::{
    config::{Config, Tenant},
    log,
    openclaw::instance::Instance,
};

/// Between two looks, each of which reads one file of each instance.
const EVERY: Duration = Duration::from_secs(600);

/// Watches for as long as the process lives. Nothing waits for its end: it holds nothing, and an
/// engine that hangs must not hold up the daemon's.
pub(crate) fn watch(config: impl Fn() -> Arc<Config> + Send + 'static) {
    let look = move || {
        let mut told = BTreeMap::new();
        loop {
            let config = config();
            if !config.tenants.is_empty() {
                look(&config, &mut told);
            }
            thread::sleep(EVERY);
        }
    };
    if let Err(error) = thread::Builder::new().name("drift".to_owned()).spawn(look) {
        log::warn("instances are not watched", &[("why", &error)]);
    }
}

/// Tells of each instance once, and again when it is something else.
fn look(config: &Config, told: &mut BTreeMap<String, String>) {
    let found = Found::search(&config.tenants);
    let own = |it: &&Instance| found.stranger(&it.name).is_none();
    for instance in found.instances.iter().filter(own) {
        let tenant = config.tenants.iter().find(|it| it.name == instance.name);
        let Some(tenant) = tenant else { continue };
        match drifted(&found, instance, (config.server.port, tenant)) {
            None => {
                told.remove(&instance.name);
            }
            Some(what) => {
                if told.get(&instance.name) != Some(&what) {
                    let mend = format!("ccgw-manage apply {}", instance.name);
                    log::warn(
                        "an instance does not use the gateway",
                        &[("tenant", &instance.name), ("what", &what), ("mend", &mend)],
                    );
                    told.insert(instance.name.clone(), what);
                }
            }
        }
    }
}

/// What is not as setup left it; `None` when all is, or nothing can be said.
pub(super) fn drifted(
    found: &Found,
    instance: &Instance,
    (port, tenant): (u16, &Tenant),
) -> Option<String> {
    let settings = match apply::settings(&found.access(instance)) {
        Ok(settings) => settings,
        Err(why) => return Some(why),
    };
    // Of a key that only its hash is known of it is enough that the instance has it.
    let known = tenant_key::of(tenant, Some(&settings), None);
    let key = known.as_ref().map_or("", |key| key.expose());
    // Under which address it reaches us takes a program in the container to find out; the port and
    // the key say enough.
    let target = Target {
        origin: "http://ccgw",
        key,
        env_files: EnvFiles::LeaveAlone,
    };
    let plan = match apply::plan(&settings, &target) {
        Ok(plan) => plan,
        Err(why) => return Some(why),
    };
    let elsewhere = plan.providers.iter().find(|it| {
        let now = it.previous_base_url.as_deref();
        !now.is_some_and(|url| has_port(url, port))
    });
    if let Some(provider) = elsewhere {
        let now = provider.previous_base_url.as_deref().unwrap_or("nothing");
        return Some(format!("provider {} points at {now}", provider.id));
    }
    let text = plan.patch.to_string();
    text.contains("\"apiKey\"")
        .then(|| match tenant_key::previous_of(tenant, &settings) {
            Some(until) => {
                format!("it has the tenant's previous key, which is taken until {until}")
            }
            None => "its key is not the tenant's".to_owned(),
        })
}

/// Whether an instance asks the gateway, with whatever key.
pub(super) fn points_here(found: &Found, instance: &Instance, port: u16) -> bool {
    let target = Target {
        origin: "http://ccgw",
        key: "",
        env_files: EnvFiles::LeaveAlone,
    };
    let settings = apply::settings(&found.access(instance));
    let plan = settings.and_then(|it| apply::plan(&it, &target));
    plan.is_ok_and(|plan| {
        let mut now = plan
            .providers
            .iter()
            .filter_map(|it| it.previous_base_url.as_deref());
        now.any(|url| has_port(url, port))
    })
}

fn has_port(url: &str, port: u16) -> bool {
    let origin = url.trim_end_matches('/').trim_end_matches("/v1");
    origin.ends_with(&format!(":{port}"))
}
