//! Token counts, which arrive in two parts.

use serde_json::{Map, Value, value::RawValue};

/// The usage of a whole answer: what was known at its start, overlaid by what its end says. Older
/// CLIs end with `output_tokens` alone.
#[derive(Default)]
pub(crate) struct Usage(Map<String, Value>);

impl Usage {
    /// Takes one part; one of an unexpected shape counts as none.
    pub(crate) fn add(&mut self, part: Option<&RawValue>) {
        let part: Option<Map<String, Value>> =
            part.and_then(|raw| serde_json::from_str(raw.get()).ok());
        self.0.extend(part.into_iter().flatten());
    }

    /// One count; zero when it was never told.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Anthropic's object. The two counts that clients require are always in it.
    pub(crate) fn json(&self) -> String {
        let mut all = self.0.clone();
        for required in ["input_tokens", "output_tokens"] {
            all.entry(required).or_insert_with(|| Value::from(0));
        }
        Value::Object(all).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_overlays_start() {
        let mut usage = Usage::default();
        for part in [
            r#"{"input_tokens":3,"output_tokens":1}"#,
            r#"{"output_tokens":9}"#,
            "[]",
        ] {
            usage.add(Some(serde_json::from_str(part).unwrap()));
        }
        usage.add(None);
        assert_eq!(
            (
                usage.count("input_tokens"),
                usage.count("output_tokens"),
                usage.count("x")
            ),
            (3, 9, 0)
        );
        assert_eq!(usage.json(), r#"{"input_tokens":3,"output_tokens":9}"#);
        assert_eq!(
            Usage::default().json(),
            r#"{"input_tokens":0,"output_tokens":0}"#
        );
    }
}
