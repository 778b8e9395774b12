//! Reads one map of the file key by key, lets the environment override, and reports what is wrong.

use super::keys::{Keys, OVERRIDES};
use super::problems::{Place, Problems, Reported, shown_key};
use super::tree::{Entry, Node, Value};
use super::value::Origin;

/// What reading needs besides the tree. `'t` is the life of the tree, the origin and the
/// environment.
pub(super) struct Reader<'t> {
    pub(super) problems: Problems,
    pub(super) origin: &'t Origin,
    pub(super) env: &'t dyn Fn(&str) -> Option<String>,
}

/// A map whose keys are known to be valid names; what is missing or null takes its default.
pub(super) struct Section<'r, 't> {
    reader: &'r mut Reader<'t>,
    /// `server`, `tenants[0]`; empty for the top level.
    path: String,
    entries: &'t [Entry],
    /// Where a problem of the whole map is reported.
    place: Place,
}

impl<'t> Reader<'t> {
    /// Opens the map `node`, which is `path` in messages, and reports keys that it cannot have.
    pub(super) fn section<'r>(
        &'r mut self,
        node: Option<&'t Node>,
        keys: &Keys,
        path: String,
    ) -> Section<'r, 't> {
        let mut section = Section {
            reader: self,
            path,
            entries: &[],
            place: node.map_or(Place::File, |node| Place::Line(node.line)),
        };
        section.entries = section.entries_of(node);
        section.report_unknown(keys);
        section
    }

    /// Opens a map that may also be `on`, which leaves everything at its default, or `off`: then there is none.
    pub(super) fn switchable<'r>(
        &'r mut self,
        node: Option<&'t Node>,
        keys: &Keys,
        path: String,
    ) -> Option<Section<'r, 't>> {
        let is = |text: &str| {
            node.is_some_and(|it| matches!(&it.value, Value::Scalar(own) if own == text))
        };
        let node = node.filter(|_| !is("on"));
        (!is("off")).then(|| self.section(node, keys, path))
    }
}

impl<'t> Section<'_, 't> {
    pub(super) fn origin(&self) -> &'t Origin {
        self.reader.origin
    }

    /// The value of `key`, if it is there and not null.
    pub(super) fn node(&self, key: &str) -> Option<&'t Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// The scalar `key`, parsed, and where it was written; `None` when it is not set. Both the
    /// file's value and the environment's are checked, and the environment's wins.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Place)>, Reported> {
        let of_file = self.read_file(key, &parse);
        let of_environment = self.read_environment(key, &parse);
        Ok(of_environment?.or(of_file?))
    }

    /// The scalar `key`, parsed, or `default`.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Reported> {
        Ok(self.read(key, parse)?.map_or(default, |(value, _)| value))
    }

    /// The scalar `key`, parsed; it has no default, and `advice` says how to set it.
    pub(super) fn require<T>(
        &mut self,
        key: &str,
        advice: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(T, Place), Reported> {
        match self.read(key, parse)? {
            Some(found) => Ok(found),
            None => {
                let text = format!("is missing or empty, {advice}");
                let place = self.place_of(key);
                Err(self.problem(key, place, &text))
            }
        }
    }

    /// The entries of the map `key`; none when it is not set.
    pub(super) fn map(&mut self, key: &str) -> &'t [Entry] {
        let path = self.path_of(key);
        let outer = std::mem::replace(&mut self.path, path);
        let entries = self.entries_of(self.node(key));
        self.path = outer;
        entries
    }

    /// The scalars of the list `key`, parsed, each of which is called `one` in messages and some of which `many`;
    /// `None` when it is not set.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        (one, many): (&str, &str),
        max: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, Reported> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let text = match &node.value {
            Value::List(items) if items.len() <= max => {
                return self.each(key, items, one, parse).map(Some);
            }
            Value::List(items) => format!("{} {many}, write at most {max}", items.len()),
            other => format!("expected a list of {many}, found {}", other.kind()),
        };
        Err(self.problem(key, Place::Line(node.line), &text))
    }

    /// These scalars, parsed; what is wrong with any of them is reported as a problem of `key`.
    pub(super) fn each<T>(
        &mut self,
        key: &str,
        items: &[Node],
        one: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Reported> {
        let parsed: Vec<_> = items
            .iter()
            .map(|item| {
                let parsed = match &item.value {
                    Value::Scalar(text) => parse(text),
                    other => Err(format!("expected {one}, found {}", other.kind())),
                };
                parsed.map_err(|text| self.problem(key, Place::Line(item.line), &text))
            })
            .collect();
        parsed.into_iter().collect()
    }

    /// Reports what is wrong with the value of `key` at `place`.
    pub(super) fn problem(&mut self, key: &str, place: Place, text: &str) -> Reported {
        let text = match place {
            Place::Environment(_) => text.to_owned(),
            Place::File | Place::Line(_) => format!("{}: {text}", self.path_of(key)),
        };
        self.reader.problems.add(place, text)
    }

    fn entries_of(&mut self, node: Option<&'t Node>) -> &'t [Entry] {
        let Some(node) = node else { return &[] };
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            // The value is not repeated: where a map is expected it may be anything, a key too.
            Value::Scalar(_) | Value::List(_) => {
                let kind = node.value.kind();
                let text = format!("expected `key: value` pairs, found {kind}");
                let text = match self.path.as_str() {
                    "" => text,
                    path => format!("{path}: {text}"),
                };
                let _ = self.reader.problems.add(Place::Line(node.line), text);
                &[]
            }
        }
    }

    fn report_unknown(&mut self, keys: &Keys) {
        for entry in self.entries {
            // Advice costs time, and a map may have a hundred thousand wrong keys.
            if keys.names.contains(&entry.key.as_str()) || self.reader.problems.is_full() {
                continue;
            }
            let advice = match entry.key.split_once(':') {
                Some((name, _)) if keys.names.contains(&name) => {
                    format!("write a space after `{name}:`")
                }
                _ => keys.advice(&entry.key),
            };
            let key = shown_key(&entry.key);
            let text = match self.path.as_str() {
                "" => format!("unknown key {key}, {advice}"),
                path => format!("{path}: unknown key {key}, {advice}"),
            };
            let _ = self.reader.problems.add(Place::Line(entry.line), text);
        }
    }

    /// The line of `key`, or of the whole map when the key is not there.
    fn place_of(&self, key: &str) -> Place {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or(self.place, |entry| Place::Line(entry.line))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.path)
    }

    fn read_file<T>(
        &mut self,
        key: &str,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Place)>, Reported> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let place = Place::Line(node.line);
        match &node.value {
            // As in the environment, an empty text means "not set".
            Value::Scalar(text) if text.is_empty() => Ok(None),
            Value::Scalar(text) => self.parsed(key, parse(text), place),
            other => {
                let text = format!("expected a single value, found {}", other.kind());
                Err(self.problem(key, place, &text))
            }
        }
    }

    fn read_environment<T>(
        &mut self,
        key: &str,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Place)>, Reported> {
        let path = self.path_of(key);
        let Some((_, name)) = OVERRIDES.iter().find(|(key, _)| *key == path) else {
            return Ok(None);
        };
        match (self.reader.env)(name) {
            Some(text) if !text.is_empty() => {
                self.parsed(key, parse(&text), Place::Environment(name))
            }
            _ => Ok(None),
        }
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        result: Result<T, String>,
        place: Place,
    ) -> Result<Option<(T, Place)>, Reported> {
        match result {
            Ok(value) => Ok(Some((value, place))),
            Err(text) => Err(self.problem(key, place, &text)),
        }
    }
}
