//! Every recorded transcript under every policy: the order is legal, and the answer is the golden one.
//!
//! `UPDATE_EXPECT=1 cargo test` rewrites the goldens; read the difference before committing it.

mod random;
// One generator for these tests and for those over the wire.
#[path = "../../tests/it/random_cli.rs"]
mod random_cli;

use std::{fmt::Write as _, fs, path::PathBuf};

use super::*;
use crate::api::{anthropic, openai};

/// Refuses any order that a client could not take.
#[derive(Default)]
struct Order {
    started: bool,
    ended: bool,
    open: bool,
    next: u32,
}

impl Order {
    #[track_caller]
    fn take(&mut self, event: &AnswerEvent<'_>) {
        assert!(!self.ended, "{event:?} after End");
        match event {
            AnswerEvent::Start { .. } => {
                assert!(!std::mem::replace(&mut self.started, true), "second Start")
            }
            AnswerEvent::BlockStart { index, .. } => {
                assert!(
                    self.started && !self.open && *index == self.next,
                    "{event:?}"
                );
                self.open = true;
            }
            AnswerEvent::Delta { index, .. } => {
                assert!(self.open && *index == self.next, "{event:?}")
            }
            AnswerEvent::BlockStop { index } => {
                assert!(self.open && *index == self.next, "{event:?}");
                self.open = false;
                self.next += 1;
            }
            AnswerEvent::End { .. } => {
                assert!(self.started && !self.open, "{event:?}");
                self.ended = true;
            }
        }
    }
}

/// Feeds lines until a verdict, as the gateway does; the readable story of what came out.
fn story<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    policy: TurnPolicy,
    thinking: Thinking,
) -> (String, Order) {
    let mut turns = Turns::new(policy, thinking, &[]);
    let (mut story, mut order) = (String::new(), Order::default());
    for line in lines {
        let Ok(event) = event::parse(line) else {
            continue;
        };
        let verdict = turns.feed(&event, line, &mut |event| {
            order.take(&event);
            writeln!(story, "{}", shown(&event)).unwrap();
        });
        match verdict {
            Verdict::More => continue,
            Verdict::Done => {
                assert!(order.ended, "Done without End");
                story.push_str("=> done\n");
            }
            Verdict::Failed(failure) => {
                let ApiError {
                    kind,
                    message,
                    param: _,
                    retry_after,
                } = failure.shown(1_795_400_000, &|text| text.to_owned());
                writeln!(
                    story,
                    "=> ApiError {{ kind: {kind:?}, message: {message:?}, retry_after: {retry_after:?} }}"
                )
                .unwrap();
            }
        }
        return (story, order);
    }
    story.push_str("=> no result\n");
    (story, order)
}

fn shown(event: &AnswerEvent<'_>) -> String {
    match event {
        AnswerEvent::Start { id, .. } => format!("start {id}"),
        AnswerEvent::BlockStart { index, kind, .. } => format!("{index} begin {kind:?}"),
        AnswerEvent::Delta {
            index, kind, value, ..
        } => format!("{index} {kind:?} {}", value.get()),
        AnswerEvent::BlockStop { index } => format!("{index} end"),
        AnswerEvent::End {
            stop_reason,
            stop_sequence,
            usage,
        } => {
            let usage = usage.map_or_else(|| "none".to_owned(), event::usage_summary);
            format!("end {stop_reason} {stop_sequence:?} {usage}")
        }
    }
}

