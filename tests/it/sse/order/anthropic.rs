//! The order of the events of Anthropic's Messages.

use serde_json::Value;

use super::{Event, Order, State, check};

impl Order {
    pub(super) fn feed_anthropic(&mut self, event: &Event) -> Result<(), String> {
        let data = &event.data;
        if data["type"] != event.event.as_str() {
            return Err(format!(
                "the event {:?} has the type {}",
                event.event, data["type"]
            ));
        }
        self.state = match (event.event.as_str(), self.state) {
            ("ping", state) => state,
            ("error", _)
                if data["error"]["type"].is_string() && data["error"]["message"].is_string() =>
            {
                State::Ended
            }
            ("message_start", State::Start) => {
                let message = &data["message"];
                let whole = message["id"].is_string()
                    && message["role"] == "assistant"
                    && message["content"] == Value::Array(Vec::new());
                check(whole && message["usage"].is_object(), data)?;
                State::Message
            }
            ("content_block_start", State::Message) => {
                self.check_index(data)?;
                data["content_block"]["type"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut self.block);
                // A tool call of the CLI's own would be run a second time by the client.
                check(!self.block.is_empty() && self.block != "tool_use", data)?;
                State::Block
            }
            ("content_block_delta", State::Block) => {
                self.check_index(data)?;
                let kind = data["delta"]["type"].as_str().unwrap_or_default();
                check(delta_fits(&self.block, kind), data)?;
                State::Block
            }
            ("content_block_stop", State::Block) => {
                self.check_index(data)?;
                self.index += 1;
                State::Message
            }
            ("message_delta", State::Message) => {
                let reason = &data["delta"]["stop_reason"];
                check(
                    reason.is_string()
                        && reason != "tool_use"
                        && data["usage"]["output_tokens"].is_u64(),
                    data,
                )?;
                State::Finished
            }
            ("message_stop", State::Finished) => State::Ended,
            (_, state) => return Err(format!("{event:?} in the state {state:?}")),
        };
        Ok(())
    }

    fn check_index(&self, data: &Value) -> Result<(), String> {
        if data["index"] == self.index {
            return Ok(());
        }
        Err(format!(
            "the index {} where {} is due",
            data["index"], self.index
        ))
    }
}

fn delta_fits(block: &str, delta: &str) -> bool {
    match block {
        "text" => matches!(delta, "text_delta" | "citations_delta"),
        "thinking" => matches!(delta, "thinking_delta" | "signature_delta"),
        _ => !matches!(delta, "" | "input_json_delta"),
    }
}
