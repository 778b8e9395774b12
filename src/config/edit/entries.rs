//! Edits of one map: an entry set, added, or removed, in the shape that the map has.

use super::lines::{Splice, column, insert_lines, is_blank, line_start, part_end};
use super::spots::{Form, Kind, Page, Shape, Spot};
use super::{EditError, Field};

/// Replaces the field's value by a written scalar, or adds the entry where it belongs.
pub(super) fn set(
    page: &Page<'_>,
    map: &Spot,
    (field, value): (Field, &str),
) -> Result<Vec<Splice>, EditError> {
    let entry = format!("{}: {value}", field.name());
    match map.entry(field.name()) {
        Some((key, old)) => Ok(vec![replace(page, (key, old), value)?]),
        None => Ok(vec![add_behind(page, map, (field.follows(), entry))?]),
    }
}

/// Adds an entry behind the last of those named that is there.
fn add_behind(
    page: &Page<'_>,
    map: &Spot,
    (names, line): (&[&str], String),
) -> Result<Splice, EditError> {
    let Kind::Map(shape, entries) = &map.kind else {
        return add(page, map, &[line]);
    };
    let is_named =
        |key: &Spot| matches!(&key.kind, Kind::Scalar(_, text) if names.contains(&text.as_str()));
    let before = entries.iter().rev().find(|(key, _)| is_named(key));
    match (shape, before) {
        (Shape::Block, Some((key, value))) => {
            let column = column(page.text, map.start);
            let at = part_end(page.text, entry_end(page, (key, value))?, column);
            Ok(insert_lines(page.text, at, &indented(&[line], column)))
        }
        (Shape::Flow, Some((_, value))) if !matches!(value.kind, Kind::Null) => {
            Ok(Splice::insert(value.end, format!(", {line}")))
        }
        _ => add(page, map, &[line]),
    }
}

/// Adds an entry at the end of a map: its lines, not indented. In a flow map it must be one.
pub(super) fn add(page: &Page<'_>, map: &Spot, lines: &[String]) -> Result<Splice, EditError> {
    let last = match &map.kind {
        // A block map starts with its first key.
        Kind::Map(Shape::Block, _) => {
            let column = column(page.text, map.start);
            let at = part_end(page.text, map.end, column);
            return Ok(insert_lines(page.text, at, &indented(lines, column)));
        }
        Kind::Map(_, entries) => entries.last().map(|(_, value)| value),
        Kind::List(_, items) => items.last(),
        _ => return Err(EditError::at(map.line, "expected `key: value` pairs here")),
    };
    match last {
        None => Ok(Splice::insert(map.end - 1, lines.concat())),
        Some(last) if matches!(last.kind, Kind::Null) => Err(EditError::at(
            last.line,
            "nothing can be added behind an empty value in `[]` or `{}`, write one `key: value` \
             a line",
        )),
        Some(last) => Ok(Splice::insert(last.end, format!(", {}", lines.concat()))),
    }
}

/// Lines, each behind `column` spaces.
pub(super) fn indented(lines: &[String], column: usize) -> Vec<String> {
    let indented = |line: &String| format!("{:column$}{line}", "");
    lines.iter().map(indented).collect()
}

/// Replaces the value of an entry by a written one. The comment behind it stays.
pub(super) fn replace(
    page: &Page<'_>,
    (key, old): (&Spot, &Spot),
    value: &str,
) -> Result<Splice, EditError> {
    let colon = behind_colon(page, key)?;
    match old.kind {
        Kind::Null if old.start == old.end => Ok(Splice::insert(colon, format!(" {value}"))),
        Kind::Null | Kind::Scalar(Form::Inline, _) => {
            Ok(Splice::replace(old.start, old.end, value))
        }
        Kind::Scalar(Form::Block, _) => {
            // The header, `|` with what belongs to it, goes with the content.
            if page.text[colon..old.start].contains('#') {
                let text = "a comment stands behind the `|` or `>`, move it into a line of its own";
                return Err(EditError::at(key.line, text));
            }
            let end = colon + page.text[colon..old.end].trim_end().len();
            Ok(Splice::replace(colon, end, format!(" {value}")))
        }
        Kind::List(..) | Kind::Map(..) | Kind::Alias => {
            let text = "expected a single value here, write one in place of what is there";
            Err(EditError::at(old.line, text))
        }
    }
}

