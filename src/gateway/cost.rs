//! What a tenant's run may take of the machine, and what is said when it wanted more.

use super::{Served, Tenant};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{
        keeper::{Excess, Limits},
        worker::Worker,
    },
    config::Memory,
    log, memory,
};

/// What one run of a tenant's may take, where control groups can limit it.
pub(super) fn limits(served: &Served, tenant: &Tenant) -> Limits {
    let sandbox = &served.config.sandbox;
    Limits {
        memory: bytes(tenant.memory_bytes.unwrap_or(sandbox.memory_bytes)),
        processes: Some(sandbox.max_processes),
        cpu_weight: Some(tenant.cpu_weight.unwrap_or(sandbox.cpu_weight)),
    }
}

/// The CLI and a tool must have room, however small the machine is.
const AUTO_MIN: u64 = 512 << 20;

fn bytes(memory: Memory) -> Option<u64> {
    match memory {
        Memory::Bytes(bytes) => Some(bytes),
        Memory::Unlimited => None,
        Memory::Auto => memory::total_kib().map(|it| (it * 1024 / 2).max(AUTO_MIN)),
    }
}

/// Why a CLI has ended before it answered, if it wanted more than it may take.
pub(super) fn outgrown(served: &Served, (tenant, worker): (&Tenant, &Worker)) -> Option<ApiError> {
    let Excess {
        memory_kills,
        forks_refused,
    } = worker.excess();
    let limits = limits(served, tenant);
    let most = match (memory_kills, forks_refused, limits.memory) {
        (0, 0, _) => return None,
        (0, ..) => format!(
            "processes than the {} that it may have (sandbox.max_processes)",
            limits.processes.unwrap_or_default()
        ),
        (.., Some(bytes)) => format!(
            "memory than the {} MiB that it may take (sandbox.memory_bytes)",
            bytes >> 20
        ),
        (.., None) => "memory than this machine has for it".to_owned(),
    };
    let text = format!(
        "the run wanted more {most}, and was ended; ask for less at once, or raise that limit"
    );
    Some(ApiError::new(ErrorKind::Internal, text))
}

/// Tells the operator of a run that wanted more, whether or not it could go on without.
pub(super) fn tell(tenant: &Tenant, (request, worker): (&str, &Worker)) {
    let Excess {
        memory_kills,
        forks_refused,
    } = worker.excess();
    if memory_kills + forks_refused > 0 {
        log::warn(
            "a run wanted more memory or processes than it may take (sandbox.memory_bytes, max_processes)",
            &[
                ("request", &request),
                ("tenant", &tenant.name),
                ("killed", &memory_kills),
                ("not_started", &forks_refused),
            ],
        );
    }
}
