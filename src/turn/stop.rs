//! Stop sequences: matched in the visible text while it streams, across its pieces.
//!
//! The API matches them itself where it is told to; this finds those that it does not take, and is
//! the net below the rest. Text that may be the beginning of a match is held back until it is known.

use memchr::memmem::Finder;
use serde_json::value::{RawValue, to_raw_value};

use super::Sink;
use crate::api::{AnswerEvent, DeltaKind, text::Text};

/// The sequences of one answer, and what was seen of them.
#[derive(Default)]
pub(super) struct Stops {
    sequences: Vec<Finder<'static>>,
    /// The end of the block's text so far, when it may be the beginning of a sequence.
    held: String,
    found: Option<usize>,
}

impl Stops {
    pub(super) fn new(sequences: &[String]) -> Self {
        Stops {
            sequences: sequences
                .iter()
                .map(|it| Finder::new(it).into_owned())
                .collect(),
            ..Stops::default()
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The sequence that ended the answer.
    pub(super) fn found(&self) -> Option<&str> {
        let found = self.sequences.get(self.found?)?;
        std::str::from_utf8(found.needle()).ok()
    }

    /// Hands an event on, its text only up to the first sequence. Nothing is handed on after that
    /// but the end of the block.
    pub(super) fn filter(&mut self, event: AnswerEvent<'_>, sink: Sink<'_>) {
        if self.found.is_some() {
            return;
        }
        match event {
            AnswerEvent::Delta {
                index,
                kind: DeltaKind::Text,
                value,
                ..
            } => match self.scan(value) {
                Scan::Whole => sink(event),
                Scan::Part(text) => self.part(index, &text, sink),
            },
            AnswerEvent::BlockStop { index } => {
                let held = std::mem::take(&mut self.held);
                emit(index, &held, sink);
                sink(event);
            }
            other => sink(other),
        }
    }

    fn part(&self, index: u32, text: &str, sink: Sink<'_>) {
        emit(index, text, sink);
        if self.found.is_some() {
            sink(AnswerEvent::BlockStop { index });
        }
    }

    fn scan(&mut self, value: &RawValue) -> Scan {
        // Not a string would be no text delta.
        let Ok(text) = serde_json::from_str::<Text<'_>>(value.get()) else {
            return Scan::Whole;
        };
        let text = text.into_cow();
        let before = self.held.len();
        self.held.push_str(&text);
        let first = self.sequences.iter().enumerate();
        let first = first.filter_map(|(n, it)| Some((it.find(self.held.as_bytes())?, n)));
        if let Some((at, n)) = first.min() {
            self.found = Some(n);
            let mut shown = std::mem::take(&mut self.held);
            shown.truncate(at);
            return Scan::Part(shown);
        }
        let keep = self
            .sequences
            .iter()
            .map(|it| begun(it.needle(), &self.held));
        let keep = keep.max().unwrap_or(0);
        let shown = self.held.len() - keep;
        if keep == 0 && before == 0 {
            self.held.clear();
            return Scan::Whole;
        }
        let rest = self.held.split_off(shown);
        Scan::Part(std::mem::replace(&mut self.held, rest))
    }
}

enum Scan {
    /// The piece can leave as it came.
    Whole,
    /// This leaves instead.
    Part(String),
}

/// How many bytes at the end of the text are a beginning of the sequence, short of all of it.
fn begun(sequence: &[u8], text: &str) -> usize {
    let longest = (sequence.len() - 1).min(text.len());
    (1..=longest)
        .rev()
        .find(|count| text.as_bytes().ends_with(&sequence[..*count]))
        .unwrap_or(0)
}

fn emit(index: u32, text: &str, sink: Sink<'_>) {
    if text.is_empty() {
        return;
    }
    // A string can always be written as JSON.
    let Ok(value) = to_raw_value(text) else {
        return;
    };
    let delta = format!(r#"{{"type":"text_delta","text":{}}}"#, value.get());
    if let Ok(delta) = RawValue::from_string(delta) {
        sink(AnswerEvent::Delta {
            index,
            kind: DeltaKind::Text,
            delta: &delta,
            value: &value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams these pieces as one block and gives what leaves, `|` between the pieces, `.` for the
    /// end of the block.
    fn stream(sequences: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let sequences: Vec<String> = sequences.iter().map(|it| (*it).to_owned()).collect();
        let mut stops = Stops::new(&sequences);
        let mut out = String::new();
        let mut sink = |event: AnswerEvent<'_>| match event {
            AnswerEvent::Delta { value, delta, .. } => {
                let text: String = serde_json::from_str(value.get()).unwrap();
                let delta: serde_json::Value = serde_json::from_str(delta.get()).unwrap();
                assert_eq!(
                    delta,
                    serde_json::json!({"type": "text_delta", "text": text})
                );
                out.push_str(&text);
                out.push('|');
            }
            AnswerEvent::BlockStop { .. } => out.push('.'),
            _ => panic!("an event of another kind"),
        };
        for piece in pieces {
            let value = to_raw_value(piece).unwrap();
            let delta = format!(r#"{{"type":"text_delta","text":{}}}"#, value.get());
            let event = AnswerEvent::Delta {
                index: 0,
                kind: DeltaKind::Text,
                delta: &RawValue::from_string(delta).unwrap(),
                value: &value,
            };
            stops.filter(event, &mut sink);
        }
        stops.filter(AnswerEvent::BlockStop { index: 0 }, &mut sink);
        let found = stops.found().map(str::to_owned);
        (out, found)
    }

    #[track_caller]
    fn check(sequences: &[&str], pieces: &[&str], expect: &str, found: Option<&str>) {
        let (out, got) = stream(sequences, pieces);
        assert_eq!(
            (out.as_str(), got.as_deref()),
            (expect, found),
            "{pieces:?}"
        );
    }

    #[test]
    fn text_ends_before_the_first_sequence() {
        check(&["END"], &["one END two"], "one |.", Some("END"));
        check(&["END"], &["END"], ".", Some("END"));
        check(&["x", "b"], &["abxb"], "a|.", Some("b"));
        check(&["END"], &["no", "thing"], "no|thing|.", None);
    }

    #[test]
    fn sequences_are_found_across_pieces() {
        check(
            &["END"],
            &["one E", "N", "D two", "three"],
            "one |.",
            Some("END"),
        );
        check(&["END"], &["one E", "N", "o"], "one |ENo|.", None);
        check(&["END"], &["one E", "N"], "one |EN|.", None);
        check(&["aab"], &["a", "a", "a", "b"], "a|.", Some("aab"));
        check(&["\n\n"], &["a\n", "b\n", "\nc"], "a|\nb|.", Some("\n\n"));
    }

    #[test]
    fn letters_of_several_bytes_are_not_cut() {
        check(&["é!"], &["caf", "é", "!"], "caf|.", Some("é!"));
        check(&["é!"], &["caf", "é", "?"], "caf|é?|.", None);
        check(&["\u{e9}x"], &["\u{e8}"], "\u{e8}|.", None);
    }

    #[test]
    fn every_way_to_cut_a_text_ends_at_the_same_place() {
        let text = "ab<sto<stop>cd";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let (out, found) = stream(&["<stop>", "cd"], &pieces);
                assert_eq!(out.replace('|', ""), "ab<sto.", "{pieces:?}");
                assert_eq!(found.as_deref(), Some("<stop>"));
            }
        }
    }
}
