//! Reads server-sent events as they come and checks that their order is legal in their format.

mod order;

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

pub(crate) use order::Format;
use order::Order;

/// One event; `data` is its JSON, or the string `[DONE]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Empty when the stream gave it no name, as in the OpenAI format.
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// An iterator over a stream's events that panics at the first illegal one.
pub(crate) struct SseReader<R> {
    reader: BufReader<R>,
    order: Order,
    /// What was read, for the text of a panic.
    seen: Vec<Event>,
}

impl<R: Read> SseReader<R> {
    pub(crate) fn new(source: R, format: Format) -> SseReader<R> {
        SseReader {
            reader: BufReader::new(source),
            order: Order::new(format),
            seen: Vec::new(),
        }
    }

    /// In the format that this path answers in.
    pub(crate) fn of_path(source: R, path: &str) -> SseReader<R> {
        let format = match path {
            _ if path.ends_with("chat/completions") => Format::OpenAi,
            _ if path.ends_with("responses") => Format::Responses,
            _ => Format::Anthropic,
        };
        SseReader::new(source, format)
    }

    /// Everything to the end of the stream.
    #[track_caller]
    pub(crate) fn events(self) -> Vec<Event> {
        self.collect()
    }

    /// Reads up to and with the first event that `wanted` takes.
    #[track_caller]
    pub(crate) fn read_until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        for event in self.by_ref() {
            if wanted(&event) {
                return event;
            }
        }
        panic!("the stream ended without {what}: {:#?}", self.seen)
    }

    /// Reads up to the first piece of text, which proves that the answer is on its way.
    #[track_caller]
    pub(crate) fn read_until_text(&mut self) -> Event {
        self.read_until("a piece of text", |event| {
            let text = event.data["delta"]["text"]
                .as_str()
                .or_else(|| event.data["choices"][0]["delta"]["content"].as_str());
            text.is_some_and(|text| !text.is_empty())
        })
    }

    fn read_event(&mut self) -> Option<Event> {
        let (mut event, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).unwrap_or_else(|error| {
                panic!("the stream broke ({error}) after {:#?}", self.seen);
            });
            let line = line.trim_end_matches(['\r', '\n']);
            if count == 0 || line.is_empty() {
                if data.is_empty() {
                    assert!(event.is_empty(), "an event without data: {event:?}");
                    if count == 0 {
                        return None;
                    }
                    continue;
                }
                assert!(count > 0, "the stream ended inside an event: {data:?}");
                let data = if data == "[DONE]" {
                    data.into()
                } else {
                    parse(&data)
                };
                return Some(Event { event, data });
            }
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data.push_str(text);
            } else {
                // Comments are legal in SSE, but no client counts them as a sign of life.
                panic!("neither event nor data: {line:?}");
            }
        }
    }
}

#[track_caller]
fn parse(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_else(|error| panic!("not JSON ({error}): {data:?}"))
}

impl<R: Read> Iterator for SseReader<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let event = self.read_event();
        let checked = match &event {
            Some(event) => self.order.feed(event),
            None => self.order.finish(),
        };
        if let Err(problem) = checked {
            panic!("an illegal stream: {problem} after {:#?}", self.seen);
        }
        if let Some(event) = &event {
            self.order.format().check(&event.data);
        }
        self.seen.extend(event.clone());
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_split_and_parsed() {
        let text = concat!(
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: error\r\ndata: {\"type\":\"error\",",
            "\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"},\"request_id\":\"req_1\"}\r\n\r\n",
        );
        let events = SseReader::new(text.as_bytes(), Format::Anthropic).events();
        let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names, ["ping", "error"]);
    }
}
