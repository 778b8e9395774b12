//! Which settings of its instance a run may change: those that say how the instance talks, and to whom. None that runs a program, names a
//! file or an address, or holds a secret: then the next prompt could go elsewhere. Pure.

use serde_json::Value;

use super::policy::shown;

/// Where settings are that may be changed.
const ROOTS: [&str; 8] = [
    "agents",
    "bindings",
    "broadcast",
    "channels",
    "cron",
    "messages",
    "session",
    "ui",
];

/// What the name of a setting that does more has in it, in small letters (from the schema of OpenClaw 2026.9.6, and wide enough
/// for what comes after it).
const TELLING: [&str; 39] = [
    "address",
    "auth",
    "backend",
    "binary",
    "cli",
    "cmd",
    "command",
    "credential",
    "cwd",
    "danger",
    "directory",
    "docker",
    "domain",
    "elevated",
    "endpoint",
    "exec",
    "file",
    "hook",
    "host",
    "include",
    "key",
    "mcp",
    "network",
    "password",
    "path",
    "plugin",
    "port",
    "proxy",
    "relay",
    "root",
    "runtime",
    "sandbox",
    "script",
    "secret",
    "server",
    "store",
    "token",
    "tool",
    "url",
];

/// Such names, as a whole or at the end.
const TELLING_ENDS: [&str; 4] = ["dir", "env", "uri", "workspace"];

/// A setting has fewer names above it.
const DEPTH_MAX: usize = 32;

/// A path and a value.
///
/// # Errors
/// Why this is not for runs, for the model to read.
pub(super) fn check(words: &[&str]) -> Result<(), String> {
    let [path, value] = words else {
        return Err("write `config set PATH VALUE`, the value in one word".to_owned());
    };
    check_path(&[path])?;
    // OpenClaw reads JSON5, in which one thing can be written in many ways: only JSON is looked into, and what is
    // neither JSON nor a plain word could be anything.
    match serde_json::from_str(value) {
        Ok(value) => check_value(&value, 0),
        Err(_) => check_word(value),
    }
}

/// A text that OpenClaw takes as it is.
fn check_word(word: &str) -> Result<(), String> {
    let begins =
        |c: char| c.is_alphanumeric() || matches!(c, '@' | '+' | '-' | '_') || is_picture(c);
    let is_plain = word.chars().next().is_some_and(begins)
        && !word.contains(['\\', '"', '\'', '`', '{', '[', '\u{feff}'])
        && !word.chars().any(char::is_control)
        && !["/*", "//"].iter().any(|it| word.contains(it));
    match is_plain {
        true => check_text(word),
        false => Err(format!(
            "`{}` is neither strict JSON nor a plain word; write it as JSON, a text in double quotes",
            shown(word)
        )),
    }
}

/// Emoji and the like, of which reactions are made.
fn is_picture(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace() && !c.is_control() && c != '\u{feff}'
}

/// What OpenClaw looks up elsewhere, or where it asks.
fn check_text(text: &str) -> Result<(), String> {
    match text.contains("${") || text.contains("://") {
        true => {
            Err("a value that is looked up elsewhere, or an address, is not for runs".to_owned())
        }
        false => Ok(()),
    }
}

/// A path alone.
///
/// # Errors
/// Why this is not for runs, for the model to read.
pub(super) fn check_path(words: &[&str]) -> Result<(), String> {
    let [path] = words else {
        return Err("which setting? Write its path, in one word".to_owned());
    };
    // Quotes and escapes are read by OpenClaw's own rules.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(other) = path.chars().find(|it| !is_plain(*it)) {
        return Err(format!(
            "`{}` has {other:?} in it; write a path of names and dots",
            shown(path)
        ));
    }
    let mut names = path.split('.');
    let root = names.next().unwrap_or_default();
    if !ROOTS.contains(&root) {
        return Err(format!(
            "`{}` is not for runs to change; there are: {}",
            shown(root),
            ROOTS.join(", ")
        ));
    }
    names.try_for_each(check_name)
}

fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("the value goes too deep".to_owned());
    }
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            check_name(name)?;
            check_value(value, depth + 1)
        }),
        Value::Array(items) => items.iter().try_for_each(|it| check_value(it, depth + 1)),
        Value::String(text) => check_text(text),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let small = name.to_ascii_lowercase();
    let tells = TELLING.iter().any(|it| small.contains(it))
        || TELLING_ENDS.iter().any(|it| small.ends_with(it))
        // Of references to secrets, and of files that are included.
        || ["$", "source", "__proto__"].iter().any(|it| small.starts_with(it));
    match tells {
        true => Err(format!(
            "`{}` is how your instance is reached, what it runs or what it keeps secret; it is not for runs",
            shown(name)
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(words: &[&str], part: &str) {
        let error = check(words).unwrap_err();
        assert!(error.contains(part), "{words:?}: {error}");
    }

    #[test]
    fn how_an_instance_talks_may_be_changed() {
        for words in [
            ["agents.defaults.model", "x/y"],
            ["agents.defaults.heartbeat.every", "30m"],
            ["channels.telegram.allowFrom", r#"["123", "@me"]"#],
            ["messages.ackReaction", "👀"],
            ["session.reset", r#"{"mode": "daily", "atHour": 4}"#],
            ["cron.enabled", "true"],
            ["session.dmScope", "per-peer"],
            ["channels.telegram.replyToMode", "\"first\""],
            ["bindings.0.agentId", "main"],
        ] {
            assert_eq!(check(&words), Ok(()), "{words:?}");
        }
        assert_eq!(check_path(&["channels.telegram.allowFrom"]), Ok(()));
    }

    #[test]
    fn what_leads_elsewhere_or_runs_programs_may_not() {
        for path in [
            "models.providers.x.baseUrl",
            "models",
            "gateway.port",
            "mcp.servers.x",
            "env.vars.X",
            "secrets",
            "plugins.load.paths",
            "hooks",
            "browser",
            "tools.exec",
            "update",
            "include",
            "",
        ] {
            refused(&[path, "1"], "is not for runs to change");
            assert!(check_path(&[path]).is_err(), "{path}");
        }
        for path in [
            r"m\odels.providers.x",
            r#"["m\u006fdels"].providers"#,
            "models[\"providers\"]",
            "agents defaults",
            "agents[0]",
            "agents.\u{e9}",
            "\"agents\"",
        ] {
            refused(&[path, "1"], "");
        }
        for path in [
            "agents.defaults.cliBackends.x",
            "agents.defaults.models.m.agentRuntime",
            "agents.entries.main.workspace",
            "agents.entries.main.tools.exec",
            "channels.signal.cliPath",
            "channels.imessage.cliPath",
            "channels.telegram.botToken",
            "channels.telegram.proxy",
            "channels.slack.webhookPath",
            "session.store",
            "agents.defaults.sandbox.docker.image",
            "agents.defaults.memorySearch.remote.baseUrl",
            "cron.webhookToken",
        ] {
            refused(&[path, "1"], "it is not for runs");
        }
        for value in [
            r#"{"cliBackends": {"x": {"args": []}}}"#,
            r#"[{"a": {"command": "sh"}}]"#,
            r#"{"source": "exec", "id": "x"}"#,
            r#"{"a": "${HOME}"}"#,
            "{a: 1}",
            "[",
            "${X}",
            r#"{"__proto__": 1}"#,
        ] {
            refused(&["agents.defaults", value], "");
        }
        // JSON5 begins with a comment or a mark, and has texts of its own (taken by OpenClaw 2026.9.6).
        for value in [
            "/**/{cliPath:1}",
            "//\n{cliPath:1}",
            "\u{feff}{cliPath:1}",
            " {cliPath:1}",
            "'\\x24{HOME}/m'",
            r#""\u0024{HOME}""#,
            "https://elsewhere.example",
            "\"wss://elsewhere.example\"",
            "",
            "/etc",
            "main\u{0}",
        ] {
            refused(&["agents.defaults.model", value], "");
        }
        for path in [
            "channels.feishu.domain",
            "channels.imessage.attachmentRoots",
            "channels.nostr.relays",
            "channels.telegram.network.dangerouslyAllowPrivateNetwork",
            "channels.whatsapp.groups.x.toolsBySender",
        ] {
            refused(&[path, "x"], "it is not for runs");
        }
        refused(
            &[
                "channels.whatsapp.groups",
                r#"{"*": {"toolsBySender": {}}}"#,
            ],
            "it is not for runs",
        );
        refused(&[], "PATH VALUE");
        refused(&["agents"], "PATH VALUE");
        refused(&["agents.defaults.model", "x", "y"], "PATH VALUE");
        assert!(check_path(&[]).is_err() && check_path(&["ui", "ui"]).is_err());
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        refused(&["ui.prefs", &deep], "too deep");
    }
}
