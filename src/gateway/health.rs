//! `GET /health`: whether the gateway serves, and for those who may know, how busy it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use serde::Serialize;

use super::{Gateway, Request, answer::json, auth, room};
use crate::{
    claude::{keeper, probe, program::Kind},
    http::Response,
};

const OK: &str = "ok";

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    running: usize,
    queued: usize,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

/// For callers on loopback or with a key.
#[derive(Serialize)]
struct Details<'a> {
    version: &'static str,
    uptime_s: u64,
    cli: Cli,
    /// Whose key the request has, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    /// What control groups limit of a run; empty where there are none.
    limits: String,
    tenants: Vec<TenantHealth<'a>>,
}

/// How things are, for the operator.
#[derive(Serialize)]
pub(crate) struct Busy {
    /// `ok` or `draining`.
    status: &'static str,
    uptime_s: u64,
    running: usize,
    max_concurrent: usize,
    queued: usize,
    cli: Cli,
    limits: Limits,
    sessions: Sessions,
    tenants: Vec<OwnedTenantHealth>,
    last_reload: Option<LastReload>,
}

/// What control groups limit of a run.
#[derive(Serialize)]
struct Limits {
    controlled: String,
    /// Why they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<&'static str>,
}

impl Limits {
    fn now() -> Limits {
        let found = keeper::controlled();
        Limits {
            why_not: found.as_ref().err().copied(),
            controlled: found.unwrap_or_default(),
        }
    }
}

/// How conversations went on.
#[derive(Serialize)]
struct Sessions {
    /// Answers by how the history reached the model.
    #[serde(flatten)]
    answers: BTreeMap<&'static str, u64>,
    /// Answers that can be gone on from.
    remembered: usize,
    /// Processes that wait for work, and their resident memory.
    waiting: usize,
    waiting_rss_kib: u64,
}

/// What became of the configuration when it was last read again.
#[derive(Clone, Serialize)]
pub(crate) struct LastReload {
    pub(crate) number: u64,
    pub(crate) ok: bool,
    /// What changed, or why nothing did.
    pub(crate) text: String,
}

#[derive(Serialize)]
struct OwnedTenantHealth {
    name: String,
    isolation: Option<&'static str>,
    /// Why it is nothing stronger.
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation_why: Option<String>,
    network: &'static str,
    running: usize,
    queued: usize,
}

#[derive(Serialize)]
struct Cli {
    /// Null until the CLI was asked.
    version: Option<String>,
    /// True when answers are made up (`--demo`).
    stand_in: bool,
}

#[derive(Serialize)]
struct TenantHealth<'a> {
    name: &'a str,
    /// Null until it was tried what works here.
    isolation: Option<&'static str>,
    /// Why it is nothing stronger. It names paths, which are no tenant's business.
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation_why: Option<String>,
    network: &'static str,
    running: usize,
    queued: usize,
}

impl Gateway {
    /// 503 for a gateway that is about to stop, so that what asks sends no more requests here.
    pub(super) fn health(&self, request: &Request) -> Response {
        let counts = self.scheduler.counts();
        let served = self.served();
        // A page in a browser on this machine comes from loopback too, and is not the operator.
        let is_local = request.peer.ip().to_canonical().is_loopback()
            && auth::from_no_web_page(&request.head).is_ok();
        // Without tenants whoever may ask is local.
        let own = match served.config.tenants.is_empty() {
            true => None,
            false => self.identified(&served, &request.head, request.peer).ok(),
        };
        let may_know = is_local || own.is_some();
        let details = may_know.then(|| Details {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            cli: cli_health(&served.cli),
            tenant: own.map(|id| served.tenants[id].name.as_str()),
            limits: keeper::controlled().unwrap_or_default(),
            tenants: served
                .present()
                // What the others do is no tenant's business.
                .filter(|(id, _)| is_local || own == Some(*id))
                .map(|(id, tenant)| {
                    let (running, queued) = counts.tenants.get(&id).copied().unwrap_or_default();
                    let got = self.isolation_of(&served, tenant);
                    TenantHealth {
                        name: &tenant.name,
                        isolation: got.as_ref().map(|it| it.isolation),
                        isolation_why: got.and_then(|it| it.why).filter(|_| is_local),
                        network: room::network_of(&served, tenant).name(),
                        running,
                        queued,
                    }
                })
                .collect(),
        });
        let health = Health {
            status: self.status(),
            running: counts.running,
            queued: counts.queued,
            details,
        };
        let status = match health.status {
            OK => 200,
            _ => 503,
        };
        // Plain structs with string keys always serialise.
        json(status, serde_json::to_vec(&health).unwrap_or_default())
    }

    pub(crate) fn busy(&self) -> Busy {
        let counts = self.scheduler.counts();
        let served = self.served();
        let tenant = |(id, tenant): (usize, &super::Tenant)| {
            let (running, queued) = counts.tenants.get(&id).copied().unwrap_or_default();
            let got = self.isolation_of(&served, tenant);
            OwnedTenantHealth {
                name: tenant.name.clone(),
                isolation: got.as_ref().map(|it| it.isolation),
                isolation_why: got.and_then(|it| it.why),
                network: room::network_of(&served, tenant).name(),
                running,
                queued,
            }
        };
        Busy {
            status: self.status(),
            uptime_s: self.started.elapsed().as_secs(),
            running: counts.running,
            max_concurrent: served.config.cli.max_concurrent,
            queued: counts.queued,
            cli: cli_health(&served.cli),
            limits: Limits::now(),
            sessions: self.sessions(),
            tenants: served.present().map(tenant).collect(),
            last_reload: lock(&self.last_reload).clone(),
        }
    }

    pub(crate) fn note_reload(&self, reload: LastReload) {
        *lock(&self.last_reload) = Some(reload);
    }

    fn status(&self) -> &'static str {
        match self.leaving.load(Ordering::Acquire) {
            true => "draining",
            false => OK,
        }
    }

    fn sessions(&self) -> Sessions {
        let conversations = &self.conversations;
        let (waiting, waiting_rss_kib) = conversations.pool.waiting();
        let counts = conversations.counts();
        Sessions {
            answers: counts.map(|(kind, count)| (kind.name(), count)).collect(),
            remembered: conversations.store.len(),
            waiting,
            waiting_rss_kib,
        }
    }
}

fn cli_health(cli: &probe::Cli) -> Cli {
    Cli {
        version: cli.version(),
        stand_in: cli.program.kind == Kind::StandIn,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is only ever replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
