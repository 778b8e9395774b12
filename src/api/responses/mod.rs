//! OpenAI's Responses format: <https://platform.openai.com/docs/api-reference/responses>.
//!
//! A request carries its whole conversation, or names the response that it goes on from.

mod input;
mod request;
mod response;
mod stream;

pub(crate) use self::{
    request::{Exchange, parse},
    response::{Collector, Identity},
    stream::StreamEncoder,
};
