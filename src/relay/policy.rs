//! Which `openclaw` commands a run may give its instance: a list, by category. What is not in it is refused. Pure.

/// A category of commands, by its first word.
struct Category {
    name: &'static str,
    /// The words that may follow; none stands for a command that has none.
    commands: &'static [&'static str],
}

const fn category(name: &'static str, commands: &'static [&'static str]) -> Category {
    Category { name, commands }
}

/// All that can be allowed (OpenClaw 2026.9.6). Left out: what signs in or out, what pairs devices, what installs
/// programs, what throws people out of chats, what ends or updates the instance itself, and whatever asks the
/// gateway again while it is waiting.
const CATEGORIES: [Category; 14] = [
    category(
        "cron",
        &[
            "list", "status", "get", "show", "runs", "scratch", "add", "edit", "enable", "disable",
            "run", "rm",
        ],
    ),
    category(
        "message",
        &[
            "send",
            "read",
            "broadcast",
            "react",
            "reactions",
            "edit",
            "delete",
            "pin",
            "unpin",
            "pins",
            "poll",
            "search",
            "thread",
            "sticker",
            "emoji",
            "event",
            "channel",
            "voice",
            "member",
        ],
    ),
    category(
        "agents",
        &[
            "list",
            "bindings",
            "add",
            "bind",
            "unbind",
            "delete",
            "set-identity",
        ],
    ),
    category("sessions", &["", "list", "tail", "archive", "compact"]),
    category("memory", &["search", "status", "index", "promote-explain"]),
    category(
        "models",
        &[
            "list",
            "status",
            "set",
            "set-image",
            "aliases",
            "fallbacks",
            "image-fallbacks",
            "refresh",
        ],
    ),
    category(
        "channels",
        &[
            "list",
            "status",
            "capabilities",
            "resolve",
            "logs",
            "dead-letters",
        ],
    ),
    category(
        "nodes",
        &[
            "status", "list", "describe", "notify", "camera", "screen", "location", "canvas",
            "invoke", "pending",
        ],
    ),
    category("directory", &["self", "peers", "groups"]),
    category("skills", &["list", "info", "check", "search", "verify"]),
    category(
        "config",
        &["get", "set", "unset", "validate", "file", "schema"],
    ),
    category("system", &["event", "heartbeat", "presence"]),
    category("health", &[""]),
    category("status", &[""]),
];

/// The names of all categories.
pub(crate) fn categories() -> impl Iterator<Item = &'static str> {
    CATEGORIES.iter().map(|it| it.name)
}

/// Flags that say nothing about whom a command reaches, and may stand before it.
const HARMLESS: [&str; 5] = ["--json", "--no-color", "--help", "-h", "--verbose"];

/// Flags that lead elsewhere, or read a file or run a program that the list does not know of.
const REFUSED_FLAGS: [&str; 14] = [
    "--profile",
    "--dev",
    "--container",
    "--url",
    "--token",
    "--password",
    "--batch-file",
    "--batch-json",
    "--provider-command",
    "--provider-path",
    "--provider-source",
    "--allow-exec",
    "--ref-source",
    "--local",
];

/// Flags of timers that run a program where the instance is, which may be this machine.
const PROGRAM_FLAGS: [&str; 9] = [
    "--command",
    "--command-argv",
    "--command-cwd",
    "--command-env",
    "--command-input",
    "--on-exit",
    "--script",
    "--stream-command",
    "--trigger-script",
];

/// What a command is called in the log: never its arguments, which may be anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) category: &'static str,
    pub(super) command: &'static str,
}

/// Whether these words may be given to an instance, where these categories are allowed.
///
/// # Errors
/// Why not, for the model to read.
pub(super) fn check(words: &[String], allowed: &[String]) -> Result<Allowed, String> {
    if let Some(flag) = words.iter().find(|it| is_refused_flag(it)) {
        let name = flag.split('=').next().unwrap_or_default();
        return Err(format!(
            "{name} is not for runs: commands go to your own instance, as it is"
        ));
    }
    let mut rest = words
        .iter()
        .map(String::as_str)
        .filter(|it| !HARMLESS.contains(it));
    let first = match rest.next() {
        None => return Err(format!("which command? There are: {}", allowed.join(", "))),
        Some("agent" | "attach" | "chat" | "tui") => {
            return Err(
                "it would ask the gateway while the gateway waits for you; answer yourself"
                    .to_owned(),
            );
        }
        Some("automations") => "cron",
        Some(first) => first,
    };
    let category = CATEGORIES.iter().find(|it| it.name == first);
    let category = category
        .filter(|it| allowed.iter().any(|own| own == it.name))
        .ok_or_else(|| {
            format!(
                "`{}` is not for runs; there are: {}",
                shown(first),
                allowed.join(", ")
            )
        })?;
    // An option of the category itself is no sub-command; its value could be taken for one.
    let second = rest.next().unwrap_or_default();
    let is_bare = second.is_empty() || second.starts_with('-');
    let asks_for_help = words.iter().any(|it| it == "--help" || it == "-h");
    let wanted = if is_bare { "" } else { second };
    let command = category.commands.iter().find(|it| **it == wanted);
    let command = match command {
        Some(command) => *command,
        None if is_bare && asks_for_help => "",
        None => {
            let names: Vec<&str> = category
                .commands
                .iter()
                .filter(|it| !it.is_empty())
                .copied()
                .collect();
            return Err(format!(
                "`{first} {}` is not for runs; there are: {}",
                shown(second),
                names.join(", ")
            ));
        }
    };
    let is_program =
        |it: &&String| PROGRAM_FLAGS.contains(&it.split('=').next().unwrap_or_default());
    if category.name == "cron"
        && let Some(flag) = words.iter().find(is_program)
    {
        let name = flag.split('=').next().unwrap_or_default();
        return Err(format!(
            "{name} would run a program by itself; a timer of a run's asks an agent (--message)"
        ));
    }
    if category.name == "config" && matches!(command, "set" | "unset") && !asks_for_help {
        check_setting(rest)?;
    }
    Ok(Allowed {
        category: category.name,
        command,
    })
}

