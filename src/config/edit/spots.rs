//! Where the values of a YAML text stand, in bytes, as a tree of places.

use saphyr_parser::Event;

use super::EditError;
use super::lines::{column, line_start};
use super::walk::Walk;

/// A text and the places in it.
pub(super) struct Page<'t> {
    pub(super) text: &'t str,
    /// `None` for a text without a value.
    pub(super) root: Option<Spot>,
    /// Where another key of the root may be written: the end of the text, or of its document.
    pub(super) end: usize,
}

/// A value's place. For a block collection it starts with the first key or item.
/// There is no `Debug`: scalars may be secrets.
pub(super) struct Spot {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: usize,
    pub(super) mark: Mark,
    pub(super) kind: Kind,
}

/// Whether an alias can repeat the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    Anchor,
}

pub(super) enum Kind {
    Null,
    Scalar(Form, String),
    List(Shape, Vec<Spot>),
    Map(Shape, Vec<(Spot, Spot)>),
    Alias,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Plain or in quotes.
    Inline,
    /// Behind `|` or `>`. The place is the one of the content alone.
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Block,
    /// In `[]` or `{}`.
    Flow,
}

impl<'t> Page<'t> {
    /// The places in `text`, which the configuration's own reader has found to be a tree: that
    /// bounds its depth, so the walk may recurse.
    pub(super) fn of(text: &'t str) -> Result<Page<'t>, EditError> {
        let mut walk = Walk::of(text);
        let (mut root, mut end) = (None, text.len());
        while let Some((event, span)) = walk.next()? {
            match event {
                Event::DocumentEnd if !span.is_empty() => {
                    end = line_start(text, walk.byte(span.start.index()));
                }
                Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => root = Some(walk.spot(event, span)?),
            }
        }
        // `---` without anything behind it is a value that is nowhere.
        let root = root.filter(|it| it.start < it.end || !matches!(it.kind, Kind::Null));
        Ok(Page { text, root, end })
    }

    /// How much further the keys of a section are indented than its name.
    pub(super) fn step(&self) -> usize {
        let Some(Kind::Map(_, entries)) = self.root.as_ref().map(|root| &root.kind) else {
            return STEP;
        };
        let steps = entries.iter().filter_map(|(key, value)| match value.kind {
            Kind::Map(Shape::Block, _) => {
                column(self.text, value.start).checked_sub(column(self.text, key.start))
            }
            _ => None,
        });
        steps.into_iter().next().unwrap_or(STEP)
    }
}

/// As in config.example.yaml.
const STEP: usize = 2;

impl Spot {
    /// The key and the value of the entry, if this is a map that has it.
    pub(super) fn entry(&self, name: &str) -> Option<(&Spot, &Spot)> {
        let Kind::Map(_, entries) = &self.kind else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| key.is_text(name))
            .map(|(key, value)| (key, value))
    }

    fn is_text(&self, text: &str) -> bool {
        matches!(&self.kind, Kind::Scalar(_, found) if found == text)
    }

    /// The line of the first anchor or alias in it.
    pub(super) fn marked_line(&self) -> Option<usize> {
        if self.mark == Mark::Anchor || matches!(self.kind, Kind::Alias) {
            return Some(self.line);
        }
        match &self.kind {
            Kind::Null | Kind::Scalar(..) | Kind::Alias => None,
            Kind::List(_, items) => items.iter().find_map(Spot::marked_line),
            Kind::Map(_, entries) => entries
                .iter()
                .find_map(|(key, value)| key.marked_line().or_else(|| value.marked_line())),
        }
    }
}
