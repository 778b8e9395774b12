//! The names of all keys and environment overrides, and what a wrong name was meant to be.

/// The keys of one map of the file.
pub(super) struct Keys {
    /// How the way to the map is written in messages, empty for the top level.
    pub(super) section: &'static str,
    pub(super) names: &'static [&'static str],
}

pub(super) const TOP: Keys = Keys {
    section: "",
    names: &[
        "server",
        "cli",
        "session",
        "skills",
        "isolation",
        "sandbox",
        "relay",
        "tenants",
    ],
};

pub(super) const SERVER: Keys = Keys {
    section: "server",
    names: &[
        "port",
        "host",
        "docker_host_ip",
        "max_body_bytes",
        "max_connections",
        "max_connections_per_ip",
        "head_timeout",
        "body_timeout",
        "write_timeout",
        "cors_origins",
        "proxy_protocol_from",
        "drain_delay",
    ],
};

pub(super) const CLI: Keys = Keys {
    section: "cli",
    names: &[
        "bin",
        "timeout",
        "idle_timeout",
        "max_concurrent",
        "max_per_tenant",
        "queue_depth",
        "queue_timeout",
        "drain_timeout",
        "effort",
        "skill_file",
        "stream",
        "permission_mode",
        "warm",
    ],
};

pub(super) const WARM: Keys = Keys {
    section: "cli.warm",
    names: &["max_processes", "idle_timeout", "memory_bytes"],
};

pub(super) const SESSION: Keys = Keys {
    section: "session",
    names: &["ttl", "cleanup_interval", "parallel"],
};

pub(super) const SKILLS: Keys = Keys {
    section: "skills",
    names: &["sync", "dir"],
};

pub(super) const SANDBOX: Keys = Keys {
    section: "sandbox",
    names: &[
        "read_only",
        "max_processes",
        "max_file_bytes",
        "memory_bytes",
        "cpu_weight",
        "network",
        "hosts",
    ],
};

pub(super) const RELAY: Keys = Keys {
    section: "relay",
    names: &["allow", "timeout"],
};

pub(super) const TENANT: Keys = Keys {
    section: "tenants[]",
    names: &[
        "name",
        "api_key",
        "api_key_sha256",
        "previous_key_sha256",
        "previous_key_until",
        "container",
        "working_dir",
        "config_dir",
        "isolation",
        "mounts",
        "memory_bytes",
        "cpu_weight",
        "network",
        "env",
    ],
};

const ALL: [&Keys; 9] = [
    &TOP, &SERVER, &CLI, &WARM, &SESSION, &SKILLS, &SANDBOX, &RELAY, &TENANT,
];

/// Which environment variable replaces which key. An empty variable counts as not set.
pub(super) const OVERRIDES: [(&str, &str); 9] = [
    ("server.port", "PORT"),
    ("server.host", "HOST"),
    ("server.docker_host_ip", "DOCKER_HOST_IP"),
    ("cli.bin", "CLAUDE_BIN"),
    ("cli.timeout", "CLI_TIMEOUT"),
    ("cli.max_concurrent", "MAX_CONCURRENT"),
    ("cli.max_per_tenant", "MAX_PER_TENANT"),
    ("cli.effort", "CLI_EFFORT"),
    ("isolation", "ISOLATION"),
];

impl Keys {
    /// What to write instead of the unknown key `key`.
    pub(super) fn advice(&self, key: &str) -> String {
        if let Some(other) = ALL.iter().find(|other| other.names.contains(&key)) {
            return match other.section {
                "" => "it belongs at the top level, without indentation".to_owned(),
                section => format!("it belongs under `{section}`"),
            };
        }
        match closest(key, self.names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("valid keys are {}", self.names.join(", ")),
        }
    }
}

/// The name most like `word`, if it can be a slip of the fingers.
pub(super) fn closest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // No name is as long as this, and the work grows with the length.
    const WORD_MAX: usize = 40;
    if word.len() > WORD_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    names
        .map(|name| (distance(&plain(word), &plain(name)), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        #[track_caller]
        fn check(a: &str, b: &str, expect: usize) {
            assert_eq!((distance(a, b), distance(b, a)), (expect, expect));
        }
        check("", "", 0);
        check("", "abc", 3);
        check("port", "prot", 1);
        check("port", "ports", 1);
        check("timeout", "timout", 1);
        check("host", "coast", 2);
        check("é", "e", 1);
    }

    #[test]
    fn unknown_keys_get_the_most_useful_advice() {
        #[track_caller]
        fn check(keys: &Keys, key: &str, expect: &str) {
            assert_eq!(keys.advice(key), expect);
        }
        check(&SERVER, "prot", "did you mean `port`?");
        check(&SERVER, "max-body-bytes", "did you mean `max_body_bytes`?");
        check(&TENANT, "api_kye", "did you mean `api_key`?");
        check(&TENANT, "apiKey", "did you mean `api_key`?");
        check(&SERVER, "max_concurrent", "it belongs under `cli`");
        check(&TOP, "api_key", "it belongs under `tenants[]`");
        check(
            &CLI,
            "tenants",
            "it belongs at the top level, without indentation",
        );
        check(&SKILLS, "zebra", "valid keys are sync, dir");
        check(&SKILLS, &"s".repeat(1 << 20), "valid keys are sync, dir");
    }

    #[test]
    fn every_override_names_a_key() {
        for (path, _) in OVERRIDES {
            let found = ALL.iter().any(|keys| {
                path.strip_prefix(keys.section)
                    .map(|rest| rest.strip_prefix('.').unwrap_or(rest))
                    .is_some_and(|name| keys.names.contains(&name))
            });
            assert!(found, "{path}");
        }
    }
}
