//! The parser's events to places in bytes, where its own marks do not say enough.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::EditError;
use super::lines::{is_blank, line_end, line_start};
use super::spots::{Form, Kind, Mark, Shape, Spot};

/// Reads the events of a text that is known to be a tree of bounded depth.
pub(super) struct Walk<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The parser counts characters: the byte of each, unless they are all one byte long.
    bytes: Option<Vec<usize>>,
}

impl<'t> Walk<'t> {
    pub(super) fn of(text: &'t str) -> Walk<'t> {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        let events = Parser::new_from_str(text);
        Walk {
            text,
            events,
            bytes,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, EditError> {
        let event = self.events.next_event().transpose();
        event.map_err(|error| EditError::at(error.marker().line(), "not valid YAML"))
    }

    pub(super) fn byte(&self, index: usize) -> usize {
        let end = self.text.len();
        match &self.bytes {
            None => index.min(end),
            Some(bytes) => bytes.get(index).copied().unwrap_or(end),
        }
    }

    /// The place of the value that begins with `event`.
    pub(super) fn spot(&mut self, event: Event<'t>, span: Span) -> Result<Spot, EditError> {
        let start = self.byte(span.start.index());
        let end = self.byte(span.end.index());
        let (anchor, end, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_bare = anchor == 0 && tag.is_none();
                let end = match style {
                    // The parser may give it the place of what follows.
                    ScalarStyle::Plain if text.is_empty() && is_bare => start,
                    ScalarStyle::Plain => end,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => self.quoted_end(start),
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        self.block_end((start, end), &text)
                    }
                };
                (anchor, end, scalar(text.into_owned(), style, is_bare))
            }
            Event::SequenceStart(anchor, _) => {
                let open = self.open(start, end, '[');
                let items = self.items()?;
                let (shape, end) = self.collection_end((start, open), items.last())?;
                (anchor, end, Kind::List(shape, items))
            }
            Event::MappingStart(anchor, _) => {
                let open = self.open(start, end, '{');
                let entries = self.entries()?;
                let last = entries.last().map(|(_, value)| value);
                let (shape, end) = self.collection_end((start, open), last)?;
                (anchor, end, Kind::Map(shape, entries))
            }
            _ => (0, end, Kind::Alias),
        };
        let mark = match anchor {
            0 => Mark::None,
            _ => Mark::Anchor,
        };
        let line = span.start.line();
        Ok(Spot {
            start,
            end,
            line,
            mark,
            kind,
        })
    }

    fn items(&mut self) -> Result<Vec<Spot>, EditError> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.spot(event, span)?);
        }
        Ok(items)
    }

    fn entries(&mut self) -> Result<Vec<(Spot, Spot)>, EditError> {
        let mut entries = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.spot(event, span)?;
            let Some((event, span)) = self.next()? else {
                break;
            };
            entries.push((key, self.spot(event, span)?));
        }
        Ok(entries)
    }

    /// Behind the bracket that opens a flow collection; `None` for a block collection. The
    /// parser's mark of the start may go on behind the bracket, and is empty for a block.
    fn open(&self, start: usize, end: usize, bracket: char) -> Option<usize> {
        let content = behind_properties(self.text, start);
        (content < end && self.text[content..].starts_with(bracket)).then_some(content + 1)
    }

    /// The shape and the end of a collection. The parser's own end is the one of the next token
    /// for a block, and the last comma or the comment behind it for a flow collection.
    fn collection_end(
        &self,
        (start, open): (usize, Option<usize>),
        last: Option<&Spot>,
    ) -> Result<(Shape, usize), EditError> {
        let Some(open) = open else {
            return Ok((Shape::Block, last.map_or(start, |last| last.end)));
        };
        let mut at = last.map_or(open, |last| last.end);
        loop {
            let rest = &self.text[at..];
            let found = rest.find(|c: char| !c.is_ascii_whitespace() && c != ',' && c != ':');
            at += found.unwrap_or(rest.len());
            match self.text[at..].chars().next() {
                Some(']' | '}') => return Ok((Shape::Flow, at + 1)),
                Some('#') => at = line_end(self.text, at),
                _ => {
                    let line = 1 + self.text[..at].matches('\n').count();
                    let text = "the end of this `[]` or `{}` is not clear, write one `key: value` \
                                a line";
                    return Err(EditError::at(line, text));
                }
            }
        }
    }

    /// Behind the closing quote: the parser's own end is behind the comment that follows.
    fn quoted_end(&self, start: usize) -> usize {
        let open = behind_properties(self.text, start);
        let Some(quote @ (b'"' | b'\'')) = self.text.as_bytes().get(open).copied() else {
            return open;
        };
        let mut bytes = self.text.bytes().enumerate().skip(open + 1).peekable();
        while let Some((at, byte)) = bytes.next() {
            let is_escape = match quote {
                b'"' => byte == b'\\',
                _ => byte == quote && bytes.peek().is_some_and(|(_, next)| *next == quote),
            };
            if is_escape {
                bytes.next();
            } else if byte == quote {
                return at + 1;
            }
        }
        self.text.len()
    }

    /// The parser ends a block scalar where the next token starts: back to its last line, which
    /// is an empty one only where empty lines are a part of the value.
    fn block_end(&self, (start, end): (usize, usize), value: &str) -> usize {
        if !value.ends_with("\n\n") {
            return start + self.text[start..end].trim_end().len();
        }
        let line = line_start(self.text, end);
        if line <= start || !is_blank(self.text, line, end) {
            return end;
        }
        let before = &self.text[..line];
        let content = before.strip_suffix('\n').unwrap_or(before);
        content.strip_suffix('\r').unwrap_or(content).len()
    }
}

/// Behind the anchor and the tag, if there are any, of the value that starts at `start`.
fn behind_properties(text: &str, start: usize) -> usize {
    let mut rest = &text[start..];
    while rest.starts_with(['&', '!']) {
        let end = rest.find(|c: char| c.is_ascii_whitespace());
        rest = rest[end.unwrap_or(rest.len())..].trim_ascii_start();
    }
    text.len() - rest.len()
}

/// Whether it is null is decided as in the configuration's own reader.
fn scalar(text: String, style: ScalarStyle, is_bare: bool) -> Kind {
    let is_null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    match style {
        ScalarStyle::Plain if is_null && is_bare => Kind::Null,
        ScalarStyle::Literal | ScalarStyle::Folded => Kind::Scalar(Form::Block, text),
        _ => Kind::Scalar(Form::Inline, text),
    }
}
