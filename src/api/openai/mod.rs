//! OpenAI's Chat Completions format: <https://platform.openai.com/docs/api-reference/chat>.

mod completion;
mod content;
mod error;
mod messages;
mod request;
mod stream;

pub(crate) use self::{
    completion::{Collector, Identity},
    error::{error, error_frame},
    request::parse,
    stream::StreamEncoder,
};
