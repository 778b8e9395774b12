//! The rules of the queue: pure, without threads, clocks or jobs.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Which tenant a job belongs to: its index in the configuration.
pub(crate) type TenantId = usize;

/// Numbers jobs within one scheduler.
pub(crate) type TicketId = u64;

/// The limits a [`Queue`] keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Runs at one time, all tenants together.
    pub(crate) running_max: usize,
    /// Runs at one time of one tenant.
    pub(crate) per_tenant_max: usize,
    /// Waiting jobs of one tenant.
    pub(crate) depth_max: usize,
    /// How long a job may wait.
    pub(crate) wait_max: Duration,
    /// Jobs that can be alive at one time: each has a connection of its own.
    pub(crate) jobs_max: usize,
    /// Bytes of waiting requests of one tenant: what a queue may cost in memory.
    pub(crate) bytes_max: usize,
}

/// A count of what runs and waits, per tenant and in all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) running: usize,
    pub(crate) queued: usize,
    /// `(running, queued)` of tenants that have any.
    pub(crate) tenants: HashMap<TenantId, (usize, usize)>,
}

/// The queue of a tenant is as long as it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The rules alone: no threads, no clocks, no jobs but their numbers.
pub(super) struct Queue {
    pub(super) limits: Limits,
    tenants: HashMap<TenantId, Lane>,
    /// Counts grants; a lane's `served` is the count at its last grant.
    grants: u64,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<TicketId>,
    served: u64,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Queue {
            limits,
            tenants: HashMap::new(),
            grants: 0,
        }
    }

    /// # Errors
    /// [`Full`] when the tenant's lane has `depth_max` waiting and cannot start another at once.
    pub(super) fn push(&mut self, tenant: TenantId, id: TicketId) -> Result<(), Full> {
        let room = self.running() < self.limits.running_max;
        let lane = self.tenants.entry(tenant).or_default();
        let starts_now =
            room && lane.waiting.is_empty() && lane.running < self.limits.per_tenant_max;
        if !starts_now && lane.waiting.len() >= self.limits.depth_max {
            return Err(Full);
        }
        lane.waiting.push_back(id);
        Ok(())
    }

    /// Takes the ticket that may run now, and counts it as running.
    pub(super) fn next(&mut self) -> Option<(TicketId, TenantId)> {
        if self.running() >= self.limits.running_max {
            return None;
        }
        let per_tenant_max = self.limits.per_tenant_max;
        let (&tenant, lane) = self
            .tenants
            .iter_mut()
            .filter(|(_, lane)| !lane.waiting.is_empty() && lane.running < per_tenant_max)
            // Among tenants never served the oldest ticket goes first.
            .min_by_key(|(_, lane)| (lane.served, lane.waiting.front().copied()))?;
        let id = lane.waiting.pop_front()?;
        self.grants += 1;
        lane.running += 1;
        lane.served = self.grants;
        Some((id, tenant))
    }

    pub(super) fn leave(&mut self, id: TicketId) {
        for lane in self.tenants.values_mut() {
            lane.waiting.retain(|it| *it != id);
        }
    }

    pub(super) fn release(&mut self, tenant: TenantId) {
        if let Some(lane) = self.tenants.get_mut(&tenant) {
            lane.running = lane.running.saturating_sub(1);
        }
    }

    pub(super) fn clear(&mut self) {
        self.tenants
            .values_mut()
            .for_each(|lane| lane.waiting.clear());
    }

    pub(super) fn running(&self) -> usize {
        self.tenants.values().map(|lane| lane.running).sum()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            running: self.running(),
            queued: self.tenants.values().map(|lane| lane.waiting.len()).sum(),
            tenants: self
                .tenants
                .iter()
                .map(|(id, lane)| (*id, (lane.running, lane.waiting.len())))
                .filter(|(_, counts)| *counts != (0, 0))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(running_max: usize, per_tenant_max: usize, depth_max: usize) -> Queue {
        Queue::new(Limits {
            running_max,
            per_tenant_max,
            depth_max,
            wait_max: Duration::from_secs(1),
            jobs_max: 9,
            bytes_max: 9,
        })
    }

    /// A script of steps and the tickets granted after each: `a1` pushes ticket 1 for tenant a,
    /// `-a` returns a permit of tenant a, `x1` drops ticket 1, `a1!` expects a refusal.
    #[track_caller]
    fn check(mut queue: Queue, script: &[(&str, &[TicketId])]) {
        for (at, (step, expect)) in script.iter().enumerate() {
            let (kind, rest) = step.split_at(1);
            let tenant = |name: &str| name.as_bytes()[0] as TenantId;
            match kind {
                "-" => queue.release(tenant(rest)),
                "x" => queue.leave(rest.parse().unwrap()),
                name => {
                    let refused = rest.ends_with('!');
                    let id = rest.trim_end_matches('!').parse().unwrap();
                    assert_eq!(
                        queue.push(tenant(name), id).is_err(),
                        refused,
                        "step {at} {step}"
                    );
                }
            }
            let granted: Vec<TicketId> = std::iter::from_fn(|| queue.next())
                .map(|(id, _)| id)
                .collect();
            assert_eq!(granted, *expect, "step {at} {step}");
        }
    }

    #[test]
    fn one_tenant_runs_in_order_of_arrival() {
        check(
            queue(3, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3", &[]),
                ("-a", &[2]),
                ("-a", &[3]),
            ],
        );
    }

    #[test]
    fn flood_of_one_tenant_delays_another_by_at_most_one_run() {
        let flood: [(&str, &[TicketId]); 4] = [("a1", &[1]), ("a2", &[]), ("a3", &[]), ("a4", &[])];
        let rest: [(&str, &[TicketId]); 4] = [("b5", &[]), ("-a", &[5]), ("-b", &[2]), ("b6", &[])];
        check(queue(1, 1, 9), &[flood, rest].concat());
    }

    #[test]
    fn tenants_take_turns() {
        check(
            queue(1, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("b3", &[]),
                ("b4", &[]),
                ("c5", &[]),
                ("-a", &[3]),
                ("-b", &[5]),
                ("-c", &[2]),
                ("-a", &[4]),
            ],
        );
    }

    #[test]
    fn running_max_holds_over_all_tenants() {
        check(
            queue(2, 1, 9),
            &[("a1", &[1]), ("b2", &[2]), ("c3", &[]), ("-a", &[3])],
        );
    }

    #[test]
    fn dropped_ticket_is_never_granted() {
        check(
            queue(1, 1, 9),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3", &[]),
                ("x2", &[]),
                ("-a", &[3]),
            ],
        );
    }

    #[test]
    fn depth_is_per_tenant_and_dead_tickets_free_it() {
        check(
            queue(1, 1, 1),
            &[
                ("a1", &[1]),
                ("a2", &[]),
                ("a3!", &[]),
                ("b4", &[]),
                ("x2", &[]),
                ("a5", &[]),
            ],
        );
    }

    #[test]
    fn depth_zero_still_runs_what_can_start_at_once() {
        check(
            queue(1, 1, 0),
            &[("a1", &[1]), ("a2!", &[]), ("-a", &[]), ("a3", &[3])],
        );
    }
}
