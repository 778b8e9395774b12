//! Conversations that go on, with the real CLI: what the API receives is what one process that lived through
//! all of it would have sent, whatever happens in between.

mod ahead;
mod disturbed;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    api::{CacheReads, ScriptedApi, begins_as},
    cli::{VERSION, real_cli},
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of},
    process::{cmdline, is_alive, signal, wait_until, wait_until_gone},
    setup::{Setup, manage},
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A client with its whole history, as OpenClaw has it.
struct Chat {
    tenant: &'static str,
    messages: Vec<Value>,
}

impl Chat {
    fn of(tenant: &'static str) -> Chat {
        Chat {
            tenant,
            messages: Vec::new(),
        }
    }

    /// Asks, keeps the answer, and tells how the history reached the model.
    #[track_caller]
    fn ask(&mut self, gateway: &Gateway, content: impl Into<Value>) -> String {
        self.messages
            .push(json!({"role": "user", "content": content.into()}));
        let answer = self.send(gateway);
        let text = answer.answer_text();
        self.messages
            .push(json!({"role": "assistant", "content": [{"type": "text", "text": text}]}));
        session_of(&answer)
    }

    #[track_caller]
    fn send(&self, gateway: &Gateway) -> Response {
        gateway.ask(self.tenant, &self.body())
    }

    /// In a conversation of this name.
    #[track_caller]
    fn send_as(&self, gateway: &Gateway, name: &str) -> Response {
        let key = key_of(self.tenant);
        let headers = [("x-api-key", key.as_str()), ("x-ccgw-conversation", name)];
        let client = gateway.client();
        client.post("/v1/messages", &headers, &self.body())
    }

    fn body(&self) -> Value {
        json!({
            "model": MODEL, "max_tokens": 1000, "system": "be brief", "messages": self.messages,
        })
    }
}

fn session_of(answer: &Response) -> String {
    answer.header("x-ccgw-session").unwrap_or("none").to_owned()
}

/// The messages of the newest request to the API, without what differs between two runs of the same.
fn messages(api: &ScriptedApi, gateway: &Gateway) -> Vec<Value> {
    let body = api.last_prompt().body;
    let own = gateway.dir.path().display().to_string();
    let mut messages = body["messages"].as_array().unwrap().clone();
    messages.iter_mut().for_each(|it| plain(it, &own));
    messages
}

fn plain(value: &mut Value, dir: &str) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            for (name, value) in fields {
                match name.as_str() {
                    "id" | "tool_use_id" => *value = "id".into(),
                    _ => plain(value, dir),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|it| plain(it, dir)),
        Value::String(text) => {
            let mangled = dir.replace(|it: char| !it.is_ascii_alphanumeric(), "-");
            *text = without_uuids(&text.replace(dir, "DIR").replace(&mangled, "DIR"));
        }
        _ => {}
    }
}

/// The CLI names the file of an image after its session.
fn without_uuids(text: &str) -> String {
    let is_uuid =
        |part: &str| part.len() == 36 && part.bytes().filter(|it| *it == b'-').count() == 4;
    let parts = text
        .split('/')
        .map(|it| if is_uuid(it) { "UUID" } else { it });
    parts.collect::<Vec<_>>().join("/")
}

/// The process that waits for a tenant's next turn.
fn waiting(gateway: &Gateway, tenant: &str) -> Vec<u32> {
    let is_cli = |pid: &u32| cmdline(*pid).contains("--print");
    let mut pids = gateway.processes_of(tenant);
    pids.retain(is_cli);
    pids
}

#[track_caller]
fn kill_waiting(gateway: &Gateway, tenant: &str) {
    waiting(gateway, tenant)
        .iter()
        .for_each(|pid| signal(*pid, "KILL"));
    wait_until(PATIENCE, "the end of what waited", || {
        waiting(gateway, tenant).is_empty()
    });
}

