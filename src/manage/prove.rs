//! Proof that an instance is served: its key is known, and one real request of its own is answered.

use std::{thread, time::Duration};

use super::{
    access::Access,
    ask::{Ask, CANNOT_ASK, Said},
    operator,
    say::Mark,
};

/// How one thing stands, and what to do about it where it could be better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) mark: Mark,
    pub(crate) text: String,
    /// Empty when there is nothing to mend.
    pub(crate) mend: String,
}

impl Finding {
    pub(crate) fn ok(text: impl Into<String>) -> Finding {
        Finding {
            mark: Mark::Ok,
            text: text.into(),
            mend: String::new(),
        }
    }

    pub(crate) fn warn(text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            mark: Mark::Warn,
            text: text.into(),
            mend: mend.into(),
        }
    }

    pub(crate) fn fail(text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            mark: Mark::Fail,
            ..Finding::warn(text, mend)
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.mend.is_empty() {
            true => f.write_str(&self.text),
            false => write!(f, "{}; {}", self.text, self.mend),
        }
    }
}

/// For an answer without a model: a gateway answers at once.
const SHORT: Duration = Duration::from_secs(10);

/// For an answer of a model, with a queue before it.
const LONG: Duration = Duration::from_secs(180);

/// Whether the gateway knows the key, asked from where the instance is. Nothing is run for it.
///
/// # Errors
/// Why not, with the way out.
pub(crate) fn key_is_known(access: &Access<'_>, origin: &str, key: &str) -> Result<(), String> {
    let url = format!("{origin}/health");
    let said = access.ask(&Ask {
        url: &url,
        key: Some(key),
        body: None,
        timeout: SHORT,
    })?;
    // It names the tenant whose key it was sent.
    let health: serde_json::Value = serde_json::from_str(&said.body).unwrap_or_default();
    match health["tenant"].is_string() {
        true => Ok(()),
        false => Err(
            "the gateway that runs does not know its key; its log says whether it took config.yaml over, and from where it reads it"
                .to_owned(),
        ),
    }
}

/// As [`key_is_known`], for a key that stands in config.yaml since a moment ago: the gateway is asked to read
/// it again, and watches it anyway.
///
/// # Errors
/// As [`key_is_known`].
pub(crate) fn new_key_is_known(access: &Access<'_>, origin: &str, key: &str) -> Result<(), String> {
    let known = key_is_known(access, origin, key);
    if known.is_ok() {
        return known;
    }
    operator::reload_if_possible();
    let mut known = known;
    for _ in 0..TAKING_OVER.0 {
        known = key_is_known(access, origin, key);
        if known.is_ok() {
            break;
        }
        thread::sleep(TAKING_OVER.1);
    }
    known
}

/// How often, and how long between: the gateway looks at its file each 0.4 s, twice.
const TAKING_OVER: (usize, Duration) = (6, Duration::from_millis(500));

/// One request of a few tokens, sent from where the instance is.
pub(crate) fn request(access: &Access<'_>, origin: &str, key: &str) -> Finding {
    let url = format!("{origin}/v1/messages");
    let body = r#"{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{"role":"user","content":"This is a connection test. Reply with the word OK only."}],"tool_choice":{"type":"none"}}"#;
    let said = access.ask(&Ask {
        url: &url,
        key: Some(key),
        body: Some(body),
        timeout: LONG,
    });
    match said {
        Ok(said) => judged(&said),
        Err(why) if why == CANNOT_ASK => Finding::warn(
            format!(
                "it reaches the gateway; whether a request of its own is answered cannot be tried: {why}"
            ),
            "",
        ),
        Err(why) => Finding::fail(
            format!("a request of its own is not answered: {why}"),
            "see the gateway's log for the reason",
        ),
    }
}

fn judged(said: &Said) -> Finding {
    let answer: serde_json::Value = serde_json::from_str(&said.body).unwrap_or_default();
    let why = answer["error"]["message"]
        .as_str()
        .unwrap_or("no reason given");
    match said.status {
        200 if answer["type"] == "message" => Finding::ok("a request of its own is answered"),
        401 | 403 => Finding::fail(
            format!("the gateway refuses its key: {why}"),
            "its log says whether it took config.yaml over",
        ),
        503 => Finding::fail(
            format!("it reaches the gateway, which cannot answer yet: {why}"),
            "",
        ),
        429 | 529 => Finding::warn(
            format!("it reaches the gateway, which has no room at the moment: {why}"),
            "try again later",
        ),
        status => Finding::fail(
            format!("a request of its own failed with {status}: {why}"),
            "see the gateway's log for the reason",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_what_they_mean() {
        for (status, body, mark) in [
            (200, r#"{"type":"message"}"#, Mark::Ok),
            (200, "<html>", Mark::Fail),
            (401, r#"{"error":{"message":"x"}}"#, Mark::Fail),
            (503, r#"{"error":{"message":"not signed in"}}"#, Mark::Fail),
            (429, "{}", Mark::Warn),
            (500, "", Mark::Fail),
        ] {
            let said = Said {
                status,
                body: body.to_owned(),
            };
            assert_eq!(judged(&said).mark, mark, "{status} {body}");
        }
    }
}
