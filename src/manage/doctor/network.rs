//! What runs reach of the network, and whether that can be so here.

use std::{ffi::OsString, path::Path};

use super::{Report, machine::names};
use crate::{
    claude::{command, sandbox::Sandboxes},
    config::{Config, Isolation, Reaches, Tenant},
    egress::Policy,
    manage::{prove::Finding, setup::state_dir},
};

pub(super) fn network(config: &Config, report: &mut Report) {
    let of = |wanted: Reaches| -> Vec<&Tenant> {
        let has = |it: &&Tenant| it.network.unwrap_or(config.sandbox.network) == wanted;
        config.tenants.iter().filter(has).collect()
    };
    let (shared, api) = (of(Reaches::Shared), of(Reaches::Api));
    if !shared.is_empty() {
        let names = names(&shared);
        let text = format!("runs of {names} reach what this machine reaches (network: shared)");
        report.all("network", Finding::ok(text));
    }
    let Some(state) = state_dir().ok().filter(|_| !api.is_empty()) else {
        return;
    };
    let sandboxes = Sandboxes::new(std::env::var_os("PATH"), state.join("bin").join("ccgw"));
    let env = command::base_environment(|name| std::env::var_os(name), Path::new("/"));
    for tenant in api {
        let name = &tenant.name;
        report.all(
            "network",
            match works(config, tenant, (&sandboxes, &env)) {
                Ok(()) => Finding::ok(format!(
                    "runs of {name} reach their API and sandbox.hosts only"
                )),
                Err(why) => Finding::fail(
                    format!("requests of {name} are refused: network is api, but {why}"),
                    "mend that, or write `network: shared`",
                ),
            },
        );
    }
}

fn works(
    config: &Config,
    tenant: &Tenant,
    (sandboxes, env): (&Sandboxes, &[(OsString, OsString)]),
) -> Result<(), String> {
    match tenant.isolation.unwrap_or(config.isolation) {
        Isolation::Auto | Isolation::Bwrap => sandboxes.networks()?,
        other => return Err(format!("isolation is {}, and only bwrap can", other.name())),
    }
    let get = |name: &str| {
        let own = tenant.env.iter().rfind(|(known, _)| known == name);
        let own = own.map(|(_, value)| value.expose().to_owned());
        own.or_else(|| {
            let found = env.iter().rfind(|(known, _)| known == name);
            found.and_then(|(_, value)| value.to_str().map(str::to_owned))
        })
    };
    Policy::new(&get, &config.sandbox.hosts).map(drop)
}
