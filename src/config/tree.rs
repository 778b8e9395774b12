//! YAML text to a tree that keeps lines and verbatim scalars, under bounds that hold for any input.
//!
//! Scalars are not resolved: `api_key: 1e10` stays the text `1e10`, and whoever asks for a number
//! parses one. That is why no serde front end is used; it would also stop at the first problem.

use saphyr_parser::{Parser, ScanError};

use super::build::Builder;
use super::problems::{Place, Problems, Reported};

/// Builds the tree of the only document in `text`; `None` for a document without content.
///
/// Duplicate and empty keys, merge keys and tags are recorded in `problems` and left out of the
/// tree, so that the rest can still be checked. An error means that there is no tree.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Result<Option<Node>, Reported> {
    let mut builder = Builder::new(problems);
    // The parser's own recursion limit keeps its look-ahead in flow collections short; block
    // collections end at our depth bound, because the builder sees them one by one.
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.step(event, span.start.line())?,
            Err(error) => {
                let (line, what) = syntax_error(text, &error);
                return Err(problems.add(Place::Line(line), what));
            }
        }
    }
    Ok(builder.into_root())
}

/// A value and the line where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Plain `null`, `~` or nothing at all.
    Null,
    /// The text as written, without quotes and escapes.
    Scalar(String),
    List(Vec<Node>),
    /// In file order; keys are unique and not empty.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

impl Value {
    /// With every scalar as its text. Recurses as deep as the builder let the tree grow.
    pub(super) fn into_json(self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(text) => text.into(),
            Value::List(items) => items.into_iter().map(|it| it.value.into_json()).collect(),
            Value::Map(entries) => {
                let entries = entries.into_iter();
                entries
                    .map(|it| (it.key, it.node.value.into_json()))
                    .collect()
            }
        }
    }

    /// What the value is, for "expected …, found …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }
}

/// The line and the text of a problem for what the parser refuses. Its own texts are fixed and
/// repeat nothing of the file but one unexpected character.
fn syntax_error(text: &str, error: &ScanError) -> (usize, String) {
    let info = error.info();
    let line = error.marker().line();
    if text.contains('\0') {
        let line = text.split('\0').next().unwrap_or_default().lines().count();
        return (line.max(1), "a NUL byte; this is no text".to_owned());
    }
    if info.contains("tab") {
        let line = line_indented_by_tab(text, line).unwrap_or(line);
        let what = "a tab where YAML allows only spaces, indent with spaces";
        return (line, what.to_owned());
    }
    if info.contains("recursion limit") {
        return (line, super::build::too_deep());
    }
    let advice = if info.contains("mapping values are not allowed") {
        "the indentation, the space behind the `:` of each key (in the lines above too), and the \
         quotes around values that contain `: `"
    } else {
        "the indentation and the quotes in this line and the ones above"
    };
    (line, format!("not valid YAML ({info}), check {advice}"))
}

/// The first line from `from` on whose indentation has a tab. The parser reports some of them at
/// the start of the scalar before.
fn line_indented_by_tab(text: &str, from: usize) -> Option<usize> {
    let is_indented_by_tab =
        |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .skip_while(|(number, _)| *number < from)
        .find(|(_, line)| is_indented_by_tab(line))
        .map(|(number, _)| number)
}

/// What a node takes of the two bounds of the builder.
pub(super) struct Size {
    /// One for each node and one for each 64 bytes of text, so that repeating one long scalar by
    /// aliases is bounded too.
    pub(super) cost: usize,
    /// Levels of collections; 0 for a scalar.
    pub(super) depth: usize,
}

impl Size {
    pub(super) fn of_text(text: &str) -> Size {
        Size {
            cost: 1 + text.len() / 64,
            depth: 0,
        }
    }

    /// Recurses as deep as the builder let the tree grow.
    pub(super) fn of(node: &Node) -> Size {
        match &node.value {
            Value::Null => Size::of_text(""),
            Value::Scalar(text) => Size::of_text(text),
            Value::List(items) => Size::around(items.iter().map(Size::of)),
            Value::Map(entries) => Size::around(entries.iter().map(|entry| {
                let node = Size::of(&entry.node);
                Size {
                    cost: node.cost + Size::of_text(&entry.key).cost,
                    ..node
                }
            })),
        }
    }

