//! Anthropic's Messages format: <https://docs.claude.com/en/api/messages>.

mod block;
mod content;
mod error;
pub(super) mod media;
mod message;
mod request;
mod stream;

pub(crate) use self::{
    error::{error, error_frame},
    message::Collector,
    request::{parse, parse_count},
    stream::{StreamEncoder, ping},
};
