//! What the gateway costs, measured against the targets it was built for: `make bench`.
//!
//! Every figure comes from the real binary over real sockets and pipes, with the built-in stand-in
//! as CLI (its answer takes microseconds, so that the gateway's own share shows). Runs through the
//! gateway and of the bare stand-in alternate, so that a drifting machine moves both.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops at the first surprise"
)]

mod pass;
mod relay;
mod sessions;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const CCGW: &str = env!("CARGO_BIN_EXE_ccgw");
const KEY: &str = "bench-key-0123456789";

/// A process for each run, as the bare stand-in has it.
const COLD: &str = "cli:\n  warm: off";

fn main() {
    println!("{:48} {:>12} {:>12}   target", "", "p50", "p99");
    // `cargo bench --bench gateway -- relay` takes one alone.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let all: [(&str, fn()); 11] = [
        ("start", start_to_listening),
        ("latency", added_latency),
        ("history", large_history),
        ("deltas", passes_deltas_as_they_come),
        ("pass", pass::pass_through),
        ("rejections", rejections),
        ("memory", memory),
        ("relay", relay::relay),
        ("store", sessions::store),
        ("look-up", sessions::look_up),
        ("sessions", sessions::sessions),
    ];
    for (name, bench) in all {
        if wanted.is_empty() || wanted.iter().any(|it| it == name) {
            bench();
        }
    }
}

/// From exec to the first accepted connection.
fn start_to_listening() {
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let gateway = Gateway::start("");
        TcpStream::connect(gateway.address).unwrap();
        times.push(started.elapsed());
    }
    row("start to listening", &mut times, "<= 20 ms");
}

/// The same prompt through the gateway and straight into the stand-in, one after the other.
fn added_latency() {
    let gateway = Gateway::start(COLD);
    let mut client = Client::connect(gateway.address);
    let (mut first, mut whole) = (Pair::default(), Pair::default());
    for round in 0..420 {
        let bare = bare_run();
        let through = client.stream(r#"{"model":"sonnet","max_tokens":9,"stream":true,"tool_choice":{"type":"none"},"messages":[{"role":"user","content":"hi"}]}"#);
        // Caches and page tables warm up.
        if round >= 20 {
            first.add(bare.first, through.first);
            whole.add(bare.whole, through.whole);
        }
    }
    first.rows("first delta", "p50 <= 0.5 ms, p99 <= 2 ms");
    whole.rows("whole answer", "");
}

/// What 5 MB of images in a history add: they are read, told from other histories, and given to the CLI.
fn large_history() {
    let image = "QUJD".repeat(5 << 18);
    let body = |image: &str| {
        format!(
            r#"{{"model":"sonnet","max_tokens":9,"stream":true,"tool_choice":{{"type":"none"}},"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{image}"}}}},{{"type":"text","text":"hi"}}]}}]}}"#
        )
    };
    let (small, large) = (body("QUJD"), body(&image));
    let gateway = Gateway::start(COLD);
    let mut times = [&small, &large].map(|body| {
        let ask = |_| Client::connect(gateway.address).stream(body).first;
        (0..20).map(ask).collect::<Vec<_>>()
    });
    row("first delta, with a small image", &mut times[0], "");
    row("first delta, with 5 MB of images", &mut times[1], "");
}

/// Ten deltas 20 ms apart: how long after the CLI wrote the first one does the client have it?
fn passes_deltas_as_they_come() {
    let gateway = Gateway::start("");
    let mut client = Client::connect(gateway.address);
    let mut lead = Vec::new();
    for _ in 0..10 {
        let body = r#"{"model":"sonnet","max_tokens":9,"stream":true,"tool_choice":{"type":"none"},"messages":[{"role":"user","content":"[[deltas:10]][[delay:20]]"}]}"#;
        let times = client.stream(body);
        lead.push(times.whole - times.first);
    }
    row(
        "first delta comes before the end by",
        &mut lead,
        "> 150 ms of 200",
    );
}

/// Requests with a wrong key, 16 connections, two client threads.
fn rejections() {
    const CONNECTIONS: usize = 16;
    const PER_CONNECTION: usize = 10_000;
    let gateway = Gateway::start("");
    let address = gateway.address;
    let started = Instant::now();
    let clients: Vec<_> = (0..2)
        .map(|_| thread::spawn(move || reject(address, CONNECTIONS / 2, PER_CONNECTION)))
        .collect();
    clients.into_iter().for_each(|it| it.join().unwrap());
    let rate = (CONNECTIONS * PER_CONNECTION) as f64 / started.elapsed().as_secs_f64();
    println!(
        "{:48} {rate:>10.0}/s {:>12}   >= 40,000/s",
        "rejected requests (401, 429)", ""
    );
}

/// One request in flight on each connection, as 16 clients would have.
fn reject(address: SocketAddr, connections: usize, requests: usize) {
    let body = r#"{"model":"sonnet","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: wrong-key\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let connect = || TcpStream::connect(address).unwrap();
    let mut sockets: Vec<TcpStream> = (0..connections).map(|_| connect()).collect();
    let mut buffer = [0; 4096];
    for _ in 0..requests {
        for socket in &mut sockets {
            socket.write_all(request.as_bytes()).unwrap();
        }
        for socket in &mut sockets {
            let n = socket.read(&mut buffer).unwrap();
            let answer = String::from_utf8_lossy(&buffer[..n]);
            // After so many wrong keys the answer is another one, at the same price.
            let is_refused = ["HTTP/1.1 401", "HTTP/1.1 429"]
                .iter()
                .any(|it| answer.starts_with(it));
            assert!(is_refused, "{answer}");
            // A connection serves a bounded number of requests.
            if answer.contains("Connection: close") {
                *socket = connect();
            }
        }
    }
}

fn memory() {
    let gateway = Gateway::start("  max_connections: 3000\n  max_connections_per_ip: 3000\n");
    figure("idle daemon", gateway.rss(), "<= 4 MB");
    let idle: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut socket = TcpStream::connect(gateway.address).unwrap();
            socket
                .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut buffer = [0; 2048];
            assert!(socket.read(&mut buffer).unwrap() > 0);
            socket
        })
        .collect();
    figure(
        "with 1,000 idle keep-alive connections",
        gateway.rss(),
        "<= 8 MB",
    );
    drop(idle);

    let gateway = Gateway::start(
        "  max_connections: 3000\n  max_connections_per_ip: 3000\ncli:\n  queue_depth: 1000\n",
    );
    let body = r#"{"model":"sonnet","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"[[deltas:1000]][[delay:1000]]"}]}"#;
    let mut streams: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut socket = TcpStream::connect(gateway.address).unwrap();
            socket.write_all(post(body).as_bytes()).unwrap();
            socket
        })
        .collect();
    // Every one of them has its head and a ping after 5 s.
    for socket in &mut streams {
        let mut buffer = [0; 2048];
        assert!(socket.read(&mut buffer).unwrap() > 0);
    }
    figure("with 1,000 open streams", gateway.rss(), "<= 8 MB");
    figure("one keeper (private memory)", gateway.keeper_private(), "");
}

