//! What a daemon says when it starts: in the log, and to a newcomer on stdout.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

use crate::{claude::program::Kind, config, gateway::Gateway, log};

pub(super) fn announce(gateway: &Gateway, source: &str, address: SocketAddr) {
    let config = &gateway.served().config;
    log::info(
        &format!("listening on http://{address}"),
        &[
            ("version", &env!("CARGO_PKG_VERSION")),
            ("config", &source),
            ("tenants", &config.tenants.len()),
            ("max_concurrent", &config.cli.max_concurrent),
        ],
    );
    if config.tenants.is_empty() {
        log::warn(
            "no tenants: only programs on this host are served, without a key",
            &[],
        );
    } else if let IpAddr::V4(ip) = address.ip()
        && ip.is_unspecified()
    {
        log::info(
            "listening on all addresses: keep the port off the public internet (no TLS here)",
            &[],
        );
    }
    let sharing = config.sharing_a_login();
    if sharing.len() > 1 {
        log::warn(
            &format!(
                "several tenants use one login; if it is a Pro or Max plan, {}",
                config::TERMS
            ),
            &[("tenants", &sharing.join(","))],
        );
    }
    let lent = std::env::var_os("ANTHROPIC_API_KEY").is_some();
    let used = |tenant: &config::Tenant| {
        tenant
            .env
            .iter()
            .any(|(name, _)| name == "ANTHROPIC_API_KEY")
    };
    if lent && !config.tenants.iter().any(used) {
        log::info(
            "ANTHROPIC_API_KEY of the gateway's environment is not given to runs; set it in a tenant's env",
            &[],
        );
    }
}

/// A request for a newcomer to send. Without tools its answer streams as it is made, whatever
/// `cli.stream` says.
pub(super) fn print_request_to_try(gateway: &Gateway, address: SocketAddr) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    let address = SocketAddr::new(host, address.port());
    let mut text = String::from("\n");
    if gateway.served().cli.program.kind == Kind::StandIn {
        text +=
            "  *** No Claude Code CLI here: a built-in STAND-IN answers, no model is asked. ***\n";
        text += "  *** Install the real one: npm install -g @anthropic-ai/claude-code           ***\n\n";
    }
    text += "  In another terminal:\n\n";
    let has_tenants = !gateway.served().config.tenants.is_empty();
    if has_tenants {
        text += "  KEY=...  # a tenant's api_key from the configuration\n";
    }
    text +=
        &format!("  curl -N http://{address}/v1/messages -H 'content-type: application/json' \\\n");
    if has_tenants {
        text += "    -H \"x-api-key: $KEY\" \\\n";
    }
    text += r#"    -d '{"model":"sonnet","max_tokens":1024,"stream":true,"tool_choice":{"type":"none"},"messages":[{"role":"user","content":"Say hello"}]}'"#;
    // A closed stdout has nobody to tell.
    let _ = writeln!(io::stdout(), "{text}\n");
}

pub(super) fn warn_of_fewer_connections(wanted: usize, possible: usize) {
    if possible < wanted {
        log::warn(
            "fewer connections than server.max_connections: the limit on open files is too low (ulimit -Hn, LimitNOFILE)",
            &[("wanted", &wanted), ("possible", &possible)],
        );
    }
}