const POLICIES: [(TurnPolicy, &str); 3] = [
    (TurnPolicy::Final, "final"),
    (TurnPolicy::Live, "live"),
    (TurnPolicy::Single, "single"),
];

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Name and content of each recorded transcript.
fn transcripts() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for version in ["2.1.197", "2.1.330"] {
        for entry in fs::read_dir(data().join("transcripts").join(version)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            all.push((format!("{version}/{name}"), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    assert!(all.len() > 40, "transcripts are missing");
    all
}

fn lines(transcript: &[u8]) -> Vec<&[u8]> {
    transcript
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn recorded_transcripts_become_the_golden_answers() {
    for (name, transcript) in transcripts() {
        let mut told = String::new();
        for (policy, policy_name) in POLICIES {
            let (story, _) = story(lines(&transcript), policy, Thinking::Shown);
            write!(told, "[{policy_name}]\n{story}").unwrap();
        }
        check_golden(&format!("{name}.txt"), &told);
    }
}

#[track_caller]
fn check_golden(name: &str, told: &str) {
    let path = data().join("golden").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, told).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == told,
        "{name} differs (UPDATE_EXPECT=1 rewrites it):\n{told}"
    );
}

/// The same transcripts as the bytes that clients of both formats get, streamed and whole.
#[test]
fn recorded_transcripts_become_the_golden_bytes_of_both_formats() {
    for (name, transcript) in transcripts() {
        check_golden(&format!("{name}.wire.txt"), &wire(&lines(&transcript)));
    }
}

fn wire(lines: &[&[u8]]) -> String {
    let identity = openai::Identity {
        id: "1",
        model_requested: "my/sonnet",
        created: 1_795_400_000,
    };
    let mut stream = anthropic::StreamEncoder::new(identity.model_requested);
    let mut whole = anthropic::Collector::new(identity.model_requested);
    let asked = br#"{"model":"sonnet","stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}"#;
    let mut chunks =
        openai::StreamEncoder::new(&identity, openai::parse(asked).unwrap().usage_chunk);
    let mut completion = openai::Collector::new(&identity);
    let (mut anthropic_out, mut openai_out) = (Vec::new(), Vec::new());
    let mut turns = Turns::new(TurnPolicy::Final, Thinking::Shown, &[]);
    for line in lines {
        let Ok(event) = event::parse(line) else {
            continue;
        };
        let verdict = turns.feed(&event, line, &mut |event| {
            stream.encode(&event, &mut anthropic_out);
            whole.take(&event);
            chunks.encode(&event, &mut openai_out);
            completion.take(&event);
        });
        match verdict {
            Verdict::More => continue,
            Verdict::Done => {}
            Verdict::Failed(failure) => {
                let error = failure.shown(1_795_400_000, &|text| text.to_owned());
                let (status, body) = anthropic::error(&error, "req_1");
                let (openai_status, openai_body) = openai::error(&error);
                return format!(
                    "{status} {}\n{openai_status} {}\n",
                    text(body),
                    text(openai_body)
                );
            }
        }
        let bodies = [
            anthropic_out,
            whole.finish(),
            openai_out,
            completion.finish(),
        ]
        .map(text);
        return bodies.join("\n---\n") + "\n";
    }
    "no result\n".to_owned()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn order_stays_legal_when_lines_are_cut_lost_doubled_or_swapped() {
    let mut dice = random_cli::Dice::new(1);
    for (_, transcript) in transcripts() {
        let whole = lines(&transcript);
        for round in 0..60 {
            let mut mangled = whole.clone();
            if round % 3 == 0 {
                mangled.truncate(dice.below(whole.len() + 1));
            }
            for _ in 0..dice.below(6) {
                if mangled.is_empty() {
                    break;
                }
                let (a, b) = (dice.below(mangled.len()), dice.below(mangled.len()));
                match dice.below(3) {
                    0 => drop(mangled.remove(a)),
                    1 => mangled.insert(a, mangled[b]),
                    _ => mangled.swap(a, b),
                }
            }
            for (policy, _) in POLICIES {
                for thinking in [Thinking::Shown, Thinking::Hidden] {
                    story(mangled.iter().copied(), policy, thinking);
                }
            }
        }
    }
}

#[test]
fn hidden_thinking_leaves_no_gap() {
    let (_, transcript) = transcripts()
        .into_iter()
        .find(|(name, _)| name == "2.1.330/think")
        .unwrap();
    let (story, _) = story(lines(&transcript), TurnPolicy::Final, Thinking::Hidden);
    assert!(
        story.contains("0 begin Text") && !story.contains("Thinking"),
        "{story}"
    );
}

#[test]
fn doubled_text_is_an_error_where_some_of_it_was_seen() {
    let (_, transcript) = transcripts()
        .into_iter()
        .find(|(name, _)| name == "2.1.330/drop-r1")
        .unwrap();
    for (policy, seen) in [
        (TurnPolicy::Final, "non-stream fallback"),
        (TurnPolicy::Live, "broke in the middle"),
    ] {
        let (story, _) = story(lines(&transcript), policy, Thinking::Hidden);
        assert!(story.contains(seen), "{story}");
    }
}

#[test]
fn usage_limit_tells_when_it_ends() {
    let (_, transcript) = transcripts()
        .into_iter()
        .find(|(name, _)| name == "2.1.330/oauth-statusra4291")
        .unwrap();
    let (story, _) = story(lines(&transcript), TurnPolicy::Final, Thinking::Hidden);
    assert!(
        story.contains("RateLimited") && story.contains("retry_after: Some(9913s)"),
        "{story}"
    );
}