#[derive(Clone, Copy)]
struct Times {
    first: Duration,
    whole: Duration,
}

/// Times of the bare program and of the gateway, pair by pair.
#[derive(Default)]
struct Pair {
    bare: Vec<Duration>,
    through: Vec<Duration>,
}

impl Pair {
    fn add(&mut self, bare: Duration, through: Duration) {
        self.bare.push(bare);
        self.through.push(through);
    }

    fn rows(mut self, what: &str, target: &str) {
        row(&format!("{what}: bare stand-in"), &mut self.bare, "");
        row(&format!("{what}: through ccgw"), &mut self.through, "");
        let added = |at: f64| {
            quantile(&self.through, at).as_secs_f64() - quantile(&self.bare, at).as_secs_f64()
        };
        println!(
            "{:48} {:>9.3} ms {:>9.3} ms   {target}",
            format!("{what}: added"),
            added(0.5) * 1e3,
            added(0.99) * 1e3
        );
    }
}

fn row(what: &str, times: &mut [Duration], target: &str) {
    times.sort();
    let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
    println!(
        "{what:48} {:>9.3} ms {:>9.3} ms   {target}",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
}

fn figure(what: &str, kib: u64, target: &str) {
    println!(
        "{what:48} {:>9.1} MB {:>12}   {target}",
        kib as f64 / 1024.0,
        ""
    );
}

/// Of sorted times.
fn quantile(times: &[Duration], at: f64) -> Duration {
    times[((times.len() - 1) as f64 * at).round() as usize]
}

/// The stand-in as the gateway runs it, without the gateway.
fn bare_run() -> Times {
    let started = Instant::now();
    let mut child = Command::new(CCGW)
        .args([
            "stand-in",
            "--print",
            "--input-format",
            "stream-json",
            "--output-format",
            "stream-json",
        ])
        .args([
            "--verbose",
            "--include-partial-messages",
            "--model",
            "sonnet",
            "--tools",
            "",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"{\"type\":\"control_request\",\"request_id\":\"i\",\"request\":{\"subtype\":\"initialize\",\"systemPrompt\":\"x\"}}\n{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}}\n")
        .unwrap();
    let mut first = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if first.is_none() && line.contains("content_block_delta") {
            first = Some(started.elapsed());
        }
        if line.contains("\"type\":\"result\"") {
            break;
        }
    }
    let whole = started.elapsed();
    drop(stdin);
    child.wait().unwrap();
    Times {
        first: first.unwrap(),
        whole,
    }
}

struct Client {
    reader: BufReader<TcpStream>,
    /// `x-ccgw-session` of the newest answer.
    session: String,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        Client {
            reader: BufReader::new(socket),
            session: String::new(),
        }
    }

    fn stream(&mut self, body: &str) -> Times {
        let request = post(body);
        let started = Instant::now();
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
        let mut first = None;
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.reader.read_line(&mut line).unwrap() > 0,
                "the stream broke off"
            );
            if let Some(session) = line.strip_prefix("x-ccgw-session: ") {
                session.trim().clone_into(&mut self.session);
            }
            if first.is_none() && line.starts_with("event: content_block_delta") {
                first = Some(started.elapsed());
            }
            // The last chunk of the body.
            if line == "0\r\n" {
                self.reader.read_line(&mut line).unwrap();
                return Times {
                    first: first.unwrap(),
                    whole: started.elapsed(),
                };
            }
        }
    }
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn new_dir() -> PathBuf {
    let name = format!("ccgw-bench-{}-{:?}", std::process::id(), Instant::now());
    let dir = std::env::temp_dir().join(name.replace([' ', '{', '}', ':', ','], ""));
    fs::create_dir(&dir).unwrap();
    dir
}

