//! Commands that ask the running gateway over the operator's socket: how it is, what runs, and orders.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use argh::{ArgsInfo, FromArgs};
use serde::Deserialize;
use serde_json::Value;

use super::{
    say::{Say, plain},
    table::{table, terminal_width},
    top,
};
use crate::{control, docker};

/// How the gateway is: what runs and waits, memory, tenants.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
pub(crate) struct Status {
    /// print the gateway's own JSON
    #[argh(switch)]
    json: bool,
}

/// List the requests that run or wait.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "ps", help_triggers("-h", "--help"))]
pub(crate) struct Ps {
    /// print the gateway's own JSON
    #[argh(switch)]
    json: bool,
}

/// End a request that runs or waits; its client is told so.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "cancel", help_triggers("-h", "--help"))]
pub(crate) struct Cancel {
    /// the request's id, as `ps` and the log have it
    #[argh(positional, arg_name = "REQUEST")]
    request: String,
}

/// Have the gateway read config.yaml again, and say what changed.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "reload", help_triggers("-h", "--help"))]
pub(crate) struct Reload {}

/// Have the gateway finish what runs, take nothing new, and end.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "drain", help_triggers("-h", "--help"))]
pub(crate) struct Drain {}

/// Watch status and requests, each second; `q` ends it.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "top", help_triggers("-h", "--help"))]
pub(crate) struct Top {}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Status(Status),
    Ps(Ps),
    Cancel(Cancel),
    Reload,
    Drain,
    Top,
}

/// Where a daemon of the system has its socket: what its unit's RuntimeDirectory makes.
const OF_THE_SYSTEM: &str = "/run/ccgw/ccgw.sock";

/// A reload waits for the main thread, which may be at work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does it; true when it went well.
///
/// # Errors
/// Why not, with the way out.
pub(crate) fn run(command: &Command) -> Result<bool, String> {
    let gateway = Running::find()?;
    let say = Say::new();
    match command {
        Command::Status(Status { json: true }) => say.line(gateway.get("/status")?.trim_end()),
        Command::Ps(Ps { json: true }) => say.line(gateway.get("/runs")?.trim_end()),
        Command::Status(_) => gateway.status()?.iter().for_each(|it| say.line(it)),
        Command::Ps(_) => gateway.runs()?.iter().for_each(|it| say.line(it)),
        Command::Cancel(Cancel { request }) => {
            // What stands in a path by itself; ids are of letters, digits and `_`.
            if !request
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-')
            {
                return Err(format!(
                    "`{}` is no request's id; see `ccgw-manage ps`",
                    plain(request)
                ));
            }
            gateway.post(&format!("/runs/{request}/cancel"))?;
            say.ok(&format!("{request} is ended"));
        }
        Command::Reload => {
            let said = gateway.post("/reload")?;
            let changes = said["changes"].as_str().unwrap_or_default();
            say.ok(&format!("reloaded; changes: {changes}"));
        }
        Command::Drain => {
            let said = gateway.post("/drain")?;
            match said["delay_s"].as_f64() {
                Some(delay) => say.ok(&format!(
                    "/health says that it is about to stop; it takes nothing new in {delay} s, and ends when what runs is done"
                )),
                None => say.ok("it takes nothing new, and ends when what runs is done"),
            }
        }
        Command::Top => return top::run(&gateway),
    }
    Ok(true)
}

/// Has the gateway of this user read its configuration again, if there is one. It looks by itself too.
pub(super) fn reload_if_possible() {
    if let Ok(gateway) = Running::find() {
        // What it thinks of the configuration, it says in its log.
        let _ = gateway.post("/reload");
    }
}

/// Has the gateway that serves this file read it again, whoever runs it; `None` where none is found. `more` are
/// directories that may have its socket.
pub(super) fn reload_of(config: &Path, more: &[PathBuf]) -> Option<Result<(), String>> {
    let more = more.iter().map(|it| it.join(control::NAME));
    let mut running = Running::sockets()
        .chain(more)
        .map(|socket| Running { socket });
    let gateway = running.find(|it| it.serves(config))?;
    Some(gateway.post("/reload").map(drop))
}

/// What control groups limit of a run of the gateway that runs here, or why they do not; `None` where none does.
pub(super) fn limits() -> Option<Result<String, String>> {
    let gateway = Running::find().ok()?;
    let status: Value = parsed(&gateway.get("/status").ok()?).ok()?;
    let text = |name: &str| status["limits"][name].as_str().map(str::to_owned);
    let controlled = text("controlled").filter(|it| !it.is_empty());
    Some(controlled.ok_or_else(|| text("why_not").unwrap_or_default()))
}

