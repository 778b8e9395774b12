//! Text as a YAML scalar that reads back as just that text.

use std::fmt::Write as _;

/// `key: value` on one line.
pub(super) fn entry(key: &str, value: &str) -> String {
    format!("{}: {}", scalar(key), scalar(value))
}

/// Plain where nothing in it means anything, else in double quotes.
pub(super) fn scalar(text: &str) -> String {
    match is_plain(text) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

fn is_plain(text: &str) -> bool {
    let is_safe = |char: char| char.is_ascii_alphanumeric() || "_./-+@%=,".contains(char);
    let begins_well =
        text.starts_with(|first: char| first.is_ascii_alphanumeric() || "_/.".contains(first));
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    begins_well && text.chars().all(is_safe) && !is_word && !text.starts_with("...")
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line ends of YAML 1.1, and what editors and terminals act on.
            char if char.is_control()
                || matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\U{:08X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
