//! Under which URL an instance most likely reaches the gateway: a hint, nothing is tried.

use std::net::IpAddr;

use crate::{
    config::{Config, DockerHostIp},
    manage::reach,
};

/// `None` where the port is known only once the gateway runs, or no container can reach it.
pub(super) fn of(config: &Config, in_container: bool) -> Option<String> {
    let port = config.server.port;
    let set = config.server.host.filter(|it| !it.is_unspecified());
    let host = match (set, config.server.docker_host_ip) {
        (Some(host), _) if in_container && host.is_loopback() => return None,
        (Some(host), _) => in_url(host),
        (None, DockerHostIp::Ip(ip)) if in_container => in_url(ip),
        (None, _) if in_container => reach::LAST_RESORT.to_owned(),
        (None, _) => "127.0.0.1".to_owned(),
    };
    (port != 0).then(|| format!("http://{host}:{port}"))
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
