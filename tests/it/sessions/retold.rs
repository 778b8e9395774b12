//! Conversations that are made anew of the client's history, and those that this cannot be done for.

use super::*;

#[test]
fn what_is_lost_is_told_again_from_the_clients_history() {
    let api = ScriptedApi::start();
    let mut gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    let ask_again = |chat: &mut Chat, gateway: &Gateway| {
        let said = chat.messages.len();
        let session = chat.ask(gateway, format!("after {said}"));
        let messages = messages(&api, gateway);
        let roles: Vec<&str> = messages
            .iter()
            .map(|it| it["role"].as_str().unwrap())
            .collect();
        for pair in roles.windows(2) {
            assert_ne!(pair[0], pair[1], "{roles:?}");
        }
        let text = json!(messages).to_string();
        let each = (0..said)
            .step_by(2)
            .map(|it| chat.messages[it]["content"].to_string());
        for part in each {
            assert!(text.contains(part.trim_matches('"')), "{part} in {text}");
        }
        session
    };
    assert_eq!(chat.ask(&gateway, "first [[bash:echo one]]"), "fresh");
    // The CLI's file cut in the middle, without its beginning, gone; and our log full of garbage.
    type Damage = fn(&Gateway);
    let damages: [Damage; 4] = [
        |gateway| damage(gateway, |text| text[..text.len() / 2].to_owned()),
        |gateway| {
            damage(gateway, |text| {
                text.lines()
                    .skip(5)
                    .fold(String::new(), |all, it| all + it + "\n")
            })
        },
        |gateway| {
            session_files(gateway, "alpha")
                .iter()
                .for_each(|it| fs::remove_file(it).unwrap())
        },
        |gateway| {
            fs::write(
                gateway.dir.path().join("state/sessions.jsonl"),
                [0xff; 3000],
            )
            .unwrap()
        },
    ];
    for damage in damages {
        gateway.stop_only();
        damage(&gateway);
        gateway.start_again();
        assert_eq!(ask_again(&mut chat, &gateway), "reseeded");
        assert_eq!(ask_again(&mut chat, &gateway), "warm");
    }
    let seeds = gateway.dir.path().join("state/tenants/alpha/seeds");
    assert_eq!(fs::read_dir(seeds).unwrap().count(), 0);
}

fn damage(gateway: &Gateway, change: fn(&str) -> String) {
    for file in session_files(gateway, "alpha") {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(&text)).unwrap();
    }
}

#[test]
fn conversation_that_the_api_refuses_goes_on_from_the_clients_history() {
    let api = ScriptedApi::start();
    let mut gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one [[bash:echo done]]");
    // What no client sees, and so no client could leave out.
    api.refuse("tool_result");
    let refusals = |gateway: &Gateway| gateway.log().matches("the API refused").count();
    assert_eq!(chat.ask(&gateway, "two"), "reseeded");
    assert_eq!(chat.ask(&gateway, "three"), "warm");
    assert_eq!(refusals(&gateway), 1);
    // Over a restart there is the session alone.
    let mut again = Chat::of("alpha");
    again.messages = chat.messages[..2].to_vec();
    gateway.restart_after("TERM");
    assert_eq!(again.ask(&gateway, "other two"), "reseeded");
    assert_eq!(refusals(&gateway), 1);
    // What is wrong with the newest question is refused in the end: as the session, the history and text have it.
    chat.messages
        .push(json!({"role": "user", "content": "four [[status:400]]"}));
    let refused = chat.send(&gateway);
    refused.assert_error(400, "invalid_request_error");
    assert_eq!(refusals(&gateway), 3);
    chat.messages.pop();
    assert_eq!(chat.ask(&gateway, "other four"), "resumed");
    // Where something was said and done already nothing is tried again.
    chat.messages
        .push(json!({"role": "user", "content": "five [[bash:echo done]]"}));
    chat.send(&gateway)
        .assert_error(400, "invalid_request_error");
    assert_eq!(refusals(&gateway), 3);
    // No file is left of what was refused.
    let sessions = session_files(&gateway, "alpha").len();
    assert!(sessions <= 4, "{sessions}");
}

#[test]
fn unknown_version_is_tried_before_it_gets_a_transcript() {
    let api = ScriptedApi::start();
    let dir = TempDir::new();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '2.9.0 (Claude Code)'; exit 0; }}\nexec {} \"$@\"\n",
        real_cli().display()
    );
    let wrapper = dir.write("claude-2.9.0", script);
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let config_dir = dir.create_dir("claude-config");
    let gateway = Setup::with_cli(dir, &wrapper)
        .tenant_env("alpha", "ANTHROPIC_BASE_URL", &api.url())
        .tenant_env("alpha", "ANTHROPIC_API_KEY", "test-key")
        .tenant_env("alpha", "CLAUDE_CONFIG_DIR", config_dir.to_str().unwrap())
        .start();
    gateway.log_contains("the CLI takes transcripts");
    let mut chat = Chat::of("alpha");
    chat.messages = vec![
        json!({"role": "user", "content": "first"}),
        json!({"role": "assistant", "content": "second"}),
    ];
    assert_eq!(chat.ask(&gateway, "third"), "reseeded");
    assert_eq!(messages(&api, &gateway).len(), 3);
    let left = fs::read_dir(gateway.dir.path().join("state"))
        .unwrap()
        .flatten();
    let names = left.map(|it| it.file_name().into_string().unwrap());
    assert!(names.into_iter().all(|it| !it.starts_with("trial")));
}

#[test]
fn cli_that_takes_no_transcript_gets_the_history_as_text() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let script = fs::read_to_string(fake.path()).unwrap();
    fs::write(fake.path(), script.replace(VERSION, "2.9.0")).unwrap();
    let gateway = Setup::with_cli(dir, fake.path()).start();
    gateway.log_contains("does not take transcripts");
    let mut chat = Chat::of("alpha");
    chat.messages = vec![
        json!({"role": "user", "content": "first"}),
        json!({"role": "assistant", "content": "second"}),
    ];
    assert_eq!(chat.ask(&gateway, "third"), "reseeded");
    let prompts = fake.prompts().concat();
    let line = prompts.lines().find(|it| it.contains("third")).unwrap();
    assert!(line.contains("first") && line.contains("second"), "{line}");
}
