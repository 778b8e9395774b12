//! What a command tells the person who ran it: lines with a mark, on stdout.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
};

use super::progress;

/// How much a command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Volume {
    #[default]
    Usual,
    /// Only what it was asked for, and what is not right.
    Quiet,
}

impl Volume {
    pub(crate) fn of(is_quiet: bool) -> Volume {
        match is_quiet {
            true => Volume::Quiet,
            false => Volume::Usual,
        }
    }

    /// For the rest of the process's life.
    pub(crate) fn set(self) {
        if self == Volume::Quiet {
            progress::disable();
            *quiet() = Some(String::new());
        }
    }
}

/// When it is quiet, the head that nothing was said below yet.
static QUIET: Mutex<Option<String>> = Mutex::new(None);

fn quiet() -> std::sync::MutexGuard<'static, Option<String>> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    Ok,
    /// It works, and could be better.
    Warn,
    Fail,
}

impl Mark {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mark::Ok => "ok",
            Mark::Warn => "warn",
            Mark::Fail => "fail",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Mark::Ok => "32",
            Mark::Warn => "33",
            Mark::Fail => "31",
        }
    }
}

/// Where the lines go, and whether they may have colours (<https://no-color.org>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Say {
    colours: bool,
}

impl Say {
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Say {
            colours: !plain && std::io::stdout().is_terminal(),
        }
    }

    /// A line of its own.
    pub(crate) fn line(self, text: &str) {
        progress::erase();
        if let Err(error) = must_line(text) {
            // The first error is the cause of all others.
            let _ = UNSAID.set(error);
        }
    }

    /// A line that is of interest to who looks on.
    pub(crate) fn detail(self, text: &str) {
        if quiet().is_none() {
            self.line(text);
        }
    }

    /// For a script.
    pub(crate) fn json(self, value: &impl serde::Serialize) {
        // Plain structs with string keys always serialise.
        self.line(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A line below another: how something went.
    pub(crate) fn mark(self, mark: Mark, text: &str) {
        let head = match &mut *quiet() {
            Some(_) if mark == Mark::Ok => return,
            Some(head) => std::mem::take(head),
            None => String::new(),
        };
        if !head.is_empty() {
            self.line(&head);
        }
        let name = mark.name();
        let text = &plain(text);
        match self.colours {
            true => self.line(&format!("  \x1b[{}m{name:4}\x1b[0m  {text}", mark.colour())),
            false => self.line(&format!("  {name:4}  {text}")),
        }
    }

    /// The head of a part, with a blank line before it.
    pub(crate) fn head(self, text: &str) {
        let head = format!("\n{}", plain(text));
        if let Some(waiting) = &mut *quiet() {
            *waiting = head;
            return;
        }
        self.line(&head);
    }

    pub(crate) fn ok(self, text: &str) {
        self.mark(Mark::Ok, text);
    }

    pub(crate) fn warn(self, text: &str) {
        self.mark(Mark::Warn, text);
    }

    pub(crate) fn fail(self, text: &str) {
        self.mark(Mark::Fail, text);
    }
}

/// Whether somebody sees what [`prompt`] writes.
pub(crate) fn prompts_are_seen() -> bool {
    IsTerminal::is_terminal(&std::io::stderr())
}

/// A question before an answer is read. On stderr, so that what a script reads stays clean.
pub(crate) fn prompt(text: &str) {
    progress::erase();
    // A terminal that is gone has nobody who waits for this.
    let _ = write!(std::io::stderr(), "{}", plain(text));
}

/// Ends a line that [`prompt`] began, where nothing is read.
pub(crate) fn prompt_end() {
    let _ = writeln!(std::io::stderr());
}

/// A line that somebody waits for: a reader that left is no failure, but a full disk is.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn must_line(text: &str) -> Result<(), String> {
    progress::erase();
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("stdout cannot be written ({error})"))
        }
        _ => Ok(()),
    }
}

static UNSAID: OnceLock<String> = OnceLock::new();

/// Why not all that was to be said could be, a full disk for example. A reader that left, `head` for one, is no failure.
pub(crate) fn unsaid() -> Option<&'static str> {
    UNSAID.get().map(String::as_str)
}

/// So much of one line is shown: what containers say may be megabytes.
const LINE_MAX: usize = 1000;

/// A text that only shows: names and errors come from instances, and could drive a terminal or forge
/// lines of ours.
pub(crate) fn plain(text: &str) -> String {
    let shown = text.chars().take(LINE_MAX);
    shown
        .map(|it| if is_odd(it) { '\u{fffd}' } else { it })
        .collect()
}

/// A text whose every character shows, and that is one line.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match is_odd(char) {
            true => out.extend(char.escape_default()),
            false => out.push(char),
        }
    }
    out
}

/// As [`escaped`], and lines stay lines.
pub(crate) fn escaped_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    lines.join("\n")
}

/// What moves a terminal's cursor, ends a line, or turns the direction of writing around.
fn is_odd(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_drives_the_terminal() {
        assert_eq!(
            plain("a\u{1b}]0;x\u{7}\n  ok    é\u{202e}"),
            "a\u{fffd}]0;x\u{fffd}\u{fffd}  ok    é\u{fffd}"
        );
        assert_eq!(plain(&"x".repeat(5000)).len(), LINE_MAX);
        assert_eq!(
            escaped("a\u{1b}[2J\r\né\u{202e}"),
            "a\\u{1b}[2J\\r\\né\\u{202e}"
        );
        assert_eq!(escaped_lines("a\u{7}\nb\n"), "a\\u{7}\nb");
    }
}
