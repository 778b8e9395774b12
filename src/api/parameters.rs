//! How an answer is to be made: limits, stop sequences, sampling, thinking, its JSON schema. What can
//! be honoured is decided here; the rest is named to the client.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{field::Fault, field::borrowed, field::items, models};

/// What one request asks of the generation, as far as it can be honoured.
#[derive(Debug, Default, Clone)]
pub(crate) struct Parameters {
    /// Tokens of one model turn, thinking included; `None` leaves it to the CLI.
    pub(crate) max_tokens: Option<u64>,
    /// None of them empty.
    pub(crate) stop_sequences: Vec<String>,
    pub(crate) sampling: Sampling,
    pub(crate) reasoning: Reasoning,
    /// The JSON schema of an object that the answer must fit.
    pub(crate) schema: Option<Box<RawValue>>,
    /// Fields of the request that were accepted and have no effect.
    pub(crate) ignored: Vec<&'static str>,
}

/// What is passed on to the API; absent is the API's own default.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Sampling {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
}

/// Whether and how long the model thinks before it answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reasoning {
    /// As the CLI has it for the model.
    #[default]
    Default,
    /// Not at all, where the model can do without.
    Off,
    /// At most this many tokens, where the model takes a number.
    Budget(u64),
}

impl Sampling {
    /// Only what differs from the API's defaults, which need not be said.
    pub(super) fn without_defaults(self) -> Sampling {
        Sampling {
            temperature: self.temperature.filter(|it| *it < 1.0),
            top_p: self.top_p.filter(|it| *it < 1.0),
            top_k: self.top_k,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Sampling::default()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let names = [
            self.temperature.map(|_| "temperature"),
            self.top_p.map(|_| "top_p"),
            self.top_k.map(|_| "top_k"),
        ];
        names.into_iter().flatten()
    }
}

impl Parameters {
    /// Keeps sampling where it can be honoured: the API takes it only without thinking, and newer
    /// models not at all. Elsewhere the API would refuse the whole request.
    pub(super) fn settle_sampling(&mut self, wanted: Sampling, model: &str) {
        let wanted = wanted.without_defaults();
        if self.reasoning == Reasoning::Off && models::takes_sampling(model) {
            // The CLI sends a temperature by itself, and the API takes no `top_p` beside one.
            self.ignored.extend(wanted.top_p.map(|_| "top_p"));
            self.sampling = Sampling {
                top_p: None,
                ..wanted
            };
        } else {
            self.ignored.extend(wanted.names());
        }
    }

    /// Names the fields that are there and have no effect here.
    pub(super) fn ignore<const N: usize>(
        &mut self,
        fields: [(&'static str, Option<&RawValue>); N],
    ) {
        let there = fields
            .iter()
            .filter(|(_, raw)| raw.is_some_and(asks_for_something));
        self.ignored.extend(there.map(|(name, _)| name));
    }
}

/// A choice of a tool that must be used: the model does not get the client's tools. `auto` and `none` are
/// as good as asked for.
pub(super) fn forced(tool_choice: Option<&RawValue>) -> Option<&RawValue> {
    tool_choice.filter(|raw| {
        !["\"auto\"", "\"none\""]
            .iter()
            .any(|it| raw.get().contains(it))
    })
}

/// Whether a value differs from "nothing", which is the default of every field that is ignored.
fn asks_for_something(raw: &RawValue) -> bool {
    !matches!(
        raw.get(),
        "null" | "false" | "0" | "0.0" | "[]" | "{}" | "\"auto\""
    )
}

/// How many stop sequences there may be, and how long together: each costs time with every piece of
/// text, and they travel in an environment variable. OpenAI takes 4.
const STOPS_MAX: usize = 64;
const STOP_BYTES_MAX: usize = 16 << 10;

/// A list of stop sequences.
pub(super) fn stop_list(raw: &RawValue) -> Result<Vec<String>, Fault> {
    let mut stops = Vec::new();
    items(raw, |_, raw| add_stop(&mut stops, raw))?;
    Ok(stops)
}

/// A single stop sequence.
pub(super) fn one_stop(raw: &RawValue) -> Result<Vec<String>, Fault> {
    let mut stops = Vec::new();
    add_stop(&mut stops, raw)?;
    Ok(stops)
}

/// Adds a sequence while there is room: what is beyond it is never kept, however long the list. Empty ones never match
/// and are left out.
fn add_stop(stops: &mut Vec<String>, raw: &RawValue) -> Result<(), Fault> {
    let stop = borrowed(raw)?;
    let bytes: usize = stops.iter().map(String::len).sum();
    if stop.is_empty() {
        return Ok(());
    }
    if stops.len() == STOPS_MAX || bytes + stop.len() > STOP_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "Input should have at most {STOPS_MAX} sequences of {STOP_BYTES_MAX} bytes in all"
        )));
    }
    stops.push(stop.into_owned());
    Ok(())
}

