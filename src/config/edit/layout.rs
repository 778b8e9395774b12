//! Where everything stands in a YAML text: the parser's places, and the lines around them.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// The document's root, if it has one.
pub(super) struct Layout(Option<Part>);

/// A node and its place.
pub(super) struct Part {
    pub(super) start: Place,
    /// Behind its last character.
    end: Place,
    pub(super) shape: Shape,
    /// A scalar's text.
    text: String,
}

pub(super) enum Shape {
    Null,
    Scalar,
    Alias,
    List(Vec<Part>),
    /// Keys and values in order.
    Map(Vec<(String, Part)>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// In characters from the beginning.
    index: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 0, in characters.
    pub(super) column: usize,
}

impl Place {
    fn of(marker: &Marker) -> Place {
        Place {
            index: marker.index(),
            line: marker.line(),
            column: marker.col(),
        }
    }
}

impl Layout {
    /// `None` when the text is no YAML. Its depth was checked before, by the tree's own parser.
    pub(super) fn of(text: &str) -> Option<Layout> {
        let mut events = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.ok()?;
            let is_content = !matches!(
                event,
                Event::Nothing
                    | Event::StreamStart
                    | Event::StreamEnd
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
            );
            if is_content {
                events.push((event, Place::of(&span.start), Place::of(&span.end)));
            }
        }
        let mut events = events.into_iter().peekable();
        match events.peek() {
            None => Some(Layout(None)),
            Some(_) => part(&mut events).map(|root| Layout(Some(root))),
        }
    }

    pub(super) fn root_entry(&self, key: &str) -> Option<&Part> {
        self.0.as_ref()?.entry(key)
    }

    /// Whether another key may follow on a line of its own.
    pub(super) fn is_block_or_empty(&self) -> bool {
        match &self.0 {
            None => true,
            Some(root) => match &root.shape {
                // In braces the first key stands behind the brace.
                Shape::Map(_) => {
                    root.start.column == 0
                        && root.end.line > root.start.line - 1
                        && !root.is_in_braces()
                }
                Shape::Null => true,
                _ => false,
            },
        }
    }
}

impl Part {
    pub(super) fn entry(&self, key: &str) -> Option<&Part> {
        match &self.shape {
            Shape::Map(entries) => {
                let found = entries.iter().find(|(name, _)| name == key);
                found.map(|(_, part)| part)
            }
            _ => None,
        }
    }

    /// The text of a scalar entry.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|it| it.text.as_str())
    }

    fn is_in_braces(&self) -> bool {
        self.text == "{"
    }
}

type Events<'t> = std::iter::Peekable<std::vec::IntoIter<(Event<'t>, Place, Place)>>;

fn part(events: &mut Events<'_>) -> Option<Part> {
    let (event, start, end) = events.next()?;
    let mut text = String::new();
    let (shape, end) = match event {
        Event::Scalar(value, style, ..) => {
            let is_null = style == ScalarStyle::Plain
                && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
            text = value.into_owned();
            (if is_null { Shape::Null } else { Shape::Scalar }, end)
        }
        Event::Alias(_) => (Shape::Alias, end),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while !matches!(events.peek()?.0, Event::SequenceEnd) {
                items.push(part(events)?);
            }
            (Shape::List(items), events.next()?.2)
        }
        Event::MappingStart(..) => {
            let mut entries = Vec::new();
            while !matches!(events.peek()?.0, Event::MappingEnd) {
                let key = part(events)?;
                entries.push((key.text, part(events)?));
            }
            (Shape::Map(entries), events.next()?.2)
        }
        _ => return None,
    };
    Some(Part {
        start,
        end,
        shape,
        text,
    })
}

