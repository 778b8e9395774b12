//! Answers that need no run and no key: the models, and what a path takes.

use super::{
    Gateway,
    answer::json,
    cors,
    route::Format,
    target::{decoded, parameters},
};
use crate::{
    api::{
        ApiError,
        catalog::{self, Page},
    },
    http::{Head, Response},
};

/// `GET /v1/models`.
///
/// # Errors
/// 400 for paging parameters that mean nothing.
pub(super) fn models(head: &Head) -> Result<Response, ApiError> {
    let body = match Format::of(head) {
        Format::Anthropic => catalog::list_anthropic(&Page::read(parameters(head.query()))?),
        Format::OpenAi => catalog::list_openai(),
    };
    Ok(json(200, body))
}

/// `GET /v1/models/{id}`.
///
/// # Errors
/// 404 for an id that no request could name.
pub(super) fn model(head: &Head, id: &str) -> Result<Response, ApiError> {
    let id = decoded(id);
    let body = match Format::of(head) {
        Format::Anthropic => catalog::model_anthropic(&id)?,
        Format::OpenAi => catalog::model_openai(&id)?,
    };
    Ok(json(200, body))
}

impl Gateway {
    pub(super) fn options(&self, head: &Head, methods: &[&str]) -> Response {
        let methods = methods.join(", ");
        let answer = Response::new(204).header("allow", methods.clone());
        let served = self.served();
        cors::preflight(&served.config.server.cors_origins, head, &methods, answer)
    }
}
