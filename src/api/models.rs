//! Model names: what a client may ask for, and what the CLI is told.

use super::{ApiError, ErrorKind};

/// What the CLI gets as `--model` for a requested id.
///
/// Full ids (`claude-sonnet-4-6`, `claude-3-5-haiku-20241022`) pass unchanged, family names become
/// the CLI's aliases, one `provider/` in front is dropped, and `[1m]` behind stays. The CLI itself
/// would send any text on, so whatever else there is ends here.
///
/// # Errors
/// 404 for an id of no known family.
pub(crate) fn resolve(requested: &str) -> Result<String, ApiError> {
    let id = match requested.split_once('/') {
        Some((provider, id)) if is_name(provider) => id,
        _ => requested,
    };
    let (base, suffix) = match id.strip_suffix(LONG_CONTEXT) {
        Some(base) => (base, LONG_CONTEXT),
        None => (id, ""),
    };
    let name = base.strip_prefix("claude-").unwrap_or(base);
    if requested.len() > ID_MAX {
        Err(unknown(requested))
    } else if ALIASES.contains(&base) || FAMILIES.contains(&name) {
        Ok(format!("{name}{suffix}"))
    } else if is_full_id(base) {
        Ok(id.to_owned())
    } else {
        Err(unknown(requested))
    }
}

/// Whether the API takes temperature, top_p and top_k for a model of this name, as far as the CLI
/// knows: it sends `temperature` up to version 4.6 and to no later model (measured with 2.1.330).
/// What an alias stands for changes, and is the newest.
pub(super) fn takes_sampling(model: &str) -> bool {
    let words = model
        .strip_suffix(LONG_CONTEXT)
        .unwrap_or(model)
        .split(['-', '.']);
    // A date is no version.
    let mut numbers = words
        .filter(|word| word.len() <= 2)
        .filter_map(|word| word.parse::<u32>().ok());
    let Some(major) = numbers.next() else {
        return false;
    };
    (major, numbers.next().unwrap_or(0)) < (4, 7)
}

/// Names that the CLI resolves to its newest models; the families are others.
const ALIASES: [&str; 3] = ["best", "default", "opusplan"];

const FAMILIES: [&str; 4] = ["opus", "sonnet", "haiku", "fable"];

/// Asks for the context window of a million tokens.
const LONG_CONTEXT: &str = "[1m]";

/// Longer than any id there is, Bedrock's included.
const ID_MAX: usize = 200;

/// `claude`, one family, and a version or date before or behind it, with `-` between.
fn is_full_id(id: &str) -> bool {
    let Some(rest) = id.strip_prefix("claude-") else {
        return false;
    };
    let families = rest.split('-').filter(|word| FAMILIES.contains(word));
    let is_version = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    families.count() == 1 && rest.split('-').any(is_version) && rest.split('-').all(is_name)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What `GET /v1/models` lists: id and name.
pub(super) const LISTED: [(&str, &str); 11] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-fable-5-2", "Claude Fable 5.2"),
    ("claude-opus-4-6", "Claude Opus 4.6"),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
    ("opus", "Newest Claude Opus"),
    ("sonnet", "Newest Claude Sonnet"),
    ("haiku", "Newest Claude Haiku"),
    ("fable", "Newest Claude Fable"),
];

fn unknown(requested: &str) -> ApiError {
    // The id is the caller's own text; a bound keeps the answer small.
    let shown: String = requested
        .chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .take(ID_MAX)
        .collect();
    let text = format!(
        "model: {shown} is not known; ask for a full id such as {}, or for one of {}, {}",
        LISTED[1].0,
        FAMILIES.join(", "),
        ALIASES.join(", "),
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
    fn full_ids_pass_unchanged() {
        for id in [
            "claude-opus-4-6",
            "claude-sonnet-4-20250514",
            "claude-3-5-haiku-20241022",
            "claude-3-7-sonnet-latest",
            "claude-sonnet-4.6",
            "claude-opus-4",
            "claude-sonnet-4-6[1m]",
            "claude-fable-5-2",
        ] {
            check(id, Some(id));
        }
    }

    #[test]
    fn family_names_become_aliases() {
        for (id, alias) in [
            ("opus", "opus"),
            ("sonnet", "sonnet"),
            ("haiku", "haiku"),
            ("fable", "fable"),
            ("best", "best"),
            ("default", "default"),
            ("opusplan", "opusplan"),
            ("claude-opus", "opus"),
            ("claude-sonnet", "sonnet"),
            ("claude-haiku", "haiku"),
            ("sonnet[1m]", "sonnet[1m]"),
            ("claude-opus[1m]", "opus[1m]"),
        ] {
            check(id, Some(alias));
        }
    }

    #[test]
    fn sampling_depends_on_the_version() {
        for (model, expect) in [
            ("claude-3-5-haiku-20241022", true),
            ("claude-sonnet-4-20250514", true),
            ("claude-opus-4-1", true),
            ("claude-sonnet-4.6", true),
            ("claude-sonnet-4-6[1m]", true),
            ("claude-opus-4-7", false),
            ("claude-sonnet-5", false),
            ("claude-opus-5-5", false),
            ("opus", false),
            ("sonnet[1m]", false),
        ] {
            assert_eq!(takes_sampling(model), expect, "{model}");
        }
    }

    #[test]
    fn one_provider_in_front_is_dropped() {
        for provider in [
            "claude-code-cli",
            "claude-max",
            "anthropic",
            "ccgw",
            "claude-max-proxy",
            "my.own_1",
        ] {
            check(
                &format!("{provider}/claude-opus-4-6"),
                Some("claude-opus-4-6"),
            );
            check(&format!("{provider}/claude-haiku"), Some("haiku"));
            check(&format!("{provider}/gpt-4o"), None);
            check(&format!("{provider}/"), None);
            check(&format!("{provider}/a/sonnet"), None);
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for id in [
            "",
            "/",
            "/opus",
            "-/opus",
            "gpt-4o",
            "claude",
            "claude-",
            "claude-2.1",
            "claude-instant-1.2",
            "claude-opus-",
            "claude-opus-latest",
            "claude-opus-sonnet-4",
            "claude-best",
            "Claude-Opus-4",
            "opus-4-6",
            "--model",
            "-opus",
            "x/--opus",
            "x/-claude-opus-4",
            "claude-opus-4\n",
            "claude-opus-4 6",
            "claude-opus-4[2m]",
            "claude-opus-4[1m][1m]",
            "opus;ls",
            "claude-opus-4/..",
            "opus\u{0}",
        ] {
            check(id, None);
        }
        check(
            &format!("claude-opus-{}", "9".repeat(188)),
            Some(&format!("claude-opus-{}", "9".repeat(188))),
        );
        check(&format!("claude-opus-{}", "9".repeat(189)), None);
    }

    #[test]
    fn refusal_names_the_id_and_what_works() {
        let error = resolve("gpt-4o").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(
            error.message,
            "model: gpt-4o is not known; ask for a full id such as claude-sonnet-5-5, or for one of opus, sonnet, haiku, fable, best, default, opusplan"
        );
        let error = resolve(&"\n".repeat(100_000)).unwrap_err();
        assert!(error.message.len() < 1000 && !error.message.contains('\n'));
    }

    #[test]
    fn every_listed_model_can_be_asked_for() {
        for (id, _) in LISTED {
            check(id, Some(id));
        }
    }
}
