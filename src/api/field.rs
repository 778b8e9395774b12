//! Reading a JSON request field by field, so that an error names the field by its path.
//!
//! Fields are held unread (`&RawValue`, borrowed from the body) until their reader is called. Lists
//! are walked, never collected: a body of `[1,1,1,…]` would otherwise become eight times its size.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{Delivery, text::Text};

/// What is wrong with a request, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// The way to the field, innermost step first.
    steps: Vec<Step>,
    pub(super) problem: Problem,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    /// What the field should be, as a sentence without a full stop.
    Invalid(String),
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    Item(usize),
}

impl Fault {
    pub(super) fn missing() -> Self {
        Fault {
            steps: Vec::new(),
            problem: Problem::Missing,
        }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Fault {
            steps: Vec::new(),
            problem: Problem::Invalid(text.into()),
        }
    }

    /// The same fault, seen from the object that has the field.
    pub(super) fn at(mut self, field: &'static str) -> Self {
        self.steps.push(Step::Field(field));
        self
    }

    /// The same fault, seen from the list that has the item.
    pub(super) fn item(mut self, index: usize) -> Self {
        self.steps.push(Step::Item(index));
        self
    }

    /// The path as Anthropic writes it: `messages.2.content.0.source`.
    pub(super) fn dotted(&self) -> String {
        let steps = self.steps.iter().rev().map(|step| match step {
            Step::Field(name) => (*name).to_owned(),
            Step::Item(index) => index.to_string(),
        });
        steps.collect::<Vec<_>>().join(".")
    }

    /// The path as OpenAI writes it: `messages[2].content[0].file`.
    pub(super) fn bracketed(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Field(name) if path.is_empty() => write!(path, "{name}"),
                Step::Field(name) => write!(path, ".{name}"),
                Step::Item(index) => write!(path, "[{index}]"),
            };
        }
        path
    }
}

/// The body as an object whose wanted fields are all `Option<&RawValue>`: all of it is valid JSON,
/// which makes every later reading a question of types alone.
pub(super) fn body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    let not_json =
        |why: String| Fault::invalid(format!("The request body is not valid JSON: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| not_json(error.to_string()))?;
    if is_too_deep(text) {
        return Err(not_json(format!("nested deeper than {NESTING_MAX} levels")));
    }
    if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => repeated(&error),
            Category::Syntax | Category::Eof | Category::Io => not_json(error.to_string()),
        })
    } else {
        serde_json::from_str::<&RawValue>(text).map_err(|error| not_json(error.to_string()))?;
        Err(not_an_object())
    }
}

/// serde_json's own limit. It does not hold for unread values, and those go on to the CLI, whose
/// parser is recursive.
const NESTING_MAX: usize = 128;

/// Whether brackets outside of strings open more than [`NESTING_MAX`] levels.
pub(super) fn is_too_deep(json: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > NESTING_MAX {
            return true;
        }
    }
    false
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Reads a field that must be there; JSON's null counts as absent.
pub(super) fn required<'a, T>(
    name: &'static str,
    raw: Option<&'a RawValue>,
    read: impl FnOnce(&'a RawValue) -> Result<T, Fault>,
) -> Result<T, Fault> {
    raw.ok_or_else(Fault::missing)
        .and_then(read)
        .map_err(|fault| fault.at(name))
}

/// Reads a field that may be absent or null.
pub(super) fn optional<'a, T>(
    name: &'static str,
    raw: Option<&'a RawValue>,
    read: impl FnOnce(&'a RawValue) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    raw.map(|raw| required(name, Some(raw), read)).transpose()
}

/// Reads an object whose wanted fields are all `Option<&RawValue>`.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Fault> {
    // A derived reader would take a list as well, by position.
    if !raw.get().starts_with('{') {
        return Err(not_an_object());
    }
    serde_json::from_str(raw.get()).map_err(|error| repeated(&error))
}

fn not_an_object() -> Fault {
    Fault::invalid("Input should be an object")
}

/// Where all fields are unread, only one that is there twice can be wrong.
fn repeated(error: &serde_json::Error) -> Fault {
    // The position would be counted from the object's own start.
    let text = error.to_string();
    let (text, _) = text.split_once(" at line ").unwrap_or((&text, ""));
    Fault::invalid(text)
}

