//! Whether the installed CLI takes a transcript for a session: tried once for each version that nobody has
//! measured, with an API of our own on loopback, which hears what the model would.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde_json::{Value, value::RawValue};

use super::{
    command::{Session, trial_launch},
    input,
    keeper::Keeper,
    program::Program,
    transcript::transcript,
    worker::{Step, Worker},
};
use crate::{
    api::{Block, Message, Role},
    session::Uuid,
};

/// The version that was measured to take one.
const MEASURED: &str = "2.1.330 ";

/// A CLI starts and asks within half a second; a loaded machine takes longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A request of a few short messages is some 30 KB, tools included.
const REQUEST_MAX: usize = 8 << 20;

/// What is not tried: a version that is known.
pub(super) fn is_known(version: &str) -> bool {
    version.starts_with(MEASURED)
}

/// Has the CLI go on from a transcript, in a directory of its own below `state`.
///
/// # Errors
/// Why it cannot be said.
pub(super) fn takes_transcripts(
    program: &Program,
    env: &[(OsString, OsString)],
    state: &Path,
) -> io::Result<bool> {
    let dir = state.join(format!("trial-{}", Uuid::random()));
    fs::DirBuilder::new().create(&dir)?;
    let tried = try_in(&dir, program, env);
    // Private, and of no use to anybody.
    let _ = fs::remove_dir_all(&dir);
    tried
}

fn try_in(dir: &Path, program: &Program, env: &[(OsString, OsString)]) -> io::Result<bool> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let new = Uuid::random();
    let lines = transcript(&history()?, (new, "sonnet"))?.unwrap_or_default();
    let file = dir.join(format!("{new}.jsonl"));
    fs::write(&file, lines)?;
    let mut launch = trial_launch(program, env, (dir, listener.local_addr()?.port()));
    let session = Session::Transcript {
        file: &file,
        new: Uuid::random(),
    };
    session.add_to(&mut launch);
    let question = Message {
        role: Role::User,
        blocks: vec![Block::Text(NEWEST.to_owned())],
    };
    let hears = thread::Builder::new()
        .name("trial".to_owned())
        .spawn(move || hear(&listener))?;
    let input = input::question(&[question])?;
    let mut worker = Worker::start(Keeper::start()?, &launch, input)
        .map_err(|it| io::Error::other(it.error.to_string()))?;
    wait_for_answer(&mut worker);
    worker.end();
    // Whoever listened in vain stops with the first connection.
    let heard = hears.join().unwrap_or(Ok(None))?;
    Ok(heard.is_some_and(|it| holds_history(&it)))
}

const CALL: &str = "toolu_ccgw";
const RESULT: &str = "the-result-of-the-call";
const ANSWER: &str = "the-first-answer";
const NEWEST: &str = "the-newest-question";

fn history() -> io::Result<[Message; 4]> {
    let text = |text: &str| Block::Text(text.to_owned());
    let call = Block::ToolUse {
        id: CALL.to_owned(),
        name: "exec".to_owned(),
        input: RawValue::from_string("{}".to_owned())?,
    };
    let result = Block::ToolResult {
        tool_use_id: CALL.to_owned(),
        is_error: false,
        blocks: vec![text(RESULT)],
    };
    let message = |role, block| Message {
        role,
        blocks: vec![block],
    };
    Ok([
        message(Role::User, text("the-first-question")),
        message(Role::Assistant, call),
        message(Role::User, result),
        message(Role::Assistant, text(ANSWER)),
    ])
}

/// Whether a request holds the history with its real roles, in order.
fn holds_history(body: &Value) -> bool {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let holds = |(role, part): (&str, &str)| {
        let position = messages
            .iter()
            .position(|it| it["role"] == role && it["content"].to_string().contains(part));
        position.ok_or(())
    };
    let wanted = [
        ("user", "the-first-question"),
        ("assistant", CALL),
        ("user", RESULT),
        ("assistant", ANSWER),
        ("user", NEWEST),
    ];
    let places: Result<Vec<usize>, ()> = wanted.into_iter().map(holds).collect();
    places.is_ok_and(|it| it.is_sorted())
}

fn wait_for_answer(worker: &mut Worker) {
    let until = Instant::now() + PATIENCE;
    // Nobody writes to it.
    let Ok(never) = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC) else {
        return;
    };
    loop {
        match worker.wait(never.as_fd(), until) {
            Ok(Step::Output) => {
                while let Ok(Some(line)) = worker.next_line() {
                    if memchr::memmem::find(line, b"\"type\":\"result\"").is_some() {
                        return;
                    }
                }
            }
            Ok(Step::Woken) => {}
            Ok(Step::Timeout | Step::Ended) | Err(_) => return,
        }
    }
}

/// The first request for an answer; it gets none, which the CLI does not ask for twice.
fn hear(listener: &TcpListener) -> io::Result<Option<Value>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let (stream, _) = listener.accept()?;
        if let Ok(Some(body)) = request(stream) {
            return Ok(Some(body));
        }
    }
}

/// Reads a request's body, and refuses it.
fn request(mut stream: TcpStream) -> io::Result<Option<Value>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let body = loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        let head = memchr::memmem::find(&bytes, b"\r\n\r\n").map(|it| it + 4);
        let body: Option<Value> = head.and_then(|at| serde_json::from_slice(&bytes[at..]).ok());
        if body.is_some() || read == 0 || bytes.len() > REQUEST_MAX {
            break body;
        }
    };
    const NO: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 77\r\n\
        connection: close\r\n\r\n{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"a trial\"}}";
    stream.write_all(NO)?;
    Ok(body.filter(|it| it["messages"].is_array()))
}
