//! A running daemon: how tests talk to it, watch its log and its processes, and end it.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Connection, Response},
    control_groups::remove_groups_of,
    process::{processes_with_env, signal, wait_until},
    sse::SseReader,
    temp::TempDir,
};

/// How long the daemon may take to start: some 6 ms, on a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a log line may take to appear, and a daemon told to stop to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// A setup asks OpenClaw many things, and that takes seconds for each, or a minute on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// The model of all requests that do not care.
pub(crate) const MODEL: &str = "claude-sonnet-4-6";
/// The environment variable by which the processes of a tenant's runs are found.
pub(crate) const MARK: &str = "CCGW_TEST_MARK";

/// The API key of a tenant.
pub(crate) fn key_of(tenant: &str) -> String {
    format!("secret-key-of-{tenant}-0123456789")
}

/// A request body for `POST /v1/messages` with one user message, not streamed.
pub(crate) fn prompt(text: &str) -> Value {
    json!({"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": text}]})
}

/// A running daemon; dropping it kills it.
pub(crate) struct Gateway {
    pub(crate) dir: TempDir,
    command: Command,
    mark: String,
    child: Child,
    addr: SocketAddr,
    log: Arc<Log>,
}

impl Gateway {
    /// Starts the daemon and learns its address from its log.
    #[track_caller]
    pub(crate) fn start(command: Command, dir: TempDir, mark: String) -> Gateway {
        Gateway::start_on(Stdio::null(), command, dir, mark)
    }

    /// The same, with something on its standard input.
    #[track_caller]
    pub(crate) fn start_on(
        stdin: Stdio,
        mut command: Command,
        dir: TempDir,
        mark: String,
    ) -> Gateway {
        command
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        // Made before the wait, so that a daemon that never listens is killed like any other.
        let mut gateway = Gateway {
            dir,
            command,
            mark,
            child,
            addr,
            log,
        };
        gateway.addr = address_in(&gateway.log.wait_for("listening on http://", START_DEADLINE));
        gateway
    }

    /// Ends the daemon by a signal, and starts it again as it was started.
    #[track_caller]
    pub(crate) fn restart_after(&mut self, name: &str) {
        signal(self.pid(), name);
        self.wait();
        self.start_again();
    }

    /// Ends the daemon in good order, for a while.
    #[track_caller]
    pub(crate) fn stop_only(&mut self) {
        signal(self.pid(), "TERM");
        self.wait();
    }

    /// Starts the daemon once more, after its end.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        self.log = Log::follow(self.child.stderr.take().unwrap());
        self.addr = address_in(&self.log.wait_for("listening on http://", START_DEADLINE));
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a body to `/v1/messages` as this tenant and reads the whole answer.
    #[track_caller]
    pub(crate) fn ask(&self, tenant: &str, body: &Value) -> Response {
        self.client()
            .post("/v1/messages", &[("x-api-key", &key_of(tenant))], body)
    }

    /// Sends a streaming request to `/v1/messages` as this tenant.
    #[track_caller]
    pub(crate) fn stream(&self, tenant: &str, body: &Value) -> SseReader<Answer> {
        self.client().stream(
            "/v1/messages",
            &[("x-api-key", &key_of(tenant))],
            &streaming(body),
        )
    }

    /// Sends a request to `/v1/messages` as this tenant and leaves the answer unread.
    #[track_caller]
    pub(crate) fn send(&self, tenant: &str, body: &Value) -> Connection {
        self.client().open(
            "POST",
            "/v1/messages",
            &[("x-api-key", &key_of(tenant))],
            Some(body),
        )
    }

    /// `GET /health` as seen from loopback.
    #[track_caller]
    pub(crate) fn health(&self) -> Value {
        let response = self.client().get("/health", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// The processes that runs of this tenant have left or are using now.
    pub(crate) fn processes_of(&self, tenant: &str) -> Vec<u32> {
        processes_with_env(&self.mark_of(tenant))
    }

    /// The mark in the environment of a tenant's processes.
    pub(crate) fn mark_of(&self, tenant: &str) -> String {
        format!("{MARK}={}-{tenant}", self.mark)
    }

    /// The mark in the environment of all tenants' processes.
    pub(crate) fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    /// Waits for a log line that holds this text and returns it.
    #[track_caller]
    pub(crate) fn log_contains(&self, text: &str) -> String {
        self.log.wait_for(text, PATIENCE)
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Tells the daemon to stop and checks that it does so in good order.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        signal(self.pid(), "TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "the daemon ended with {status}");
    }

    /// Kills the daemon as the kernel would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the daemon's end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(PATIENCE, "the daemon's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A daemon that fails its test may leave the CLI behind, which is 200 MB each time.
        for pid in processes_with_env(&self.mark()) {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .status();
        }
        match thread::panicking() {
            true => eprintln!("the daemon's log:\n{}", self.log()),
            false => remove_groups_of(self.pid()),
        }
    }
}

/// Runs a program that is expected to end by itself, and kills it when it does not.
#[track_caller]
pub(crate) fn run_to_end(command: &mut Command) -> Output {
    run_to_end_on(Stdio::null(), command)
}

/// The same, with something on its standard input.
#[track_caller]
pub(crate) fn run_to_end_on(stdin: Stdio, command: &mut Command) -> Output {
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (sender, ended) = mpsc::channel();
    let wait = move || sender.send(child.wait_with_output());
    thread::Builder::new()
        .name("wait".to_owned())
        .spawn(wait)
        .unwrap();
    ended
        .recv_timeout(ENDS_WITHIN)
        .unwrap_or_else(|_| {
            signal(pid, "KILL");
            panic!("{command:?} was still running after {ENDS_WITHIN:?}")
        })
        .unwrap()
}

/// The address in a line that says `listening on http://ADDR:PORT`.
#[track_caller]
fn address_in(line: &str) -> SocketAddr {
    let rest = line
        .split("listening on http://")
        .nth(1)
        .unwrap_or_default();
    let end = rest
        .find(|it: char| !(it.is_alphanumeric() || ".:[]".contains(it)))
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .unwrap_or_else(|_| panic!("no address in the line {line:?}"))
}

/// The same body with `"stream": true`.
pub(crate) fn streaming(body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = true.into();
    body
}

/// What a program has written to a pipe so far.
#[derive(Default)]
pub(crate) struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Collects the lines as they come.
    pub(crate) fn follow(pipe: impl Read + Send + 'static) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let collect = {
            let log = Arc::clone(&log);
            move || log.collect(pipe)
        };
        // Not joined: a process that the program left behind may hold the pipe open.
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(collect)
            .unwrap();
        log
    }

    /// Everything collected so far.
    pub(crate) fn text(&self) -> String {
        self.state.lock().unwrap().lines.join("\n")
    }

    fn collect(&self, pipe: impl Read) {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            self.state
                .lock()
                .unwrap()
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            self.grown.notify_all();
        }
        self.state.lock().unwrap().ended = true;
        self.grown.notify_all();
    }

    /// Waits for a line that holds this text and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, deadline: Duration) -> String {
        let end = Instant::now() + deadline;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(line) = state.lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let log = state.lines.join("\n");
                // Not while the lock is held: the drop of the gateway reads the log again.
                drop(state);
                panic!("the log never said {text:?}: {log}");
            }
            state = self.grown.wait_timeout(state, left).unwrap().0;
        }
    }
}
