//! From a body to a prompt, and to the encoder that its answer needs: one way for each format.

use super::answer::{Encoder, unix_now};
use crate::{
    api::{self, ApiError, anthropic, openai, responses},
    claude::count::{Countable, countable},
};

/// A request's body, understood.
pub(super) struct Parsed {
    pub(super) prompt: api::Prompt,
    pub(super) encoder: Encoder,
    pub(super) task: Option<Countable>,
}

/// Reads a body; the other argument is the request's id.
pub(super) type Parse = fn(&[u8], &str) -> Result<Parsed, ApiError>;

pub(super) fn anthropic(body: &[u8], _request_id: &str) -> Result<Parsed, ApiError> {
    let request = anthropic::parse(body)?;
    let model = &request.prompt.model_requested;
    let encoder = match request.delivery {
        api::Delivery::Stream => Encoder::AnthropicStream(anthropic::StreamEncoder::new(model)),
        api::Delivery::Whole => Encoder::AnthropicWhole(anthropic::Collector::new(model)),
    };
    Ok(Parsed {
        prompt: request.prompt,
        encoder,
        task: None,
    })
}

pub(super) fn count(body: &[u8], _request_id: &str) -> Result<Parsed, ApiError> {
    let mut request = anthropic::parse_count(body)?;
    let task = countable(&mut request.prompt, request.tools.as_deref());
    Ok(Parsed {
        prompt: request.prompt,
        encoder: Encoder::Count,
        task: Some(task),
    })
}

pub(super) fn openai(body: &[u8], request_id: &str) -> Result<Parsed, ApiError> {
    let request = openai::parse(body)?;
    let identity = openai::Identity {
        id: request_id.trim_start_matches("req_"),
        model_requested: &request.prompt.model_requested,
        created: unix_now(),
    };
    let encoder = match request.delivery {
        api::Delivery::Stream => {
            Encoder::OpenAiStream(openai::StreamEncoder::new(&identity, request.usage_chunk))
        }
        api::Delivery::Whole => Encoder::OpenAiWhole(openai::Collector::new(&identity)),
    };
    Ok(Parsed {
        prompt: request.prompt,
        encoder,
        task: None,
    })
}

pub(super) fn responses(body: &[u8], request_id: &str) -> Result<Parsed, ApiError> {
    let request = responses::parse(body)?;
    let identity = responses::Identity {
        id: request_id.trim_start_matches("req_"),
        model_requested: &request.prompt.model_requested,
        created: unix_now(),
        echo: &request.echo,
    };
    let encoder = match request.delivery {
        api::Delivery::Stream => Encoder::ResponsesStream(responses::StreamEncoder::new(&identity)),
        api::Delivery::Whole => Encoder::ResponsesWhole(responses::Collector::new(&identity)),
    };
    Ok(Parsed {
        prompt: request.prompt,
        encoder,
        task: None,
    })
}
