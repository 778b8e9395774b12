//! Under which address an instance reaches this machine: what Docker says, tried out from inside.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    access::Access,
    ask::{Ask, Said, from_here},
    beacon::Beacon,
};
use crate::{
    config::{Config, DockerHostIp},
    docker::{Container, Engine},
    http::NOT_INTRODUCED,
    openclaw::instance::Place,
};

/// How long an instance may take to reach us; a firewall that drops packets never says no.
const PATIENCE: Duration = Duration::from_secs(5);

/// Docker's default bridge, when nobody says anything else.
pub(super) const LAST_RESORT: &str = "172.17.0.1";

/// What answers at the gateway's port while instances are asked whether they reach it.
#[derive(Debug)]
pub(crate) enum Answering {
    /// Nobody else: a listener of ours.
    Beacon(Beacon),
    /// The gateway itself.
    Gateway { port: u16 },
}

impl Answering {
    /// Finds out whether the gateway runs, and stands in for it where it does not.
    ///
    /// # Errors
    /// When something else has the port.
    pub(crate) fn open(config: &Config) -> Result<Answering, String> {
        let port = config.server.port;
        if port != 0 && gateway_runs(config) {
            return Ok(Answering::Gateway { port });
        }
        let address = SocketAddr::new(config_address(config), port);
        let opened = Beacon::open(address);
        opened.map(Answering::Beacon).map_err(|error| {
            format!(
                "port {port} cannot be used ({error}), and what answers there is no ccgw; set server.port to a free one"
            )
        })
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Answering::Beacon(beacon) => beacon.port,
            Answering::Gateway { port } => *port,
        }
    }

    /// Whether an answer of `/health` is ours.
    fn is_ours(&self, body: &str) -> bool {
        match self {
            Answering::Beacon(beacon) => body.contains(&beacon.word),
            Answering::Gateway { .. } => is_health(body),
        }
    }
}

/// Every address once there are tenants, and setup makes some.
fn config_address(config: &Config) -> IpAddr {
    config.server.host.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// Whether a ccgw answers at the configured port of this machine.
pub(crate) fn gateway_runs(config: &Config) -> bool {
    let host = match config.server.host {
        Some(host) if !host.is_unspecified() => host,
        _ => IpAddr::from([127, 0, 0, 1]),
    };
    let url = format!(
        "http://{}/health",
        SocketAddr::new(host, config.server.port)
    );
    let ask = Ask {
        url: &url,
        key: None,
        body: None,
        timeout: PATIENCE,
    };
    from_here(&ask).is_ok_and(|said| is_gateway(&said))
}

/// One that is about to stop answers 503, and one that takes this machine for a proxy of its own answers nothing else.
fn is_gateway(said: &Said) -> bool {
    match said.status {
        200 | 503 => is_health(&said.body),
        400 => said.body.contains(NOT_INTRODUCED),
        _ => false,
    }
}

fn is_health(body: &str) -> bool {
    // Of a long one, of many tenants, only the beginning may have come.
    body.starts_with("{\"status\":\"") && body.contains("\"queued\":")
}

/// The first address under which the instance reaches us, as the origin of a URL.
///
/// # Errors
/// Every address that was tried and why it failed, with what usually helps.
pub(crate) fn origin(
    access: &Access<'_>,
    (config, answering): (&Config, &Answering),
) -> Result<String, String> {
    let port = answering.port();
    let mut failures = Vec::new();
    for host in candidates(access, config) {
        let origin = format!("http://{host}:{port}");
        let url = format!("{origin}/health");
        let ask = Ask {
            url: &url,
            key: None,
            body: None,
            timeout: PATIENCE,
        };
        match access.ask(&ask) {
            Ok(said) if answering.is_ours(&said.body) => return Ok(origin),
            Ok(said) => failures.push(format!("{host}: somebody else answers ({})", said.status)),
            Err(why) => failures.push(format!("{host}: {why}")),
        }
    }
    let advice = match config.server.host {
        Some(host) if host.is_loopback() => {
            format!(
                "server.host is {host}, which no container reaches; remove it or set an address of a Docker network"
            )
        }
        _ => format!(
            "let TCP port {port} through this machine's firewall for its Docker networks, or name the address in server.docker_host_ip"
        ),
    };
    Err(format!(
        "it does not reach the gateway ({}); {advice}",
        failures.join("; ")
    ))
}

/// What makes this machine reachable by name in its containers: Docker's, where it is mapped, and
/// Podman's, which is in every container's /etc/hosts.
const NAMES_OF_HOST: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// The host's loopback, as slirp4netns shows it to containers of rootless engines.
const SLIRP_HOST: &str = "10.0.2.2";

fn candidates(access: &Access<'_>, config: &Config) -> Vec<String> {
    let Place::Docker(container) = &access.instance.place else {
        let local = config.server.host.filter(|host| !host.is_unspecified());
        return vec![local.map_or_else(|| "127.0.0.1".to_owned(), in_url)];
    };
    if let DockerHostIp::Ip(ip) = config.server.docker_host_ip {
        return vec![in_url(ip)];
    }
    if container.host_config.network_mode == "host" {
        return vec!["127.0.0.1".to_owned()];
    }
    let mut hosts = gateways(container, access.engine());
    let maps = |name: &str| {
        let entry = format!("{name}:");
        let extra = &container.host_config.extra_hosts;
        extra.iter().any(|it| it.starts_with(&entry))
    };
    let mapped = NAMES_OF_HOST.iter().filter(|name| maps(name));
    hosts.extend(mapped.map(|it| (*it).to_owned()));
    if let Some(engine) = access.engine() {
        // Without a default bridge there is nothing to learn from it.
        hosts.extend(engine.gateways("bridge").unwrap_or_default());
        if engine.address().may_be_rootless() {
            hosts.extend([NAMES_OF_HOST[1], SLIRP_HOST].map(str::to_owned));
        }
    }
    hosts.push(LAST_RESORT.to_owned());
    let mut unique: Vec<String> = Vec::new();
    for host in hosts {
        if !unique.contains(&host) {
            unique.push(host);
        }
    }
    unique
}

/// Those of the networks that the container itself is in.
fn gateways(container: &Container, engine: Option<&Engine>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, endpoint) in &container.network_settings.networks {
        if !endpoint.gateway.is_empty() {
            found.push(endpoint.gateway.clone());
        } else if let Some(engine) = engine {
            // Podman and some drivers tell it of the network only.
            let id = match endpoint.network_id.is_empty() {
                true => name,
                false => &endpoint.network_id,
            };
            found.extend(engine.gateways(id).unwrap_or_default());
        }
    }
    let in_url_form = |text: String| text.parse().map_or(text, in_url);
    found.into_iter().map(in_url_form).collect()
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_is_known_by_what_it_says() {
        let refused = format!("it holds 127.0.0.1, so {NOT_INTRODUCED}");
        let cut = r#"{"status":"ok","running":1,"queued":0,"tenants":[{"name":"a"#;
        for (status, body, expect) in [
            (200, r#"{"status":"ok","running":0,"queued":0}"#, true),
            (200, cut, true),
            (503, r#"{"status":"draining","running":0,"queued":0}"#, true),
            (400, &refused, true),
            (200, r#"{"status":"ok"}"#, false),
            (404, r#"{"status":"ok","queued":0}"#, false),
            (400, "Bad Request", false),
        ] {
            let said = Said {
                status,
                body: body.to_owned(),
            };
            assert_eq!(is_gateway(&said), expect, "{status} {body}");
        }
    }
}