/// The CLI's session files of a tenant.
fn session_files(gateway: &Gateway, tenant: &str) -> Vec<PathBuf> {
    let projects = gateway
        .dir
        .path()
        .join(format!("claude-config-{tenant}/projects"));
    let projects = fs::read_dir(projects).into_iter().flatten().flatten();
    let files = projects.flat_map(|it| fs::read_dir(it.path()).into_iter().flatten().flatten());
    let files = files.map(|it| it.path());
    files
        .filter(|it| it.extension().is_some_and(|it| it == "jsonl"))
        .collect()
}

/// What the user says in each of twenty turns.
fn turn(number: usize) -> Value {
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    match number % 4 {
        1 => format!("turn {number} [[bash:echo result-{number}]]").into(),
        2 => json!([
            {"type": "text", "text": format!("turn {number}")},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ]),
        _ => format!("turn {number}").into(),
    }
}

#[test]
fn conversation_goes_on_whatever_happens_to_its_process() {
    let (api, undisturbed_api) = (ScriptedApi::start(), ScriptedApi::start());
    let mut gateway = Setup::with_real_cli(&api).start();
    let undisturbed = Setup::with_real_cli(&undisturbed_api).start();
    let (mut chat, mut same) = (Chat::of("alpha"), Chat::of("alpha"));
    let mut before = Value::Null;
    for number in 0..20 {
        let expect = match (number, number % 5) {
            (0, _) => "fresh",
            (_, 1) => {
                kill_waiting(&gateway, "alpha");
                "resumed"
            }
            (_, 3) => {
                gateway.restart_after("KILL");
                "resumed"
            }
            (_, 4) => {
                gateway.restart_after("TERM");
                "resumed"
            }
            _ => "warm",
        };
        assert_eq!(chat.ask(&gateway, turn(number)), expect, "turn {number}");
        let usual = if number == 0 { "fresh" } else { "warm" };
        assert_eq!(same.ask(&undisturbed, turn(number)), usual, "turn {number}");
        let (got, want) = (
            messages(&api, &gateway),
            messages(&undisturbed_api, &undisturbed),
        );
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got, want, "turn {number}");
        }
        assert_eq!(got.len(), want.len(), "turn {number}");
        // Nor does anything keep the API from reading it from its cache.
        let now = api.last_prompt().body;
        if number > 0 {
            begins_as(&before, &now);
        }
        before = now;
    }
}

#[test]
fn long_chat_is_read_from_the_apis_cache_whichever_process_sends_it() {
    let reads = ["on", "off"].map(|warm| {
        let api = ScriptedApi::start();
        let gateway = Setup::with_real_cli(&api)
            .set("cli", format!("warm: {warm}"))
            .start();
        let mut chat = Chat::of("alpha");
        for number in 0..20 {
            let usual = if warm == "on" { "warm" } else { "resumed" };
            let expect = if number == 0 { "fresh" } else { usual };
            assert_eq!(chat.ask(&gateway, turn(number)), expect, "turn {number}");
        }
        let reads = CacheReads::of(&api.prompts());
        eprintln!("could be read from the cache, warm: {warm}: {reads}");
        reads
    });
    let [warm, a_process_each] = reads.each_ref().map(CacheReads::shares);
    assert_eq!(warm, a_process_each, "{reads:?}");
    // All but the first request, and the newest of each.
    assert!(warm.0 >= 90 && warm.1 >= 70, "{reads:?}");
}

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
fn edited_and_shortened_histories_get_their_own_branch() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    for text in ["one", "two [[bash:echo secret-of-two]]", "three"] {
        chat.ask(&gateway, text);
    }
    // Back to the first answer: what came later is not there any more.
    let mut shorter = Chat::of("alpha");
    shorter.messages = chat.messages[..2].to_vec();
    assert_eq!(shorter.ask(&gateway, "other two"), "resumed");
    let seen = json!(messages(&api, &gateway)).to_string();
    assert!(
        seen.contains("one") && !seen.contains("secret-of-two"),
        "{seen}"
    );
    // The same question again: the tool's result is still known.
    let mut again = Chat::of("alpha");
    again.messages = chat.messages[..4].to_vec();
    assert_eq!(again.ask(&gateway, "other three"), "resumed");
    let seen = json!(messages(&api, &gateway)).to_string();
    assert!(seen.contains("secret-of-two"), "{seen}");
    // Another first question, or another answer, has no session.
    for at in [0, 1] {
        let mut edited = Chat::of("alpha");
        edited.messages = chat.messages[..4].to_vec();
        edited.messages[at]["content"] = "EDITED".into();
        assert_eq!(edited.ask(&gateway, "three"), "reseeded");
        let seen = json!(messages(&api, &gateway)).to_string();
        assert!(seen.contains("EDITED"), "{seen}");
    }
    // The first chat's process did not hear of any of it.
    assert_ne!(chat.ask(&gateway, "four"), "reseeded");
    let seen = json!(messages(&api, &gateway)).to_string();
    assert!(
        seen.contains("secret-of-two") && !seen.contains("EDITED") && !seen.contains("other"),
        "{seen}"
    );
}

