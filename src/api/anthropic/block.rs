//! A content block of a Messages request, its fields still unread.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::media;
use crate::api::{
    Block, MediaKind,
    field::{Fault, borrowed, items, required, string},
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

#[derive(Serialize)]
struct SearchResult<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    source: &'a RawValue,
    title: &'a RawValue,
    content: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    citations: Option<&'a RawValue>,
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

    /// <https://docs.claude.com/en/docs/build-with-claude/search-results>
    pub(super) fn search_result(&self) -> Result<Block, Fault> {
        let result = SearchResult {
            kind: "search_result",
            source: required("source", self.source, |raw| borrowed(raw).map(|_| raw))?,
            title: required("title", self.title, |raw| borrowed(raw).map(|_| raw))?,
            content: required("content", self.content, |raw| {
                items(raw, |_, _| Ok(())).map(|()| raw)
            })?,
            citations: self.citations,
        };
        let json = serde_json::value::to_raw_value(&result);
        // Pieces of valid JSON make valid JSON.
        json.map(Block::SearchResult)
            .map_err(|error| Fault::invalid(format!("Input cannot be read: {error}")))
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
