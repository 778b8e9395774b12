//! Questions to the person at the terminal, before something is changed, removed or replaced.

use std::io::{self, BufRead, IsTerminal};

use super::{
    progress,
    say::{prompt, prompts_are_seen},
};

/// What an empty line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    Yes,
    No,
}

/// Asks; no answer is no.
///
/// # Errors
/// When nobody sits there.
pub(super) fn agreed(question: &str) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err("nobody is here to ask; add --yes".to_owned());
    }
    ask(question, Usual::No)
}

/// As [`agreed`]; where nobody sits, it is no.
///
/// # Errors
/// When the answer cannot be read.
pub(super) fn agreed_or(question: &str) -> Result<bool, String> {
    match io::stdin().is_terminal() {
        true => ask(question, Usual::No),
        false => Ok(false),
    }
}

/// Asks before what was asked for anyway: an empty line is yes, and so it is where nobody sits or sees.
///
/// # Errors
/// When the answer cannot be read.
pub(super) fn agreed_unless_refused(question: &str) -> Result<bool, String> {
    match io::stdin().is_terminal() && prompts_are_seen() {
        true => ask(question, Usual::Yes),
        false => Ok(true),
    }
}

fn ask(question: &str, usual: Usual) -> Result<bool, String> {
    let choice = match usual {
        Usual::Yes => "[Y/n]",
        Usual::No => "[y/N]",
    };
    let _pause = progress::pause();
    prompt(&format!("{question} {choice} "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let length = read.map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(match answer.trim().to_lowercase().as_str() {
        // Who hangs up has said nothing.
        "" => usual == Usual::Yes && length > 0,
        "y" | "yes" => true,
        _ => false,
    })
}
