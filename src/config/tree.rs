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
