//! A scripted Anthropic API on loopback: answers by markers in the prompt, records what it got.
//!
//! The markers are listed in [`script`]. Only what the CLI needs is here: HTTP/1.1 with keep-alive,
//! `POST /v1/messages` (streamed or whole) and `POST /v1/messages/count_tokens`.

mod cache;
mod frames;
mod script;
mod wire;

use std::{
    collections::HashSet,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) use cache::CacheReads;
use frames::Step;
use script::Reply;

/// How long a test waits for a request to arrive before it fails.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(30);

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The JSON body; null when there was none or it was not JSON.
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The texts of the newest user turn, reminders of the CLI's own left out.
    pub(crate) fn user_text(&self) -> String {
        script::newest_user_text(&self.body)
    }

    /// The texts of the system prompt, joined by newlines.
    pub(crate) fn system_text(&self) -> String {
        script::texts(&self.body["system"]).join("\n")
    }

    /// Whether `part` occurs in any string of the body: what the model could see in some way.
    pub(crate) fn mentions(&self, part: &str) -> bool {
        any_string(&self.body, &|text| text.contains(part))
    }
}

fn any_string(value: &Value, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(items) => items.iter().any(|item| any_string(item, wanted)),
        Value::Object(fields) => fields.values().any(|field| any_string(field, wanted)),
        _ => false,
    }
}

/// The running server; dropping it releases every answer that hangs and joins its threads.
pub(crate) struct ScriptedApi {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Received>,
    /// What of a request's JSON makes it one that is refused.
    refused: Option<String>,
    /// Gates that a test has opened, for `[[gate:NAME]]`.
    open_gates: HashSet<String>,
    /// Newest user texts that were already answered by a `-once` marker.
    answered_once: HashSet<String>,
    connections: Vec<TcpStream>,
    stopping: bool,
}

impl ScriptedApi {
    pub(crate) fn start() -> ScriptedApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::Builder::new().name("api-accept".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        ScriptedApi {
            addr,
            shared,
            acceptor: Some(acceptor.unwrap()),
        }
    }

    /// What goes into ANTHROPIC_BASE_URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Everything that arrived so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.lock().requests.clone()
    }

    /// The requests for an answer of the model, without everything else that was asked.
    pub(crate) fn prompts(&self) -> Vec<Received> {
        self.requests().into_iter().filter(is_prompt).collect()
    }

    /// The newest request for an answer of the model.
    #[track_caller]
    pub(crate) fn last_prompt(&self) -> Received {
        self.prompts()
            .pop()
            .expect("no request reached the scripted API")
    }

    /// Waits until `ready` holds for what arrived so far.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, ready: impl Fn(&[Received]) -> bool) {
        let end = Instant::now() + ARRIVAL_DEADLINE;
        let mut state = self.shared.lock();
        while !ready(&state.requests) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the scripted API never saw {what}; it saw {:#?}",
                paths(&state.requests)
            );
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until `count` requests for an answer of the model have arrived.
    #[track_caller]
    pub(crate) fn wait_for_prompts(&self, count: usize) {
        let what = format!("{count} requests for an answer");
        self.wait_for(&what, |requests| {
            requests.iter().filter(|request| is_prompt(request)).count() >= count
        });
    }

    /// Refuses (400) whatever has this in its messages' JSON from now on.
    pub(crate) fn refuse(&self, part: &str) {
        self.shared.lock().refused = Some(part.to_owned());
    }

    /// Lets the answers waiting at `[[gate:NAME]]` go on, now and later.
    pub(crate) fn open_gate(&self, name: &str) {
        self.shared.lock().open_gates.insert(name.to_owned());
        self.shared.changed.notify_all();
    }
}

fn is_prompt(request: &Received) -> bool {
    request.method == "POST" && request.path.split('?').next() == Some("/v1/messages")
}

fn paths(requests: &[Received]) -> Vec<String> {
    requests
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        let connections = {
            let mut state = self.shared.lock();
            state.stopping = true;
            std::mem::take(&mut state.connections)
        };
        self.shared.changed.notify_all();
        for connection in connections {
            // Already closed by the client is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // A connection of our own wakes the acceptor up.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the server's shows in the test's own checks.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until `until` holds or the test ends; says whether the answer may go on.
    fn wait(&self, limit: Option<Duration>, until: impl Fn(&State) -> bool) -> Flow {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut state = self.lock();
        loop {
            if state.stopping {
                return Flow::Stop;
            }
            if until(&state) {
                return Flow::GoOn;
            }
            state = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(state).unwrap(),
                Some(Duration::ZERO) => return Flow::GoOn,
                Some(left) => self.changed.wait_timeout(state, left).unwrap().0,
            };
        }
    }
}

