//! The real CLI fenced in: prompt text stays text, tenants do not see each other, no process stays.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    api::{Received, ScriptedApi},
    client::Connection,
    gateway::{Gateway, MODEL, key_of, prompt, streaming},
    process::{DEAD_WITHIN, cmdline, descendants, is_alive, wait_until, wait_until_gone},
    setup::Setup,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(api: &ScriptedApi) -> Gateway {
    Setup::with_real_cli(api).start()
}

#[test]
fn prompt_text_is_text_and_never_a_command_or_a_file() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let secret = gateway.dir.write("private/secret.txt", "FILE-CONTENT-42\n");
    gateway.dir.write("private/other-name-43.txt", "");
    let dir = secret.parent().unwrap().display().to_string();
    let secret = secret.display().to_string();
    let check = |content: Value, text: &str| {
        let before = api.prompts().len();
        let body = json!({"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": content}]});
        let answer = gateway.ask("alpha", &body).answer_text();
        let new = api.prompts().split_off(before);
        assert_eq!(
            new.len(),
            1,
            "{text:?} reached the model {} times, answer {answer:?}",
            new.len()
        );
        assert!(
            new[0].user_text().contains(text),
            "{text:?} arrived as {:?}",
            new[0].user_text()
        );
        assert!(!new[0].mentions("FILE-CONTENT-42"), "{text:?} was expanded");
        assert!(!new[0].mentions("other-name-43"), "{text:?} was listed");
        assert!(answer.contains(text), "{answer:?}");
    };
    let texts = [
        "@/etc/hostname".to_owned(),
        format!("@{secret}"),
        format!("read @{secret} please"),
        format!("@\"{secret}\""),
        format!("@{dir}"),
        format!("@{dir}/"),
        "@agent-Explore look around".to_owned(),
        "/clear".to_owned(),
        "/context".to_owned(),
        "/cost".to_owned(),
        "/compact".to_owned(),
        "/model x".to_owned(),
        "/help me".to_owned(),
        "/etc/passwd is a file".to_owned(),
        "!ls".to_owned(),
        "#remember this".to_owned(),
    ];
    for text in &texts {
        check(text.as_str().into(), text);
    }
    check(
        json!([{"type": "text", "text": "first"}, {"type": "text", "text": "/context"}]),
        "/context",
    );
    check(
        json!([{"type": "text", "text": "/clear"}, {"type": "text", "text": "second"}]),
        "/clear",
    );
    check(
        json!([{"type": "text", "text": "first"}, {"type": "text", "text": format!("@{secret}")}]),
        &secret,
    );
}

#[test]
fn skills_are_seen_by_their_own_tenant_only() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .skill("alpha", "weather", "ALPHA-SKILL-MARK tells the weather")
        .skill("beta", "traffic", "BETA-SKILL-MARK tells the traffic")
        .start();
    let seen_by = |tenant: &str| -> Received {
        gateway.ask(tenant, &prompt("hi")).answer_text();
        api.last_prompt()
    };
    let alpha = seen_by("alpha");
    assert!(
        alpha.mentions("ALPHA-SKILL-MARK"),
        "alpha's skill did not reach the model"
    );
    assert!(
        !alpha.mentions("BETA-SKILL-MARK"),
        "beta's skill reached alpha's model"
    );
    let beta = seen_by("beta");
    assert!(beta.mentions("BETA-SKILL-MARK") && !beta.mentions("ALPHA-SKILL-MARK"));
}

#[test]
fn working_directory_cannot_configure_the_cli() {
    let api = ScriptedApi::start();
    let setup = Setup::with_real_cli(&api);
    let work = setup.dir.create_dir("outer/work");
    let ran = setup.dir.path().join("hook-ran");
    let touch = format!("touch {}", ran.display());
    let hook = json!([{"hooks": [{"type": "command", "command": touch}]}]);
    let settings = json!({"hooks": {"UserPromptSubmit": hook, "SessionStart": hook, "PreToolUse": hook, "Stop": hook}});
    let servers = json!({"mcpServers": {"planted": {"command": "touch", "args": [ran]}}});
    for place in ["outer", "outer/work"] {
        setup
            .dir
            .write(&format!("{place}/CLAUDE.md"), "PLANTED-MEMORY\n");
        setup.dir.write(
            &format!("{place}/.claude/settings.json"),
            settings.to_string(),
        );
        setup.dir.write(
            &format!("{place}/.claude/settings.local.json"),
            settings.to_string(),
        );
        setup
            .dir
            .write(&format!("{place}/.mcp.json"), servers.to_string());
        let skill = "---\nname: planted\ndescription: PLANTED-SKILL\n---\nx\n";
        setup
            .dir
            .write(&format!("{place}/.claude/skills/planted/SKILL.md"), skill);
    }
    let gateway = setup.working_dir("alpha", &work).start();
    let answer = gateway.ask("alpha", &prompt("[[bash:pwd]]")).answer_text();
    assert!(answer.contains("outer/work"), "{answer}");
    for request in api.prompts() {
        assert!(
            !request.mentions("PLANTED-MEMORY"),
            "CLAUDE.md of the directory reached the model"
        );
        assert!(
            !request.mentions("PLANTED-SKILL"),
            "a skill of the directory reached the model"
        );
        assert!(
            !request.mentions("mcp__planted"),
            "an MCP server of the directory reached the model"
        );
    }
    assert!(
        !fs::exists(&ran).unwrap(),
        "a hook or an MCP server of the directory was run"
    );
}

