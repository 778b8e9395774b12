//! A key that the operator gives to a command: on the command line, or through stdin.

use std::io::Read;

use crate::config::{self, Secret};

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GivenKey {
    /// `--key -`.
    Stdin,
    /// `--key K`, which every user of this machine may have seen.
    Words(Secret),
}

/// Twice the longest value that a variable may have; Linux starts no program with a longer one.
const STDIN_MAX: u64 = 256 << 10;

impl GivenKey {
    /// Reads the word behind `--key`.
    ///
    /// # Errors
    /// Why it can be no key, without its text.
    pub(crate) fn parse(word: &str) -> Result<GivenKey, String> {
        match word {
            "-" => Ok(GivenKey::Stdin),
            key => valid(key).map(GivenKey::Words),
        }
    }

    /// The key itself.
    ///
    /// # Errors
    /// When stdin cannot be read, or what comes from there can be no key.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            GivenKey::Words(key) => Ok(key.clone()),
            GivenKey::Stdin => valid(one_line(&from_stdin()?)),
        }
    }

    /// What the operator should know of how it was given.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        match self {
            GivenKey::Stdin => None,
            GivenKey::Words(_) => Some(
                "the key stood on the command line, where other users of this machine and the shell's history see it; `--key -` reads it from stdin",
            ),
        }
    }
}

/// All of stdin as text.
///
/// # Errors
/// When it cannot be read, is no text, or too much.
pub(crate) fn from_stdin() -> Result<String, String> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock().take(STDIN_MAX + 1);
    stdin
        .read_to_string(&mut text)
        .map_err(|error| format!("stdin: {error}"))?;
    match text.len() as u64 > STDIN_MAX {
        true => Err(format!("stdin: more than {} bytes", STDIN_MAX)),
        false => Ok(text),
    }
}

/// Without the line end that `echo` adds.
pub(crate) fn one_line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn valid(key: &str) -> Result<Secret, String> {
    let key = config::parse_key(key).map_err(|why| format!("--key: {why}"))?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_keys_or_stdin() {
        assert_eq!(GivenKey::parse("-"), Ok(GivenKey::Stdin));
        let given = GivenKey::parse("a-key-of-mine").unwrap();
        assert_eq!(given.read().unwrap().expose(), "a-key-of-mine");
        assert!(given.warning().is_some() && GivenKey::Stdin.warning().is_none());
        for wrong in ["", "short", "with a space", "é234567890"] {
            let error = GivenKey::parse(wrong).unwrap_err();
            assert!(
                error.starts_with("--key: ") && !error.contains("a space\""),
                "{error}"
            );
        }
        assert_eq!(one_line("x\r\n"), "x");
        assert_eq!(one_line("x\n\n"), "x\n");
    }
}
