//! An instance's `.env`: the gateway's address and key in it. Pure.

/// The file's text with `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` set to these values; `None` when
/// it says so already.
///
/// Every occurrence is changed: some readers take the first, others the last. What is missing is
/// added at the end. Comments, order and line ends stay.
pub(crate) fn pointed(text: &str, origin: &str, key: &str) -> Option<String> {
    let wanted = [("ANTHROPIC_BASE_URL", origin), ("ANTHROPIC_API_KEY", key)];
    let mut out = String::with_capacity(text.len() + origin.len() + key.len());
    let mut copied = 0;
    let mut seen = Vec::new();
    for assignment in Assignments::new(text) {
        let Some((name, value)) = wanted.iter().find(|(name, _)| *name == assignment.name) else {
            continue;
        };
        seen.push(*name);
        out.push_str(&text[copied..assignment.start]);
        let now = &text[assignment.start..assignment.end];
        out.push_str(&written(value, now));
        copied = assignment.end;
        if text[copied..].starts_with('#') {
            // A comment right behind an empty value would become a part of the new one.
            out.push(' ');
        }
    }
    out.push_str(&text[copied..]);
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    for (name, value) in wanted.iter().filter(|(name, _)| !seen.contains(name)) {
        if !out.is_empty() && !out.ends_with(['\n', '\r']) {
            out.push_str(line_end);
        }
        out.push_str(&format!("{name}={}{line_end}", written(value, "")));
    }
    (out != text).then_some(out)
}

/// A variable and where its value stands, quotes included.
struct Assignment<'t> {
    name: &'t str,
    start: usize,
    end: usize,
}

/// What dotenv files assign, in order. A quoted value may span lines, and what looks like an
/// assignment within it is none.
struct Assignments<'t> {
    text: &'t str,
    /// The start of a line, or the text's end.
    line: usize,
}

impl<'t> Assignments<'t> {
    fn new(text: &'t str) -> Self {
        // A byte order mark is white space to those who read these files.
        let line = text.len() - text.trim_start_matches('\u{feff}').len();
        Assignments { text, line }
    }
}

impl<'t> Iterator for Assignments<'t> {
    type Item = Assignment<'t>;

    fn next(&mut self) -> Option<Assignment<'t>> {
        while self.line < self.text.len() {
            let rest = &self.text[self.line..];
            let Some((name, before)) = head(rest) else {
                self.line += line_len(rest);
                continue;
            };
            let start = self.line + before;
            let end = start + value_len(&self.text[start..]);
            self.line = end + line_len(&self.text[end..]);
            return Some(Assignment { name, start, end });
        }
        None
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The name that a line assigns, and the number of bytes before its value.
fn head(line: &str) -> Option<(&str, usize)> {
    let text = line.trim_start_matches(BLANKS);
    let text = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with(BLANKS) => rest.trim_start_matches(BLANKS),
        _ => text,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let after = text.trim_start_matches(is_name);
    let name = &text[..text.len() - after.len()];
    let value = match after.strip_prefix(':') {
        Some(value) if value.starts_with(BLANKS) => value,
        _ => after.trim_start_matches(BLANKS).strip_prefix('=')?,
    };
    let value = value.trim_start_matches(BLANKS);
    (!name.is_empty()).then_some((name, line.len() - value.len()))
}

/// The length of the value with which a text begins.
fn value_len(text: &str) -> usize {
    if let Some(len) = quoted_len(text) {
        return len;
    }
    let line = &text[..text.find(['\n', '\r']).unwrap_or(text.len())];
    // Only a `#` after a blank begins a comment for every reader.
    let comment = line
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with(BLANKS)));
    let value = comment.map_or(line, |(at, _)| &line[..at]);
    value.trim_end_matches(BLANKS).len()
}

/// The length of a quoted value; `None` when its quotes do not enclose all of it.
fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| "'\"`".contains(*c))?;
    let mut escaped = false;
    let (end, _) = text.char_indices().skip(1).find(|(_, c)| {
        let closes = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    })?;
    let after = text[end + 1..].trim_start_matches(BLANKS);
    (after.is_empty() || after.starts_with(['#', '\n', '\r'])).then_some(end + 1)
}

/// The length of a line with its end.
fn line_len(text: &str) -> usize {
    match text.find(['\n', '\r']) {
        Some(at) if text[at..].starts_with("\r\n") => at + 2,
        Some(at) => at + 1,
        None => text.len(),
    }
}

