//! What conversations leave on the disk: nothing once nobody can go on from it.

use super::*;

/// Begins a conversation of alpha's whose first turn the API refuses.
#[track_caller]
fn be_refused(gateway: &Gateway) {
    let mut failing = Chat::of("alpha");
    failing
        .messages
        .push(json!({"role": "user", "content": "SECRET-42 [[status:400]]"}));
    failing
        .send(gateway)
        .assert_error(400, "invalid_request_error");
}

#[test]
fn run_that_nothing_is_remembered_of_leaves_no_file() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).set("cli", "warm: off").start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    assert_eq!(session_files(&gateway, "alpha").len(), 1);
    be_refused(&gateway);
    wait_until(PATIENCE, "that only the first is left", || {
        session_files(&gateway, "alpha").len() == 1
    });
    assert_eq!(chat.ask(&gateway, "two"), "resumed");
}

#[test]
fn refused_conversation_leaves_no_word_where_a_process_was_started_ahead() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    // The one that waits for this conversation, and the one that was started ahead.
    wait_until(PATIENCE, "two that wait", || {
        waiting(&gateway, "alpha").len() == 2
    });
    be_refused(&gateway);
    wait_until(PATIENCE, "that only the first is left", || {
        let files = session_files(&gateway, "alpha");
        let said = files
            .iter()
            .map(|it| fs::read_to_string(it).unwrap_or_default());
        files.len() == 1 && !said.collect::<String>().contains("SECRET-42")
    });
    assert_eq!(chat.ask(&gateway, "two"), "warm");
}

#[test]
fn forgotten_conversations_leave_no_file() {
    let (api, temporary) = (ScriptedApi::start(), TempDir::new());
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "warm: off")
        .set("session", "ttl: 1")
        .set("session", "cleanup_interval: 1")
        .daemon_env("TMPDIR", temporary.path().to_str().unwrap())
        .start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, turn(2));
    // Where the CLI had its copy of the image.
    let shown = api.last_prompt().body["messages"].to_string();
    let copy = shown.split_once("[Image: source: ").unwrap().1;
    let copy = PathBuf::from(copy.split_once(']').unwrap().0);
    assert!(copy.starts_with(temporary.path()), "{}", copy.display());
    wait_until(PATIENCE, "no session file", || {
        session_files(&gateway, "alpha").is_empty()
    });
    wait_until(PATIENCE, "no image", || {
        !copy.ancestors().nth(2).unwrap().exists()
    });
    assert_eq!(chat.ask(&gateway, "two"), "reseeded");
}

#[test]
fn session_is_not_forgotten_while_a_run_goes_on_from_it() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("session", "ttl: 8")
        .set("session", "cleanup_interval: 1")
        .start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one [[bash:echo hidden]]");
    let (go, forgotten) = (gateway.dir.path().join("go"), "conversations forgotten");
    // Longer than `session.ttl`: until another one, which came later, is forgotten.
    let command = format!("until [ -e {} ]; do sleep 0.1; done", go.display());
    std::thread::scope(|scope| {
        let gateway = &gateway;
        let long = scope.spawn(move || {
            let outcome = chat.ask(gateway, format!("two [[bash:{command}]]"));
            (outcome, chat)
        });
        api.wait_for_prompts(3);
        Chat::of("beta").ask(gateway, "another");
        gateway.log_contains(forgotten);
        fs::write(&go, "").unwrap();
        let (outcome, mut chat) = long.join().unwrap();
        assert_eq!(outcome, "warm");
        // The session has all of it, also without its process.
        kill_waiting(gateway, "alpha");
        assert_eq!(chat.ask(gateway, "three"), "resumed");
        let seen = json!(messages(&api, gateway)).to_string();
        assert!(seen.contains("echo hidden"), "{seen}");
    });
}

#[test]
fn conversations_that_grew_old_while_the_gateway_was_off_leave_no_file() {
    let api = ScriptedApi::start();
    let mut gateway = Setup::with_real_cli(&api).set("cli", "warm: off").start();
    let (mut old, mut new) = (Chat::of("alpha"), Chat::of("alpha"));
    old.ask(&gateway, "one");
    gateway.stop_only();
    let path = gateway.dir.path().join("state/sessions.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let at = log.find("\"at\":").unwrap() + 5;
    let end = at + log[at..].find(',').unwrap();
    fs::write(&path, format!("{}1000{}", &log[..at], &log[end..])).unwrap();
    assert_eq!(session_files(&gateway, "alpha").len(), 1);
    gateway.start_again();
    wait_until(PATIENCE, "no session file", || {
        session_files(&gateway, "alpha").is_empty()
    });
    assert_eq!(old.ask(&gateway, "two"), "reseeded");
    new.ask(&gateway, "another");
    assert_eq!(new.ask(&gateway, "two"), "resumed");
}
