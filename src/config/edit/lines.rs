//! Lines of a text: where they start and end, which comments belong to what, and splicing.

/// Replaces `start..end` (bytes) by `text`.
pub(super) struct Splice {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

impl Splice {
    pub(super) fn insert(at: usize, text: impl Into<String>) -> Splice {
        Splice::replace(at, at, text)
    }

    pub(super) fn replace(start: usize, end: usize, text: impl Into<String>) -> Splice {
        let text = text.into();
        Splice { start, end, text }
    }
}

/// `text` with all splices done; `None` when they overlap or do not lie in it.
pub(super) fn spliced(text: &str, mut splices: Vec<Splice>) -> Option<String> {
    splices.sort_by_key(|splice| splice.start);
    let mut new = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for splice in &splices {
        new.push_str(text.get(done..splice.start)?);
        new.push_str(&splice.text);
        text.get(splice.start..splice.end)?;
        done = splice.end;
    }
    new.push_str(text.get(done..)?);
    Some(new)
}

/// `new` as whole lines at `at`, which is the start of a line or the end of the text. A text
/// without a line break at its end stays one.
pub(super) fn insert_lines(text: &str, at: usize, new: &[String]) -> Splice {
    let eol = line_break(text);
    let lines = new.join(eol);
    if at == line_start(text, at) {
        return Splice::insert(at, format!("{lines}{eol}"));
    }
    Splice::insert(at, format!("{eol}{lines}"))
}

/// The line break of the text: its first one.
fn line_break(text: &str) -> &'static str {
    match text.find(BREAKS) {
        Some(at) if text[at..].starts_with("\r\n") => "\r\n",
        _ => "\n",
    }
}

/// What ends a line in YAML; the two together are one.
const BREAKS: [char; 2] = ['\n', '\r'];

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(BREAKS).map_or(0, |found| found + 1)
}

/// Behind the break of the line of `at`, or the end of the text.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    match text[at..].find(BREAKS) {
        None => text.len(),
        Some(found) if text[at + found..].starts_with("\r\n") => at + found + 2,
        Some(found) => at + found + 1,
    }
}

pub(super) fn column(text: &str, at: usize) -> usize {
    at - line_start(text, at)
}

/// The line of `at`, without indentation and break, and how far it is indented.
pub(super) fn line_at(text: &str, at: usize) -> (usize, &str) {
    let line = &text[line_start(text, at)..line_end(text, at)];
    let content = line.trim_start_matches(' ');
    (line.len() - content.len(), content.trim_end())
}

/// Whether the line before `at`, the start of a line or the end of the text, has anything in it.
/// There may be none.
pub(super) fn follows_text(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let before = before.strip_suffix('\n').unwrap_or(before);
    let before = before.strip_suffix('\r').unwrap_or(before);
    !line_at(text, before.len()).1.is_empty()
}

/// Where the lines of a part end: its content ends at `end`, its first column is `column`, and
/// comments that are indented further belong to it.
pub(super) fn part_end(text: &str, end: usize, column: usize) -> usize {
    let mut found = line_end(text, end);
    let mut at = found;
    while at < text.len() {
        let next = line_end(text, at);
        match line_at(text, at) {
            (_, "") => {}
            (indent, content) if indent > column && content.starts_with('#') => found = next,
            _ => break,
        }
        at = next;
    }
    found
}

/// Whether there is nothing but spaces between the two places, which are in one line.
pub(super) fn is_blank(text: &str, start: usize, end: usize) -> bool {
    let between = text.get(start..end);
    between.is_some_and(|it| it.bytes().all(|byte| matches!(byte, b' ' | b'\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_comments_that_are_indented_further() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(&text[..part_end(text, 1, 2)], expect);
        }
        check("a", "a");
        check("a # b\nc", "a # b\n");
        check("a\r\n   # b\r\n  # c\n", "a\r\n   # b\r\n");
        check("a\n\n   # b\n\n# c\n   # d\n", "a\n\n   # b\n");
        check("a\n\n\nb", "a\n");
        check("a\n   #b", "a\n   #b");
    }

    #[test]
    fn inserted_lines_take_the_text_s_line_break() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            let splice = insert_lines(text, text.len(), &["x".to_owned(), "y".to_owned()]);
            assert_eq!(spliced(text, vec![splice]).unwrap(), expect);
        }
        check("", "x\ny\n");
        check("a", "a\nx\ny");
        check("a\r\n", "a\r\nx\r\ny\r\n");
        check("a\r\nb", "a\r\nb\r\nx\r\ny");
    }

    #[test]
    fn overlapping_splices_are_refused() {
        let splices = vec![Splice::replace(0, 2, "x"), Splice::insert(1, "y")];
        assert_eq!(spliced("abc", splices), None);
        assert_eq!(spliced("abc", vec![Splice::insert(4, "y")]), None);
    }
}
