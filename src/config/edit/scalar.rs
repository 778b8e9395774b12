//! How a value is written so that it reads back verbatim: plain where nothing can go wrong, else
//! double-quoted on one line.

use std::fmt::Write;

/// `text` as a YAML scalar, good in block and in flow collections, as a key and as a value.
pub(super) fn written(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|c| push_escaped(&mut quoted, c));
    quoted.push('"');
    quoted
}

/// Narrower than YAML: only what every reader takes for the same text.
fn is_plain(text: &str) -> bool {
    let starts_well = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/');
    let goes_on_well =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '@');
    text.starts_with(starts_well)
        && text.chars().all(goes_on_well)
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// What other readers of YAML take for something else than text.
const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

fn push_escaped(quoted: &mut String, c: char) {
    // Rust's own escape is one character long for what can be printed.
    let is_printable = c.escape_debug().count() == 1;
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match c {
        '"' | '\\' => write!(quoted, "\\{c}"),
        '\n' => write!(quoted, "\\n"),
        '\r' => write!(quoted, "\\r"),
        '\t' => write!(quoted, "\\t"),
        // Rust escapes it, YAML between double quotes need not.
        '\'' => write!(quoted, "'"),
        _ if is_printable => write!(quoted, "{c}"),
        _ if code <= 0xff => write!(quoted, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_plain_when_safe_and_quoted_else() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(written(text), expect);
        }
        for plain in [
            "a", "0", "1e10", "trues", "sk-a_b.c", "/srv/a", "a:b", "a@b", "_",
        ] {
            check(plain, plain);
        }
        check("", "\"\"");
        check("null", "\"null\"");
        check("NULL", "\"NULL\"");
        check("~", "\"~\"");
        check("true", "\"true\"");
        check("No", "\"No\"");
        check("-a", "\"-a\"");
        check("a:", "\"a:\"");
        check("a: b", "\"a: b\"");
        check("a #b", "\"a #b\"");
        check(" a ", "\" a \"");
        check("it's \"x\\y\"", "\"it's \\\"x\\\\y\\\"\"");
        check("a\r\n\tb", "\"a\\r\\n\\tb\"");
        check("\0\u{7f}\u{85}", "\"\\x00\\x7f\\x85\"");
        check("é日😀", "\"é日😀\"");
        check("\u{2028}\u{feff}", "\"\\u2028\\ufeff\"");
        check("\u{e0001}", "\"\\U000e0001\"");
    }
}
