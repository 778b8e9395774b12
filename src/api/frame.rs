//! Writing answers: JSON pieces straight into a buffer, without an allocation per event.

use std::io::Write as _;

use serde_json::value::RawValue;

/// Appends to a buffer. What it writes stays on one line, as an SSE `data:` line must.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    /// Literal bytes of the format, JSON or SSE.
    pub(super) fn lit(self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A JSON value as it came.
    pub(super) fn raw(self, value: &RawValue) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(value.get().as_bytes());
        // Between JSON tokens a line break is a space, and inside of strings there is none.
        for byte in self.0.iter_mut().skip(start) {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self
    }

    /// A text as a JSON string.
    pub(super) fn string(self, text: &str) -> Self {
        // A Vec takes every byte, and a text is always a JSON string.
        let _ = serde_json::to_writer(&mut *self.0, text);
        self
    }

    /// A text as a JSON string, or null.
    pub(super) fn string_or_null(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.string(text),
            None => self.lit("null"),
        }
    }

    pub(super) fn number(self, number: u64) -> Self {
        // A Vec takes every byte.
        let _ = write!(self.0, "{number}");
        self
    }
}

/// What stands between the quotes of a JSON string; `None` for other values.
///
/// Texts are joined in this form: an emoji that the model's pieces split (`"\ud83d"`, `"\ude00"`) is
/// whole again once the halves are side by side, while neither half is a text of its own.
pub(super) fn inside_quotes(value: &RawValue) -> Option<&str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(write: impl FnOnce(Writer<'_>) -> Writer<'_>, expect: &str) {
        let mut out = b"\n".to_vec();
        write(Writer(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), format!("\n{expect}"));
    }

    #[test]
    fn pieces_stay_on_one_line() {
        check(|it| it.raw(raw("{\r\n \"a\\n\":\n1}")), "{   \"a\\n\": 1}");
        check(
            |it| it.string("a\n\"\\\u{1}\u{2028}"),
            "\"a\\n\\\"\\\\\\u0001\u{2028}\"",
        );
        check(|it| it.string_or_null(None), "null");
        check(
            |it| it.number(0).lit(",").number(u64::MAX),
            "0,18446744073709551615",
        );
    }

    #[test]
    fn only_strings_have_an_inside() {
        for (json, expect) in [
            (r#""""#, Some("")),
            (r#""a\"""#, Some(r#"a\""#)),
            ("1", None),
            ("{\"a\":\"b\"}", None),
            ("null", None),
        ] {
            assert_eq!(inside_quotes(raw(json)), expect, "{json}");
        }
    }
}
