//! How soon an answer begins with the real CLI, by the way that its history took, beside what the CLI itself needs.
//! The API is on loopback and answers at once. Where the tests have not installed the CLI yet, this says so.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Client, Gateway, row};

const CLI: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/real-cli/node_modules/@anthropic-ai/claude-code-linux-x64/claude"
);
const BWRAP: &str = "/usr/bin/bwrap";
const ROUNDS: usize = 20;
const TURNS: usize = 20;
/// As many answers as there can be.
const REMEMBERED: u32 = 100_000;

/// A start with as many remembered answers as there can be.
pub(super) fn store() {
    let bare = Gateway::start("").rss();
    let mut times = Vec::new();
    let mut rss = 0;
    for _ in 0..5 {
        let (gateway, written) = remembering(REMEMBERED);
        times.push(written.elapsed());
        rss = gateway.rss();
    }
    row(
        "start with 100,000 answers remembered",
        &mut times,
        "<= 300 ms",
    );
    let each = (rss.saturating_sub(bare)) * 1024 / u64::from(REMEMBERED);
    println!(
        "{:48} {each:>9} B  {:>12}   <= 100 B and the index",
        "memory of each", ""
    );
}

/// What it costs to find nothing among as many remembered answers as there can be: with every history that goes on, twice.
pub(super) fn look_up() {
    let [(empty, _), (full, _)] = [0, REMEMBERED].map(remembering);
    let mut clients = [&empty, &full].map(|it| Client::connect(it.address));
    let mut times = [Vec::new(), Vec::new()];
    // A connection serves no more than a thousand.
    for round in 0..990 {
        let body = format!(
            r#"{{"model":"sonnet","max_tokens":9,"stream":true,"tool_choice":{{"type":"none"}},"messages":[{},{},{}]}}"#,
            message("user", &format!("round {round}")),
            message("assistant", "hello"),
            message("user", "go on"),
        );
        for (client, times) in clients.iter_mut().zip(&mut times) {
            let first = client.stream(&body).first;
            // Caches and page tables warm up.
            if round >= 20 {
                times.push(first);
            }
        }
    }
    let [without, with] = times.each_mut().map(|times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let added = with.as_secs_f64() - without.as_secs_f64();
    println!(
        "{:48} {:>9.1} us {:>12}   <= 50 us",
        "looking up a history among 100,000 adds",
        added * 1e6,
        ""
    );
}

/// A gateway that remembers so many answers, and when they were written.
fn remembering(count: u32) -> (Gateway, Instant) {
    Gateway::start_with_state(|state| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let line = |number: u32| {
            let uuid = format!("c2d6f7a0-1234-4abc-8def-{number:012x}");
            format!(
                "{{\"turn\":\"{number:032x}\",\"session\":\"{uuid}\",\"leaf\":\"{uuid}\",\"at\":{now},\"projects\":\"/home/somebody/.claude/projects\"}}\n"
            )
        };
        let lines: String = (0..count).map(line).collect();
        fs::write(state.join("sessions.jsonl"), lines).unwrap();
        Instant::now()
    })
}