/// The configuration of the gateway that runs for this user or as the machine's service, and whose gateway it is.
pub(super) fn gateway() -> Option<(PathBuf, u32)> {
    let gateway = Running::find().ok()?;
    let stream = std::os::unix::net::UnixStream::connect(&gateway.socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    drop(stream);
    let status: Value = parsed(&gateway.get("/status").ok()?).ok()?;
    let config = PathBuf::from(status["config"].as_str()?);
    config.exists().then_some((config, peer.uid.as_raw()))
}

/// A gateway that runs, by its socket.
pub(super) struct Running {
    socket: PathBuf,
}

#[derive(Deserialize)]
struct Health {
    version: String,
    pid: u32,
    status: String,
    uptime_s: u64,
    running: usize,
    max_concurrent: usize,
    queued: usize,
    rss_kib: u64,
    runs_kib: u64,
    tenants: Vec<Tenant>,
    last_reload: Option<LastReload>,
}

#[derive(Deserialize)]
struct Tenant {
    name: String,
    running: usize,
    queued: usize,
}

#[derive(Deserialize)]
struct LastReload {
    number: u64,
    ok: bool,
    text: String,
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    request: String,
    tenant: String,
    model: String,
    state: String,
    queued_ms: u64,
    ran_ms: u64,
    pid: Option<i32>,
    rss_kib: Option<u64>,
}

impl Running {
    fn find() -> Result<Running, String> {
        let mut sockets: Vec<PathBuf> = Running::sockets().collect();
        sockets.dedup();
        let mut failures = Vec::new();
        for socket in sockets {
            match std::os::unix::net::UnixStream::connect(&socket) {
                Ok(_) => return Ok(Running { socket }),
                Err(error) => failures.push(format!("{}: {error}", socket.display())),
            }
        }
        Err(format!(
            "no running gateway answers ({}); run this as the user that runs ccgw, with the same STATE_DIRECTORY or XDG_STATE_HOME, or as root",
            failures.join("; ")
        ))
    }

    /// Where the gateway of this environment has its socket, and that of the system.
    fn sockets() -> impl Iterator<Item = PathBuf> {
        let env = |name: &str| std::env::var(name).ok();
        control::locate(env)
            .into_iter()
            .chain([OF_THE_SYSTEM.into()])
    }

    /// Whether it answers, and its configuration is this file.
    fn serves(&self, config: &Path) -> bool {
        let status = self.get("/status").and_then(|it| parsed::<Value>(&it));
        let file = status
            .ok()
            .and_then(|it| Some(it["config"].as_str()?.to_owned()));
        let [own, its] = [Some(config), file.as_deref().map(Path::new)]
            .map(|it| it.and_then(|it| std::fs::canonicalize(it).ok()));
        own.is_some() && own == its
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let (status, body) = docker::ask_socket(&self.socket, ("GET", path), PATIENCE)?;
        match status {
            200 => Ok(body),
            _ => Err(error_in(status, &body)),
        }
    }

    fn post(&self, path: &str) -> Result<Value, String> {
        let (status, body) = docker::ask_socket(&self.socket, ("POST", path), PATIENCE)?;
        match status {
            200..300 => Ok(serde_json::from_str(&body).unwrap_or_default()),
            _ => Err(error_in(status, &body)),
        }
    }

    /// In words, a line each.
    pub(super) fn status(&self) -> Result<Vec<String>, String> {
        let it: Health = parsed(&self.get("/status")?)?;
        let mut lines = vec![
            format!(
                "ccgw {}, process {}, {}, up {}",
                it.version,
                it.pid,
                it.status,
                duration(it.uptime_s * 1000)
            ),
            format!(
                "{} of {} runs, {} waiting; memory {} itself, {} in runs",
                it.running,
                it.max_concurrent,
                it.queued,
                mib(it.rss_kib),
                mib(it.runs_kib)
            ),
        ];
        if let Some(reload) = &it.last_reload {
            let outcome = match reload.ok {
                true => "changes:",
                false => "REFUSED, the old configuration is in force:",
            };
            let text = format!("reload {}: {outcome} {}", reload.number, reload.text);
            lines.push(plain(&text));
        }
        let mut rows = vec![["TENANT", "RUNNING", "WAITING"].map(str::to_owned).to_vec()];
        for tenant in &it.tenants {
            rows.push(vec![
                tenant.name.clone(),
                tenant.running.to_string(),
                tenant.queued.to_string(),
            ]);
        }
        lines.extend(table(&rows, terminal_width()));
        Ok(lines)
    }

    /// A line for each that runs or waits, below a head.
    pub(super) fn runs(&self) -> Result<Vec<String>, String> {
        let runs: Runs = parsed(&self.get("/runs")?)?;
        let head = [
            "REQUEST", "TENANT", "STATE", "WAITED", "RAN", "MEMORY", "PID", "MODEL",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let dash = || "-".to_owned();
        for run in runs.runs {
            let is_running = run.state == "running";
            rows.push(vec![
                run.request,
                run.tenant,
                run.state,
                duration(run.queued_ms),
                if is_running {
                    duration(run.ran_ms)
                } else {
                    dash()
                },
                run.rss_kib.map_or_else(dash, mib),
                run.pid.map_or_else(dash, |pid| pid.to_string()),
                run.model,
            ]);
        }
        Ok(table(&rows, terminal_width()))
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| {
        format!("the gateway's answer cannot be read ({error}); is it of another version?")
    })
}

fn error_in(status: u16, body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer["error"].as_str() {
        Some(why) => why.to_owned(),
        None => format!("the gateway answered {status}"),
    }
}

/// For people: two units at most.
fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

fn mib(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let shown = [999, 1000, 61_000, 3_700_000, 90_000_000].map(duration);
        assert_eq!(
            shown,
            ["999 ms", "1 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!(
            [0, 1536, 204_800].map(mib),
            ["0.0 MiB", "1.5 MiB", "200.0 MiB"]
        );
    }
}
