//! A CLI that writes at random, is cut off anywhere and is read in pieces: over the wire every answer is
//! a legal stream, or an error, and the whole answer says the same.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::Client,
    fake_cli::FakeCli,
    gateway::{MODEL, key_of},
    random_cli::{Dice, output},
    setup::Setup,
    sse::{Event, SseReader},
    temp::TempDir,
};

const SEEDS: u64 = 100;

/// Each piece is written by a process of its own, so that the daemon reads it by itself.
const BODY: &str = r#"
n=${line#*seed-}; n=${n%%-*}
for piece in "$here/$n".piece*; do cat "$piece"; done
"#;

/// What the client got of an answer; nothing when it is an error.
type Told = Option<String>;

#[test]
fn random_output_makes_legal_answers_that_say_the_same_whole_and_streamed() {
    for policy in ["final", "live"] {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, BODY);
        let gateway = Setup::with_cli(dir, fake.path())
            .set("cli", format!("stream: {policy}"))
            .start();
        let mut answered = 0;
        for seed in 1..=SEEDS {
            // Shown when one of the checks panics.
            eprintln!("seed {seed}, {policy}");
            write_pieces(&fake, seed);
            for path in ["/v1/messages", "/v1/chat/completions", "/v1/responses"] {
                let body = request(path, seed);
                let streamed = streamed(&gateway.client(), path, &body);
                assert_eq!(whole(&gateway.client(), path, &body), streamed, "{path}");
                answered += usize::from(streamed.is_some());
            }
        }
        assert!(
            answered > 10,
            "only {answered} answers were none but errors"
        );
        gateway.stop();
    }
}

/// The output of a seed, in pieces that are cut at random.
fn write_pieces(fake: &FakeCli, seed: u64) {
    let mut dice = Dice::new(seed);
    let output = of_today(output(&mut dice));
    let mut rest = output.as_slice();
    for number in 0..5 {
        let (piece, later) = match number {
            4 => (rest, &rest[rest.len()..]),
            _ => rest.split_at(dice.below(rest.len() + 1)),
        };
        fs::write(fake.file(&format!("{seed}.piece{number}")), piece).unwrap();
        rest = later;
    }
}

/// Without the words of a later API: those pass unchanged, and the schemas know only today's.
fn of_today(output: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(output).unwrap();
    text.replace(r#"{"type":"novel"}"#, r#"{"type":"text","text":""}"#)
        .replace(r#""novel_delta""#, r#""text_delta","text":"x""#)
        .replace(r#""novel""#, r#""pause_turn""#)
        .into_bytes()
}

/// With or without tools, which are two ways to let a turn out; with or without a stop sequence.
fn request(path: &str, seed: u64) -> Value {
    let text = format!("seed-{seed}-");
    let mut body = match path {
        "/v1/responses" => json!({"model": MODEL, "input": text}),
        _ => {
            json!({"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": text}]})
        }
    };
    if seed.is_multiple_of(2) {
        body["tool_choice"] = match path {
            "/v1/messages" => json!({"type": "none"}),
            _ => "none".into(),
        };
    }
    if seed.is_multiple_of(3) {
        match path {
            "/v1/messages" => body["stop_sequences"] = json!(["STOP"]),
            "/v1/responses" => {}
            _ => body["stop"] = "STOP".into(),
        }
    }
    body
}

fn whole(client: &Client, path: &str, body: &Value) -> Told {
    let answer = client.post(path, &[("x-api-key", &key_of("alpha"))], body);
    if answer.status != 200 {
        return None;
    }
    let body = answer.json();
    match body["output"][0]["content"][0]["text"].as_str() {
        Some(text) => Some(text.to_owned()),
        None => Some(answer.answer_text()),
    }
}

/// Every event passes the checks of its format as it is read.
fn streamed(client: &Client, path: &str, body: &Value) -> Told {
    let mut body = body.clone();
    body["stream"] = true.into();
    let key = key_of("alpha");
    let sent = client.open("POST", path, &[("x-api-key", &key)], Some(&body));
    let answer = sent.answer();
    if answer.status != 200 {
        assert_ne!(answer.read_whole().body, b"", "an error must say something");
        return None;
    }
    let events = SseReader::of_path(answer, path).events();
    let last = &events.last()?.data;
    let failed = last["type"] == "error" || last["error"].is_object();
    (!failed).then(|| events.iter().map(text).collect())
}

fn text(event: &Event) -> &str {
    let data = &event.data;
    let places = [
        &data["delta"],
        &data["delta"]["text"],
        // A block may begin with some of its text.
        &data["content_block"]["text"],
        &data["choices"][0]["delta"]["content"],
    ];
    places
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
}