pub(super) fn sessions() {
    if !Path::new(CLI).exists() {
        println!(
            "{:48} skipped: run `make test` once, which installs it",
            "with the real CLI"
        );
        return;
    }
    let api = api();
    let home = std::env::temp_dir().join(format!("ccgw-bench-home-{}", std::process::id()));
    fs::create_dir(&home).unwrap();
    let (cold, warm) = (
        start(api, &home, ("none", "off")),
        start(api, &home, ("none", "on")),
    );
    let confined = Path::new(BWRAP).exists().then(|| {
        (
            start(api, &home, ("bwrap", "off")),
            start(api, &home, ("bwrap", "on")),
        )
    });
    let (mut confined_fresh, mut confined_warm) = (Vec::new(), Vec::new());
    let [
        mut bare,
        mut kept,
        mut fresh,
        mut ahead,
        mut first,
        mut resumed,
        mut reseeded,
    ] = [(); 7].map(|()| Vec::new());
    for round in 0..ROUNDS {
        let mut process = Process::start(api, &home);
        bare.push(process.ask());
        kept.push(process.ask());
        process.end();
        let mut chat = fresh_pair(
            (api, &home, round),
            [
                (Some(&cold), &mut fresh),
                (confined.as_ref().map(|it| &it.0), &mut confined_fresh),
            ],
        );
        resumed.push(chat.ask(&cold, "resumed"));
        chat.messages[0] = message("user", "never said before");
        reseeded.push(chat.ask(&cold, "reseeded"));
        if let Some((_, warm)) = &confined {
            let mut chat = Chat::new(format!("round {round}"));
            chat.ask(warm, "fresh");
            confined_warm.push(chat.ask(warm, "warm"));
        }
        let mut chat = Chat::new(format!("round {round}"));
        // The first one of all finds no process that was started ahead.
        let began = chat.ask(&warm, "fresh");
        if round > 0 {
            ahead.push(began);
        }
        first.push(chat.ask(&warm, "warm"));
        // Its successor is started ahead meanwhile.
        thread::sleep(Duration::from_millis(1500));
    }
    row("real CLI, bare: first delta", &mut bare, "");
    row("real CLI, bare: written to a kept process", &mut kept, "");
    row("real CLI: fresh", &mut fresh, "");
    row("real CLI: fresh, process started ahead", &mut ahead, "");
    row(
        "real CLI: warm",
        &mut first,
        "<= 0.2 x bare, <= kept + 10 ms",
    );
    match confined {
        Some(_) => {
            row(
                "real CLI in a sandbox: fresh",
                &mut confined_fresh,
                "<= fresh + 15 ms",
            );
            row("real CLI in a sandbox: warm", &mut confined_warm, "= warm");
        }
        None => println!("{:48} skipped: no bubblewrap here", "in a sandbox"),
    }
    row("real CLI: resumed", &mut resumed, "<= 1.1 x bare");
    row("real CLI: reseeded", &mut reseeded, "<= 1.1 x bare");
    let cold = ("a process for each", &cold, "");
    let warm = ("", &warm, "<= 0.35 x that");
    long_chats("real CLI: chat of 20 turns", [cold, warm]);
    if let Some((cold, warm)) = &confined {
        let cold = ("a process for each", cold, "");
        let warm = ("", warm, "<= 0.35 x that");
        long_chats("in a sandbox: chat of 20 turns", [cold, warm]);
    }
    drop((confined, cold, warm));
    fs::remove_dir_all(home).unwrap();
}

/// The whole of a chat, without waiting between its turns.
fn long_chats(what: &str, ways: [(&str, &Gateway, &str); 2]) {
    let mut totals = ways.map(|_| Vec::new());
    for round in 0..3 {
        for ((_, gateway, _), total) in ways.iter().zip(&mut totals) {
            let mut chat = Chat::new(format!("long {round}"));
            let started = Instant::now();
            for _ in 0..TURNS {
                chat.ask(gateway, "");
            }
            total.push(started.elapsed());
        }
    }
    for ((how, _, target), total) in ways.iter().zip(&mut totals) {
        let comma = if how.is_empty() { "" } else { ", " };
        row(&format!("{what}{comma}{how}"), total, target);
    }
}

/// A first answer outside and inside of a sandbox, each after the same: a process of the CLI's that came and went. Each
/// is the first one in every other round. Returns the chat outside.
fn fresh_pair(
    (api, home, round): (u16, &Path, usize),
    mut pair: [(Option<&Gateway>, &mut Vec<Duration>); 2],
) -> Chat {
    let mut chats = Vec::new();
    for place in [round % 2, 1 - round % 2] {
        let mut before = Process::start(api, home);
        before.ask();
        before.end();
        let mut chat = Chat::new(format!("round {round}"));
        let (gateway, times) = &mut pair[place];
        if let Some(gateway) = gateway {
            times.push(chat.ask(gateway, "fresh"));
        }
        chats.insert(place.min(chats.len()), chat);
    }
    chats.swap_remove(0)
}

