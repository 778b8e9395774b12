//! A connection to one engine: requests in, typed answers or the engine's own errors out.

use std::{io::Read, os::unix::net::UnixStream, path::Path, time::Duration};

use serde::de::DeserializeOwned;
use ureq::{
    Agent, Body,
    http::Response,
    unversioned::{resolver::DefaultResolver, transport::TcpConnector},
};

use super::{
    Address, DockerError,
    model::{Container, Network, Summary, Version},
    transport::{NoNames, UnixConnector},
};

/// An engine that has said which versions it speaks.
#[derive(Debug)]
pub(crate) struct Engine {
    agent: Agent,
    pub(super) address: Address,
    /// As it goes into a path: `/v1.41`.
    pub(super) version: String,
    /// The engine's own, for people.
    pub(crate) release: String,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A busy engine on a small host answers a list within a second; one that hangs must not hang us.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Between the first and the last byte of an answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// What we speak. Older engines get their newest, newer ones that have dropped this their oldest.
const OUR_VERSION: (u32, u32) = (1, 41);

impl Engine {
    /// The engines of this machine: the one that `DOCKER_HOST` names, else all of the usual sockets
    /// that exist and answer, and the errors of those that do not.
    pub(crate) fn find(env: impl Fn(&str) -> Option<String>) -> (Vec<Engine>, Vec<DockerError>) {
        let named = env("DOCKER_HOST").filter(|it| !it.is_empty());
        let addresses = match named.as_deref().map(Address::parse) {
            Some(Err(why)) => {
                let what = "be found".to_owned();
                return (Vec::new(), vec![DockerError::Odd { what, why }]);
            }
            Some(Ok(address)) => vec![address],
            None => {
                let runtime_dir = env("XDG_RUNTIME_DIR").filter(|it| !it.is_empty());
                let uid = rustix::process::getuid().as_raw();
                let mut usual = Address::usual(runtime_dir.as_deref().map(Path::new), uid);
                usual.retain(Address::is_there);
                usual
            }
        };
        let mut found = (Vec::new(), Vec::new());
        for address in addresses {
            match Engine::connect(address) {
                Ok(engine) => found.0.push(engine),
                Err(error) => found.1.push(error),
            }
        }
        found
    }