fn is_refused_flag(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    REFUSED_FLAGS.contains(&name)
}

/// What is set must be named, and be neither how the instance reaches the gateway nor how it is reached itself.
fn check_setting<'w>(words: impl Iterator<Item = &'w str>) -> Result<(), String> {
    // Every word that is no flag: which of them is the path depends on OpenClaw's own parser.
    let mut words = words.filter(|it| !it.starts_with('-')).peekable();
    if words.peek().is_none() {
        return Err("which setting? Write `config set PATH VALUE`".to_owned());
    }
    for word in words {
        let mut parts = word
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|it| !it.is_empty());
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let is_taken = match first {
            "models" => second.is_none_or(|it| it == "providers"),
            "gateway" | "secrets" | "auth" | "env" | "include" => true,
            _ => false,
        };
        if is_taken {
            return Err(format!(
                "`{first}` is how you and your instance are reached; it is not for runs"
            ));
        }
    }
    Ok(())
}

/// A word of the model's, short enough for a message.
fn shown(word: &str) -> String {
    word.chars()
        .filter(|it| !it.is_control())
        .take(40)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<Allowed, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let all: Vec<String> = categories().map(str::to_owned).collect();
        check(&words, &all)
    }

    #[test]
    fn everyday_commands_are_allowed() {
        for (line, category, command) in [
            ("cron list --json", "cron", "list"),
            ("--json cron list", "cron", "list"),
            ("automations add --name x", "cron", "add"),
            (
                "message send --channel telegram --target 1 --message models.providers",
                "message",
                "send",
            ),
            ("sessions --all-agents --active 5", "sessions", ""),
            ("config get models.providers", "config", "get"),
            ("config set agents.defaults.model x/y", "config", "set"),
            ("config set models.pricing 1", "config", "set"),
            ("nodes invoke --command camera.snap", "nodes", "invoke"),
            ("health", "health", ""),
            ("status --json", "status", ""),
            ("cron --help", "cron", ""),
            ("cron add --help", "cron", "add"),
        ] {
            assert_eq!(checked(line), Ok(Allowed { category, command }), "{line}");
        }
    }

    #[test]
    fn what_the_model_is_told_to_use_is_allowed() {
        let text = include_str!("../../openclaw-skill.md");
        let spans = text.split('`').skip(1).step_by(2);
        let commands = spans.filter_map(|it| it.strip_prefix("openclaw "));
        let mut count = 0;
        for command in commands.filter(|it| !matches!(*it, "agent" | "COMMAND --help")) {
            assert!(
                checked(command).is_ok(),
                "{command}: {:?}",
                checked(command)
            );
            count += 1;
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn what_reaches_elsewhere_or_round_in_a_circle_is_refused() {
        for (line, part) in [
            ("", "which command"),
            ("agent --message hi", "while the gateway waits"),
            ("--json agent --message hi", "while the gateway waits"),
            ("attach", "while the gateway waits"),
            ("gateway stop", "`gateway` is not for runs"),
            ("doctor --fix", "not for runs"),
            ("update", "not for runs"),
            ("channels login", "`channels login`"),
            ("models auth login", "`models auth`"),
            ("nodes approve x", "`nodes approve`"),
            ("skills install x", "`skills install`"),
            ("cron", "`cron ` is not"),
            ("--profile other cron list", "--profile"),
            ("cron list --url=ws://elsewhere", "--url"),
            ("--container x cron list", "--container"),
            ("--dev cron list", "--dev"),
            ("config set models.providers.x.baseUrl http://x", "`models`"),
            ("config set models {}", "`models`"),
            ("config set models[\"providers\"] {}", "`models`"),
            ("config set --merge models.providers {}", "`models`"),
            ("config unset models.providers.x", "`models`"),
            ("config set gateway.port 1", "`gateway`"),
            ("config set env.vars.X 1", "`env`"),
            ("cron add --name x --command reboot", "--command would run"),
            ("cron edit x --on-exit=reboot", "--on-exit would run"),
            ("config set", "which setting"),
            ("config set --batch-json [] x", "--batch-json"),
            ("config patch --stdin", "`config patch`"),
            ("config", "`config ` is not"),
            ("cron\u{7}list", "not for runs"),
            ("-- cron list", "not for runs"),
        ] {
            let error = checked(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let words = ["cron", "list"].map(str::to_owned);
        let some = ["status".to_owned()];
        assert!(
            check(&words, &some)
                .unwrap_err()
                .contains("there are: status")
        );
    }
}
