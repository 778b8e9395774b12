//! [`Secret`]: text that must not reach a log, an error message or a panic by accident.

use std::fmt;

/// A key or an environment value. There is no `Display`, and `Debug` hides the text, so the only
/// way to it is the word [`Secret::expose`], which a reviewer can search for.
///
/// Comparing two takes a time that depends on them: it is for two of the operator's own, never for what a
/// caller presents.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Secret(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the length: it would tell short keys from long ones.
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_text() {
        let secret = Secret::new("sk-very-secret".to_owned());
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret))
                .matches("very")
                .count(),
            0
        );
        assert_eq!(secret.expose(), "sk-very-secret");
    }
}
