//! `${VAR}` in the settings' texts. Pure.

/// The text with its variables replaced, as OpenClaw would read it. What `value` does not know stays
/// as it is written, and `$${VAR}` becomes the text `${VAR}`.
pub(super) fn substituted(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in Pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Escaped(variable) => out.push_str(variable),
            Piece::Variable(name) => match value(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("${{{name}}}")),
            },
        }
    }
    out
}

/// How a text is written so that OpenClaw reads it unchanged.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in Pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Escaped(variable) => out.push_str(&format!("$${variable}")),
            Piece::Variable(name) => out.push_str(&format!("$${{{name}}}")),
        }
    }
    out
}

/// The names of the variables in a text.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    Pieces(text).filter_map(|piece| match piece {
        Piece::Variable(name) => Some(name),
        Piece::Text(_) | Piece::Escaped(_) => None,
    })
}

enum Piece<'t> {
    Text(&'t str),
    /// `${VAR}`, with a further `$` before it.
    Escaped(&'t str),
    /// The name alone.
    Variable(&'t str),
}

/// What is left of a text.
struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let text = self.0;
        if text.is_empty() {
            return None;
        }
        if let Some(name) = variable(text) {
            self.0 = &text[name.len() + "${}".len()..];
            return Some(Piece::Variable(name));
        }
        if let Some(name) = text.strip_prefix('$').and_then(variable) {
            let end = name.len() + "$${}".len();
            self.0 = &text[end..];
            return Some(Piece::Escaped(&text[1..end]));
        }
        // The first character begins no variable, the next may.
        let after = text.chars().next().map_or(0, char::len_utf8);
        let end = text[after..].find('$').map_or(text.len(), |it| after + it);
        self.0 = &text[end..];
        Some(Piece::Text(&text[..end]))
    }
}

/// The name of the variable with which a text begins.
fn variable(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name.starts_with(|first: char| !first.is_ascii_digit());
    (starts && name.bytes().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "A_1").then(|| "one".to_owned())
    }

    #[test]
    fn known_upper_case_variables_are_replaced() {
        for (text, expect) in [
            ("", ""),
            ("plain", "plain"),
            ("${A_1}", "one"),
            ("x${A_1}y${A_1}", "xoneyone"),
            ("${B}", "${B}"),
            ("${a_1}", "${a_1}"),
            ("${1A}", "${1A}"),
            ("${}", "${}"),
            ("${A_1", "${A_1"),
            ("$A_1", "$A_1"),
            ("$${A_1}", "${A_1}"),
            ("$$${A_1}", "$${A_1}"),
            ("$$", "$$"),
            ("é${A_1}é", "éoneé"),
            ("${é}", "${é}"),
        ] {
            assert_eq!(substituted(text, &env), expect, "{text}");
        }
    }

    #[test]
    fn literal_text_reads_back_as_itself() {
        for text in [
            "",
            "key",
            "${A_1}",
            "$${A_1}",
            "$$${A_1}",
            "$",
            "a${B}${a}é",
        ] {
            assert_eq!(substituted(&literal(text), &env), text, "{text}");
        }
    }
}
