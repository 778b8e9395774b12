//! OpenAI's Responses format: <https://platform.openai.com/docs/api-reference/responses>.
//!
//! Stateless: every request carries its whole conversation.

mod input;
mod request;
mod response;
mod stream;

pub(crate) use self::{
    request::parse,
    response::{Collector, Identity},
    stream::StreamEncoder,
};
