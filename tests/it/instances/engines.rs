//! Engines that hang, die in the middle of an answer or answer nonsense: the rest is done all the same.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use super::Host;

/// Listens as an engine would, and treats every connection as `serve` does.
fn engine(host: &mut Host, serve: fn(&str) -> Option<String>) {
    let path = host.dir.path().join("engine");
    let listener = UnixListener::bind(&path).unwrap();
    host.engine = format!("unix://{}", path.display());
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            match serve(&String::from_utf8_lossy(&head[..read])) {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                // Silence: the connection stays open.
                None => kept.push(stream),
            }
        }
    });
}

fn json(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

const VERSION: &str = r#"{"Version":"1","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;

#[track_caller]
fn check(serve: fn(&str) -> Option<String>, words: &str) {
    let mut host = Host::new();
    host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    engine(&mut host, serve);
    host.setup(&["--yes"])
        .good()
        .says(words)
        .says("a request of its own is answered");
}

#[test]
fn engine_that_answers_500_is_quoted() {
    let serve = |head: &str| match head {
        "" => None,
        head if head.contains("/version") => json("200 OK", VERSION),
        _ => json("500 Internal Server Error", r#"{"message":"disk on fire"}"#),
    };
    check(
        serve,
        "Docker refused to list the containers (500): disk on fire",
    );
}

#[test]
fn engine_that_dies_in_the_middle_is_told() {
    let serve = |head: &str| match head {
        "" => None,
        head if head.contains("/version") => json("200 OK", VERSION),
        _ => Some("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n[{\"Id\"".to_owned()),
    };
    check(serve, "list the containers");
}

#[test]
fn engine_that_is_none_is_told() {
    check(
        |_| json("200 OK", "<html>"),
        "Docker answered oddly when asked to tell its version",
    );
}

#[test]
fn engine_that_hangs_does_not_hang_setup() {
    check(|_| None, "Docker did not tell its version within 15 s");
}

#[test]
fn engine_that_cannot_be_spoken_to_is_told() {
    let mut host = Host::new();
    host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    host.engine = "ssh://me@there".to_owned();
    host.setup(&[])
        .good()
        .says("only unix:// and tcp:// without TLS");
}
