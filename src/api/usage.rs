//! Token counts of an answer, told in two halves: at its start and at its end.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::Deserialize;
use serde_json::value::RawValue;

/// What clients read when the CLI reported nothing: the fields are required.
pub(super) const NONE: &str = r#"{"input_tokens":0,"output_tokens":0}"#;

/// The usage of a whole message: the start's fields, overwritten by what the end says. The end may
/// say no more than `output_tokens`; a null there says nothing. The API's own clients fold so.
pub(super) fn merged(start: Option<&RawValue>, end: Option<&RawValue>) -> String {
    let fields = |raw: &'_ RawValue| -> Option<BTreeMap<String, Box<RawValue>>> {
        serde_json::from_str(raw.get()).ok()
    };
    let (Some(mut all), Some(new)) = (start.and_then(fields), end.and_then(fields)) else {
        // One side alone stays byte for byte.
        return end.or(start).map_or(NONE, RawValue::get).to_owned();
    };
    for (name, value) in new {
        match all.entry(name) {
            Entry::Occupied(mut old) if value.get() != "null" => {
                old.insert(value);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(value);
            }
        }
    }
    // A map of texts to JSON values always serialises.
    serde_json::to_string(&all).unwrap_or_else(|_| NONE.to_owned())
}

/// The counts that OpenAI's format knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Counts {
    /// Overwrites what `raw` says; a usage of an unexpected shape says nothing.
    pub(super) fn update(&mut self, raw: Option<&RawValue>) {
        let Some(new) = raw.and_then(|raw| serde_json::from_str::<Counts>(raw.get()).ok()) else {
            return;
        };
        *self = Counts {
            input_tokens: new.input_tokens.or(self.input_tokens),
            cache_creation_input_tokens: new
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            cache_read_input_tokens: new.cache_read_input_tokens.or(self.cache_read_input_tokens),
            output_tokens: new.output_tokens.or(self.output_tokens),
        };
    }

    /// What the model read: OpenAI counts cached tokens as part of the prompt.
    pub(super) fn prompt(&self) -> u64 {
        self.input_tokens
            .unwrap_or(0)
            .saturating_add(self.cached())
            .saturating_add(self.cache_creation_input_tokens.unwrap_or(0))
    }

    pub(super) fn cached(&self) -> u64 {
        self.cache_read_input_tokens.unwrap_or(0)
    }

    pub(super) fn output(&self) -> u64 {
        self.output_tokens.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(start: Option<&str>, end: Option<&str>, expect: &str) {
        assert_eq!(merged(start.map(raw), end.map(raw)), expect);
    }

    #[test]
    fn end_overwrites_start_but_null_says_nothing() {
        check(None, None, NONE);
        check(Some(r#"{"z":1, "a":2}"#), None, r#"{"z":1, "a":2}"#);
        check(None, Some(r#"{"z":1, "a":2}"#), r#"{"z":1, "a":2}"#);
        check(
            Some(r#"{"input_tokens":11,"output_tokens":1,"server":{"x":1}}"#),
            Some(r#"{"output_tokens":42,"input_tokens":null,"new":null}"#),
            r#"{"input_tokens":11,"new":null,"output_tokens":42,"server":{"x":1}}"#,
        );
        check(
            Some("7"),
            Some(r#"{"output_tokens":1}"#),
            r#"{"output_tokens":1}"#,
        );
    }

    #[test]
    fn counts_add_up_over_start_and_end() {
        let mut counts = Counts::default();
        counts.update(Some(raw(
            r#"{"input_tokens":3,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"output_tokens":1,"x":{}}"#,
        )));
        counts.update(Some(raw(r#"{"output_tokens":9,"input_tokens":null}"#)));
        counts.update(Some(raw(r#"{"output_tokens":"many"}"#)));
        counts.update(None);
        assert_eq!(
            (counts.prompt(), counts.cached(), counts.output()),
            (12, 4, 9)
        );
        counts.update(Some(raw(&format!(r#"{{"input_tokens":{}}}"#, u64::MAX))));
        assert_eq!(counts.prompt(), u64::MAX);
    }
}
