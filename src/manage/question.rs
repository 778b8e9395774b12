//! Questions to the person at the terminal, before something is removed or replaced.

use std::io::{self, BufRead, IsTerminal};

use super::say::prompt;

/// Asks; no answer is no.
///
/// # Errors
/// When nobody sits there.
pub(super) fn agreed(question: &str) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err("nobody is here to ask; add --yes".to_owned());
    }
    prompt(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// As [`agreed`]; where nobody sits, it is no.
///
/// # Errors
/// When the answer cannot be read.
pub(super) fn agreed_or(question: &str) -> Result<bool, String> {
    match io::stdin().is_terminal() {
        true => agreed(question),
        false => Ok(false),
    }
}
