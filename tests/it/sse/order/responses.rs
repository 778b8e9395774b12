//! The order of the events of OpenAI's Responses.

use super::{Event, Order, State, check};

impl Order {
    pub(super) fn feed_responses(&mut self, event: &Event) -> Result<(), String> {
        let (name, data) = (event.event.as_str(), &event.data);
        check(
            data["type"] == name && data["sequence_number"] == self.index,
            data,
        )?;
        self.index += 1;
        let before = std::mem::replace(&mut self.block, name.to_owned());
        let may_follow: &[&str] = match name {
            "response.created" => &[""],
            "response.in_progress" => {
                // The sign of life; what it stands between must go on.
                self.block = match before.as_str() {
                    "response.created" => name.to_owned(),
                    _ => before.clone(),
                };
                return check(!before.is_empty(), data);
            }
            "response.output_item.added" => &["response.in_progress"],
            "response.content_part.added" => &["response.output_item.added"],
            "response.output_text.delta" | "response.output_text.done" => {
                &["response.content_part.added", "response.output_text.delta"]
            }
            "response.content_part.done" => &["response.output_text.done"],
            "response.output_item.done" => &["response.content_part.done"],
            "response.completed" | "response.incomplete" => {
                self.state = State::Ended;
                &["response.output_item.done"]
            }
            "error" => {
                self.state = State::Ended;
                return Ok(());
            }
            _ => &[],
        };
        check(may_follow.contains(&before.as_str()), data)
    }
}
