//! The operator's socket itself: whose it is, who may use it, and what hostile peers do to others.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Uid;
use serde_json::Value;

use super::{PATIENCE, gated, good, socket};
use crate::{
    gateway::{Gateway, prompt},
    process::{signal, wait_until},
    temp::TempDir,
};

const STATUS: &[u8] = b"GET /status HTTP/1.1\r\n\r\n";

/// What waits for nobody takes much less; a silent connection may hold its place for longer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A connection on which these bytes were sent.
pub(super) fn sent(gateway: &Gateway, bytes: &[u8]) -> UnixStream {
    let stream = UnixStream::connect(socket(gateway)).unwrap();
    // The other side may close before all is sent.
    let _ = (&stream).write_all(bytes);
    stream
}

/// The answer's status, and its error or its whole body.
#[track_caller]
pub(super) fn said(mut stream: &UnixStream) -> (u16, String) {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // So Linux tells that something which was sent has not been read.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    let status = status
        .parse()
        .unwrap_or_else(|_| panic!("no answer: {answer:?}"));
    let body: Value = serde_json::from_str(body).unwrap();
    match body["error"].as_str() {
        Some(why) => (status, why.to_owned()),
        None => (status, body.to_string()),
    }
}

#[track_caller]
fn check(gateway: &Gateway, bytes: &[u8], status: u16, part: &str) {
    let (got, text) = said(&sent(gateway, bytes));
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    assert_eq!(got, status, "{shown}: {text}");
    assert!(text.contains(part), "{shown}: {text}");
}

/// Asks for the status, which is to come at once however many are silent meanwhile.
#[track_caller]
fn check_status_at_once(gateway: &Gateway, silent: usize) {
    // The machine may be busy with other things, so the best of some counts.
    let took = (0..5).map(|_| {
        let others: Vec<_> = (0..silent).map(|_| sent(gateway, b"GET /sta")).collect();
        let start = Instant::now();
        assert_eq!(said(&sent(gateway, STATUS)).0, 200);
        let took = start.elapsed();
        drop(others);
        took
    });
    let best = took.min().unwrap();
    assert!(best < AT_ONCE, "{best:?} with {silent} silent connections");
}

#[test]
fn garbage_and_silence_on_the_socket_harm_nobody() {
    let (gateway, fake) = gated();
    let mut gate = fake.gate();
    let _silent: Vec<_> = (0..50).map(|_| sent(&gateway, b"")).collect();
    for garbage in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
    ] {
        check(&gateway, garbage, 400, "this is no HTTP/1 request");
    }
    check(&gateway, &[b'x'; 100_000], 400, "8 KiB");
    check(
        &gateway,
        b"DELETE /status HTTP/1.0\r\n\r\n",
        404,
        "GET /status",
    );
    check(
        &gateway,
        b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
        404,
        "GET /status",
    );
    check_status_at_once(&gateway, 50);
    gate.let_through(1);
    assert_eq!(gateway.ask("alpha", &prompt("x")).answer_text(), "hello");
    signal(gateway.pid(), "HUP");
    gateway.log_contains("configuration reloaded");
    assert!(!gateway.log().contains("panicked"));
    gateway.stop();
}

#[test]
fn body_of_any_length_is_refused_before_it_is_read() {
    let (gateway, _fake) = gated();
    for field in [
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length: 100000000000\r\n\r\n",
        "Content-Length: 18446744073709551615\r\n\r\n",
        "Content-Length: 99999999999999999999999999\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 7\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ] {
        let drain = format!("POST /drain HTTP/1.1\r\nhost: x\r\n{field}");
        check(
            &gateway,
            drain.as_bytes(),
            400,
            "no request here has a body",
        );
    }
    // None of them was an order.
    assert!(!good(&gateway, &["status"]).contains("draining"));
    gateway.stop();
}

#[test]
fn silent_peers_make_place_for_others_and_are_told() {
    let (gateway, _fake) = gated();
    check_status_at_once(&gateway, 300);
    let slow = sent(&gateway, b"GET /status HTTP/1.1\r\n");
    let (status, why) = said(&slow);
    assert_eq!((status, &*why), (408, "no whole request within 2s"));
    // The oldest makes place, not the newest; where connecting them all takes two seconds its time is over.
    wait_until(PATIENCE, "a quick round", || {
        let silent: Vec<_> = (0..65).map(|_| sent(&gateway, b"GET /sta")).collect();
        let _ = (&silent[64]).write_all(b"tus HTTP/1.1\r\n\r\n");
        let ends = [0, 1, 64].map(|it| said(&silent[it]).0);
        ends == [503, 408, 200]
    });
    let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    assert!(threads.count() < 30, "no thread for who says nothing");
    gateway.stop();
}

