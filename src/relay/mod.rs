//! The `openclaw` command of a run: it reaches its own tenant's instance, and no other.
//!
//! Inside of a run this same binary stands under the name `openclaw` ([`client`]). It gives its words to the daemon
//! over a socket that belongs to the tenant; the daemon looks whether they are allowed ([`policy`]), runs the
//! instance's own `openclaw` with them ([`instance`]), and gives back what that says as it comes ([`frame`]). Which
//! instance that is follows from the socket alone: nothing that a model can say names another.

pub(crate) mod client;
mod container;
mod frame;
mod instance;
mod known;
pub(crate) mod policy;
mod server;
mod settings;

use std::{ffi::OsString, path::Path};

pub(crate) use self::server::Relay;

/// The variable with the socket's path.
const VARIABLE: &str = "CCGW_RELAY";

/// What the command is called.
pub(crate) const NAME: &str = "openclaw";

/// Lets a run find the command, and the command its socket.
pub(crate) fn into_environment(
    env: &mut Vec<(OsString, OsString)>,
    (socket, commands): (&Path, &Path),
) {
    let old = env.iter().rfind(|(name, _)| name == "PATH");
    let old = old.map_or(OsString::new(), |(_, value)| value.clone());
    let dirs = [commands.to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&old));
    // A directory with a colon in its name cannot be in a PATH, and then the old one stays as it is.
    let path = std::env::join_paths(dirs).unwrap_or(old);
    env.retain(|(name, _)| name != "PATH" && name != VARIABLE);
    env.push(("PATH".into(), path));
    env.push((VARIABLE.into(), socket.into()));
}
