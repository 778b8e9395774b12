//! OpenAI's Chat Completions format: <https://platform.openai.com/docs/api-reference/chat>.

pub(super) mod completion;
pub(super) mod content;
mod error;
pub(super) mod messages;
pub(super) mod request;
mod stream;

pub(crate) use self::{
    completion::{Collector, Identity},
    error::{code, error, error_frame},
    request::parse,
    stream::StreamEncoder,
};
