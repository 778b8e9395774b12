use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn all() -> Vec<String> {
    categories().map(str::to_owned).collect()
}

#[track_caller]
fn allowed(line: &str, command: &str) {
    let words = words(line);
    let found = check(&words, &all());
    assert_eq!(found.map(|it| it.command), Ok(command), "{line}");
}

#[track_caller]
fn refused(line: &str, part: &str) {
    let words = words(line);
    let error = check(&words, &all()).unwrap_err();
    assert!(error.contains(part), "{line}: {error}");
}

#[test]
fn everyday_commands_are_allowed() {
    for (line, command) in [
        ("cron list --json", "cron list"),
        ("--json cron list", "cron list"),
        ("automations add --name x", "cron add"),
        (
            "message send --channel telegram --target -100123 --message models.providers",
            "message send",
        ),
        ("message send -t x -m --url", "message send"),
        (
            "message broadcast --channel c --targets a b --message m",
            "message broadcast",
        ),
        ("sessions --all-agents --active 5", "sessions"),
        ("sessions list --active=5", "sessions list"),
        ("config get models.providers", "config get"),
        ("config set agents.defaults.model x/y", "config set"),
        ("config set --merge ui.prefs {}", "config set"),
        ("nodes invoke --command camera.snap", "nodes invoke"),
        ("nodes camera snap --node n", "nodes camera snap"),
        ("directory peers list --channel c", "directory peers list"),
        ("health", "health"),
        ("status --json", "status"),
        ("cron --help", "--help"),
        ("nodes camera --help", "--help"),
        ("cron add --help", "cron add"),
        ("config set --help", "config set"),
    ] {
        allowed(line, command);
    }
}

#[test]
fn what_the_model_is_told_to_use_is_allowed() {
    let text = include_str!("../../../openclaw-skill.md");
    let spans = text.split('`').skip(1).step_by(2);
    let commands = spans.filter_map(|it| it.strip_prefix("openclaw "));
    let mut count = 0;
    for command in commands.filter(|it| !matches!(*it, "agent" | "COMMAND --help")) {
        // `PATH` and `VALUE` stand for some.
        let command = command.replace("PATH", "ui.prefs");
        let words = words(&command);
        assert!(
            check(&words, &all()).is_ok(),
            "{command}: {:?}",
            check(&words, &all())
        );
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn files_are_named_for_whoever_knows_where_the_instance_is() {
    let line = words("message send --target x --media /a/b --media=https://c");
    let found = check(&line, &all()).unwrap();
    let files: Vec<_> = found
        .files
        .iter()
        .map(|it| (it.flag, it.value, it.is_media))
        .collect();
    assert_eq!(
        files,
        [("--media", "/a/b", true), ("--media", "https://c", true)]
    );
    let line = words("cron scratch id --file /etc/passwd");
    let found = check(&line, &all()).unwrap();
    assert_eq!(
        (found.files[0].flag, found.files[0].is_media),
        ("--file", false)
    );
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
        ("models auth login", "`models auth login`"),
        ("models auth login --help", "`models auth login`"),
        ("nodes approve x", "`nodes approve x`"),
        ("skills install x", "`skills install x`"),
        ("sessions delete x", "`sessions delete x`"),
        ("nodes camera", "`nodes camera` is not"),
        ("message thread delete", "`message thread delete` is not"),
        ("cron", "`cron` is not"),
        ("--profile other cron list", "--profile"),
        ("message send --message --profile=x", "--profile"),
        ("cron list --url=ws://elsewhere", "`--url` is not for runs"),
        ("cron list --port 1", "`--port` is not for runs"),
        ("cron list --token x", "`--token`"),
        ("--container x cron list", "--container"),
        ("--dev cron list", "--dev"),
        ("cron list --timeout", "needs a value"),
        ("cron list --all=yes", "takes no value"),
        ("cron list -x", "`-x` is not for runs"),
        ("cron list --", "`--` is not for runs"),
        ("config set models.providers.x.baseUrl http://x", "`models`"),
        ("config set models {}", "`models`"),
        ("config set --merge models.providers {}", "`models`"),
        ("config set models.providers.x.apiKey k --help", "`models`"),
        (
            "config set -- models.providers.x.apiKey --help",
            "`--` is not",
        ),
        ("config set --strict-json models {} --help", "`models`"),
        ("config set --expect-current-json ui models 1", "`models`"),
        ("config unset models.providers.x", "`models`"),
        ("config set gateway.port 1", "`gateway`"),
        ("config set mcp.servers.x {}", "`mcp`"),
        (
            "cron add --name x --command reboot",
            "`--command` is not for runs",
        ),
        (
            "cron edit x --on-exit=reboot",
            "`--on-exit` is not for runs",
        ),
        ("cron add --webhook http://x", "`--webhook`"),
        ("config set", "config set PATH VALUE"),
        ("config set --batch-json [] x", "`--batch-json`"),
        ("config patch --stdin", "`config patch`"),
        ("config", "`config` is not"),
        ("cron\u{7}list", "not for runs"),
        ("-- cron list", "not for runs"),
        ("-x cron list", "not for runs"),
    ] {
        refused(line, part);
    }
    let words = ["cron", "list"].map(str::to_owned);
    let some = ["status".to_owned()];
    let error = check(&words, &some).unwrap_err();
    assert!(error.contains("there are: status"), "{error}");
    let words = ["cron", "--help"].map(str::to_owned);
    assert!(check(&words, &some).is_err());
}