/// Whether a connection lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming().flatten() {
        let mut state = shared.lock();
        if state.stopping {
            break;
        }
        state.connections.push(stream.try_clone().unwrap());
        drop(state);
        let shared = Arc::clone(shared);
        let serve = move || serve(&stream, &shared);
        threads.push(
            thread::Builder::new()
                .name("api-serve".to_owned())
                .spawn(serve)
                .unwrap(),
        );
    }
    for thread in threads {
        // A panic of the server's shows in the test's own checks.
        let _ = thread.join();
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut connection = wire::Connection::new(stream);
    // The connection's end in any form is an end: the client may leave whenever it likes.
    while let Ok(Some(request)) = connection.read_request() {
        let reply = choose(&request, shared);
        connection.headers = script::headers(&request.body);
        match answer(&mut connection, reply, shared) {
            Ok(Flow::GoOn) => {}
            Ok(Flow::Stop) | Err(_) => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Records the request and picks its answer in one step, so that `-once` cannot answer twice.
fn choose(request: &Received, shared: &Shared) -> Reply {
    let mut state = shared.lock();
    state.requests.push(request.clone());
    let reply = match request.path.split('?').next() {
        Some("/v1/messages") if request.method == "POST" => {
            let text = request.user_text();
            let first_time = state.answered_once.insert(text);
            let said = request.body["messages"].to_string();
            let is_refused = |part: &String| said.contains(part.as_str());
            match state.refused.as_ref().is_some_and(is_refused) {
                true => Reply::Status {
                    status: 400,
                    retry_after: None,
                },
                false => script::reply(&request.body, first_time),
            }
        }
        Some("/v1/messages/count_tokens") if request.method == "POST" => {
            script::count(&request.body)
        }
        _ => Reply::Status {
            status: 404,
            retry_after: None,
        },
    };
    drop(state);
    shared.changed.notify_all();
    reply
}

fn answer(
    connection: &mut wire::Connection<'_>,
    reply: Reply,
    shared: &Shared,
) -> std::io::Result<Flow> {
    match reply {
        Reply::Json(body) => connection.send(200, None, &body)?,
        Reply::Status {
            status,
            retry_after,
        } => connection.send(status, retry_after, &frames::error(status))?,
        Reply::Hang => return Ok(shared.wait(None, |_| false)),
        Reply::Whole(message) => connection.send(200, None, &frames::whole(&message))?,
        Reply::Drop => return Ok(Flow::Stop),
        Reply::Stream(message) => {
            connection.start_stream()?;
            for step in frames::steps(&message) {
                let flow = match step {
                    Step::Frame(frame) => connection.send_chunk(&frame).map(|()| Flow::GoOn)?,
                    Step::Wait(pause) => shared.wait(Some(pause), |_| false),
                    Step::Gate(name) => shared.wait(None, |state| state.open_gates.contains(&name)),
                    Step::Drop => Flow::Stop,
                };
                if flow == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            connection.finish_stream()?;
        }
    }
    Ok(Flow::GoOn)
}

/// What the API has read of one request is how the next begins, so that it can be read from its cache.
#[track_caller]
pub(crate) fn begins_as(before: &Value, after: &Value) {
    let [before, after] = [before, after].map(without_breakpoints);
    assert_eq!(before["tools"], after["tools"]);
    assert_eq!(before["system"], after["system"]);
    let messages = |body: &Value| body["messages"].as_array().cloned().unwrap_or_default();
    let (old, new) = (messages(&before), messages(&after));
    assert_eq!(old, new[..old.len()]);
}

/// Where the cache may be cut is marked in each request anew.
fn without_breakpoints(body: &Value) -> Value {
    match body {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(name, _)| *name != "cache_control");
            let kept = kept.map(|(name, it)| (name.clone(), without_breakpoints(it)));
            Value::Object(kept.collect())
        }
        Value::Array(items) => items.iter().map(without_breakpoints).collect(),
        other => other.clone(),
    }
}
