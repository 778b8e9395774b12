//! The Docker Engine's HTTP API, and Podman's likeness of it: <https://docs.docker.com/reference/api/engine/>.
//!
//! Requests go through ureq, over a Unix socket or TCP. Running a command in a container takes over
//! its connection for stdin and both outputs, which ureq cannot, so [`exec`] speaks for itself.

mod address;
mod archive;
mod engine;
mod exec;
mod model;
mod transport;

pub(crate) use self::{
    address::Address,
    archive::{File, TreeFile, TreeLimits},
    engine::{Engine, ask_socket},
    exec::Command,
    model::{Container, Mount, Summary},
};

use std::time::Duration;

/// Why the engine did not do what it was asked.
#[derive(Debug)]
pub(crate) enum DockerError {
    /// Nobody answers there.
    Unreachable { address: String, why: String },
    /// It answered with an error; the text is its own.
    Refused {
        what: String,
        status: u16,
        message: String,
    },
    /// It took longer than it may.
    Timeout { what: String, after: Duration },
    /// It answered something that is no answer.
    Odd { what: String, why: String },
}

impl std::fmt::Display for DockerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DockerError::Unreachable { address, why } => {
                write!(f, "the Docker Engine at {address} does not answer: {why}")
            }
            DockerError::Refused {
                what,
                status,
                message,
            } => write!(f, "Docker refused to {what} ({status}): {message}"),
            DockerError::Timeout { what, after } => {
                write!(f, "Docker did not {what} within {} s", after.as_secs())
            }
            DockerError::Odd { what, why } => {
                write!(f, "Docker answered oddly when asked to {what}: {why}")
            }
        }
    }
}

impl std::error::Error for DockerError {}

impl DockerError {
    /// Whether the engine said that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, DockerError::Refused { status: 404, .. })
    }
}