/// A JSON schema, whose root must be an object's: the model gives the answer as a tool's input.
pub(super) fn object_schema(raw: &RawValue) -> Result<Box<RawValue>, Fault> {
    #[derive(serde::Deserialize)]
    struct Root<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a RawValue>,
    }
    let root: Root<'_> = super::field::object(raw)?;
    match root.kind.map(RawValue::get) {
        Some("\"object\"") => Ok(raw.to_owned()),
        _ => Err(Fault::invalid("Input should be 'object' at the schema's root").at("type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reasoning: Reasoning, model: &str, wanted: Sampling, ignored: &[&str]) {
        let mut parameters = Parameters {
            reasoning,
            ..Parameters::default()
        };
        parameters.settle_sampling(wanted.clone(), model);
        assert_eq!(parameters.ignored, ignored);
        let kept = match ignored {
            [] => wanted.without_defaults(),
            _ => Sampling::default(),
        };
        assert_eq!(parameters.sampling, kept);
    }

    #[test]
    fn stop_sequences_are_few_and_short() {
        let read = |json: &str| stop_list(serde_json::from_str(json).unwrap());
        assert_eq!(read(r#"["a","","\n"]"#).unwrap(), ["a", "\n"]);
        assert!(read(r#""a""#).is_err());
        assert!(read("[1]").is_err());
        let many = |count: usize, stop: &str| format!("[{}]", vec![stop; count].join(","));
        assert_eq!(read(&many(STOPS_MAX, "\"a\"")).unwrap().len(), STOPS_MAX);
        let half = format!("\"{}\"", "x".repeat(STOP_BYTES_MAX / 2));
        assert_eq!(read(&many(2, &half)).unwrap().len(), 2);
        for (json, index) in [
            (many(STOPS_MAX + 1, "\"a\""), STOPS_MAX.to_string()),
            // It stops at the first that is too much, whatever follows.
            (many(1_000_000, "\"a\""), STOPS_MAX.to_string()),
            (many(3, &half), "2".to_owned()),
        ] {
            assert_eq!(read(&json).unwrap_err().dotted(), index);
        }
    }

    #[test]
    fn sampling_is_kept_where_the_api_takes_it() {
        let low = Sampling {
            temperature: Some(0.2),
            top_p: Some(1.0),
            top_k: Some(5),
        };
        let default = Sampling {
            temperature: Some(1.0),
            top_p: None,
            top_k: None,
        };
        check(Reasoning::Off, "claude-sonnet-4-6", low.clone(), &[]);
        let both = ["temperature", "top_k"];
        check(Reasoning::Default, "claude-sonnet-4-6", low.clone(), &both);
        check(
            Reasoning::Budget(2000),
            "claude-haiku-4-5",
            low.clone(),
            &both,
        );
        check(Reasoning::Off, "claude-opus-4-7", low.clone(), &both);
        check(Reasoning::Off, "sonnet", low, &both);
        check(Reasoning::Default, "sonnet", default, &[]);
    }

    #[test]
    fn sampling_is_written_as_the_api_has_it() {
        let sampling = Sampling {
            temperature: Some(0.0),
            top_p: None,
            top_k: Some(3),
        };
        assert_eq!(
            serde_json::to_string(&sampling).unwrap(),
            r#"{"temperature":0.0,"top_k":3}"#
        );
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn fields_that_ask_for_nothing_are_not_named() {
        let mut parameters = Parameters::default();
        parameters.ignore([
            ("a", Some(raw("null"))),
            ("b", Some(raw("[]"))),
            ("c", None),
            ("d", Some(raw("0.5"))),
        ]);
        assert_eq!(parameters.ignored, ["d"]);
    }

    #[test]
    fn only_a_tool_that_must_be_used_is_forced() {
        for (json, expect) in [
            (r#""auto""#, false),
            (r#""none""#, false),
            (r#"{"type":"auto"}"#, false),
            (r#""required""#, true),
            (r#"{"type":"any"}"#, true),
            (r#"{"type":"tool","name":"x"}"#, true),
        ] {
            assert_eq!(forced(Some(raw(json))).is_some(), expect, "{json}");
        }
        assert!(forced(None).is_none());
    }

    #[test]
    fn schema_is_an_objects() {
        assert!(object_schema(raw(r#"{"type":"object"}"#)).is_ok());
        for other in [r#"{"type":"array"}"#, "{}", "[]", "true"] {
            assert!(object_schema(raw(other)).is_err(), "{other}");
        }
    }
}