#[test]
fn tenants_with_the_same_words_never_meet() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "max_concurrent: 2")
        .start();
    let (mut alpha, mut beta) = (Chat::of("alpha"), Chat::of("beta"));
    for chat in [&mut alpha, &mut beta] {
        assert_eq!(chat.ask(&gateway, "hi [[text:same words]]"), "fresh");
    }
    let hidden = "[[bash:test $CCGW_TEST_MARK = no || echo ${CCGW_TEST_MARK##*-}-was-here]]";
    for (chat, own, foreign) in [(&mut alpha, "alpha", "beta"), (&mut beta, "beta", "alpha")] {
        assert_eq!(chat.ask(&gateway, hidden), "warm");
        assert_eq!(chat.ask(&gateway, "go on"), "warm");
        let seen = json!(messages(&api, &gateway)).to_string();
        assert!(seen.contains(&format!("{own}-was-here")), "{seen}");
        assert!(!seen.contains(&format!("{foreign}-was-here")), "{seen}");
    }
    // One who sends the other's history word for word gets a session of its own.
    let mut thief = Chat::of("beta");
    thief.messages = alpha.messages;
    assert_eq!(thief.ask(&gateway, "and?"), "reseeded");
}

#[test]
fn chats_of_one_tenant_with_the_same_words_do_not_share_what_was_done_in_them() {
    let api = ScriptedApi::start();
    let mut gateway = Setup::with_real_cli(&api).start();
    // Both hear the same; what their tools did, which no client sees, is different.
    fs::write(gateway.dir.path().join("count"), "").unwrap();
    let count = gateway.dir.path().join("count").display().to_string();
    let question = format!("[[bash:echo x >> {count}; wc -l < {count} > {count}.$PPID.done]]");
    let (mut one, mut other, mut later) = (Chat::of("alpha"), Chat::of("alpha"), Chat::of("alpha"));
    one.ask(&gateway, question.clone());
    other.ask(&gateway, question.clone());
    assert_eq!(one.messages, other.messages);
    for chat in [&mut other, &mut one] {
        assert_eq!(chat.ask(&gateway, "undo it"), "reseeded");
        let told = api.last_prompt().body["messages"].to_string();
        assert!(!told.contains("tool_result"), "{told}");
    }
    // Those answers are the same again, and so are chats that begin later, over a restart too.
    gateway.restart_after("KILL");
    later.ask(&gateway, question);
    assert_eq!(later.ask(&gateway, "undo it"), "reseeded");
    assert_eq!(one.ask(&gateway, "and again"), "reseeded");
    // From there on it is alone, and goes on as usual.
    assert_eq!(one.ask(&gateway, "and then"), "warm");
}

