//! Strings as JavaScript programs really write them, without ever losing one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A JSON string, borrowed from the line unless it has escapes.
///
/// JavaScript strings may hold half a surrogate pair (a text cut in the middle of an emoji), which
/// it writes as `\ud83d` and which no Rust string can hold. It becomes U+FFFD here; an ordinary
/// `String` field would refuse the whole request or line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for bytes, serde_json passes half surrogates on; asked for a string, it fails.
        deserializer.deserialize_bytes(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl<'a> Text<'a> {
    pub(crate) fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_does_not_lose_the_text() {
        for (json, expect) in [
            (r#""plain""#, "plain"),
            (r#""a\n\ud83d\ude00""#, "a\n\u{1f600}"),
            (r#""cut \ud83d""#, "cut \u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let text: Text<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(&*text, expect);
        }
        assert!(serde_json::from_str::<Text<'_>>("7").is_err());
    }
}
