//! The way out of a run that has a network of its own (`network: api`): a proxy in the daemon, which connects it with
//! the hosts that it needs and with no other.
//!
//! Inside there is nothing but loopback, and on it a forwarder (`claude/sandbox/forward.rs`), which hands each connection over
//! a Unix socket to the daemon. Whose socket that is says whose connection it is, and everything is decided here.

mod address;
mod dial;
mod head;
mod host;
mod policy;
mod server;
mod splice;

use std::ffi::OsString;

pub(crate) use self::{
    host::Host,
    policy::Policy,
    server::Egress,
    splice::{Pair, SCRATCH},
};

/// Where a run finds the proxy on its own loopback: nobody else is there.
pub(crate) const PORT: u16 = 3128;

/// What a run's own servers are called.
const OWN_NAMES: &str = "localhost,127.0.0.1,::1";

/// Has a run, and all that it starts, go through the proxy.
pub(crate) fn into_environment(env: &mut Vec<(OsString, OsString)>, policy: &Policy) {
    let proxy = format!("http://127.0.0.1:{PORT}");
    // Who asks for a name of loopback means its own, unless the API is there.
    let direct = match policy.reaches_loopback() {
        true => "",
        false => OWN_NAMES,
    };
    let all = [
        ("HTTP_PROXY", proxy.as_str()),
        ("HTTPS_PROXY", &proxy),
        ("NO_PROXY", direct),
        ("ALL_PROXY", ""),
    ];
    for (name, value) in all {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            env.retain(|(known, _)| *known != *name);
            if !value.is_empty() {
                env.push((name.into(), value.into()));
            }
        }
    }
}
