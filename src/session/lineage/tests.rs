use super::*;
use crate::api::MediaKind;

fn raw(json: &str) -> Box<RawValue> {
    serde_json::from_str(json).unwrap()
}

fn text(text: &str) -> Block {
    Block::Text(text.to_owned())
}

fn user(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        blocks,
    }
}

fn assistant(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::Assistant,
        blocks,
    }
}

fn image(json: &str) -> Block {
    Block::Media {
        kind: MediaKind::Image,
        block: raw(json),
    }
}

fn call(id: &str, input: &str) -> Block {
    Block::ToolUse {
        id: id.to_owned(),
        name: "exec".to_owned(),
        input: raw(input),
    }
}

fn result(id: &str, said: &str) -> Block {
    Block::ToolResult {
        tool_use_id: id.to_owned(),
        is_error: false,
        blocks: vec![text(said)],
    }
}

fn key(messages: &[Message]) -> Key {
    Lineage::begin("t", None).then(messages).key()
}

#[track_caller]
fn same(a: &[Message], b: &[Message]) {
    assert_eq!(key(a), key(b));
}

#[track_caller]
fn different(a: &[Message], b: &[Message]) {
    assert_ne!(key(a), key(b));
}

#[test]
fn what_clients_change_without_meaning_to_changes_nothing() {
    let plain = [user(vec![text("a\nb")]), assistant(vec![text("c d")])];
    // Texts cut, joined, with other blanks at the ends; messages cut.
    same(
        &plain,
        &[
            user(vec![text("a"), text("b  ")]),
            assistant(vec![text(" c\n\nd ")]),
        ],
    );
    same(
        &plain,
        &[
            user(vec![text("a")]),
            user(vec![text("b\r\n")]),
            assistant(vec![text("c"), text("d")]),
        ],
    );
    // OpenClaw's own additions to the newest turn, and its line in the first message.
    let context = format!("{INTERNAL_CONTEXT}\nActive exec sessions");
    same(
        &plain,
        &[
            user(vec![text("a\nb")]),
            user(vec![text(&context)]),
            assistant(vec![text("c d")]),
        ],
    );
    let runtime = format!("a\nb\n\n{RUNTIME_LINE}main | model=x");
    same(
        &[user(vec![text(&runtime)])],
        &[user(vec![text(&runtime.replace('x', "y"))])],
    );
    // Tool ids without their punctuation, JSON written in another way, cache marks.
    let round = |id: &str, input: &str| {
        [
            assistant(vec![call(id, input)]),
            user(vec![result(id, "r")]),
        ]
    };
    same(
        &round("toolu_1", r#"{"a":1,"b":[2]}"#),
        &round("toolu1", "{ \"b\": [2], \"a\": 1 }"),
    );
    let picture = r#"{"type":"image","source":{"data":"x"}}"#;
    let marked = r#"{"type":"image","cache_control":{"type":"ephemeral"},"source":{"data":"x"}}"#;
    same(&[user(vec![image(picture)])], &[user(vec![image(marked)])]);
}

#[test]
fn what_openclaw_puts_in_by_itself_changes_nothing() {
    let asked = |it: &str| [user(vec![text(it)])];
    let question = asked("[Sun 2026-11-29 17:57 UTC] and now?");
    // A turn that nothing came of stands before the next question, and has its time.
    let mark = "[Sun 2026-11-29 17:56 UTC] [OpenClaw heartbeat poll]";
    same(
        &question,
        &[user(vec![text(mark)]), user(vec![text("and now?")])],
    );
    same(&question, &asked(&format!("{mark}\nand now?")));
    different(&question, &asked("[OpenClaw heartbeat poll] and now?"));
    different(&question, &asked("[not a time] and now?"));
    // A turn that something came of.
    let wake =
        "Look after it.\nCurrent time: Sunday - 5:56 PM (UTC)\nReference UTC: 2026-11-29 17:56 UTC";
    let context = format!("{INTERNAL_CONTEXT}\nit boils");
    let answer = || assistant(vec![text("take it off")]);
    same(
        &[user(vec![text(wake)]), user(vec![text(&context)]), answer()],
        &[user(vec![text(mark)]), answer()],
    );
    different(
        &[user(vec![text(&format!("{wake}\nand?"))]), answer()],
        &[user(vec![text(mark)]), answer()],
    );
}

#[test]
fn what_was_said_otherwise_is_another_conversation() {
    let plain = [user(vec![text("a")]), assistant(vec![text("b")])];
    for other in [
        vec![user(vec![text("a!")]), assistant(vec![text("b")])],
        vec![user(vec![text("a")]), assistant(vec![text("b!")])],
        vec![user(vec![text("a")]), user(vec![text("b")])],
        vec![user(vec![text("a")])],
        vec![assistant(vec![text("b")]), user(vec![text("a")])],
        vec![user(vec![text("ab")]), assistant(vec![text("")])],
    ] {
        different(&plain, &other);
    }
    // Of a text that the user wrote, blanks inside of a line and at its start count.
    different(&[user(vec![text("a  b")])], &[user(vec![text("a b")])]);
    different(
        &[user(vec![text("if:\n    a")])],
        &[user(vec![text("if:\n  a")])],
    );
    let call_of = |input: &str| [assistant(vec![call("t", input)])];
    different(&call_of(r#"{"a":1}"#), &call_of(r#"{"a":2}"#));
    different(
        &[user(vec![result("t", "x")])],
        &[user(vec![result("t", "y")])],
    );
    different(&[user(vec![result("t", "x")])], &[user(vec![text("x")])]);
    different(
        &[user(vec![image(r#"{"a":1}"#)])],
        &[user(vec![image(r#"{"a":2}"#)])],
    );
    different(
        &[user(vec![text("a"), image(r#"{"a":1}"#)])],
        &[user(vec![image(r#"{"a":1}"#), text("a")])],
    );
}

#[test]
fn tenants_and_conversations_never_meet() {
    let said = [user(vec![text("hi")]), assistant(vec![text("Hello!")])];
    let key = |tenant: &str, id: Option<&str>| Lineage::begin(tenant, id).then(&said).key();
    let keys = [
        key("a", None),
        key("b", None),
        key("a", Some("")),
        key("a", Some("1")),
        key("a", Some("2")),
        key("ab", Some("1")),
        key("a", Some("b1")),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "{at}");
    }
}

#[test]
fn an_answer_is_found_by_what_the_client_makes_of_it() {
    let question = [user(vec![text("q")])];
    let asked = Lineage::begin("t", None).then(&question);
    let mut said = Said::after(asked);
    for literal in [r#""One ""#, r#""t\u0077o\n\n""#, r#""three""#, "5", "null"] {
        said.delta(&raw(literal));
    }
    let [q] = question;
    let sent_back = [q, assistant(vec![text("One two three\n")])];
    assert_eq!(said.lineage().key(), key(&sent_back));
}

#[test]
fn the_newest_messages_are_those_after_the_last_answer() {
    let (u, a) = (|| user(vec![text("u")]), || assistant(vec![text("a")]));
    for (messages, expect) in [
        (vec![u()], 0),
        (vec![u(), a(), u(), u()], 2),
        (vec![u(), a()], 2),
        (vec![u(), a(), u(), a(), u()], 4),
    ] {
        assert_eq!(newest_user_messages(&messages), expect);
    }
}
