//! Processes that wait for a turn: what they are started for, what they may cost, and their end.

use super::*;

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
