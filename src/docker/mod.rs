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
    exec::{Channel, Command},
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

    /// Whether it said so of a file, in a container that is there: a container that is gone must never look
    /// like one without files.
    fn is_no_such_file(&self) -> bool {
        let DockerError::Refused { message, .. } = self else {
            return false;
        };
        let message = message.to_lowercase();
        // Docker's and Podman's words.
        let is_container = ["no such container", "no container with"]
            .iter()
            .any(|it| message.contains(it));
        self.is_not_found() && !is_container
    }
}

#[cfg(test)]
mod tests {
    use super::DockerError;

    #[test]
    fn a_container_that_is_gone_is_no_missing_file() {
        #[track_caller]
        fn check(status: u16, message: &str, expect: bool) {
            let error = DockerError::Refused {
                what: "read /x".to_owned(),
                status,
                message: message.to_owned(),
            };
            assert_eq!(error.is_no_such_file(), expect, "{message}");
        }
        check(404, "Could not find the file /x in container 0123", true);
        check(404, "", true);
        check(404, "No such container: 0123", false);
        check(404, "no container with name or ID \"0123\" found", false);
        check(500, "Could not find the file /x in container 0123", false);
    }
}
