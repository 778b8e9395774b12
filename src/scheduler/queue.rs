//! The rules of the queue: pure, without threads, clocks or jobs.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use crate::session::Key;

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

/// A job's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) tenant: TenantId,
    /// The conversation in which nothing else may run at the same time.
    pub(super) alone_in: Option<Key>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Ticket>,
    /// The conversations in which something runs that is to be alone there.
    taken: HashSet<Key>,
    served: u64,
}

impl Lane {
    fn may_run(&self, ticket: &Ticket) -> bool {
        ticket.alone_in.is_none_or(|key| !self.taken.contains(&key))
    }

    /// The oldest that need not wait for another of its conversation.
    fn ready(&self) -> Option<usize> {
        self.waiting.iter().position(|it| self.may_run(it))
    }
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
    pub(super) fn push(&mut self, ticket: Ticket) -> Result<(), Full> {
        let room = self.running() < self.limits.running_max;
        let lane = self.tenants.entry(ticket.tenant).or_default();
        let has_room = room && lane.running < self.limits.per_tenant_max;
        let starts_now = has_room && lane.ready().is_none() && lane.may_run(&ticket);
        if !starts_now && lane.waiting.len() >= self.limits.depth_max {
            return Err(Full);
        }
        lane.waiting.push_back(ticket);
        Ok(())
    }

    /// Takes the ticket that may run now, and counts it as running.
    pub(super) fn next(&mut self) -> Option<Ticket> {
        if self.running() >= self.limits.running_max {
            return None;
        }
        let per_tenant_max = self.limits.per_tenant_max;
        let lanes = self.tenants.values_mut();
        let (at, lane) = lanes
            .filter(|lane| lane.running < per_tenant_max)
            .filter_map(|lane| lane.ready().map(|at| (at, lane)))
            // Among tenants never served the oldest ticket goes first.
            .min_by_key(|(at, lane)| (lane.served, lane.waiting[*at].id))?;
        let ticket = lane.waiting.remove(at)?;
        self.grants += 1;
        lane.running += 1;
        lane.taken.extend(ticket.alone_in);
        lane.served = self.grants;
        Some(ticket)
    }

    pub(super) fn leave(&mut self, id: TicketId) {
        for lane in self.tenants.values_mut() {
            lane.waiting.retain(|it| it.id != id);
        }
    }

    pub(super) fn release(&mut self, tenant: TenantId, alone_in: Option<Key>) {
        if let Some(lane) = self.tenants.get_mut(&tenant) {
            lane.running = lane.running.saturating_sub(1);
            if let Some(key) = alone_in {
                lane.taken.remove(&key);
            }
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
    use crate::session::Lineage;

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

    /// A script of steps and the tickets granted after each: `a1` pushes ticket 1 for tenant a, `a1=k` one that
    /// is to be alone in conversation k, `-a` and `-a=k` return a permit of tenant a, `x1` drops ticket 1,
    /// `a1!` expects a refusal.
    #[track_caller]
    fn check(mut queue: Queue, script: &[(&str, &[TicketId])]) {
        for (at, (step, expect)) in script.iter().enumerate() {
            let (kind, rest) = step.trim_end_matches('!').split_at(1);
            let (rest, conversation) = rest.split_once('=').unwrap_or((rest, ""));
            let tenant = |name: &str| name.as_bytes()[0] as TenantId;
            let alone_in = (!conversation.is_empty())
                .then(|| Lineage::begin("tenant", Some(conversation)).key());
            match kind {
                "-" => queue.release(tenant(rest), alone_in),
                "x" => queue.leave(rest.parse().unwrap()),
                name => {
                    let ticket = Ticket {
                        id: rest.parse().unwrap(),
                        tenant: tenant(name),
                        alone_in,
                    };
                    let refused = queue.push(ticket).is_err();
                    assert_eq!(refused, step.ends_with('!'), "step {at} {step}");
                }
            }
            let granted: Vec<TicketId> = std::iter::from_fn(|| queue.next())
                .map(|it| it.id)
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

    #[test]
    fn one_that_waits_for_its_conversation_leaves_its_place_to_others() {
        check(
            queue(3, 2, 9),
            &[
                ("a1=k", &[1]),
                ("a2=k", &[]),
                ("a3=k", &[]),
                ("a4=l", &[4]),
                ("b5=k", &[5]),
                ("-a=l", &[]),
                ("-a=k", &[2]),
                ("a6", &[6]),
                ("-a=k", &[3]),
            ],
        );
    }

    #[test]
    fn one_that_waits_for_its_conversation_does_not_close_the_queue_for_others() {
        check(
            queue(2, 2, 1),
            &[
                ("a1=k", &[1]),
                ("a2=k", &[]),
                ("a3=k!", &[]),
                ("a4=l", &[4]),
                ("a5!", &[]),
                ("x2", &[]),
                ("-a=k", &[]),
                ("a6=k", &[6]),
            ],
        );
    }
}
