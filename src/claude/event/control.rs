//! The CLI's answers to control requests, as far as anything depends on them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Event;
use crate::claude::input::{CONTEXT_USAGE_ID, INITIALIZE_ID};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    subtype: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    error: String,
    #[serde(default, borrow)]
    response: Option<&'a RawValue>,
}

/// What fills the CLI's context, in tokens; 0 is what it does not mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextUsage {
    pub(crate) system_prompt: u64,
    /// Never 0 where the API counts: it is asked for a message of one word when there is none.
    pub(crate) messages: u64,
}

/// `get_context_usage` answers with what fills the context, by category.
#[derive(Deserialize)]
struct Usage {
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    #[serde(default)]
    id: String,
    #[serde(default)]
    tokens: u64,
}

pub(super) fn response(line: &[u8]) -> serde_json::Result<Event<'_>> {
    let Response {
        subtype,
        request_id,
        error,
        response,
    } = serde_json::from_slice::<Line<'_>>(line)?.response;
    Ok(match (request_id.as_str(), subtype.as_str()) {
        (INITIALIZE_ID | CONTEXT_USAGE_ID, "error") => Event::ControlFailed { error },
        (CONTEXT_USAGE_ID, _) => match response.and_then(context_usage) {
            Some(usage) => Event::Counted(usage),
            None => Event::ControlFailed {
                error: "it did not say what fills its context".to_owned(),
            },
        },
        _ => Event::Other,
    })
}

/// `None` for what is not understood, so that nobody waits for what will not come.
fn context_usage(usage: &RawValue) -> Option<ContextUsage> {
    let usage: Usage = serde_json::from_str(usage.get()).ok()?;
    let of = |id: &str| {
        let found = usage.categories.iter().find(|it| it.id == id);
        found.map_or(0, |it| it.tokens)
    };
    Some(ContextUsage {
        system_prompt: of("system_prompt"),
        messages: of("messages"),
    })
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(response: &str, expect: &str) {
        let line = format!(r#"{{"type":"control_response","response":{response}}}"#);
        assert_eq!(
            format!("{:?}", super::response(line.as_bytes()).unwrap()),
            expect
        );
    }

    #[test]
    fn only_what_a_run_cannot_do_without_fails_it() {
        check(
            r#"{"subtype":"error","request_id":"ccgw-initialize","error":"no"}"#,
            r#"ControlFailed { error: "no" }"#,
        );
        check(
            r#"{"subtype":"error","request_id":"ccgw-thinking","error":"no"}"#,
            "Other",
        );
        check(
            r#"{"subtype":"success","request_id":"ccgw-initialize","response":{}}"#,
            "Other",
        );
    }

    #[test]
    fn tokens_are_taken_from_the_usage() {
        check(
            r#"{"subtype":"success","request_id":"ccgw-count","response":{"categories":[{"id":"messages","tokens":7},{"id":"system_prompt","name":"System prompt","tokens":1234}],"totalTokens":9}}"#,
            "Counted(ContextUsage { system_prompt: 1234, messages: 7 })",
        );
        check(
            r#"{"subtype":"success","request_id":"ccgw-count","response":{"categories":[]}}"#,
            "Counted(ContextUsage { system_prompt: 0, messages: 0 })",
        );
        check(
            r#"{"subtype":"success","request_id":"ccgw-count","response":{"categories":"many"}}"#,
            r#"ControlFailed { error: "it did not say what fills its context" }"#,
        );
    }
}