/// A text by lines and by characters.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// The byte at which each line begins, and the end.
    starts: Vec<usize>,
    end: &'static str,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Lines<'t> {
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        if starts.last() != Some(&text.len()) {
            starts.push(text.len());
        }
        let end = match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        Lines { text, starts, end }
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether a collection is in brackets or braces.
    pub(super) fn is_flow(&self, part: &Part) -> bool {
        let is_collection = matches!(part.shape, Shape::List(_) | Shape::Map(_));
        is_collection && self.from(part).starts_with(['[', '{'])
    }

    /// Whether a text is written with `|` or `>`.
    pub(super) fn is_block_scalar(&self, part: &Part) -> bool {
        self.from(part).starts_with(['|', '>']) || part.start.line != part.end.line
    }

    /// The last line that has something of it. Comments behind belong to whatever follows.
    pub(super) fn last_line(&self, part: &Part) -> usize {
        let inner = match &part.shape {
            Shape::List(items) => items.last().map(|it| self.last_line(it)),
            Shape::Map(entries) => entries.last().map(|(_, it)| self.last_line(it)),
            Shape::Null | Shape::Scalar | Shape::Alias => None,
        };
        if let (Some(line), false) = (inner, self.is_flow(part)) {
            return line;
        }
        let mut line = part.end.line;
        if part.end.column == 0 && line > part.start.line {
            line -= 1;
        }
        while line > part.start.line && self.line(line).trim().is_empty() {
            line -= 1;
        }
        line
    }

    /// The text with lines inserted behind line `after`.
    pub(super) fn with_inserted(&self, after: usize, lines: &[String]) -> String {
        let at = self.starts[after.min(self.count())];
        let (before, behind) = self.text.split_at(at);
        let mut out = before.to_owned();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str(self.end);
        }
        for (index, line) in lines.iter().enumerate() {
            // A blank line first parts from what is above, and there must be something.
            if index == 0 && line.is_empty() && out.is_empty() {
                continue;
            }
            out.push_str(line);
            out.push_str(self.end);
        }
        out.push_str(behind);
        out
    }

    /// The text with another text in the place of a scalar.
    pub(super) fn with_replaced(&self, part: &Part, text: &str) -> String {
        let (from, to) = self.extent(part);
        let (before, behind) = (&self.text[..from], &self.text[to..]);
        // An empty value stands right behind its colon.
        let space = if before.ends_with(':') { " " } else { "" };
        format!("{before}{space}{text}{behind}")
    }

    /// The text without an empty value, and the line that its key is in.
    pub(super) fn without(&self, part: &Part) -> (String, usize) {
        let (from, to) = self.extent(part);
        let before = self.text[..from].trim_end_matches([' ', '\t']);
        let line = 1 + before.matches('\n').count();
        (format!("{before}{}", &self.text[to..]), line)
    }

    /// The column of a list's dashes.
    pub(super) fn dashes(&self, list: &Part) -> usize {
        let first = match &list.shape {
            Shape::List(items) => items.first(),
            _ => None,
        };
        let Some(first) = first else {
            return list.start.column;
        };
        let before = self.line(first.start.line).chars().take(first.start.column);
        let dash = before.collect::<Vec<_>>().iter().rposition(|it| *it == '-');
        dash.unwrap_or(list.start.column)
    }

    /// The bytes of a scalar in one line, or of an empty pair of brackets: the parser's own ends reach
    /// over blanks and comments behind.
    fn extent(&self, part: &Part) -> (usize, usize) {
        let start = self.byte(part.start.index);
        // What is empty is placed at its colon, or in a later line.
        let from = match part.shape {
            Shape::Null if part.text.is_empty() => match self.text[start..].starts_with(':') {
                true => start + 1,
                false => self.text[..start].trim_end().len(),
            },
            _ => start,
        };
        let rest = &self.text[from..];
        let length = match (&part.shape, rest.chars().next()) {
            (Shape::Null, _) if part.text.is_empty() => 0,
            (Shape::List(_), _) => rest.find(']').map_or(0, |it| it + 1),
            (Shape::Map(_), _) => rest.find('}').map_or(0, |it| it + 1),
            (_, Some('"')) => closing(rest, '"', Some('\\')),
            (_, Some('\'')) => closing(rest, '\'', None),
            _ => {
                let line = rest.lines().next().unwrap_or_default();
                let value = line.find(" #").map_or(line, |at| &line[..at]);
                value.trim_end().len()
            }
        };
        (from, from + length)
    }

    fn from(&self, part: &Part) -> &str {
        &self.text[self.byte(part.start.index)..]
    }

    fn line(&self, number: usize) -> &str {
        let from = self.starts.get(number - 1).copied();
        let to = self.starts.get(number).copied();
        &self.text[from.unwrap_or(self.text.len())..to.unwrap_or(self.text.len())]
    }

    fn byte(&self, index: usize) -> usize {
        let found = self.text.char_indices().nth(index);
        found.map_or(self.text.len(), |(at, _)| at)
    }
}

/// The length of a quoted text with its quotes. In single quotes a quote is written twice, which reads
/// here as two texts side by side.
fn closing(text: &str, quote: char, escape: Option<char>) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if Some(char) == escape {
            chars.next();
        } else if char == quote {
            let is_doubled =
                escape.is_none() && chars.peek().is_some_and(|(_, next)| *next == quote);
            match is_doubled {
                true => drop(chars.next()),
                false => return at + 1,
            }
        }
    }
    text.len()
}
