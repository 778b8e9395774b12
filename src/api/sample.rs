//! Hand-made answers that the tests of both formats write and fold.

use serde_json::value::RawValue;

use super::{AnswerEvent, BlockKind, DeltaKind, openai::Identity};

pub(super) const IDENTITY: Identity<'static> = Identity {
    id: "1",
    model_requested: "m",
    created: 7,
};

pub(super) fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

fn start(usage: Option<&'static str>) -> AnswerEvent<'static> {
    AnswerEvent::Start {
        id: "msg_1",
        usage: usage.map(raw),
    }
}

fn end(stop_reason: &'static str, usage: Option<&'static str>) -> AnswerEvent<'static> {
    AnswerEvent::End {
        stop_reason,
        stop_sequence: None,
        usage: usage.map(raw),
    }
}

/// One block: how it begins, then its deltas as kind, delta object and payload.
fn block(
    index: u32,
    kind: BlockKind,
    begin: &'static str,
    deltas: &[(DeltaKind, &'static str, &'static str)],
) -> Vec<AnswerEvent<'static>> {
    let mut events = vec![AnswerEvent::BlockStart {
        index,
        kind,
        block: raw(begin),
    }];
    for (kind, delta, value) in deltas {
        events.push(AnswerEvent::Delta {
            index,
            kind: *kind,
            delta: raw(delta),
            value: raw(value),
        });
    }
    events.push(AnswerEvent::BlockStop { index });
    events
}

const TEXT: &str = r#"{"type":"text","text":""}"#;

fn answer(blocks: Vec<Vec<AnswerEvent<'static>>>) -> Vec<AnswerEvent<'static>> {
    let mut events = vec![start(Some(r#"{"input_tokens": 3,"output_tokens":1}"#))];
    events.extend(blocks.into_iter().flatten());
    events.push(end("end_turn", Some(r#"{"output_tokens":42}"#)));
    events
}

/// The plainest answer: one text in two pieces, the usage at its end as short as the API's.
pub(super) fn text() -> Vec<AnswerEvent<'static>> {
    let deltas = [
        (
            DeltaKind::Text,
            r#"{"type":"text_delta","text":"Hi \u2028\""}"#,
            r#""Hi \u2028\"""#,
        ),
        (
            DeltaKind::Text,
            r#"{"type":"text_delta","text":"!"}"#,
            r#""!""#,
        ),
    ];
    answer(vec![block(0, BlockKind::Text, TEXT, &deltas)])
}

/// Thinking, a redacted block, a text with citations, an empty one, and one of awkward characters.
pub(super) fn everything() -> Vec<AnswerEvent<'static>> {
    let thinking = [
        (
            DeltaKind::Thinking,
            r#"{"type":"thinking_delta","thinking":"hm\n"}"#,
            r#""hm\n""#,
        ),
        (
            DeltaKind::Signature,
            r#"{"type":"signature_delta","signature":"c2ln"}"#,
            r#""c2ln""#,
        ),
        (
            DeltaKind::Other,
            r#"{"type":"novel_delta","x":1}"#,
            r#"{"type":"novel_delta","x":1}"#,
        ),
    ];
    let cited = [
        (
            DeltaKind::Citation,
            r#"{"type":"citations_delta","citation":{"n":1}}"#,
            r#"{"n":1}"#,
        ),
        (
            DeltaKind::Text,
            r#"{"type":"text_delta","text":"one"}"#,
            r#""one""#,
        ),
        (
            DeltaKind::Citation,
            r#"{"type":"citations_delta","citation":{"n":2}}"#,
            r#"{"n":2}"#,
        ),
    ];
    let empty = [(
        DeltaKind::Text,
        r#"{"type":"text_delta","text":""}"#,
        r#""""#,
    )];
    let awkward = [(
        DeltaKind::Text,
        r#"{"type":"text_delta","text":" two \u0001\\"}"#,
        r#"" two \u0001\\""#,
    )];
    let thinking_begins = r#"{"type":"thinking","thinking":"","signature":""}"#;
    answer(vec![
        block(0, BlockKind::Thinking, thinking_begins, &thinking),
        block(
            1,
            BlockKind::Other,
            r#"{"type":"redacted_thinking","data":"x"}"#,
            &[],
        ),
        block(2, BlockKind::Text, TEXT, &cited),
        block(3, BlockKind::Text, TEXT, &empty),
        block(
            4,
            BlockKind::Text,
            r#"{"type":"text","text":"\ud83d\ude00"}"#,
            &awkward,
        ),
    ])
}

/// An answer of no blocks and no usage.
pub(super) fn silent() -> Vec<AnswerEvent<'static>> {
    vec![start(None), end("max_tokens", None)]
}

/// One character in two deltas, neither of which is a text by itself.
pub(super) fn split_emoji() -> Vec<AnswerEvent<'static>> {
    let deltas = [
        (
            DeltaKind::Text,
            r#"{"type":"text_delta","text":"\ud83d"}"#,
            r#""\ud83d""#,
        ),
        (
            DeltaKind::Text,
            r#"{"type":"text_delta","text":"\ude00"}"#,
            r#""\ude00""#,
        ),
    ];
    answer(vec![block(0, BlockKind::Text, TEXT, &deltas)])
}
