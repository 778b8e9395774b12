//! What a new configuration changes, and what of it a daemon that runs can take over. Pure.

use std::fmt;

use super::{Config, Tenant};

/// The difference between two configurations, in names only: nothing of it is secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Settings outside of `tenants` that apply at once.
    pub(crate) settings: Vec<&'static str>,
    /// Settings that apply with the next start.
    pub(crate) at_restart: Vec<&'static str>,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Tenants with another key, environment or directory.
    pub(crate) changed: Vec<String>,
}

impl Changes {
    /// From a configuration that is in force to a new one.
    pub(crate) fn between(old: &Config, new: &Config) -> Changes {
        let (server, cli) = (&old.server, &old.cli);
        let (new_server, new_cli) = (&new.server, &new.cli);
        let at_restart = [
            ("server.port", server.port != new_server.port),
            ("server.host", old.bind_address() != new.bind_address()),
            (
                "server.max_body_bytes",
                server.max_body_bytes != new_server.max_body_bytes,
            ),
            (
                "server.max_connections",
                server.max_connections != new_server.max_connections,
            ),
            (
                "server.max_connections_per_ip",
                server.max_connections_per_ip != new_server.max_connections_per_ip,
            ),
            (
                "server.head_timeout",
                server.head_timeout != new_server.head_timeout,
            ),
            (
                "server.body_timeout",
                server.body_timeout != new_server.body_timeout,
            ),
            (
                "server.write_timeout",
                server.write_timeout != new_server.write_timeout,
            ),
            ("cli.bin", cli.bin != new_cli.bin),
        ];
        let settings = [
            (
                "server.docker_host_ip",
                server.docker_host_ip != new_server.docker_host_ip,
            ),
            (
                "server.cors_origins",
                server.cors_origins != new_server.cors_origins,
            ),
            ("cli.timeout", cli.timeout != new_cli.timeout),
            ("cli.idle_timeout", cli.idle_timeout != new_cli.idle_timeout),
            (
                "cli.max_concurrent",
                cli.max_concurrent != new_cli.max_concurrent,
            ),
            (
                "cli.max_per_tenant",
                cli.max_per_tenant != new_cli.max_per_tenant,
            ),
            ("cli.queue_depth", cli.queue_depth != new_cli.queue_depth),
            (
                "cli.queue_timeout",
                cli.queue_timeout != new_cli.queue_timeout,
            ),
            (
                "cli.drain_timeout",
                cli.drain_timeout != new_cli.drain_timeout,
            ),
            ("cli.effort", cli.effort != new_cli.effort),
            ("cli.skill_file", cli.skill_file != new_cli.skill_file),
            ("cli.stream", cli.stream != new_cli.stream),
            (
                "cli.permission_mode",
                cli.permission_mode != new_cli.permission_mode,
            ),
            ("cli.warm", cli.warm != new_cli.warm),
            ("session.ttl", old.session.ttl != new.session.ttl),
            (
                "session.cleanup_interval",
                old.session.cleanup_interval != new.session.cleanup_interval,
            ),
            (
                "session.parallel",
                old.session.parallel != new.session.parallel,
            ),
            ("skills.dir", old.skills.dir != new.skills.dir),
            ("skills.sync", old.skills.sync != new.skills.sync),
        ];
        let (added, changed) = later(&old.tenants, &new.tenants);
        Changes {
            settings: named(&settings),
            at_restart: named(&at_restart),
            added,
            removed: later(&new.tenants, &old.tenants).0,
            changed,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = |verb: &str, names: &[String]| match names {
            [] => None,
            [one] => Some(format!("tenant {one} {verb}")),
            several => Some(format!("tenants {} {verb}", several.join(", "))),
        };
        let settings = (!self.settings.is_empty()).then(|| self.settings.join(", "));
        let parts: Vec<String> = [
            tenants("added", &self.added),
            tenants("removed", &self.removed),
            tenants("changed", &self.changed),
            settings,
        ]
        .into_iter()
        .flatten()
        .collect();
        match parts.is_empty() {
            true => f.write_str("nothing that applies at once"),
            false => f.write_str(&parts.join("; ")),
        }
    }
}

impl Config {
    /// This configuration as a daemon that was started with `old` can run it.
    pub(crate) fn fitted_to(mut self, old: &Config) -> Config {
        let (docker_host_ip, cors_origins) = (self.server.docker_host_ip, self.server.cors_origins);
        self.server = old.server.clone();
        self.server.docker_host_ip = docker_host_ip;
        self.server.cors_origins = cors_origins;
        self.cli.bin.clone_from(&old.cli.bin);
        self
    }
}

fn named(settings: &[(&'static str, bool)]) -> Vec<&'static str> {
    let changed = settings.iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| *name).collect()
}

/// Which of the later tenants are new, and which were there and are not the same.
fn later(earlier: &[Tenant], later: &[Tenant]) -> (Vec<String>, Vec<String>) {
    let before = |tenant: &Tenant| earlier.iter().find(|it| it.name == tenant.name);
    let names = |wanted: &dyn Fn(&Tenant) -> bool| {
        let wanted = later.iter().filter(|it| wanted(it));
        wanted.map(|it| it.name.clone()).collect()
    };
    (
        names(&|it| before(it).is_none()),
        names(&|it| before(it).is_some_and(|before| before != it)),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(yaml: &str) -> Config {
        super::super::parsed(Path::new("/c/config.yaml"), yaml, &|_| None).unwrap()
    }

    #[track_caller]
    fn check(old: &str, new: &str, expect: &str, at_restart: &[&str]) {
        let (old, new) = (config(old), config(new));
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.to_string(), expect);
        assert_eq!(changes.at_restart, at_restart);
        let now = new.fitted_to(&old);
        let left = Changes::between(&old, &now);
        assert_eq!(left.to_string(), expect, "what applies, applies");
        assert_eq!(left.settings, changes.settings);
    }

    const TWO: &str = "tenants: [{name: a, api_key: key-of-a}, {name: b, api_key: key-of-b}]";

    #[test]
    fn changes_are_named() {
        let nothing = "nothing that applies at once";
        check(TWO, TWO, nothing, &[]);
        check(
            TWO,
            "tenants: [{name: c, api_key: key-of-a}, {name: b, api_key: key-of-x}]",
            "tenant c added; tenant a removed; tenant b changed",
            &[],
        );
        let variable = "tenants: [{name: a, api_key: key-of-a, env: {X: secret}}, {name: b, api_key: key-of-b}]";
        check(TWO, variable, "tenant a changed", &[]);
        check(
            TWO,
            &format!("cli: {{timeout: 5000, max_concurrent: 9}}\nskills: {{dir: x}}\n{TWO}"),
            "cli.timeout, cli.max_concurrent, skills.dir",
            &[],
        );
        check(
            TWO,
            &format!("server: {{port: 1}}\ncli: {{bin: /x, effort: low}}\n{TWO}"),
            "cli.effort",
            &["server.port", "cli.bin"],
        );
        // With the first tenant the default address becomes another.
        check("", TWO, "tenants a, b added", &["server.host"]);
    }
}