#[test]
fn tool_sees_no_key_of_the_gateway_and_no_other_tenants_secret() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .daemon_env("DAEMON_SECRET", "secret-of-the-daemon")
        .tenant_env("alpha", "ALPHA_VALUE", "value-of-alpha")
        .tenant_env("beta", "BETA_SECRET", "secret-of-beta")
        .start();
    let environment = gateway.ask("alpha", &prompt("[[bash:env]]")).answer_text();
    assert!(
        environment.contains("ALPHA_VALUE=value-of-alpha"),
        "{environment}"
    );
    for foreign in [
        "secret-of-the-daemon",
        "secret-of-beta",
        &key_of("alpha"),
        &key_of("beta"),
    ] {
        assert!(!environment.contains(foreign), "{foreign} in {environment}");
    }
}

#[test]
fn no_core_of_a_run_is_written_and_what_is_open_to_others_is_made_private() {
    use std::os::unix::fs::PermissionsExt;
    let api = ScriptedApi::start();
    let setup = Setup::with_real_cli(&api);
    let state = setup.dir.create_dir("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = setup.start();
    let file = gateway.dir.path().join("config.yaml");
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    gateway.log_contains("was open to other users");
    let said = gateway.ask("alpha", &prompt("[[bash:ulimit -c; ulimit -Hc]]"));
    assert_eq!(said.answer_text(), "result: 0\n0");
    let mode = fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(mode & 0o066, 0, "{mode:o}");
}

#[test]
fn tenants_do_not_share_their_login() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .tenant_env("beta", "ANTHROPIC_CUSTOM_HEADERS", "x-of-beta: yes")
        .start();
    gateway.ask("alpha", &prompt("hi")).answer_text();
    assert_eq!(api.last_prompt().header("x-of-beta"), None);
    gateway.ask("beta", &prompt("hi")).answer_text();
    assert_eq!(api.last_prompt().header("x-of-beta"), Some("yes"));
}

/// Starts a Bash call that leaves a process in a session of its own, and waits until it is there.
#[track_caller]
fn start_with_grandchild(gateway: &Gateway, api: &ScriptedApi) -> Connection {
    let command = "setsid nohup tail -f /dev/null >/dev/null 2>&1 & tail -f /dev/null";
    let connection = gateway.send("alpha", &streaming(&prompt(&format!("[[bash:{command}]]"))));
    api.wait_for_prompts(1);
    wait_until(PATIENCE, "both processes of the Bash call", || {
        let tails = gateway
            .processes_of("alpha")
            .into_iter()
            .filter(|pid| cmdline(*pid).starts_with("tail "));
        tails.count() == 2
    });
    connection
}

#[test]
fn grandchildren_end_when_the_client_leaves() {
    let api = ScriptedApi::start();
    let gateway = start(&api);
    let connection = start_with_grandchild(&gateway, &api);
    drop(connection);
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    gateway.stop();
}

#[test]
fn grandchildren_end_at_the_timeout() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "timeout: 5000")
        .start();
    let connection = start_with_grandchild(&gateway, &api);
    let answer = connection.answer().read_whole();
    assert!(
        answer.status == 504 || answer.text().contains("event: error"),
        "{}",
        answer.text()
    );
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}

#[test]
fn grandchildren_end_when_the_daemon_is_killed() {
    let api = ScriptedApi::start();
    let mut gateway = start(&api);
    let _connection = start_with_grandchild(&gateway, &api);
    let tree = descendants(gateway.pid());
    gateway.kill();
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    wait_until(DEAD_WITHIN, "the end of the daemon's own processes", || {
        !tree.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn background_task_does_not_hold_the_answer() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).set("cli", "warm: off").start();
    let answer = gateway.ask(
        "alpha",
        &prompt("[[bash:setsid tail -f /dev/null >/dev/null 2>&1 & echo started]]"),
    );
    assert_eq!(answer.answer_text(), "result: started");
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}
