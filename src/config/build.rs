//! Parser events to a [`Node`] tree: keys, aliases and the bounds on depth and size.

use std::collections::HashMap;

use saphyr_parser::{Event, ScalarStyle, Tag};

use super::problems::{Place, Problems, Reported, shown_key};
use super::tree::{Entry, Node, Size, Value};

/// Takes the events of one file in order; [`Builder::into_root`] is the tree.
pub(super) struct Builder<'p> {
    problems: &'p mut Problems,
    /// The collections that are not closed yet, outermost first; at most [`DEPTH_MAX`].
    open: Vec<Open>,
    /// Complete anchored nodes by the parser's number.
    anchors: HashMap<usize, Node>,
    budget: usize,
    root: Option<Node>,
    documents: usize,
}

struct Open {
    line: usize,
    /// The parser's number of the anchor; 0 without one.
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The first line of each key.
        seen: HashMap<String, usize>,
        pending: Pending,
    },
}

/// What the next node of a map is.
enum Pending {
    Key,
    ValueOf {
        key: String,
        line: usize,
    },
    /// The key was wrong and is reported.
    Nothing,
}

/// The real file needs 4 levels. Everything that walks the tree, its `Drop` included, may recurse
/// because of this bound.
const DEPTH_MAX: usize = 32;

/// The [`Size::cost`] a tree may have, aliases counted as often as they are used. The real file
/// needs about 10 for each tenant.
const COST_MAX: usize = 100_000;

impl<'p> Builder<'p> {
    pub(super) fn new(problems: &'p mut Problems) -> Self {
        Builder {
            problems,
            open: Vec::new(),
            anchors: HashMap::new(),
            budget: COST_MAX,
            root: None,
            documents: 0,
        }
    }

    /// The tree of all events so far; `None` when there was no content.
    pub(super) fn into_root(self) -> Option<Node> {
        self.root
    }

    /// Takes the event that starts in `line`; after an error there is no tree.
    pub(super) fn step(&mut self, event: Event<'_>, line: usize) -> Result<(), Reported> {
        match event {
            Event::DocumentStart(_) => self.start_document(line),
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(Size::of_text(&text).cost, line)?;
                let quoted = style != ScalarStyle::Plain || self.forces_text(tag.as_deref(), line);
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if !quoted && !self.wants_key() => {
                        Value::Null
                    }
                    "<<" if !quoted && self.wants_key() => return self.merge_key(line),
                    _ => Value::Scalar(text.into_owned()),
                };
                self.complete(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let _is_text = self.forces_text(tag.as_deref(), line);
                let content = Content::List(Vec::new());
                self.open(content, anchor, line)
            }
            Event::MappingStart(anchor, tag) => {
                let _is_text = self.forces_text(tag.as_deref(), line);
                let content = Content::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    pending: Pending::Key,
                };
                self.open(content, anchor, line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, line: usize) -> Result<(), Reported> {
        self.documents += 1;
        if self.documents > 1 {
            let text = "a second YAML document starts here (`---`), keep only one in this file";
            return Err(self.problems.add(Place::Line(line), text));
        }
        Ok(())
    }

    /// Whether the tag is `!!str`, which makes text of everything. Other tags are a problem; their
    /// text is not repeated, because `api_key: !abc` is one.
    fn forces_text(&mut self, tag: Option<&Tag>, line: usize) -> bool {
        match tag {
            None => false,
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
            Some(tag) if tag.is_yaml_core_schema() && is_collection(&tag.suffix) => false,
            Some(_) => {
                let text = "a word that starts with `!` is a YAML tag, which has no meaning here: \
                            put the value in quotes, or remove the tag";
                let _ = self.problems.add(Place::Line(line), text);
                true
            }
        }
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: Content::Map {
                    pending: Pending::Key,
                    ..
                },
                ..
            })
        )
    }

    fn merge_key(&mut self, line: usize) -> Result<(), Reported> {
        let text = "merge keys (`<<`) are not supported, write the merged keys out";
        let _ = self.problems.add(Place::Line(line), text);
        self.set_pending(Pending::Nothing);
        Ok(())
    }

    fn set_pending(&mut self, next: Pending) {
        if let Some(Open {
            content: Content::Map { pending, .. },
            ..
        }) = self.open.last_mut()
        {
            *pending = next;
        }
    }

    fn charge(&mut self, cost: usize, line: usize) -> Result<(), Reported> {
        match self.budget.checked_sub(cost) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => {
                let text = format!(
                    "the file has more than {COST_MAX} values by this line, aliases counted as \
                     often as they are used; remove what is not needed"
                );
                Err(self.problems.add(Place::Line(line), text))
            }
        }
    }

    fn open(&mut self, content: Content, anchor: usize, line: usize) -> Result<(), Reported> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.problems.add(Place::Line(line), too_deep()));
        }
        if self.wants_key() {
            let text = "a key must be plain text, not a list or a map; quote it if it starts with \
                        `[`, `{` or `?`";
            return Err(self.problems.add(Place::Line(line), text));
        }
        self.charge(1, line)?;
        self.open.push(Open {
            line,
            anchor,
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Reported> {
        // The parser sends an end only after its start; without one there is nothing to close.
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let line = open.line;
        self.complete(Node { line, value }, open.anchor)
    }

    /// A copy of the anchored node, paid for before it is made.
    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Reported> {
        let Some(node) = self.anchors.get(&anchor) else {
            let text = "the alias stands inside the value that it repeats, write the value out";
            return Err(self.problems.add(Place::Line(line), text));
        };
        let size = Size::of(node);
        if self.open.len() + size.depth > DEPTH_MAX {
            return Err(self.problems.add(Place::Line(line), too_deep()));
        }
        self.charge(size.cost, line)?;
        let value = match self.anchors.get(&anchor) {
            Some(node) => node.value.clone(),
            None => Value::Null,
        };
        self.complete(Node { line, value }, 0)
    }

    /// Puts a finished node where it belongs: the root, a list, or a map's next key or value.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Reported> {
        if anchor != 0 {
            self.charge(Size::of(&node).cost, node.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries, pending, ..
            }) => match std::mem::replace(pending, Pending::Key) {
                Pending::Key => self.key(node)?,
                Pending::ValueOf { key, line } => entries.push(Entry { key, line, node }),
                Pending::Nothing => {}
            },
        }
        Ok(())
    }

    /// Takes a map's key, or reports it and lets its value be dropped.
    fn key(&mut self, node: Node) -> Result<(), Reported> {
        let line = node.line;
        let Value::Scalar(key) = node.value else {
            let text = "a key must be plain text, write the alias out";
            return Err(self.problems.add(Place::Line(line), text));
        };
        let next = match self.check_key(&key, line) {
            Ok(()) => Pending::ValueOf { key, line },
            Err(_reported) => Pending::Nothing,
        };
        self.set_pending(next);
        Ok(())
    }

    fn check_key(&mut self, key: &str, line: usize) -> Result<(), Reported> {
        let Some(Open {
            content: Content::Map { seen, .. },
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        let text = if key.is_empty() {
            "an empty key, write a name before the `:`".to_owned()
        } else if let Some(first) = seen.get(key) {
            let key = shown_key(key);
            format!("{key} is here a second time, keep this one or the one in line {first}")
        } else {
            seen.insert(key.to_owned(), line);
            return Ok(());
        };
        Err(self.problems.add(Place::Line(line), text))
    }
}

fn is_collection(suffix: &str) -> bool {
    matches!(suffix, "seq" | "map")
}

pub(super) fn too_deep() -> String {
    format!("more than {DEPTH_MAX} levels of nesting, 4 are enough for every key")
}
