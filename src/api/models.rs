//! Model names: what a client may ask for, and what the CLI is told.

use serde_json::json;

use super::{ApiError, ErrorKind};

/// What the CLI gets as `--model` for a requested id.
///
/// Full ids (`claude-sonnet-4-6`) pass as they are, family names become the CLI's aliases, and a
/// `provider/` prefix is dropped. The CLI itself would send any text on, so unknown ones end here.
///
/// # Errors
/// 404 for an id of no known family.
pub(crate) fn resolve(requested: &str) -> Result<String, ApiError> {
    let id = requested.rsplit_once('/').map_or(requested, |(_, id)| id);
    let base = id.strip_suffix("[1m]").unwrap_or(id);
    let alias = base.strip_prefix("claude-").unwrap_or(base);
    let safe = requested.len() <= ID_MAX
        && base
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:@".contains(&b));
    if !safe {
        return Err(unknown(requested));
    }
    if ALIASES.contains(&alias) {
        return Ok(id.replacen(base, alias, 1));
    }
    let mut words = base.split('-');
    let full = words.next() == Some("claude") && words.any(|word| FAMILIES.contains(&word));
    if full {
        Ok(id.to_owned())
    } else {
        Err(unknown(requested))
    }
}

/// Names the CLI resolves to its newest models.
const ALIASES: [&str; 7] = [
    "opus", "sonnet", "haiku", "fable", "best", "default", "opusplan",
];

const FAMILIES: [&str; 5] = ["opus", "sonnet", "haiku", "fable", "instant"];

/// Longer than any id there is, Bedrock's included.
const ID_MAX: usize = 200;

/// What `GET /v1/models` lists: id, name, and the day it appeared.
const LISTED: [(&str, &str, &str); 10] = [
    ("claude-opus-5-5", "Claude Opus 5.5", "2026-09-01T00:00:00Z"),
    (
        "claude-sonnet-5-5",
        "Claude Sonnet 5.5",
        "2026-09-01T00:00:00Z",
    ),
    (
        "claude-haiku-5-5",
        "Claude Haiku 5.5",
        "2026-09-01T00:00:00Z",
    ),
    (
        "claude-fable-5-2",
        "Claude Fable 5.2",
        "2026-09-01T00:00:00Z",
    ),
    ("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05T00:00:00Z"),
    (
        "claude-sonnet-4-6",
        "Claude Sonnet 4.6",
        "2026-02-17T00:00:00Z",
    ),
    (
        "claude-haiku-4-5",
        "Claude Haiku 4.5",
        "2025-10-01T00:00:00Z",
    ),
    ("opus", "Newest Claude Opus", "2026-09-01T00:00:00Z"),
    ("sonnet", "Newest Claude Sonnet", "2026-09-01T00:00:00Z"),
    ("haiku", "Newest Claude Haiku", "2026-09-01T00:00:00Z"),
];

/// The list as OpenAI shapes it. `created` is the same for all: OpenAI's clients show it at most.
pub(crate) fn list_openai() -> Vec<u8> {
    let data: Vec<_> = LISTED
        .iter()
        .map(|(id, ..)| json!({"id": id, "object": "model", "created": 1_756_684_800, "owned_by": "anthropic"}))
        .collect();
    json!({"object": "list", "data": data})
        .to_string()
        .into_bytes()
}

/// The list as Anthropic shapes it.
pub(crate) fn list_anthropic() -> Vec<u8> {
    let data: Vec<_> = LISTED
        .iter()
        .map(|(id, name, created)| json!({"type": "model", "id": id, "display_name": name, "created_at": created}))
        .collect();
    let (first, last) = (LISTED[0].0, LISTED[LISTED.len() - 1].0);
    json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        .to_string()
        .into_bytes()
}

fn unknown(requested: &str) -> ApiError {
    // The id is the caller's own text; a bound keeps the answer small.
    let shown: String = requested
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect();
    let text = format!(
        "model: {shown} is not known; ask for a full id such as claude-sonnet-4-6, or for opus, sonnet, haiku or fable"
    );
    ApiError::new(ErrorKind::NotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(requested: &str, expect: Option<&str>) {
        assert_eq!(resolve(requested).ok().as_deref(), expect, "{requested}");
    }

    #[test]
    fn full_ids_pass_and_short_names_become_aliases() {
        for full in [
            "claude-opus-4-6",
            "claude-sonnet-4-20250514",
            "claude-3-5-haiku-20241022",
            "claude-sonnet-4-6[1m]",
            "claude-fable-5-2",
        ] {
            check(full, Some(full));
        }
        for (short, alias) in [
            ("sonnet", "sonnet"),
            ("claude-opus", "opus"),
            ("claude-max/claude-haiku", "haiku"),
            ("claude-code-cli/claude-opus-4", "claude-opus-4"),
            ("anthropic/claude-sonnet-4-6", "claude-sonnet-4-6"),
            ("sonnet[1m]", "sonnet[1m]"),
            ("default", "default"),
        ] {
            check(short, Some(alias));
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for id in [
            "",
            "gpt-4o",
            "claude",
            "claude-",
            "--model",
            "-opus",
            "claude-opus\n",
            "claude opus",
            "x/",
            "opus;ls",
        ] {
            check(id, None);
        }
        check(&format!("claude-opus-{}", "9".repeat(300)), None);
        let error = resolve("gpt-4o").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("gpt-4o") && error.message.contains("sonnet"));
    }

    #[test]
    fn every_listed_model_can_be_asked_for() {
        for (id, ..) in LISTED {
            check(id, Some(id));
        }
    }
}
