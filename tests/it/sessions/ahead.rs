//! Processes that are started ahead of a tenant's next conversation.

use super::*;

/// The processes of the runs that the log tells of.
fn ran(gateway: &Gateway) -> Vec<u32> {
    let log = gateway.log();
    let runs = log.lines().filter(|it| it.contains(" outcome=answered "));
    let pids = runs.filter_map(|it| it.split_once(" pid=")?.1.split_once(' '));
    pids.map(|(pid, _)| pid.parse().unwrap()).collect()
}

#[test]
fn new_conversation_finds_a_process_however_many_others_wait() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api)
        .set("cli", "warm: {max_processes: 2}")
        .start();
    let mut chats: Vec<Chat> = Vec::new();
    for text in ["one", "two", "three", "four"] {
        let mut chat = Chat::of("alpha");
        chat.ask(&gateway, text);
        chats.push(chat);
        wait_until(PATIENCE, "the end of the run", || {
            ran(&gateway).len() == chats.len()
        });
        let ran = ran(&gateway);
        wait_until(PATIENCE, "one that nobody has asked", || {
            let waiting = waiting(&gateway, "alpha");
            waiting.len() == 2 && waiting.iter().any(|it| !ran.contains(it))
        });
    }
    // The newest conversation kept its own; an older one made room.
    assert_eq!(chats[3].ask(&gateway, "on"), "warm");
    assert_eq!(chats[0].ask(&gateway, "on"), "resumed");
}