#[test]
fn another_system_prompt_or_model_takes_another_process() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    chat.messages
        .push(json!({"role": "user", "content": "two"}));
    let mut body =
        json!({"model": MODEL, "max_tokens": 1000, "system": "be long", "messages": chat.messages});
    let answer = gateway.ask("alpha", &body);
    assert_eq!(session_of(&answer), "resumed");
    let last = api.last_prompt();
    assert!(last.system_text().contains("be long") && !last.system_text().contains("be brief"));
    assert!(json!(messages(&api, &gateway)).to_string().contains("one"));
    body["model"] = "claude-opus-4-6".into();
    assert_eq!(session_of(&gateway.ask("alpha", &body)), "resumed");
    assert_eq!(api.last_prompt().body["model"], "claude-opus-4-6");
}

#[test]
fn what_waits_has_limits_and_ends_with_what_it_was_started_for() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "warm: {max_processes: 2, idle_timeout: 3000}")
        .start();
    for text in ["one", "two", "three", "four"] {
        Chat::of("alpha").ask(&gateway, text);
        let waits = waiting(&gateway, "alpha").len();
        // One may be on its way out.
        assert!(waits <= 4, "{waits}");
    }
    wait_until(PATIENCE, "no more than two", || {
        waiting(&gateway, "alpha").len() <= 2
    });
    wait_until_gone(PATIENCE, &gateway.mark());

    let off = Setup::with_real_cli(&api).set("cli", "warm: off").start();
    let mut chat = Chat::of("alpha");
    assert_eq!(chat.ask(&off, "one"), "fresh");
    wait_until_gone(PATIENCE, &off.mark());
    assert_eq!(chat.ask(&off, "two"), "resumed");
}

#[test]
fn background_task_does_not_wait_with_its_process() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    let command = "setsid tail -f /dev/null >/dev/null 2>&1 & echo started";
    chat.ask(&gateway, format!("[[bash:{command}]]"));
    wait_until(PATIENCE, "the end of the task", || {
        let tails = gateway.processes_of("alpha").into_iter();
        tails
            .filter(|pid| cmdline(*pid).starts_with("tail "))
            .count()
            == 0
    });
    assert_eq!(chat.ask(&gateway, "go on"), "resumed");
}

#[test]
fn process_that_does_not_wake_up_is_given_up_and_not_waited_for() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    // It waits once its run has given its place back.
    wait_until(PATIENCE, "the processes that wait", || {
        waiting(&gateway, "alpha").len() == 2 && gateway.health()["running"] == 0
    });
    let stopped = waiting(&gateway, "alpha");
    stopped.iter().for_each(|pid| signal(*pid, "STOP"));
    assert_eq!(chat.ask(&gateway, "two"), "resumed");
    assert_eq!(Chat::of("alpha").ask(&gateway, "another"), "fresh");
    wait_until(PATIENCE, "the end of those that were stopped", || {
        !stopped.iter().any(|pid| is_alive(*pid))
    });
    let texts = api.prompts();
    let texts: Vec<_> = texts.iter().map(|it| it.user_text()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
}

#[test]
fn process_of_a_resumed_conversation_waits_no_longer_than_it_may() {
    let api = ScriptedApi::start();
    let mut gateway = Setup::with_real_cli(&api)
        .set("cli", "warm: {idle_timeout: 1000}")
        .start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    gateway.restart_after("TERM");
    // Nothing is started ahead for it, which would have woken whoever looks after those that wait.
    assert_eq!(chat.ask(&gateway, "two"), "resumed");
    wait_until(PATIENCE, "the end of its process", || {
        waiting(&gateway, "alpha").is_empty()
    });
}

