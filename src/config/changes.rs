//! What a new configuration changes, and what of it a daemon that runs can take over. Pure.

use std::fmt;

use super::{Cli, Config, Sandbox, Server, Session, Skills, Tenant};

/// The difference between two configurations, in names only: nothing of it is secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Settings outside of `tenants` that apply at once.
    pub(crate) settings: Vec<&'static str>,
    /// Settings that apply with the next start.
    pub(crate) at_restart: Vec<&'static str>,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Tenants, each with what of it is another.
    pub(crate) changed: Vec<(String, Vec<&'static str>)>,
}

impl Changes {
    /// From a configuration that is in force to a new one.
    pub(crate) fn between(old: &Config, new: &Config) -> Changes {
        let Config {
            server: _,
            cli,
            session,
            skills,
            isolation,
            sandbox,
            relay,
            tenants,
        } = new;
        let mut changes = Changes::default();
        changes.in_server(old, new);
        changes.in_cli(&old.cli, cli);
        changes.in_session(&old.session, session);
        changes.in_skills(&old.skills, skills);
        changes.at_once("isolation", *isolation == old.isolation);
        changes.in_sandbox(&old.sandbox, sandbox);
        changes.at_once("relay", *relay == old.relay);
        changes.added = missing(tenants, &old.tenants);
        changes.removed = missing(&old.tenants, tenants);
        let changed = tenants.iter();
        changes.changed = changed.filter_map(|it| tenant(&old.tenants, it)).collect();
        changes
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// Whether other tenants may be confined now, or in another way.
    pub(crate) fn concern_isolation(&self) -> bool {
        let isolation = |it: &&str| ["isolation", "network", "sandbox.network"].contains(it);
        let of_tenant = |(_, what): &(String, Vec<&'static str>)| what.iter().any(isolation);
        self.settings.iter().any(isolation)
            || !self.added.is_empty()
            || self.changed.iter().any(of_tenant)
    }

    fn at_once(&mut self, name: &'static str, same: bool) {
        self.settings.extend((!same).then_some(name));
    }

    fn at_restart(&mut self, name: &'static str, same: bool) {
        self.at_restart.extend((!same).then_some(name));
    }

    // Every section is taken apart whole, so that a new setting does not compile before it is here.

    fn in_server(&mut self, old: &Config, new: &Config) {
        let Server {
            port,
            // Without one, the tenants decide.
            host: _,
            docker_host_ip,
            max_body_bytes,
            max_connections,
            max_connections_per_ip,
            head_timeout,
            body_timeout,
            write_timeout,
            cors_origins,
            proxy_protocol_from,
            drain_delay,
        } = &new.server;
        let was = &old.server;
        self.at_restart("server.port", *port == was.port);
        let same = new.bind_address() == old.bind_address();
        self.at_restart("server.host", same);
        let same = *max_body_bytes == was.max_body_bytes;
        self.at_restart("server.max_body_bytes", same);
        let same = *max_connections == was.max_connections;
        self.at_restart("server.max_connections", same);
        let same = *docker_host_ip == was.docker_host_ip;
        self.at_once("server.docker_host_ip", same);
        let same = *max_connections_per_ip == was.max_connections_per_ip;
        self.at_once("server.max_connections_per_ip", same);
        self.at_once("server.head_timeout", *head_timeout == was.head_timeout);
        self.at_once("server.body_timeout", *body_timeout == was.body_timeout);
        let same = *write_timeout == was.write_timeout;
        self.at_once("server.write_timeout", same);
        self.at_once("server.cors_origins", *cors_origins == was.cors_origins);
        let same = *proxy_protocol_from == was.proxy_protocol_from;
        self.at_restart("server.proxy_protocol_from", same);
        self.at_once("server.drain_delay", *drain_delay == was.drain_delay);
    }

    fn in_cli(&mut self, was: &Cli, new: &Cli) {
        let Cli {
            bin,
            timeout,
            idle_timeout,
            max_concurrent,
            max_per_tenant,
            queue_depth,
            queue_timeout,
            drain_timeout,
            effort,
            skill_file,
            stream,
            permission_mode,
            warm,
        } = new;
        self.at_once("cli.bin", *bin == was.bin);
        self.at_once("cli.timeout", *timeout == was.timeout);
        self.at_once("cli.idle_timeout", *idle_timeout == was.idle_timeout);
        self.at_once("cli.max_concurrent", *max_concurrent == was.max_concurrent);
        self.at_once("cli.max_per_tenant", *max_per_tenant == was.max_per_tenant);
        self.at_once("cli.queue_depth", *queue_depth == was.queue_depth);
        self.at_once("cli.queue_timeout", *queue_timeout == was.queue_timeout);
        self.at_once("cli.drain_timeout", *drain_timeout == was.drain_timeout);
        self.at_once("cli.effort", *effort == was.effort);
        self.at_once("cli.skill_file", *skill_file == was.skill_file);
        self.at_once("cli.stream", *stream == was.stream);
        let same = *permission_mode == was.permission_mode;
        self.at_once("cli.permission_mode", same);
        self.at_once("cli.warm", *warm == was.warm);
    }

    fn in_session(&mut self, was: &Session, new: &Session) {
        let Session {
            ttl,
            cleanup_interval,
            parallel,
        } = new;
        self.at_once("session.ttl", *ttl == was.ttl);
        let same = *cleanup_interval == was.cleanup_interval;
        self.at_once("session.cleanup_interval", same);
        self.at_once("session.parallel", *parallel == was.parallel);
    }

    fn in_skills(&mut self, was: &Skills, new: &Skills) {
        let Skills { sync, dir } = new;
        self.at_once("skills.sync", *sync == was.sync);
        self.at_once("skills.dir", *dir == was.dir);
    }

    fn in_sandbox(&mut self, was: &Sandbox, new: &Sandbox) {
        let Sandbox {
            read_only,
            max_processes,
            max_file_bytes,
            memory_bytes,
            cpu_weight,
            network,
            hosts,
        } = new;
        self.at_once("sandbox.read_only", *read_only == was.read_only);
        let same = *max_processes == was.max_processes;
        self.at_once("sandbox.max_processes", same);
        let same = *max_file_bytes == was.max_file_bytes;
        self.at_once("sandbox.max_file_bytes", same);
        let same = *memory_bytes == was.memory_bytes;
        self.at_once("sandbox.memory_bytes", same);
        self.at_once("sandbox.cpu_weight", *cpu_weight == was.cpu_weight);
        self.at_once("sandbox.network", *network == was.network);
        self.at_once("sandbox.hosts", *hosts == was.hosts);
    }
}

/// Those of `tenants` that the others lack.
fn missing(tenants: &[Tenant], others: &[Tenant]) -> Vec<String> {
    let is_there = |it: &&Tenant| others.iter().any(|other| other.name == it.name);
    let missing = tenants.iter().filter(|it| !is_there(it));
    missing.map(|it| it.name.clone()).collect()
}

/// What of a tenant is another; `None` when nothing is, or it was not there.
fn tenant(old: &[Tenant], new: &Tenant) -> Option<(String, Vec<&'static str>)> {
    let Tenant {
        name,
        key,
        previous_key,
        container,
        working_dir,
        config_dir,
        isolation,
        mounts,
        memory_bytes,
        cpu_weight,
        network,
        env,
    } = new;
    let was = old.iter().find(|it| it.name == *name)?;
    let parts = [
        ("api_key", *key == was.key),
        ("previous_key", *previous_key == was.previous_key),
        ("container", *container == was.container),
        ("working_dir", *working_dir == was.working_dir),
        ("config_dir", *config_dir == was.config_dir),
        ("isolation", *isolation == was.isolation),
        ("mounts", *mounts == was.mounts),
        ("memory_bytes", *memory_bytes == was.memory_bytes),
        ("cpu_weight", *cpu_weight == was.cpu_weight),
        ("network", *network == was.network),
        ("env", *env == was.env),
    ];
    let others = parts.into_iter().filter(|(_, same)| !same);
    let others: Vec<&str> = others.map(|(name, _)| name).collect();
    (!others.is_empty()).then(|| (name.clone(), others))
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = |verb: &str, names: &[String]| match names {
            [] => None,
            [one] => Some(format!("tenant {one} {verb}")),
            several => Some(format!("tenants {} {verb}", several.join(", "))),
        };
        let changed = self.changed.iter();
        let changed =
            changed.map(|(name, what)| format!("tenant {name} changed ({})", what.join(", ")));
        let settings = (!self.settings.is_empty()).then(|| self.settings.join(", "));
        let added = tenants("added", &self.added);
        let removed = tenants("removed", &self.removed);
        let parts = added.into_iter().chain(removed).chain(changed);
        let parts: Vec<String> = parts.chain(settings).collect();
        match parts.is_empty() {
            true => f.write_str("nothing that applies at once"),
            false => f.write_str(&parts.join("; ")),
        }
    }
}

impl Config {
    /// This configuration as a daemon that was started with `old` can run it.
    pub(crate) fn fitted_to(self, old: &Config) -> Config {
        let Server {
            port: _,
            host: _,
            docker_host_ip,
            max_body_bytes: _,
            max_connections: _,
            max_connections_per_ip,
            head_timeout,
            body_timeout,
            write_timeout,
            cors_origins,
            proxy_protocol_from: _,
            drain_delay,
        } = self.server;
        let server = Server {
            port: old.server.port,
            host: old.server.host,
            docker_host_ip,
            max_body_bytes: old.server.max_body_bytes,
            max_connections: old.server.max_connections,
            max_connections_per_ip,
            head_timeout,
            body_timeout,
            write_timeout,
            cors_origins,
            proxy_protocol_from: old.server.proxy_protocol_from.clone(),
            drain_delay,
        };
        Config { server, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::keys, *};

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
            "tenant c added; tenant a removed; tenant b changed (api_key)",
            &[],
        );
        let variable = "tenants: [{name: a, api_key: key-of-a, env: {X: secret}}, {name: b, api_key: key-of-b}]";
        check(TWO, variable, "tenant a changed (env)", &[]);
        check(
            TWO,
            "tenants: [{name: a, api_key: key-of-x, container: c, working_dir: /w, config_dir: private, memory_bytes: 0, cpu_weight: 50}, {name: b, api_key_sha256: '0000000000000000000000000000000000000000000000000000000000000000'}]",
            "tenant a changed (api_key, container, working_dir, config_dir, memory_bytes, cpu_weight); tenant b changed (api_key)",
            &[],
        );
        check(
            TWO,
            &format!("cli: {{timeout: 5000, max_concurrent: 9}}\nskills: {{dir: x}}\n{TWO}"),
            "cli.timeout, cli.max_concurrent, skills.dir",
            &[],
        );
        check(
            TWO,
            &format!("server: {{port: 1}}\ncli: {{bin: /x, effort: low}}\n{TWO}"),
            "cli.bin, cli.effort",
            &["server.port"],
        );
        // With the first tenant the default address becomes another.
        check("", TWO, "tenants a, b added", &["server.host"]);
    }