/// The value as it is to stand where `now` stood: in its quotes, if they do.
fn written(value: &str, now: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,~".contains(c);
    let quotes = ['\'', '"', '`'];
    let quoted = |quote: char| format!("{quote}{value}{quote}");
    if !value.is_empty() && value.chars().all(plain) {
        let known = quotes.into_iter().find(|quote| now.starts_with(*quote));
        return match known.filter(|quote| now.len() > 1 && now.ends_with(*quote)) {
            Some(quote) => quoted(quote),
            None => value.to_owned(),
        };
    }
    // Nothing is special within single quotes; the others stand for what they cannot hold.
    let holds = |quote: &char| !value.contains(*quote);
    quotes.into_iter().find(holds).map_or_else(
        || format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        quoted,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://gw:3456";

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let out = pointed(text, URL, "k1").unwrap_or_else(|| text.to_owned());
        assert_eq!(out, expect, "{text:?}");
        assert_eq!(pointed(&out, URL, "k1"), None, "a second time: {text:?}");
    }

    #[test]
    fn missing_variables_are_added_at_the_end() {
        let both = "ANTHROPIC_BASE_URL=http://gw:3456\nANTHROPIC_API_KEY=k1\n";
        check("", both);
        check("A=1\n", &format!("A=1\n{both}"));
        check("A=1", &format!("A=1\n{both}"));
        check("# note\n\n", &format!("# note\n\n{both}"));
        check(
            "A=1\r\nB=2",
            &format!("A=1\r\nB=2\r\n{}", both.replace('\n', "\r\n")),
        );
        check(
            "ANTHROPIC_API_KEY=old\nA=é",
            "ANTHROPIC_API_KEY=k1\nA=é\nANTHROPIC_BASE_URL=http://gw:3456\n",
        );
    }

    /// Checks a line that sets the key, in a file that has the address.
    #[track_caller]
    fn check_line(line: &str, expect: &str) {
        let file = |line: &str| format!("ANTHROPIC_BASE_URL={URL}\n{line}\nZ=1\n");
        check(&file(line), &file(expect));
    }

    #[test]
    fn values_are_replaced_where_they_stand() {
        for (line, expect) in [
            ("ANTHROPIC_API_KEY=old", "ANTHROPIC_API_KEY=k1"),
            ("ANTHROPIC_API_KEY=", "ANTHROPIC_API_KEY=k1"),
            ("ANTHROPIC_API_KEY=k1", "ANTHROPIC_API_KEY=k1"),
            ("ANTHROPIC_API_KEY='k1'", "ANTHROPIC_API_KEY='k1'"),
            (
                "export ANTHROPIC_API_KEY=old",
                "export ANTHROPIC_API_KEY=k1",
            ),
            (
                "  export\tANTHROPIC_API_KEY = old ",
                "  export\tANTHROPIC_API_KEY = k1 ",
            ),
            ("ANTHROPIC_API_KEY: old", "ANTHROPIC_API_KEY: k1"),
            ("ANTHROPIC_API_KEY=\"old\"", "ANTHROPIC_API_KEY=\"k1\""),
            ("ANTHROPIC_API_KEY=`o ld` # x", "ANTHROPIC_API_KEY=`k1` # x"),
            ("ANTHROPIC_API_KEY=old # x", "ANTHROPIC_API_KEY=k1 # x"),
            ("ANTHROPIC_API_KEY= # x", "ANTHROPIC_API_KEY= k1 # x"),
            ("ANTHROPIC_API_KEY=old#x", "ANTHROPIC_API_KEY=k1"),
            ("ANTHROPIC_API_KEY='a\\'b'", "ANTHROPIC_API_KEY='k1'"),
            ("ANTHROPIC_API_KEY='a' b'", "ANTHROPIC_API_KEY='k1'"),
            ("ANTHROPIC_API_KEY=\"open", "ANTHROPIC_API_KEY=k1"),
            ("ANTHROPIC_API_KEY=\"a\nb\"", "ANTHROPIC_API_KEY=\"k1\""),
            ("ANTHROPIC_API_KEY=old\r", "ANTHROPIC_API_KEY=k1\r"),
        ] {
            check_line(line, expect);
        }
    }

    #[test]
    fn every_occurrence_is_replaced() {
        check(
            "ANTHROPIC_API_KEY=a\nANTHROPIC_BASE_URL=b\nexport ANTHROPIC_API_KEY='c'\n",
            "ANTHROPIC_API_KEY=k1\nANTHROPIC_BASE_URL=http://gw:3456\nexport ANTHROPIC_API_KEY='k1'\n",
        );
    }

    #[test]
    fn what_only_looks_like_the_variable_stays() {
        for line in [
            "#ANTHROPIC_API_KEY=old",
            "# ANTHROPIC_API_KEY=old",
            "MY_ANTHROPIC_API_KEY=old",
            "ANTHROPIC_API_KEY_2=old",
            "anthropic_api_key=old",
            "exportANTHROPIC_API_KEY=old",
            "NOTE=\"\nANTHROPIC_API_KEY=old\n\"",
            "NOTE='\\'\nANTHROPIC_API_KEY=old'",
            "NOTE=ANTHROPIC_API_KEY=old",
        ] {
            let text = format!("ANTHROPIC_BASE_URL={URL}\n{line}\n");
            check(&text, &format!("{text}ANTHROPIC_API_KEY=k1\n"));
        }
    }

    #[test]
    fn byte_order_mark_stays_in_front() {
        check(
            "\u{feff}ANTHROPIC_API_KEY=a\nANTHROPIC_BASE_URL=b",
            "\u{feff}ANTHROPIC_API_KEY=k1\nANTHROPIC_BASE_URL=http://gw:3456",
        );
    }

    #[test]
    fn unusual_keys_are_quoted() {
        for (key, expect) in [
            ("a b", "'a b'"),
            ("a#b", "'a#b'"),
            ("a$b", "'a$b'"),
            ("", "''"),
            ("it's", "\"it's\""),
            ("'\"", "`'\"`"),
            ("'\"`", "\"'\\\"`\""),
        ] {
            let text = "ANTHROPIC_API_KEY=old\n";
            let out = pointed(text, URL, key).unwrap();
            let line = format!("ANTHROPIC_API_KEY={expect}\n");
            assert!(out.starts_with(&line), "{out}");
            assert_eq!(pointed(&out, URL, key), None, "{key}");
        }
    }
}
