//! The `server` section: where the gateway listens and what one connection may cost it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::cors::{self, CorsOrigins};
use super::keys;
use super::network::{self, Network};
use super::problems::Reported;
use super::section::{Reader, Section};
use super::tenant::Tenant;
use super::tree::Node;
use super::value::{ip, millis, number};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// 0 lets the kernel choose a free port.
    pub(crate) port: u16,
    /// As configured; what to bind is [`super::Config::bind_address`].
    pub(crate) host: Option<IpAddr>,
    pub(crate) docker_host_ip: DockerHostIp,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_ip: usize,
    /// From the first byte of a request, or the accept, to the end of its head.
    pub(crate) head_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub(crate) body_timeout: Duration,
    /// How long one write may stall.
    pub(crate) write_timeout: Duration,
    /// Which web pages may read answers.
    pub(crate) cors_origins: CorsOrigins,
    /// Proxies, which say by the PROXY protocol for whom they connect.
    pub(crate) proxy_protocol_from: Vec<Network>,
    /// How long it serves on after it was told to stop, while `/health` says so.
    pub(crate) drain_delay: Option<Duration>,
}

/// Each connection's address is compared with all of these.
const PROXIES_MAX: usize = 100;

/// The address under which containers reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DockerHostIp {
    /// Ask Docker for the gateway of its network.
    Auto,
    Ip(IpAddr),
}

/// Reads the section. `tenants` decides whether a public address is allowed: without keys anybody
/// who reaches the port could use the CLI.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
    tenants: &Result<Vec<Tenant>, Reported>,
) -> Result<Server, Reported> {
    let mut s = reader.section(node, &keys::SERVER, "server".to_owned());
    let port = s.get("port", 3456, |text| number(text, 0..=u16::MAX));
    let host = host(&mut s, tenants);
    let docker_host_ip = s.get("docker_host_ip", DockerHostIp::Auto, docker_host);
    let max_body_bytes = s.get("max_body_bytes", 32 << 20, |text| {
        number(text, 1024..=1 << 30)
    });
    let max_connections = s.get("max_connections", 1024, |text| number(text, 1..=65536));
    let max_connections_per_ip = s.get("max_connections_per_ip", 256, |text| {
        number(text, 1..=65536)
    });
    let head_timeout = s.get("head_timeout", Duration::from_secs(10), millis);
    let body_timeout = s.get("body_timeout", Duration::from_secs(60), millis);
    let write_timeout = s.get("write_timeout", Duration::from_secs(30), millis);
    let cors_origins = cors::read(&mut s, tenants);
    let proxies = s.list(
        "proxy_protocol_from",
        ("an address", "addresses"),
        PROXIES_MAX,
        network::parse,
    );
    let drain_delay = s.read("drain_delay", millis);
    Ok(Server {
        port: port?,
        host: host?,
        docker_host_ip: docker_host_ip?,
        max_body_bytes: max_body_bytes?,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        head_timeout: head_timeout?,
        body_timeout: body_timeout?,
        write_timeout: write_timeout?,
        cors_origins: cors_origins?,
        proxy_protocol_from: proxies?.unwrap_or_default(),
        drain_delay: drain_delay?.map(|(delay, _)| delay),
    })
}

/// The address to bind when none is configured.
pub(super) fn default_address(tenants: &[Tenant]) -> IpAddr {
    if tenants.is_empty() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

fn host(
    s: &mut Section<'_, '_>,
    tenants: &Result<Vec<Tenant>, Reported>,
) -> Result<Option<IpAddr>, Reported> {
    let Some((host, place)) = s.read("host", ip)? else {
        return Ok(None);
    };
    let is_open = matches!(tenants, Ok(tenants) if tenants.is_empty());
    // An IPv4 loopback address may be spelled as an IPv6 one.
    if is_open && !host.to_canonical().is_loopback() {
        let text = format!(
            "{host} with no tenants: anybody could use the gateway without a key, add a tenant or \
             set server.host to 127.0.0.1"
        );
        return Err(s.problem("host", place, &text));
    }
    Ok(Some(host))
}

fn docker_host(text: &str) -> Result<DockerHostIp, String> {
    // Docker Desktop's name for it, which is found by trying as well.
    if text == "auto" || text == "host.docker.internal" {
        return Ok(DockerHostIp::Auto);
    }
    ip(text)
        .map(DockerHostIp::Ip)
        .map_err(|error| format!("{error}, or auto"))
}
