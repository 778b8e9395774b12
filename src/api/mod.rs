//! What both wire formats mean: a [`Prompt`] in, [`AnswerEvent`]s or an [`ApiError`] out.
//!
//! Nothing here knows HTTP sockets, tenants or processes, and nothing outside `api/` knows how a
//! vendor spells a field. Formats are in [`anthropic`] and [`openai`]; model names in [`models`], lists
//! of them in [`catalog`].

pub(crate) mod anthropic;
pub(crate) mod catalog;
pub(crate) mod models;
pub(crate) mod openai;
pub(crate) mod responses;
pub(crate) mod text;

mod field;
mod frame;
mod parameters;
mod usage;

use std::time::Duration;

use serde_json::value::RawValue;

pub(crate) use self::parameters::{Parameters, Reasoning, Sampling};

/// How the client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// One JSON document (`stream` absent or false).
    Whole,
    /// Server-sent events.
    Stream,
}

/// One request without any wire format: what the caller wants the model to read and do.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// The model id exactly as the client sent it; the answer carries it back.
    pub(crate) model_requested: String,
    /// What the CLI gets as `--model`.
    pub(crate) model: String,
    /// The system prompt as one text, blocks joined by a blank line; empty when there is none.
    pub(crate) system: String,
    /// At least one of them is the user's; the last may be the assistant's, to be continued.
    pub(crate) messages: Vec<Message>,
    pub(crate) effort: Option<Effort>,
    pub(crate) parameters: Parameters,
    /// Whether the client can take thinking blocks (it sent an enabled or adaptive `thinking`).
    pub(crate) thinking: Thinking,
    /// Whether the CLI's built-in tools may run; off for `tool_choice: none`.
    pub(crate) tools: BuiltInTools,
    /// What the client says of whose conversation this is: `metadata.user_id`, `prompt_cache_key` or
    /// `user`. Only ever compared.
    pub(crate) conversation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    Shown,
    Hidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuiltInTools {
    On,
    Off,
}

/// How hard the model should think; the CLI's `--effort` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// One message; consecutive ones may have the same role.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) role: Role,
    /// At least one.
    pub(crate) blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
}

/// A piece of a message. Media keeps the Anthropic content block as JSON, unread.
#[derive(Debug)]
pub(crate) enum Block {
    /// Not empty.
    Text(String),
    /// An image or document block in Anthropic's shape, its source as the client wrote it.
    Media {
        kind: MediaKind,
        block: Box<RawValue>,
    },
    /// Text that was found somewhere, which the model may cite: Anthropic's block without the
    /// client's `cache_control`.
    SearchResult(Box<RawValue>),
    ToolUse {
        id: String,
        name: String,
        input: Box<RawValue>,
    },
    ToolResult {
        tool_use_id: String,
        is_error: bool,
        blocks: Vec<Block>,
    },
    /// A block of a kind this version does not know; kept as its JSON text, never dropped.
    Other(Box<RawValue>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaKind {
    Image,
    Document,
}

/// One step of an answer, in the only legal order: `Start`, then blocks one after the other with
/// indices 0, 1, 2 …, each `BlockStart`, `Delta`*, `BlockStop`, then `End`.
///
/// JSON stays as the CLI wrote it (`&RawValue`), so that a delta is never re-serialised.
#[derive(Debug, Clone)]
pub(crate) enum AnswerEvent<'a> {
    /// `usage` is the API's usage object of the first turn.
    Start {
        id: &'a str,
        usage: Option<&'a RawValue>,
    },
    BlockStart {
        index: u32,
        kind: BlockKind,
        block: &'a RawValue,
    },
    /// `delta` is the API's whole delta object, `value` its one field that carries the payload
    /// (for a text delta: the JSON string literal of the text).
    Delta {
        index: u32,
        kind: DeltaKind,
        delta: &'a RawValue,
        value: &'a RawValue,
    },
    BlockStop {
        index: u32,
    },
    /// `usage` is the last turn's own, because clients compute their context size from it.
    End {
        stop_reason: &'a str,
        stop_sequence: Option<&'a str>,
        usage: Option<&'a RawValue>,
    },
}

/// What an answer's block is. A tool_use of the CLI's own is never among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Text,
    Thinking,
    /// redacted_thinking and kinds to come: complete in their `BlockStart`.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeltaKind {
    Text,
    Thinking,
    Signature,
    Citation,
    /// Of a tool's input, which no client sees.
    Input,
    Other,
}

/// A failure as a client sees it. Text says what failed, the value, and what to do; it never
/// holds a key or a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// The field that is wrong, in the format's own way to write a path.
    pub(crate) param: Option<String>,
    /// When trying again makes sense; becomes `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of failure the formats can tell apart; each format maps them in one `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// 400: the request itself is wrong.
    InvalidRequest,
    /// 401: the gateway's own key check failed, nothing else.
    Authentication,
    /// 403: known caller, forbidden place.
    Permission,
    /// 400: no such earlier response.
    UnknownResponse,
    /// 404: no such model.
    NotFound,
    /// 404: no such route.
    NoRoute,
    /// 405: the route exists, the method does not.
    MethodNotAllowed,
    /// 408: the client did not send its request in time.
    RequestTimeout,
    /// 413: body or prompt too large.
    TooLarge,
    /// 429: this tenant's queue is full, or the vendor said so.
    RateLimited,
    /// 500: the run failed, or the gateway did.
    Internal,
    /// 503: cannot serve now: shutting down, CLI not logged in.
    Unavailable,
    /// 504: the run took too long.
    Timeout,
    /// 529: the vendor or the gateway has no room.
    Overloaded,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ApiError {
            kind,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    pub(crate) fn param(mut self, path: impl Into<String>) -> Self {
        self.param = Some(path.into());
        self
    }

    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

#[cfg(test)]
mod sample;

#[cfg(test)]
impl Prompt {
    /// One that asks for nothing, for tests to change.
    pub(crate) fn sample() -> Prompt {
        Prompt {
            model_requested: "claude-max/sonnet".to_owned(),
            model: "sonnet".to_owned(),
            system: String::new(),
            messages: Vec::new(),
            effort: None,
            parameters: Parameters::default(),
            thinking: Thinking::Hidden,
            tools: BuiltInTools::On,
            conversation: None,
        }
    }
}
