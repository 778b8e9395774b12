//! What a configuration makes of the gateway: who may ask, with what, and how runs go. A request keeps
//! the one that it came under; a new configuration is a new one of these.

use std::sync::Arc;

use super::{
    Tenant,
    auth::{Keys, KnownKey},
    kept::Kept,
    upstream::Upstream,
};
use crate::{
    claude::probe::Cli,
    config::{self, Config, KeyHash, Moment},
    scheduler::{Limits, TenantId},
    state::tenants::Incarnations,
};

/// One configuration in force.
pub(crate) struct Served {
    pub(crate) config: Arc<Config>,
    /// By [`TenantId`]. A tenant that was removed keeps its number, so that what still waits or runs for it
    /// is counted as its own, and one that comes back by that name gets it again.
    pub(super) tenants: Vec<Arc<Tenant>>,
    /// How each tenant of the configuration is known.
    pub(super) keys: Keys,
    /// The program that answers.
    pub(crate) cli: Arc<Cli>,
    pub(crate) upstream: Arc<Upstream>,
    pub(super) kept: Arc<Kept>,
    /// openclaw-skill.md as it goes into every system prompt.
    pub(crate) skill_text: String,
}

/// A configuration that can be put in force, with what was read and found for it.
pub(crate) struct Prepared {
    pub(crate) config: Arc<Config>,
    pub(crate) cli: Arc<Cli>,
    pub(crate) skill_text: String,
    /// What tells tenants of one name apart.
    pub(crate) incarnations: Incarnations,
}

/// Who may ask when no tenant is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutTenants {
    /// Programs of this machine: only they reach the port.
    ThisMachine,
    /// Nobody: the port was opened to others while there were tenants.
    Nobody,
}

/// A tenant's waiting requests may come to this many times the largest body together.
const QUEUED_BODIES: usize = 2;

/// The tenant's key, and the one before it.
fn keys_of(tenant: &config::Tenant) -> Vec<(KeyHash, Option<Moment>)> {
    let previous = tenant.previous_key.iter();
    let previous = previous.map(|it| (it.hash, Some(it.until)));
    [(tenant.key.hash(), None)]
        .into_iter()
        .chain(previous)
        .collect()
}

impl Served {
    pub(crate) fn new(prepared: Prepared, without: WithoutTenants) -> Served {
        Served::made(prepared, without, None)
    }

    /// What takes this one's place with a new configuration. What is known of tenants that stay, and of
    /// credentials that are the same, is carried over.
    pub(crate) fn followed_by(&self, prepared: Prepared, without: WithoutTenants) -> Served {
        Served::made(prepared, without, Some(self))
    }

    fn made(prepared: Prepared, without: WithoutTenants, before: Option<&Served>) -> Served {
        let Prepared {
            config,
            cli,
            skill_text,
            mut incarnations,
        } = prepared;
        let mut configured = |it: &config::Tenant| {
            let own = incarnations.remove(&it.name);
            let own = own.unwrap_or_else(|| it.name.clone());
            (Tenant::configured(it, own), Some(keys_of(it)))
        };
        let mut now: Vec<_> = config.tenants.iter().map(&mut configured).collect();
        let is_open = now.is_empty() && without == WithoutTenants::ThisMachine;
        if is_open {
            now.push((Tenant::anybody(), None));
        }
        let mut tenants = before.map_or_else(Vec::new, |it| it.tenants.clone());
        let mut keys: Vec<KnownKey> = Vec::new();
        let mut open_to = None;
        for (tenant, own) in now {
            let id = tenants.iter().position(|it| it.name == tenant.name);
            let id = id.unwrap_or(tenants.len());
            let tenant = Arc::new(tenant);
            match tenants.get_mut(id) {
                Some(old) => *old = tenant,
                None => tenants.push(tenant),
            }
            match own {
                Some(own) => keys.extend(own.into_iter().map(|(hash, until)| KnownKey {
                    hash,
                    tenant: id,
                    until,
                })),
                None => open_to = Some(id),
            }
        }
        let keys = match open_to {
            Some(id) => Keys::Open(id),
            None => Keys::Of(keys),
        };
        let is_same = |id: TenantId| {
            let was = before.and_then(|it| it.tenants.get(id));
            was.is_none_or(|it| it.incarnation == tenants[id].incarnation)
        };
        let is_served = |id| keys.tenants().contains(&id) && is_same(id);
        let known = before.map(|it| (&it.tenants[..], &*it.upstream));
        let ttl = config.session.ttl;
        let kept = match before {
            Some(before) => before.kept.for_tenants(tenants.len(), ttl, is_served),
            None => Kept::new(ttl).for_tenants(tenants.len(), ttl, is_served),
        };
        Served {
            upstream: Arc::new(Upstream::new(&tenants, known)),
            kept: Arc::new(kept),
            config,
            cli,
            tenants,
            keys,
            skill_text,
        }
    }

    /// The tenants that may ask, without those that were removed.
    pub(super) fn present(&self) -> impl Iterator<Item = (TenantId, &Tenant)> {
        let ids = self.keys.tenants();
        ids.into_iter().map(|id| (id, &*self.tenants[id]))
    }

    /// What the scheduler keeps to.
    pub(crate) fn limits(&self) -> Limits {
        let (cli, server) = (&self.config.cli, &self.config.server);
        Limits {
            running_max: cli.max_concurrent,
            per_tenant_max: cli.max_per_tenant,
            depth_max: cli.queue_depth,
            wait_max: cli.queue_timeout,
            jobs_max: server.max_connections,
            bytes_max: server.max_body_bytes.saturating_mul(QUEUED_BODIES),
        }
    }
}
