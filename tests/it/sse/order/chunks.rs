//! The order of the chunks of OpenAI's Chat Completions.

use serde_json::Value;

use super::{Event, Order, State, check};

impl Order {
    pub(super) fn feed_openai(&mut self, event: &Event) -> Result<(), String> {
        let data = &event.data;
        // No event of this format has a name.
        check(event.event.is_empty(), data)?;
        if data == "[DONE]" {
            check(matches!(self.state, State::Finished | State::Counted), data)?;
            self.state = State::Ended;
            return Ok(());
        }
        if data["error"]["message"].is_string() {
            self.state = State::Ended;
            return Ok(());
        }
        self.check_identity(data)?;
        match data["choices"].as_array().map(Vec::as_slice) {
            Some([]) => self.feed_usage(data),
            Some([choice]) => self.feed_choice(choice),
            _ => check(false, data),
        }
    }

    /// All chunks of a stream carry the same id.
    fn check_identity(&mut self, data: &Value) -> Result<(), String> {
        let id = data["id"].as_str().map(str::to_owned);
        check(
            data["object"] == "chat.completion.chunk"
                && data["model"].is_string()
                && data["created"].is_u64()
                && id.is_some()
                && (self.id.is_none() || self.id == id),
            data,
        )?;
        self.id = id;
        Ok(())
    }

    /// The one chunk without a choice carries the usage, after the finish reason.
    fn feed_usage(&mut self, data: &Value) -> Result<(), String> {
        check(
            data["usage"].is_object() && self.state == State::Finished,
            data,
        )?;
        self.state = State::Counted;
        Ok(())
    }

    /// The role comes first and once, the reason to finish last and once. A chunk that says nothing is
    /// a sign of life, which may come before the role too.
    fn feed_choice(&mut self, choice: &Value) -> Result<(), String> {
        let delta = &choice["delta"];
        let fields = delta.as_object().ok_or("a choice without a delta")?;
        let finished = choice["finish_reason"].is_string();
        let here = match self.state {
            State::Start if delta["role"] == "assistant" => true,
            State::Start => fields.is_empty() && !finished,
            State::Message => delta["role"].is_null() && (fields.is_empty() || !finished),
            _ => false,
        };
        check(here && delta["tool_calls"].is_null(), choice)?;
        self.state = match self.state {
            _ if finished => State::Finished,
            State::Start if fields.is_empty() => State::Start,
            _ => State::Message,
        };
        Ok(())
    }
}
