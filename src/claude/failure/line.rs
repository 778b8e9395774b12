//! Makes foreign text fit to stand in one line of a message: no control characters, no terminal
//! escapes, no credentials, and a bounded length.

use std::borrow::Cow;

/// How much of a text is looked at for each byte that is wanted: escapes and blanks take room.
const LOOK: usize = 8;

/// One line of at most `max` bytes; what is cut off is marked with an ellipsis.
pub(super) fn one_line(text: &str, max: usize) -> String {
    // A result line may repeat megabytes.
    let text = cut(text, max.saturating_mul(LOOK));
    let mut line = String::with_capacity(text.len().min(max));
    let mut after_bearer = false;
    for word in plain(text).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&masked(word, after_bearer));
        after_bearer = word.eq_ignore_ascii_case("bearer");
    }
    if line.len() > max {
        line.truncate(cut(&line, max.saturating_sub('…'.len_utf8())).len());
        line.push('…');
    }
    line
}

/// The last lines of a program's standard error, as one line of at most `max` characters.
pub(super) fn last_lines(stderr: &[u8], max: usize) -> String {
    let from = stderr.len().saturating_sub(max * LOOK);
    let text = String::from_utf8_lossy(&stderr[from..]);
    let lines: Vec<String> = plain(&text)
        .lines()
        .map(|l| one_line(l, max * LOOK))
        .filter(|l| !l.is_empty())
        .collect();
    let line = lines.join(" | ");
    match line.char_indices().rev().nth(max.saturating_sub(1)) {
        Some((0, _)) | None => line,
        Some((at, first)) => format!("…{}", &line[at + first.len_utf8()..]),
    }
}

/// The start of a text, at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Without ANSI escape sequences; other control characters but the line break become blanks.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\n' => plain.push('\n'),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// Skips what follows an ESC: a control sequence `[…letter`, a string `]…BEL`, or one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let ends: fn(char) -> bool = match chars.next() {
        Some('[') => |c| ('\x40'..='\x7e').contains(&c),
        Some(']') => |c| c == '\x07' || c == '\x1b',
        _ => return,
    };
    // An unfinished sequence ends with its line, so that it cannot swallow the rest of the text.
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        if ends(c) {
            break;
        }
    }
}

/// A word that looks like a credential, without it.
fn masked(word: &str, after_bearer: bool) -> Cow<'_, str> {
    if after_bearer {
        return Cow::Borrowed("***");
    }
    let Some(at) = word.find("sk-") else {
        return Cow::Borrowed(word);
    };
    let key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let rest = &word[at..];
    let end = rest.find(|c| !key(c)).unwrap_or(rest.len());
    // "task-runner" and the like are words.
    if end < 12 {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("{}sk-***{}", &word[..at], &rest[end..]))
    }
}