struct Gateway {
    child: Child,
    stderr: Option<BufReader<ChildStderr>>,
    address: SocketAddr,
    dir: PathBuf,
}

impl Gateway {
    fn start(extra: &str) -> Self {
        Gateway::start_with(extra, "")
    }

    /// With more lines for the configuration, and for its tenant.
    fn start_with(extra: &str, of_tenant: &str) -> Self {
        Gateway::start_in(new_dir(), extra, of_tenant)
    }

    /// With something in the state directory; also returns what that says.
    fn start_with_state<T>(prepare: impl FnOnce(&Path) -> T) -> (Self, T) {
        let dir = new_dir();
        let state = dir.join("state");
        fs::create_dir(&state).unwrap();
        let said = prepare(&state);
        (Gateway::start_in(dir, "", ""), said)
    }

    fn start_in(dir: PathBuf, extra: &str, of_tenant: &str) -> Self {
        let config = dir.join("config.yaml");
        let text = format!(
            "server:\n  port: 0\n  host: 127.0.0.1\n{extra}\ntenants:\n  - name: bench\n    api_key: {KEY}\n{of_tenant}"
        );
        fs::write(&config, text).unwrap();
        let demo: &[&str] = if of_tenant.is_empty() {
            &["--demo"]
        } else {
            &[]
        };
        let mut command = Command::new(CCGW);
        command
            .args(demo)
            .arg(&config)
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        Gateway::listening(dir, command)
    }

    /// Once it listens.
    fn listening(dir: PathBuf, mut command: Command) -> Self {
        let mut child = command
            .env("HOME", &dir)
            .env("STATE_DIRECTORY", dir.join("state"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                stderr.read_line(&mut line).unwrap() > 0,
                "the gateway did not start"
            );
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        };
        let mut gateway = Gateway {
            child,
            stderr: Some(stderr),
            address,
            dir,
        };
        // Log lines must not fill the pipe.
        let mut stderr = gateway.stderr.take().unwrap();
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        gateway
    }

    /// Resident memory of the daemon in KiB.
    fn rss(&self) -> u64 {
        status_kib(self.child.id(), "VmRSS:")
    }

    fn keeper_private(&self) -> u64 {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id()))
            .unwrap_or_default();
        let all = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let pids =
            all.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
        let mut pids: Vec<u32> = pids
            .flat_map(|it| {
                it.split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect::<Vec<_>>()
            })
            .collect();
        pids.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pids[0])).unwrap();
        ["Private_Clean:", "Private_Dirty:"]
            .iter()
            .map(|key| kib(&rollup, key))
            .sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn status_kib(pid: u32, key: &str) -> u64 {
    kib(
        &fs::read_to_string(format!("/proc/{pid}/status")).unwrap(),
        key,
    )
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
