//! The operator's routes: what can be asked and ordered of a running gateway.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crossbeam_channel::{Sender, bounded};
use serde::Serialize;
use serde_json::json;

use super::message::{Answer, Request, failed};
use crate::{gateway::Gateway, log, processes};

/// What the operator orders of the daemon's main thread, with the place for its answer.
pub(crate) enum Order {
    /// The configuration again; answered with what changed, or every problem.
    Reload(Sender<Result<String, String>>),
    /// Finish what runs, take nothing new, and end.
    Drain,
}

/// Longer than any reload takes; a main thread that is already ending never answers.
const ORDER_WAIT: Duration = Duration::from_secs(30);

/// Every route, as who asks for another is told; a test asks the public port for each of them.
const ROUTES: [(&str, &str); 5] = [
    ("GET", "/status"),
    ("GET", "/runs"),
    ("POST", "/runs/ID/cancel"),
    ("POST", "/reload"),
    ("POST", "/drain"),
];

/// What the routes need.
pub(super) struct Desk {
    pub(super) gateway: Arc<Gateway>,
    pub(super) orders: Sender<Order>,
    pub(super) config: PathBuf,
}

impl Desk {
    pub(super) fn answer(&self, request: &Request) -> Answer {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        let run = path
            .strip_prefix("/runs/")
            .and_then(|it| it.strip_suffix("/cancel"));
        match (method, path, run) {
            ("GET", "/status", _) => (200, json!(self.status())),
            ("GET", "/runs", _) => (200, json!({"runs": self.gateway.lines()})),
            ("POST", _, Some(id)) => match self.gateway.cancel(id) {
                true => {
                    log::info("cancelled by the operator", &[("request", &id)]);
                    (200, json!({"cancelled": id}))
                }
                false => failed(404, &format!("no request {id} runs or waits")),
            },
            ("POST", "/reload", _) => self.reload(),
            ("POST", "/drain", _) => match self.orders.try_send(Order::Drain) {
                Ok(()) => {
                    let delay = self.gateway.served().config.server.drain_delay;
                    let delay = delay.map(|it| it.as_secs_f32());
                    (202, json!({"draining": true, "delay_s": delay}))
                }
                Err(_) => failed(503, "the gateway is busy with another order, or ending"),
            },
            _ => {
                let routes = ROUTES.map(|(method, path)| format!("{method} {path}"));
                failed(404, &format!("there are {}", routes.join(", ")))
            }
        }
    }

    fn reload(&self) -> Answer {
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
            config: self.config.display().to_string(),
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
    /// The file that it reads, which need not be there.
    config: String,
    /// Of the daemon itself.
    rss_kib: u64,
    /// Of all runs with all that they started.
    runs_kib: u64,
    #[serde(flatten)]
    busy: crate::gateway::Busy,
}