/// Gives an entry that has nothing, `[]` or `{}` the block collection of these lines, which are
/// not indented. The lines come behind the comments that belong to the entry.
pub(super) fn fill(
    page: &Page<'_>,
    (key, old): (&Spot, &Spot),
    lines: &[String],
) -> Result<Vec<Splice>, EditError> {
    let colon = behind_colon(page, key)?;
    let own = column(page.text, key.start);
    let at = part_end(page.text, old.end.max(colon), own);
    let insert = insert_lines(page.text, at, &indented(lines, own + page.step()));
    if old.start == old.end {
        return Ok(vec![insert]);
    }
    let is_one_line = is_blank(page.text, colon, old.start);
    if !is_one_line || page.text[old.start..old.end].contains(['#', '\n', '\r']) {
        let text = "an empty value over several lines, write it behind its key";
        return Err(EditError::at(old.line, text));
    }
    Ok(vec![Splice::replace(colon, old.end, ""), insert])
}

/// Removes an entry of the map `owner` is the key of; `{}` stays behind the last one.
pub(super) fn remove(
    page: &Page<'_>,
    (owner, map): (&Spot, &Spot),
    name: &str,
) -> Result<Vec<Splice>, EditError> {
    let Kind::Map(shape, entries) = &map.kind else {
        return Err(EditError::at(map.line, "expected `key: value` pairs here"));
    };
    let mut keys = entries.iter().map(|(key, _)| key);
    let found = keys.position(|key| matches!(&key.kind, Kind::Scalar(_, text) if text == name));
    let Some(index) = found else {
        return Err(EditError::at(map.line, "there is no such entry"));
    };
    let (key, value) = &entries[index];
    if *shape == Shape::Flow {
        let places = entries.iter().map(|(key, value)| (key.start, value.end));
        return remove_flow(page, &places.collect::<Vec<_>>(), index);
    }
    let lines = whole_lines(page, (key.start, entry_end(page, (key, value))?))?;
    match entries.len() {
        1 => Ok(vec![
            Splice::insert(behind_colon(page, owner)?, " {}"),
            lines,
        ]),
        _ => Ok(vec![lines]),
    }
}

/// Removes the lines from the one of `start`, which is the first in it, to the one of `end`.
pub(super) fn whole_lines(
    page: &Page<'_>,
    (start, end): (usize, usize),
) -> Result<Splice, EditError> {
    let line = line_start(page.text, start);
    if !is_blank(page.text, line, start) {
        let number = 1 + page.text[..start].matches('\n').count();
        let text = "something else stands in the same line, give it a line of its own";
        return Err(EditError::at(number, text));
    }
    let end = part_end(page.text, end, start - line);
    Ok(Splice::replace(line, end, ""))
}

/// Removes one part of a flow collection, with the comma next to it.
pub(super) fn remove_flow(
    page: &Page<'_>,
    places: &[(usize, usize)],
    index: usize,
) -> Result<Vec<Splice>, EditError> {
    let own = places[index];
    // The comma is in the gap to the next, or to the one before.
    let (start, end, gap) = match (index.checked_sub(1), places.get(index + 1)) {
        (_, Some((next, _))) => (own.0, *next, own.1..*next),
        (Some(before), None) => (places[before].1, own.1, places[before].1..own.0),
        (None, None) => (own.0, own.1, own.0..own.0),
    };
    if page.text[start..end].contains(['\n', '\r']) || page.text[gap].contains('#') {
        let line = 1 + page.text[..start].matches('\n').count();
        let text = "a `[]` or `{}` over several lines, write one `key: value` a line without \
                    brackets";
        return Err(EditError::at(line, text));
    }
    Ok(vec![Splice::replace(start, end, "")])
}

/// Where an entry ends. A value that is empty has no place of its own.
fn entry_end(page: &Page<'_>, (key, value): (&Spot, &Spot)) -> Result<usize, EditError> {
    match value.start == value.end {
        true => behind_colon(page, key),
        false => Ok(value.end),
    }
}

pub(super) fn behind_colon(page: &Page<'_>, key: &Spot) -> Result<usize, EditError> {
    let rest = &page.text[key.end..];
    let colon = rest.trim_start_matches([' ', '\t']);
    match colon.starts_with(':') {
        true => Ok(key.end + rest.len() - colon.len() + 1),
        false => Err(EditError::at(
            key.line,
            "a key without a `:` right behind it, write `key: value`",
        )),
    }
}
