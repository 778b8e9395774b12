//! The operator's socket: a Unix socket that only this user and root can open, with a route table of its own.
//! No route of it exists on the public port, and nothing here is reachable over a network.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::{
    fs::Mode,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::Serialize;
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

use crate::{gateway::Gateway, ids, log, processes, state::StateDir};

/// What the operator orders of the daemon's main thread, with the place for its answer.
pub(crate) enum Order {
    /// The configuration again; answered with what changed, or every problem.
    Reload(Sender<Result<String, String>>),
    /// Finish what runs, take nothing new, and end.
    Drain,
}

/// The socket while the daemon lives; dropping it removes it.
pub(crate) struct Control {
    path: PathBuf,
    server: Arc<Server>,
}

pub(crate) const NAME: &str = "ccgw.sock";

/// Longer than any reload takes; a main thread that is already ending never answers.
const ORDER_WAIT: Duration = Duration::from_secs(30);

/// Where the socket of a daemon with this environment is: systemd's runtime directory, else the state directory.
pub(crate) fn locate(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let runtime = env("RUNTIME_DIRECTORY").filter(|it| !it.is_empty());
    // systemd joins several with colons; the first is ours.
    let runtime = runtime.and_then(|it| it.split(':').next().map(PathBuf::from));
    let dir = runtime.or_else(|| StateDir::locate(env))?;
    Some(dir.join(NAME))
}

impl Control {
    /// Opens the socket, in the place of one that a dead daemon left.
    ///
    /// # Errors
    /// When another daemon answers there, or it cannot be made. The gateway serves without it too.
    pub(crate) fn start(
        path: &Path,
        gateway: &Arc<Gateway>,
    ) -> io::Result<(Control, Receiver<Order>)> {
        let listener = listen(path)?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let server = Arc::new(server);
        // One order at a time: the main thread has one hand.
        let (orders_in, orders) = bounded(1);
        let desk = Desk {
            gateway: Arc::clone(gateway),
            orders: orders_in,
        };
        let serving = Arc::clone(&server);
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                for request in serving.incoming_requests() {
                    desk.answer(request);
                }
            })?;
        let path = path.to_owned();
        Ok((Control { path, server }, orders))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The next daemon replaces it too; this only keeps the directory tidy.
        let _ = fs::remove_file(&self.path);
        self.server.unblock();
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        let text = format!("another ccgw answers at {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    // Beside it first and then renamed, so that whoever connects finds a socket that listens.
    let aside = path.with_file_name(format!(".{NAME}.{}", ids::random_hex::<4>()));
    let bound = bind(&aside).and_then(|socket| fs::rename(&aside, path).map(|()| socket));
    if bound.is_err() {
        // The first error says more than one about cleaning up.
        let _ = fs::remove_file(&aside);
    }
    bound.map(UnixListener::from)
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Linux gives the file the socket's own mode, so there is no moment in which it is wider.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Every route; a test asks the public port for each.
pub(crate) const ROUTES: [(&str, &str); 5] = [
    ("GET", "/status"),
    ("GET", "/runs"),
    ("POST", "/runs/ID/cancel"),
    ("POST", "/reload"),
    ("POST", "/drain"),
];

struct Desk {
    gateway: Arc<Gateway>,
    orders: Sender<Order>,
}

impl Desk {
    fn answer(&self, request: Request) {
        let (status, body) = self.act(request.method(), request.url());
        let text = body.to_string() + "\n";
        let mut response = Response::from_string(text).with_status_code(status);
        if let Ok(json) = Header::from_bytes("content-type", "application/json") {
            response.add_header(json);
        }
        // Who asked may have left.
        let _ = request.respond(response);
    }

    fn act(&self, method: &Method, path: &str) -> (u16, Value) {
        let run = path
            .strip_prefix("/runs/")
            .and_then(|it| it.strip_suffix("/cancel"));
        match (method, path, run) {
            (Method::Get, "/status", _) => (200, json!(self.status())),
            (Method::Get, "/runs", _) => (200, json!({"runs": self.gateway.lines()})),
            (Method::Post, _, Some(id)) => match self.gateway.cancel(id) {
                true => {
                    log::info("cancelled by the operator", &[("request", &id)]);
                    (200, json!({"cancelled": id}))
                }
                false => failed(404, &format!("no request {id} runs or waits")),
            },
            (Method::Post, "/reload", _) => self.reload(),
            (Method::Post, "/drain", _) => match self.orders.try_send(Order::Drain) {
                Ok(()) => (202, json!({"draining": true})),
                Err(_) => failed(503, "the gateway is busy with another order, or ending"),
            },
            _ => {
                let routes = ROUTES.map(|(method, path)| format!("{method} {path}"));
                failed(404, &format!("there are {}", routes.join(", ")))
            }
        }
    }

    fn reload(&self) -> (u16, Value) {
        let (answer, answered) = bounded(1);
        if self
            .orders
            .send_timeout(Order::Reload(answer), ORDER_WAIT)
            .is_err()
        {
            return failed(503, "the gateway is ending");
        }
        match answered.recv_timeout(ORDER_WAIT) {
            Ok(Ok(changes)) => (200, json!({"changes": changes})),
            Ok(Err(problems)) => failed(422, problems.trim_end()),
            Err(_) => failed(503, "the gateway is ending"),
        }
    }

    fn status(&self) -> Status {
        let lines = self.gateway.lines();
        let runs_kib = lines.iter().filter_map(|it| it.rss_kib).sum();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            rss_kib: processes::resident_kib(std::process::id()).unwrap_or_default(),
            runs_kib,
            busy: self.gateway.busy(),
        }
    }
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    /// Of the daemon itself.
    rss_kib: u64,
    /// Of all runs with all that they started.
    runs_kib: u64,
    #[serde(flatten)]
    busy: crate::gateway::Busy,
}

fn failed(status: u16, why: &str) -> (u16, Value) {
    (status, json!({"error": why}))
}
