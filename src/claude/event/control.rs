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
        (CONTEXT_USAGE_ID, _) => match response.map(system_prompt).transpose()? {
            Some(Some(tokens)) => Event::Counted { tokens },
            _ => Event::ControlFailed {
                error: "it did not count the system prompt".to_owned(),
            },
        },
        _ => Event::Other,
    })
}

fn system_prompt(usage: &RawValue) -> serde_json::Result<Option<u64>> {
    let usage: Usage = serde_json::from_str(usage.get())?;
    let system = usage.categories.iter().find(|it| it.id == "system_prompt");
    Ok(system.map(|it| it.tokens))
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
    fn tokens_of_the_system_prompt_are_taken_from_the_usage() {
        check(
            r#"{"subtype":"success","request_id":"ccgw-count","response":{"categories":[{"id":"messages","tokens":7},{"id":"system_prompt","name":"System prompt","tokens":1234}],"totalTokens":9}}"#,
            "Counted { tokens: 1234 }",
        );
        check(
            r#"{"subtype":"success","request_id":"ccgw-count","response":{"categories":[]}}"#,
            r#"ControlFailed { error: "it did not count the system prompt" }"#,
        );
    }
}
