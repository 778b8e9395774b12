//! A content block of a Messages request, its fields still unread.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::media;
use crate::api::{
    Block, MediaKind,
    field::{Fault, required, string},
};

/// The fields of all kinds of blocks.
#[derive(Deserialize)]
pub(super) struct WireBlock<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_use_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) is_error: Option<&'a RawValue>,
}

impl WireBlock<'_> {
    pub(super) fn tool_use(&self) -> Result<Block, Fault> {
        Ok(Block::ToolUse {
            id: required("id", self.id, string)?,
            name: required("name", self.name, string)?,
            input: required("input", self.input, |raw| {
                if raw.get().starts_with('{') {
                    Ok(raw.to_owned())
                } else {
                    Err(Fault::invalid("Input should be an object"))
                }
            })?,
        })
    }

    /// Media without the client's `cache_control`: the CLI sets its own, and the API takes only four.
    pub(super) fn media(&self, kind: MediaKind) -> Result<Block, Fault> {
        let source = required("source", self.source, |raw| media::source(kind, raw))?;
        let fields = [
            ("title", self.title),
            ("context", self.context),
            ("citations", self.citations),
        ];
        media::block(kind, source, &fields)
    }
}