    fn around(parts: impl Iterator<Item = Size>) -> Size {
        parts.fold(Size { cost: 1, depth: 1 }, |all, part| Size {
            cost: all.cost + part.cost,
            depth: all.depth.max(part.depth + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `line:value`, everything in one line.
    fn print(node: &Node) -> String {
        let entry = |entry: &Entry| format!("{}:{}={}", entry.line, entry.key, print(&entry.node));
        let value = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(items) => {
                format!(
                    "[{}]",
                    items.iter().map(print).collect::<Vec<_>>().join(" ")
                )
            }
            Value::Map(entries) => {
                format!(
                    "{{{}}}",
                    entries.iter().map(entry).collect::<Vec<_>>().join(" ")
                )
            }
        };
        format!("{}:{value}", node.line)
    }

    /// The tree, if there is one, and the problems, all in one text.
    fn outcome(text: &str) -> String {
        let mut problems = Problems::new(Path::new("f"));
        let tree = match parse(text, &mut problems) {
            Ok(Some(node)) => print(&node),
            Ok(None) => "empty".to_owned(),
            Err(_reported) => "none".to_owned(),
        };
        if problems.is_empty() {
            return tree;
        }
        format!("{tree} / {problems}")
    }

    #[test]
    fn scalars_stay_as_written_and_lines_are_kept() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(outcome(text), expect);
        }
        check("", "empty");
        check("# only this\n", "empty");
        check("--- # nothing\n", "2:null");
        check(
            "a: 1\nb:\n  - 0x1\n  - true\n",
            "1:{1:a=1:\"1\" 2:b=3:[3:\"0x1\" 4:\"true\"]}",
        );
        check(
            "a: ~\nb: null\nc:\n",
            "1:{1:a=1:null 2:b=2:null 3:c=3:null}",
        );
        check(
            "a: 'null'\nb: \"~\"\nc: ''\n",
            "1:{1:a=1:\"null\" 2:b=2:\"~\" 3:c=3:\"\"}",
        );
        check("null: 1\n~: 2\n", "1:{1:null=1:\"1\" 2:~=2:\"2\"}");
        check(
            "a: !!str null\nb: !!map {}\n",
            "1:{1:a=1:\"null\" 2:b=2:{}}",
        );
        check("a: |\n  x\n   y\n", "1:{1:a=2:\"x\\n y\\n\"}");
        check(
            "a: \"x\\ty\"\r\nb: z\r\n",
            "1:{1:a=1:\"x\\ty\" 2:b=2:\"z\"}",
        );
    }

    #[test]
    fn aliases_are_copies_that_stand_where_they_are_used() {
        assert_eq!(
            outcome("a: &x {k: v}\nb: *x\nc: [*x]\n"),
            "1:{1:a=1:{1:k=1:\"v\"} 2:b=2:{1:k=1:\"v\"} 3:c=3:[3:{1:k=1:\"v\"}]}"
        );
    }

    #[test]
    fn wrong_keys_and_tags_leave_the_rest_to_be_checked() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(outcome(text), expect);
        }
        let again = "`a` is here a second time, keep this one or the one in line 1";
        check(
            "a: 1\n'a': {a: 3}\nb: 2\n",
            &format!("1:{{1:a=1:\"1\" 3:b=3:\"2\"}} / f:2: {again}"),
        );
        check(
            "- b: {a: 1, a: 2}\n",
            &format!("1:[1:{{1:b=1:{{1:a=1:\"1\"}}}}] / f:1: {again}"),
        );
        let empty = "an empty key, write a name before the `:`";
        check("a: 1\n: 2\n", &format!("1:{{1:a=1:\"1\"}} / f:2: {empty}"));
        check(
            "a: 1\n'': [b]\n",
            &format!("1:{{1:a=1:\"1\"}} / f:2: {empty}"),
        );
        let merge = "merge keys (`<<`) are not supported, write the merged keys out";
        check(
            "a: &x {}\n<<: *x\n",
            &format!("1:{{1:a=1:{{}}}} / f:2: {merge}"),
        );
        check("'<<': 1\n", "1:{1:<<=1:\"1\"}");
        assert!(
            outcome("a: !x 1\nb: 2\n").starts_with("1:{1:a=1:\"1\" 2:b=2:\"2\"} / f:1: a word")
        );
    }

    #[test]
    fn what_is_not_a_tree_is_named_with_its_line() {
        #[track_caller]
        fn check(text: &str, part: &str) {
            let outcome = outcome(text);
            assert!(outcome.starts_with("none / "), "{outcome}");
            assert!(outcome.contains(part), "{outcome}");
            assert_eq!(outcome.lines().count(), 1, "{outcome}");
        }
        check("a: 1\n---\nb: 2\n", "f:2: a second YAML document");
        check("a:\n\tb: 1\n", "f:2: a tab where");
        check("a:\n  b: 1\0\n", "f:2: a NUL byte");
        check("a:\n  - b: x\n\t  c: y\n", "f:3: a tab where");
        check("a:\n  b:1\n  c: 2\n", "the space behind the `:`");
        check("a: 1\n b: 2\n", "f:2: not valid YAML (");
        check("a: 'x\n", "f:1: not valid YAML (");
        check("a: [1, 2\nb: 3\n", "not valid YAML (");
        check("a: *x\n", "f:1: not valid YAML (");
        check("a: &x [*x]\n", "f:1: the alias stands inside");
        check("[a]: 1\n", "f:1: a key must be plain text");
        check("? {a: b}\n: 1\n", "f:1: a key must be plain text");
        check("a: &x []\n*x : 1\n", "f:2: a key must be plain text");
    }
}
