//! From a body to a prompt, and to the encoder that its answer needs: one way for each format.

use std::sync::Arc;

use super::{
    answer::{Encoder, unix_now},
    kept::{Kept, Place},
};
use crate::{
    api::{self, ApiError, anthropic, openai, responses},
    claude::count::{Countable, countable},
    scheduler::TenantId,
};

/// A request's body, understood.
pub(super) struct Parsed {
    pub(super) prompt: api::Prompt,
    pub(super) encoder: Encoder,
    pub(super) task: Option<Countable>,
    /// What it takes in memory beside its body: kept responses that it goes on from.
    pub(super) beside: usize,
    /// Where the answer is kept for a later request.
    pub(super) keep: Option<Place>,
}

/// Where a body comes from.
pub(super) struct Origin<'a> {
    pub(super) request_id: &'a str,
    pub(super) tenant: TenantId,
    pub(super) kept: &'a Arc<Kept>,
}

impl Origin<'_> {
    /// What the ids of an answer end in.
    fn id(&self) -> &str {
        self.request_id.trim_start_matches("req_")
    }
}

/// Reads a body.
pub(super) type Parse = fn(&[u8], &Origin<'_>) -> Result<Parsed, ApiError>;

pub(super) fn anthropic(body: &[u8], _: &Origin<'_>) -> Result<Parsed, ApiError> {
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
        beside: 0,
        keep: None,
    })
}

pub(super) fn count(body: &[u8], _: &Origin<'_>) -> Result<Parsed, ApiError> {
    let mut request = anthropic::parse_count(body)?;
    let task = countable(&mut request.prompt, request.tools.as_deref());
    Ok(Parsed {
        prompt: request.prompt,
        encoder: Encoder::Count,
        task: Some(task),
        beside: 0,
        keep: None,
    })
}

pub(super) fn openai(body: &[u8], origin: &Origin<'_>) -> Result<Parsed, ApiError> {
    let request = openai::parse(body)?;
    let identity = openai::Identity {
        id: origin.id(),
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
        beside: 0,
        keep: None,
    })
}

pub(super) fn responses(body: &[u8], origin: &Origin<'_>) -> Result<Parsed, ApiError> {
    let earlier = |id: &str| origin.kept.conversation(origin.tenant, id);
    let request = responses::parse(body, &earlier)?;
    let identity = responses::Identity {
        id: origin.id(),
        model_requested: &request.prompt.model_requested,
        created: unix_now(),
        echo: &request.echo,
        short_echo: &request.short_echo,
    };
    let encoder = match request.delivery {
        api::Delivery::Stream => Encoder::ResponsesStream(responses::StreamEncoder::new(&identity)),
        api::Delivery::Whole => Encoder::ResponsesWhole(responses::Collector::new(&identity)),
    };
    let keep = request.kept_input.map(|input| Place {
        kept: Arc::clone(origin.kept),
        tenant: origin.tenant,
        id: format!("resp_{}", origin.id()),
        previous: request.previous,
        input,
    });
    Ok(Parsed {
        prompt: request.prompt,
        encoder,
        task: None,
        beside: request.earlier_bytes,
        keep,
    })
}
