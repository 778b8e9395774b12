//! Where a Docker Engine may listen.

use std::path::{Path, PathBuf};

/// How an engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

impl Address {
    /// Reads a `DOCKER_HOST`.
    ///
    /// # Errors
    /// With the way out, for what this program cannot speak: TLS and SSH.
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Address::Unix(path.into())),
                false => Err(format!(
                    "DOCKER_HOST={text}: expected an absolute path, as in unix:///var/run/docker.sock"
                )),
            };
        }
        let host = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
            .map(|host| host.trim_end_matches('/'));
        match host {
            Some(host) if !host.is_empty() => Ok(Address::Tcp(with_port(host))),
            _ => Err(format!(
                "DOCKER_HOST={text}: only unix:// and tcp:// without TLS are understood; forward the engine's socket and name that"
            )),
        }
    }

    /// Whether its networks may be none of this machine's: without root they are of a namespace of their own.
    pub(crate) fn may_be_rootless(&self) -> bool {
        match self {
            Address::Unix(path) => {
                let text = path.to_string_lossy();
                text.contains("podman") || text.starts_with("/run/user/")
            }
            Address::Tcp(_) => false,
        }
    }

    /// Whether there is a socket to try.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Address::Unix(path) => path.exists(),
            Address::Tcp(_) => true,
        }
    }

    /// Where to look when nothing is said: the engine of the system, one without root, then Podman's.
    /// A name that is a link to another comes once, as with `podman-docker`.
    pub(crate) fn usual(runtime_dir: Option<&Path>, uid: u32) -> Vec<Address> {
        let own = PathBuf::from(format!("/run/user/{uid}"));
        let runtime = runtime_dir.unwrap_or(&own);
        let mut real = Vec::new();
        let mut names = vec![
            PathBuf::from("/var/run/docker.sock"),
            runtime.join("docker.sock"),
            runtime.join("podman/podman.sock"),
            PathBuf::from("/run/podman/podman.sock"),
        ];
        names.retain(|name| {
            let path = name.canonicalize().unwrap_or_else(|_| name.clone());
            let is_new = !real.contains(&path);
            real.push(path);
            is_new
        });
        names.into_iter().map(Address::Unix).collect()
    }
}

/// The port that engines without TLS have by custom.
fn with_port(host: &str) -> String {
    let after_brackets = host.rsplit(']').next().unwrap_or(host);
    match after_brackets.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:2375"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        for (text, expect) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://build/", "tcp://build:2375"),
            ("http://[::1]:99", "tcp://[::1]:99"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), expect);
        }
        for text in ["unix://x.sock", "ssh://me@there", "npipe://x", "tcp://", ""] {
            let error = Address::parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("DOCKER_HOST={text}: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn rootless_sockets_are_looked_for_where_the_session_is() {
        let names = |runtime: Option<&Path>| {
            let all = Address::usual(runtime, 1000);
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(None)[1], "unix:///run/user/1000/docker.sock");
        assert_eq!(
            names(Some(Path::new("/r")))[2],
            "unix:///r/podman/podman.sock"
        );
    }
}