fn start(api: u16, home: &Path, (isolation, warm): (&str, &str)) -> Gateway {
    let extra = format!("isolation: {isolation}\ncli:\n  bin: {CLI}\n  warm: {warm}");
    let env = format!(
        "    config_dir: private\n    env: {{ANTHROPIC_BASE_URL: \"http://127.0.0.1:{api}\", ANTHROPIC_API_KEY: bench-key, HOME: {}}}\n",
        home.display()
    );
    Gateway::start_with(&extra, &env)
}

fn message(role: &str, text: &str) -> String {
    format!(r#"{{"role":"{role}","content":"{text}"}}"#)
}

struct Chat {
    messages: Vec<String>,
}

impl Chat {
    fn new(text: String) -> Chat {
        Chat {
            messages: vec![message("user", &text)],
        }
    }

    /// Sends the chat, which then holds the answer and the next question.
    fn ask(&mut self, gateway: &Gateway, session: &str) -> Duration {
        let body = format!(
            r#"{{"model":"claude-sonnet-4-6","max_tokens":1000,"stream":true,"tool_choice":{{"type":"none"}},"messages":[{}]}}"#,
            self.messages.join(",")
        );
        let mut client = Client::connect(gateway.address);
        let times = client.stream(&body);
        assert!(
            session.is_empty() || client.session == session,
            "{} instead of {session}",
            client.session
        );
        self.messages.push(message("assistant", "hello"));
        self.messages.push(message("user", "go on"));
        times.first
    }
}

/// The CLI without the gateway.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    started: Option<Instant>,
}

impl Process {
    fn start(api: u16, home: &Path) -> Process {
        let started = Instant::now();
        let mut child = Command::new(CLI)
            .args([
                "--print",
                "--input-format",
                "stream-json",
                "--output-format",
                "stream-json",
            ])
            .args([
                "--verbose",
                "--include-partial-messages",
                "--setting-sources",
                "",
                "--strict-mcp-config",
            ])
            .args(["--model", "claude-sonnet-4-6", "--tools", ""])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("ANTHROPIC_API_KEY", "bench-key")
            .env("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{api}"))
            .env("DISABLE_AUTOUPDATER", "1")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(b"{\"type\":\"control_request\",\"request_id\":\"i\",\"request\":{\"subtype\":\"initialize\",\"systemPrompt\":\"x\"}}\n")
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process {
            child,
            stdin,
            stdout,
            started: Some(started),
        }
    }

    /// From the start, or for a process that lives already from the question, to the first delta.
    fn ask(&mut self) -> Duration {
        let started = self.started.take().unwrap_or_else(Instant::now);
        self.stdin
            .write_all(b"{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}}\n")
            .unwrap();
        let mut first = None;
        let mut line = String::new();
        while !line.contains("\"type\":\"result\"") {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).unwrap() > 0,
                "the CLI ended"
            );
            if first.is_none() && line.contains("content_block_delta") {
                first = Some(started.elapsed());
            }
        }
        first.unwrap()
    }

    fn end(self) {
        let Process {
            mut child, stdin, ..
        } = self;
        drop(stdin);
        child.wait().unwrap();
    }
}

/// Answers each request with one short text, at once.
fn api() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || answer_all(stream));
        }
    });
    port
}

fn answer_all(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let events = [
            (
                "message_start",
                r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-6","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}"#,
            ),
            (
                "content_block_start",
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#,
            ),
            (
                "content_block_stop",
                r#"{"type":"content_block_stop","index":0}"#,
            ),
            (
                "message_delta",
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
            ),
            ("message_stop", r#"{"type":"message_stop"}"#),
        ];
        let text: String = events
            .iter()
            .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
            .collect();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if reader
            .get_mut()
            .write_all((head + &text).as_bytes())
            .is_err()
        {
            return;
        }
    }
}
