//! Conversations that go on, with the real CLI: what the API receives is what one process that lived through
//! all of it would have sent, whatever happens in between.

mod ahead;
mod disturbed;
mod files;
mod retold;
mod waiting;

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