#[test]
fn more_requests_than_are_answered_at_once_are_told_to_come_again() {
    let (gateway, _fake) = gated();
    // A configuration that takes a moment to read, and all orders for it at once.
    let path = gateway.dir.path().join("config.yaml");
    let tenants =
        (0..900).map(|it| format!("  - name: t{it}\n    api_key: secret-key-of-t{it}-01234\n"));
    let text = fs::read_to_string(&path).unwrap() + &tenants.collect::<String>();
    signal(gateway.pid(), "STOP");
    fs::write(&path, text).unwrap();
    let reload = b"POST /reload HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
    let orders: Vec<_> = (0..100).map(|_| sent(&gateway, reload)).collect();
    signal(gateway.pid(), "CONT");
    let mut done = 0;
    for order in &orders {
        match said(order) {
            (200, _) => done += 1,
            (503, why) => assert!(why.contains("try again"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!((16..100).contains(&done), "{done} of 100 at once");
    assert!(good(&gateway, &["status"]).contains("t899"));
    gateway.stop();
}

#[test]
fn peers_of_another_user_are_refused() {
    const NOBODY: Uid = Uid::from_raw_unchecked(65534);
    let (gateway, _fake) = gated();
    let path = socket(&gateway);
    if !rustix::process::geteuid().is_root() {
        // Only root can ask as somebody else; that the mode keeps all others out is seen elsewhere.
        return gateway.stop();
    }
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(path.parent().unwrap(), 0o711).unwrap();
    let ask_as_nobody = || {
        // A uid of this thread alone, and for its life.
        rustix::thread::set_thread_res_uid(NOBODY, NOBODY, NOBODY).unwrap();
        UnixStream::connect(&path).map(|stream| {
            let _ = (&stream).write_all(b"POST /drain HTTP/1.1\r\n\r\n");
            said(&stream)
        })
    };
    let answers = thread::scope(|scope| {
        let shut = scope.spawn(ask_as_nobody).join().unwrap();
        open(&path, 0o666).unwrap();
        let let_in = scope.spawn(ask_as_nobody).join().unwrap();
        (shut, let_in)
    });
    assert_eq!(answers.0.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let (status, why) = answers.1.unwrap();
    assert_eq!(status, 403);
    assert!(why.contains("user 65534 may not ask here"), "{why}");
    gateway.log_contains("refused another user on the operator's socket uid=65534");
    assert!(!good(&gateway, &["status"]).contains("draining"));
    gateway.stop();
}

/// Another daemon of this configuration.
fn again(gateway: &Gateway, set: &[(&str, &Path)]) -> Gateway {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgw"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", gateway.dir.path())
        .envs(set.iter().copied())
        .arg(gateway.dir.path().join("config.yaml"));
    Gateway::start(command, TempDir::new(), "none".to_owned())
}

#[test]
fn socket_is_private_and_of_one_daemon_at_a_time() {
    let (mut gateway, _fake) = gated();
    let path = socket(&gateway);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);

    // A second daemon leaves the first its socket, and serves; also when the first does not answer now.
    signal(gateway.pid(), "STOP");
    let directory = path.parent().unwrap();
    let other = gateway.dir.create_dir("other-state");
    let second = again(
        &gateway,
        &[
            ("RUNTIME_DIRECTORY", directory),
            ("STATE_DIRECTORY", &other),
        ],
    );
    let line = second.log_contains("no operator's socket");
    assert!(line.contains("another ccgw has"), "{line}");
    signal(gateway.pid(), "CONT");
    second.stop();
    assert!(good(&gateway, &["status"]).contains(&format!("process {}", gateway.pid())));

    // What a killed one leaves is replaced.
    gateway.kill();
    assert!(path.exists());
    let third = again(&gateway, &[("STATE_DIRECTORY", directory)]);
    third.log_contains("the operator's socket is open");
    assert!(good(&gateway, &["status"]).contains(&format!("process {}", third.pid())));
    let left: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .filter(|it| it.to_string_lossy().contains(".sock"))
        .collect();
    assert_eq!(left, ["ccgw.sock"]);
    third.stop();
    assert!(!path.exists());
}