#[test]
fn run_that_nothing_is_remembered_of_leaves_no_file() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).set("cli", "warm: off").start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    assert_eq!(session_files(&gateway, "alpha").len(), 1);
    let mut failing = Chat::of("alpha");
    failing
        .messages
        .push(json!({"role": "user", "content": "SECRET-42 [[status:400]]"}));
    failing
        .send(&gateway)
        .assert_error(400, "invalid_request_error");
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
    let mut failing = Chat::of("alpha");
    failing
        .messages
        .push(json!({"role": "user", "content": "SECRET-42 [[status:400]]"}));
    failing
        .send(&gateway)
        .assert_error(400, "invalid_request_error");
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

#[test]
fn failed_and_broken_off_turns_leave_the_conversation_as_it_was() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut chat = Chat::of("alpha");
    chat.ask(&gateway, "one");
    chat.messages
        .push(json!({"role": "user", "content": "two [[status:400]]"}));
    assert_eq!(chat.send(&gateway).status, 400);
    chat.messages.pop();
    assert_eq!(chat.ask(&gateway, "other two"), "resumed");
    let seen = json!(messages(&api, &gateway)).to_string();
    assert!(
        seen.contains("one") && !seen.contains("status:400"),
        "{seen}"
    );
    // One who leaves in the middle.
    chat.messages
        .push(json!({"role": "user", "content": "three [[gate:never]]"}));
    let body =
        json!({"model": MODEL, "max_tokens": 9, "system": "be brief", "messages": chat.messages});
    let prompts = api.prompts().len();
    let connection = gateway.send("alpha", &body);
    api.wait_for_prompts(prompts + 1);
    drop(connection);
    chat.messages.pop();
    assert_eq!(chat.ask(&gateway, "other three"), "resumed");
    let seen = json!(messages(&api, &gateway)).to_string();
    assert!(
        seen.contains("other two") && !seen.contains("gate:never"),
        "{seen}"
    );
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
fn openai_chats_go_on_too() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    let mut messages = vec![json!({"role": "system", "content": "be brief"})];
    for (text, expect) in [("one", "fresh"), ("two", "warm"), ("three", "warm")] {
        messages.push(json!({"role": "user", "content": text}));
        let body = json!({"model": MODEL, "messages": messages, "user": "someone"});
        let authorization = format!("Bearer {}", key_of("alpha"));
        let headers = [("authorization", authorization.as_str())];
        let answer = gateway
            .client()
            .post("/v1/chat/completions", &headers, &body);
        let said = answer.answer_text();
        assert_eq!(session_of(&answer), expect);
        messages.push(json!({"role": "assistant", "content": said}));
    }
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

#[test]
fn flood_of_conversations_stays_within_the_memory_it_may_have() {
    const BUDGET: u64 = 500_000_000;
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "max_concurrent: 4")
        .set("cli", "max_per_tenant: 4")
        .set(
            "cli",
            format!("warm: {{max_processes: 100, memory_bytes: {BUDGET}}}"),
        )
        .start();
    let waiting_now = || {
        let status = manage(&gateway.dir, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let sessions = &status["sessions"];
        let figure = |name: &str| sessions[name].as_u64().unwrap();
        (figure("waiting"), figure("waiting_rss_kib") * 1024)
    };
    let most = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let gateway = &gateway;
                scope.spawn(move || {
                    for number in 0..4 {
                        let text = format!("client {client} number {number}");
                        Chat::of("alpha").ask(gateway, text);
                    }
                })
            })
            .collect();
        let mut most = (0, 0);
        while !clients.iter().all(|it| it.is_finished()) {
            let (count, bytes) = waiting_now();
            most = (most.0.max(count), most.1.max(bytes));
        }
        most
    });
    // Two of the usual size fit, and never more at any moment.
    assert!((1..=2).contains(&most.0) && most.1 <= BUDGET, "{most:?}");
    // What there is no room for ends: one may be on its way out, and four may still have run.
    wait_until(PATIENCE, "two", || waiting(&gateway, "alpha").len() <= 2);
}