/// Hands each item of a list to `take`, up to the first that it refuses.
pub(super) fn items<'a>(
    raw: &'a RawValue,
    take: impl FnMut(usize, &'a RawValue) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut walk = Walk { take, fault: None };
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let result = json.deserialize_seq(&mut walk);
    match (walk.fault, result) {
        (Some(fault), _) => Err(fault),
        (None, Err(_)) => Err(Fault::invalid("Input should be a list")),
        (None, Ok(())) => Ok(()),
    }
}

struct Walk<F> {
    take: F,
    fault: Option<Fault>,
}

impl<'a, F> Visitor<'a> for &mut Walk<F>
where
    F: FnMut(usize, &'a RawValue) -> Result<(), Fault>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(item) = items.next_element()? {
            if let Err(fault) = (self.take)(index, item) {
                self.fault = Some(fault.item(index));
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

pub(super) fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

pub(super) fn string(raw: &RawValue) -> Result<String, Fault> {
    borrowed(raw).map(Cow::into_owned)
}

/// A string's text, borrowed from the body where it has no escapes.
pub(super) fn borrowed(raw: &RawValue) -> Result<Cow<'_, str>, Fault> {
    let no_string = || Fault::invalid("Input should be a string");
    if !is_string(raw) {
        return Err(no_string());
    }
    serde_json::from_str(raw.get())
        .map(Text::into_cow)
        .map_err(|_| no_string())
}

pub(super) fn boolean(raw: &RawValue) -> Result<bool, Fault> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::invalid("Input should be true or false")),
    }
}

/// What `stream` says, the same in every format.
pub(super) fn delivery(stream: Option<&RawValue>) -> Result<Delivery, Fault> {
    Ok(match optional("stream", stream, boolean)? {
        Some(true) => Delivery::Stream,
        Some(false) | None => Delivery::Whole,
    })
}

/// A whole number of at least 1.
pub(super) fn positive(raw: &RawValue) -> Result<u64, Fault> {
    match serde_json::from_str(raw.get()) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Fault::invalid("Input should be a positive integer")),
    }
}

/// A number of at least 0 and at most `max`.
pub(super) fn number_up_to(max: f64) -> impl Fn(&RawValue) -> Result<f64, Fault> {
    move |raw| match serde_json::from_str::<f64>(raw.get()) {
        Ok(number) if (0.0..=max).contains(&number) => Ok(number),
        _ => Err(Fault::invalid(format!(
            "Input should be a number from 0 to {max}"
        ))),
    }
}

/// A whole number of at least 0.
pub(super) fn whole(raw: &RawValue) -> Result<u64, Fault> {
    serde_json::from_str(raw.get())
        .map_err(|_| Fault::invalid("Input should be a whole number of at least 0"))
}

/// How many messages and content blocks a request may have in all. The API takes 100,000 messages;
/// each of ours costs some hundred bytes beside its text, so that bodies of tiny blocks stay small.
pub(super) struct Allowance(u32);

impl Allowance {
    pub(super) fn new() -> Self {
        Allowance(Self::PIECES_MAX)
    }

    const PIECES_MAX: u32 = 100_000;

    /// Counts one more.
    pub(super) fn take(&mut self) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            let max = Self::PIECES_MAX;
            Fault::invalid(format!(
                "The request has more than {max} messages and content blocks"
            ))
        })?;
        Ok(())
    }
}

/// The first of these that is a text and says something: a client's name for its conversation, which
/// is no reason to refuse a request.
pub(super) fn conversation<const N: usize>(fields: [Option<&RawValue>; N]) -> Option<String> {
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    let mut texts = fields.into_iter().flatten().filter_map(text);
    texts.find(|it| !it.trim().is_empty())
}

/// `user_id` of Anthropic's `metadata`.
pub(super) fn user_id(metadata: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        user_id: Option<&'a RawValue>,
    }
    let metadata: Metadata<'_> = serde_json::from_str(metadata.get()).ok()?;
    conversation([metadata.user_id])
}

#[cfg(test)]
mod tests;
