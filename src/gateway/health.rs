//! `GET /health`: whether the gateway serves, and for those who may know, how busy it is.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Gateway, Request, auth};
use crate::claude::program::Kind;

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
    tenants: Vec<TenantHealth<'a>>,
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
    running: usize,
    queued: usize,
}

impl Gateway {
    pub(super) fn health(&self, request: &Request) -> Vec<u8> {
        let counts = self.scheduler.counts();
        let served = self.served();
        // A page in a browser on this machine comes from loopback too, and is not the operator.
        let is_local = request.peer.ip().to_canonical().is_loopback()
            && auth::from_no_web_page(&request.head).is_ok();
        let may_know = is_local || served.keys.identify(&request.head).is_ok();
        let details = may_know.then(|| Details {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            cli: Cli {
                version: self.cli.version(),
                stand_in: self.cli.program.kind == Kind::StandIn,
            },
            tenants: served
                .present()
                .map(|(id, tenant)| {
                    let (running, queued) = counts.tenants.get(&id).copied().unwrap_or_default();
                    TenantHealth {
                        name: &tenant.name,
                        running,
                        queued,
                    }
                })
                .collect(),
        });
        let status = match self.draining.load(Ordering::Acquire) {
            true => "draining",
            false => "ok",
        };
        let health = Health {
            status,
            running: counts.running,
            queued: counts.queued,
            details,
        };
        // Plain structs with string keys always serialise.
        serde_json::to_vec(&health).unwrap_or_default()
    }
}
