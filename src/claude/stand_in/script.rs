//! What the stand-in says to a prompt.

use std::time::Duration;

/// What the tool round pretends to run. It is never executed.
pub(super) const TOOL_COMMAND: &str = "echo stand-in";

/// The most pieces and the longest delay a prompt may ask for, so that no prompt makes a program
/// that never ends: a hundred seconds, or what a large answer has.
const DELTAS_MAX: u64 = 1_000_000;
const DELAY_MAX_MS: u64 = 100_000;

/// The directions found in one prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script<'a> {
    text: &'a str,
    deltas: Option<u64>,
    delay: Duration,
}

impl<'a> Script<'a> {
    pub(super) fn read(text: &'a str) -> Script<'a> {
        Script {
            text,
            deltas: marker(text, "[[deltas:").map(|count| count.min(DELTAS_MAX)),
            delay: Duration::from_millis(marker(text, "[[delay:").unwrap_or(0).min(DELAY_MAX_MS)),
        }
    }

    pub(super) fn tool_round(&self) -> bool {
        self.text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "tool")
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// The answer, piece by piece.
    pub(super) fn pieces(&self) -> Box<dyn Iterator<Item = String> + 'a> {
        match self.deltas {
            Some(count) => Box::new((1..=count).map(|number| format!("{number} "))),
            None => {
                let words = self.text.split_inclusive(char::is_whitespace);
                let opening = ["[stand-in] ", "You ", "said: "];
                Box::new(opening.into_iter().chain(words).map(str::to_owned))
            }
        }
    }
}

/// The number of the first `name` in the text, which ends with `]]`.
fn marker(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    let (number, _) = rest.split_once("]]")?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, pieces: &[&str], delay_ms: u64) {
        let script = Script::read(text);
        assert_eq!(script.pieces().collect::<Vec<_>>(), pieces, "{text}");
        assert_eq!(script.delay(), Duration::from_millis(delay_ms), "{text}");
    }

    #[test]
    fn the_prompt_directs_the_answer() {
        check("a b", &["[stand-in] ", "You ", "said: ", "a ", "b"], 0);
        check("", &["[stand-in] ", "You ", "said: "], 0);
        check("x [[deltas:2]]", &["1 ", "2 "], 0);
        check("[[deltas:0]][[delay:7]]", &[], 7);
        check("[[deltas:1]] [[delay:999999999]]", &["1 "], DELAY_MAX_MS);
        check(
            "[[deltas:x]]",
            &["[stand-in] ", "You ", "said: ", "[[deltas:x]]"],
            0,
        );
    }

    #[test]
    fn only_the_word_tool_makes_a_tool_round() {
        for (text, expect) in [
            ("use a tool.", true),
            ("tool", true),
            ("toolbox", false),
            ("", false),
        ] {
            assert_eq!(Script::read(text).tool_round(), expect, "{text}");
        }
    }
}