    /// Every setting with a value that is not its default, whatever it is called in the file.
    #[test]
    fn each_setting_is_noticed() {
        let keys = [
            ("server", &keys::SERVER),
            ("cli", &keys::CLI),
            ("session", &keys::SESSION),
            ("skills", &keys::SKILLS),
            ("sandbox", &keys::SANDBOX),
        ];
        let other = |key: &str| match key {
            "host" | "docker_host_ip" => "127.0.0.9",
            "cors_origins" => "'*'",
            "bin" | "skill_file" | "dir" => "/elsewhere",
            "effort" => "low",
            "stream" => "live",
            "permission_mode" => "plan",
            "sync" => "manual",
            "warm" => "off",
            "parallel" => "wait",
            "max_body_bytes" => "4096",
            "proxy_protocol_from" => "[10.0.0.0/8]",
            "read_only" => "[/elsewhere]",
            "network" => "api",
            "hosts" => "[example.com]",
            "max_processes" => "99",
            "max_file_bytes" => "9999999",
            "memory_bytes" => "999999999",
            "max_per_tenant" => "2",
            _ => "7",
        };
        for (section, section_keys) in keys {
            for key in section_keys.names {
                let yaml = format!("{section}: {{{key}: {}}}\n{TWO}", other(key));
                let changes = Changes::between(&config(TWO), &config(&yaml));
                let noticed = [changes.settings, changes.at_restart].concat();
                let name = format!("{section}.{key}");
                assert!(noticed.contains(&&*name), "{name}: {noticed:?}");
            }
        }
    }
}
