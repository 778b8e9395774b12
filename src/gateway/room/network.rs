//! What a tenant's runs reach of the network.

use std::path::PathBuf;

use super::Confined;
use crate::{
    config::Reaches,
    egress::Policy,
    gateway::{Gateway, Served, Tenant},
    log,
};

/// Which network is wanted for a tenant.
pub(in crate::gateway) fn wanted(served: &Served, tenant: &Tenant) -> Reaches {
    tenant.network.unwrap_or(served.config.sandbox.network)
}

impl Gateway {
    /// # Errors
    /// When a tenant's runs would reach more than they are to reach.
    pub(super) fn ensure_network(
        &self,
        served: &Served,
        tenant: &Tenant,
        walls: &Confined<'_>,
    ) -> Result<(), String> {
        if wanted(served, tenant) == Reaches::Shared {
            return Ok(());
        }
        match walls {
            Confined::Bwrap(_) => {
                let works = self.sandboxes.networks();
                works.map_err(|why| format!("network is api, but {why}"))?;
                self.policy_of(served, tenant).map(drop)
            }
            Confined::User(_) | Confined::Not => Err(format!(
                "network is api, which only a sandbox by bubblewrap gives, and there is none{}; write `network: shared` to go without",
                match (super::wanted(served, tenant), self.sandboxes.bwrap()) {
                    (crate::config::Isolation::Auto, Err(why)) => format!(": {why}"),
                    (isolation, _) => format!(" with `isolation: {}`", isolation.name()),
                }
            )),
        }
    }

    /// The socket by which a tenant's runs reach what they may, and what that is; `None` when they share this machine's network.
    ///
    /// # Errors
    /// When they cannot have it.
    pub(super) fn way_out(
        &self,
        served: &Served,
        tenant: &Tenant,
    ) -> Result<Option<(PathBuf, Policy)>, String> {
        if wanted(served, tenant) == Reaches::Shared {
            return Ok(None);
        }
        let policy = self.policy_of(served, tenant)?;
        let egress = self
            .egress
            .as_ref()
            .ok_or("it has no way to the network; the log says why")?;
        let socket = egress.socket_of(&tenant.name, policy.clone());
        match socket {
            Ok(socket) => Ok(Some((socket, policy))),
            Err(error) => Err(format!("it has no way to the network: {error}")),
        }
    }

    /// Lets runs reach what the configuration says now. Who is no tenant any more reaches nothing.
    pub(in crate::gateway) fn follow_networks(&self, served: &Served) {
        let Some(egress) = &self.egress else { return };
        egress.follow(|name| {
            let (_, tenant) = served.present().find(|(_, it)| it.name == name)?;
            let policy = self.policy_of(served, tenant);
            policy
                .inspect_err(|why| {
                    log::warn("runs reach nothing", &[("tenant", &name), ("why", why)]);
                })
                .ok()
        });
    }

    fn policy_of(&self, served: &Served, tenant: &Tenant) -> Result<Policy, String> {
        let get = |name: &str| {
            let of = |env: &[(std::ffi::OsString, std::ffi::OsString)]| {
                let found = env.iter().rfind(|(known, _)| known == name);
                found.and_then(|(_, value)| value.to_str().map(str::to_owned))
            };
            of(&tenant.env).or_else(|| of(&self.base_env))
        };
        Policy::new(&get, &served.config.sandbox.hosts)
    }
}