    /// # Errors
    /// When nobody answers there, or not as an engine does.
    pub(crate) fn connect(address: Address) -> Result<Engine, DockerError> {
        if let Address::Unix(path) = &address {
            // Its own words (no such file, permission denied, refused) say more than ureq's.
            UnixStream::connect(path).map_err(|error| DockerError::Unreachable {
                address: address.to_string(),
                why: error.to_string(),
            })?;
        }
        let mut engine = Engine {
            agent: agent(&address),
            address,
            version: String::new(),
            release: String::new(),
        };
        let version: Version = engine.get("tell its version", "/version")?;
        let (major, minor) = spoken(&version);
        engine.version = format!("/v{major}.{minor}");
        engine.release = version.version;
        Ok(engine)
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether its paths are this machine's: over TCP it may be anywhere.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// All containers that run.
    ///
    /// # Errors
    /// As any request: unreachable, refused, too late, or no answer that can be read.
    pub(crate) fn running(&self) -> Result<Vec<Summary>, DockerError> {
        self.get("list the containers", "/containers/json")
    }

    /// # Errors
    /// As any request; [`DockerError::is_not_found`] when it is gone.
    pub(crate) fn inspect(&self, id: &str) -> Result<Container, DockerError> {
        let path = format!("/containers/{}/json", encoded(id));
        self.get("inspect a container", &path)
    }

    /// The addresses under which the members of a network reach the host.
    ///
    /// # Errors
    /// As any request.
    pub(crate) fn gateways(&self, network: &str) -> Result<Vec<String>, DockerError> {
        let path = format!("/networks/{}", encoded(network));
        let network: Network = self.get("inspect a network", &path)?;
        let configs = network.ipam.config.into_iter();
        Ok(configs
            .map(|it| it.gateway)
            .filter(|it| !it.is_empty())
            .collect())
    }

    pub(super) fn get<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
    ) -> Result<T, DockerError> {
        let answer = self.agent.get(self.url(path)).call();
        let body = read(what, self.checked(what, answer)?, ANSWER_BYTES_MAX)?;
        understood(what, &body)
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, DockerError> {
        let request = self.agent.post(self.url(path));
        let answer = request
            .header("content-type", "application/json")
            .send(body.to_string());
        let body = read(what, self.checked(what, answer)?, ANSWER_BYTES_MAX)?;
        understood(what, &body)
    }

    /// Whether a request is answered well; there is no body.
    pub(super) fn head(&self, what: &str, path: &str) -> Result<(), DockerError> {
        let answer = self.agent.head(self.url(path)).call();
        self.checked(what, answer).map(drop)
    }

    /// The answer's body as it comes.
    pub(super) fn stream(&self, what: &str, path: &str) -> Result<impl Read + use<>, DockerError> {
        let answer = self.agent.get(self.url(path)).call();
        Ok(self.checked(what, answer)?.into_body().into_reader())
    }

    pub(super) fn put(&self, what: &str, path: &str, tar: &[u8]) -> Result<(), DockerError> {
        let request = self.agent.put(self.url(path));
        let answer = request
            .header("content-type", "application/x-tar")
            .send(tar);
        read(what, self.checked(what, answer)?, ERROR_BYTES_MAX).map(drop)
    }

    fn url(&self, path: &str) -> String {
        let host = match &self.address {
            Address::Unix(_) => "docker",
            Address::Tcp(host) => host,
        };
        format!("http://{host}{}{path}", self.version)
    }

    fn checked(
        &self,
        what: &str,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, DockerError> {
        let mut answer = answer.map_err(|error| self.failed(what, &error))?;
        let status = answer.status().as_u16();
        if status < 400 {
            return Ok(answer);
        }
        let limited = answer.body_mut().with_config().limit(ERROR_BYTES_MAX);
        // An error without words is told by its status.
        let body = limited.read_to_string().unwrap_or_default();
        Err(refused(what, status, &body))
    }

    fn failed(&self, what: &str, error: &ureq::Error) -> DockerError {
        match error {
            ureq::Error::Timeout(_) => DockerError::Timeout {
                what: what.to_owned(),
                after: ANSWER_TIMEOUT,
            },
            error => DockerError::Unreachable {
                address: self.address.to_string(),
                why: error.to_string(),
            },
        }
    }
}

/// The engine's own words, from its `{"message":…}`.
pub(super) fn refused(what: &str, status: u16, body: &str) -> DockerError {
    #[derive(serde::Deserialize)]
    struct Words {
        message: String,
    }
    let message = match serde_json::from_str::<Words>(body) {
        Ok(words) => words.message,
        Err(_) => body.trim().chars().take(300).collect(),
    };
    DockerError::Refused {
        what: what.to_owned(),
        status,
        message,
    }
}

/// A piece of a path, so that no name can be more than one.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A request without a body to whoever listens on a Unix socket; the status and the text of the answer.
///
/// # Errors
/// When nobody answers, or not in time.
pub(crate) fn ask_socket(
    socket: &Path,
    (method, path): (&str, &str),
    patience: Duration,
) -> Result<(u16, String), String> {
    let failed = |error: String| format!("{} does not answer: {error}", socket.display());
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"));
    let request = match method {
        // ureq would send an empty body in chunks, and nobody there reads bodies.
        "POST" => request.header("content-length", "0"),
        _ => request,
    };
    let request = request
        .body(())
        .map_err(|error| failed(error.to_string()))?;
    let agent = agent(&Address::Unix(socket.to_owned()));
    let request = agent
        .configure_request(request)
        .timeout_recv_response(Some(patience))
        .build();
    let mut answer = agent
        .run(request)
        .map_err(|error| failed(error.to_string()))?;
    let body = answer.body_mut().read_to_string();
    let body = body.map_err(|error| failed(error.to_string()))?;
    Ok((answer.status().as_u16(), body))
}

fn agent(address: &Address) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // A proxy of the environment is for the internet, not for the engine.
        .proxy(None)
        .user_agent(concat!("ccgw/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_recv_body(Some(BODY_TIMEOUT))
        .max_idle_connections(2)
        .max_idle_age(Duration::from_secs(15))
        .build();
    match address {
        Address::Unix(path) => Agent::with_parts(config, UnixConnector(path.clone()), NoNames),
        Address::Tcp(_) => {
            Agent::with_parts(config, TcpConnector::default(), DefaultResolver::default())
        }
    }
}

fn read(what: &str, mut answer: Response<Body>, max: u64) -> Result<Vec<u8>, DockerError> {
    let body = answer.body_mut().with_config().limit(max).read_to_vec();
    body.map_err(|error| match error {
        ureq::Error::Timeout(_) => DockerError::Timeout {
            what: what.to_owned(),
            after: BODY_TIMEOUT,
        },
        error => DockerError::Odd {
            what: what.to_owned(),
            why: error.to_string(),
        },
    })
}

fn understood<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, DockerError> {
    serde_json::from_slice(body).map_err(|error| DockerError::Odd {
        what: what.to_owned(),
        why: error.to_string(),
    })
}

fn spoken(version: &Version) -> (u32, u32) {
    let read = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let newest = read(&version.api_version).unwrap_or(OUR_VERSION);
    let oldest = read(&version.min_api_version).unwrap_or((0, 0));
    OUR_VERSION.min(newest).max(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_one_that_both_speak() {
        for (newest, oldest, expect) in [
            ("1.41", "1.12", (1, 41)),
            ("1.52", "1.44", (1, 44)),
            ("1.24", "1.12", (1, 24)),
            ("", "", (1, 41)),
            ("x", "1", (1, 41)),
        ] {
            let version = Version {
                api_version: newest.to_owned(),
                min_api_version: oldest.to_owned(),
                ..Version::default()
            };
            assert_eq!(spoken(&version), expect, "{newest} {oldest}");
        }
    }

    #[test]
    fn names_are_one_piece_of_a_path() {
        assert_eq!(encoded("a_b-1.c"), "a_b-1.c");
        assert_eq!(encoded("../x?y=1 é"), "..%2Fx%3Fy%3D1%20%C3%A9");
    }

    #[test]
    fn refusals_are_told_in_the_engines_words() {
        let said = |body: &str| refused("do it", 409, body).to_string();
        assert_eq!(
            said(r#"{"message":"it is paused"}"#),
            "Docker refused to do it (409): it is paused"
        );
        assert_eq!(said("plain\n"), "Docker refused to do it (409): plain");
    }
}
