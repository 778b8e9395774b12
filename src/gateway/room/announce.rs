//! What each tenant's runs are confined by, and why by nothing stronger: in the log, and for whoever asks.

use super::{super::Served, Confined, wanted};
use crate::{
    claude::{keeper, program::Kind},
    config::Isolation,
    gateway::{Gateway, Tenant},
    log,
};

/// What a tenant got.
pub(in crate::gateway) struct Got {
    /// In the words of the configuration, or `impossible`.
    pub(in crate::gateway) isolation: &'static str,
    /// Why it is nothing stronger, or nothing at all.
    pub(in crate::gateway) why: Option<String>,
}

impl Gateway {
    /// Says what limits a run's memory, processes and CPU.
    pub(crate) fn announce_limits(&self) {
        match keeper::controlled() {
            Ok(what) => log::info("runs have control groups", &[("limited", &what)]),
            Err(why) => log::info(
                "no control groups for runs: their memory and CPU are not limited, processes in a sandbox by rlimit, for all runs of one user together",
                &[("why", &why)],
            ),
        }
    }

    /// How a tenant's runs are confined; `None` as long as it is not known what works here.
    pub(in crate::gateway) fn isolation_of(&self, served: &Served, tenant: &Tenant) -> Option<Got> {
        // Nobody who asks waits for a trial.
        let is_known = self.sandboxes.are_tried();
        is_known.then(|| self.got(served, tenant))
    }

    fn got(&self, served: &Served, tenant: &Tenant) -> Got {
        let named = |it: Isolation, why| Got {
            isolation: it.name(),
            why,
        };
        let is_auto = wanted(served, tenant) == Isolation::Auto;
        let no_bwrap = || self.sandboxes.bwrap().err().map(str::to_owned);
        match self.confined(served, tenant) {
            Ok(Confined::Bwrap(_)) => named(Isolation::Bwrap, None),
            Ok(Confined::User(_)) => named(Isolation::User, no_bwrap().filter(|_| is_auto)),
            Ok(Confined::Not) if is_auto => {
                let no_user = self.may_have_user(served, tenant).err();
                let why = [no_bwrap(), no_user];
                let why: Vec<String> = why.into_iter().flatten().collect();
                named(Isolation::None, Some(why.join("; and ")))
            }
            Ok(Confined::Not) => named(Isolation::None, None),
            Err(why) => Got {
                isolation: "impossible",
                why: Some(why),
            },
        }
    }

    /// Finds out what works here, and says for whom it is used.
    pub(crate) fn announce_isolation(&self) {
        let served = self.served();
        if served.cli.program.kind == Kind::StandIn {
            return;
        }
        let tenants: Vec<&Tenant> = served.present().map(|(_, it)| it).collect();
        let got: Vec<(&str, Got)> = tenants
            .iter()
            .map(|it| (it.name.as_str(), self.got(&served, it)))
            .collect();
        let named = |isolation: &str| {
            let of = got.iter().filter(|(_, it)| it.isolation == isolation);
            of.map(|(name, _)| *name).collect::<Vec<_>>()
        };
        for (isolation, text) in [
            ("bwrap", "runs are confined by bubblewrap"),
            ("user", "runs have a system user of their tenant's own"),
        ] {
            let names = named(isolation);
            if !names.is_empty() {
                log::info(text, &[("tenants", &names.join(","))]);
            }
        }
        for (isolation, why, names) in by_reason(&got) {
            let names = names.join(",");
            let fields: [log::Field<'_>; 2] = [("tenants", &names), ("why", &why)];
            match isolation {
                "user" => log::info("no sandbox for runs, but a user of their own", &fields),
                "none" => log::warn("no sandbox for runs", &fields),
                _ => log::error(
                    "requests will be refused: this isolation does not work here",
                    &fields,
                ),
            }
        }
        let open = named("none");
        // Of one tenant's runs nobody else is in danger but this host.
        if !open.is_empty() && tenants.len() > 1 {
            log::warn(
                "runs of these tenants are not isolated from each other or from this host: each can read all keys",
                &[("tenants", &open.join(","))],
            );
        }
    }
}

/// Tenants that got the same for the same reason, where there is one.
fn by_reason<'g>(got: &'g [(&'g str, Got)]) -> Vec<(&'static str, &'g str, Vec<&'g str>)> {
    let mut groups: Vec<(&'static str, &str, Vec<&str>)> = Vec::new();
    for (name, got) in got {
        let Some(why) = &got.why else { continue };
        let known = groups
            .iter_mut()
            .find(|it| (it.0, it.1) == (got.isolation, why));
        match known {
            Some((_, _, names)) => names.push(name),
            None => groups.push((got.isolation, why, vec![name])),
        }
    }
    groups
}
