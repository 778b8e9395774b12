//! Random sequences of CLI events, cut anywhere: whatever comes, the client's stream is legal, and text
//! after a stop sequence never leaves.

use super::{super::*, Dice, Order};

const SEEDS: u64 = 1000;
const LINES_MAX: usize = 40;

/// One line of the CLI's, of any kind, at any place; mostly such as may follow each other.
fn line(dice: &mut Dice, index: &mut u32) -> String {
    let event = match dice.below(20) {
        0 | 1 => {
            *index = 0;
            let id = dice.below(3);
            format!(
                r#"{{"type":"message_start","message":{{"id":"msg_{id}","usage":{{"input_tokens":1}}}}}}"#
            )
        }
        2..=5 => {
            let block = [
                r#"{"type":"text","text":""}"#,
                r#"{"type":"text","text":"begun"}"#,
                r#"{"type":"thinking","thinking":"","signature":""}"#,
                r#"{"type":"redacted_thinking","data":"x"}"#,
                r#"{"type":"tool_use","id":"t","name":"Bash","input":{}}"#,
                r#"{"type":"novel"}"#,
            ][dice.below(6)];
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
        }
        6..=11 => {
            let delta = [
                r#"{"type":"text_delta","text":"one "}"#,
                r#"{"type":"text_delta","text":"ST"}"#,
                r#"{"type":"text_delta","text":"OP"}"#,
                r#"{"type":"text_delta","text":"\ud83d\ude00\n"}"#,
                r#"{"type":"thinking_delta","thinking":"hm"}"#,
                r#"{"type":"signature_delta","signature":"s"}"#,
                r#"{"type":"input_json_delta","partial_json":"{"}"#,
                r#"{"type":"novel_delta"}"#,
            ][dice.below(8)];
            format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
        }
        12..=14 => {
            let stop = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
            *index += 1;
            stop
        }
        15 => {
            let reason = [
                "\"end_turn\"",
                "\"tool_use\"",
                "\"max_tokens\"",
                "\"stop_sequence\"",
                "null",
                "\"novel\"",
            ][dice.below(6)];
            format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":{reason}}},"usage":{{"output_tokens":5}}}}"#
            )
        }
        16 => r#"{"type":"message_stop"}"#.to_owned(),
        _ => return other_line(dice),
    };
    format!(r#"{{"type":"stream_event","event":{event}}}"#)
}

fn other_line(dice: &mut Dice) -> String {
    let lines = [
        r#"{"type":"assistant","message":{"id":"msg_0","content":[{"type":"text","text":"whole STOP text"}],"stop_reason":"end_turn"}}"#,
        r#"{"type":"assistant","message":{"id":"msg_9","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"tool_use","id":"t","name":"n","input":{}}],"stop_reason":"tool_use"}}"#,
        r#"{"type":"assistant","message":{"id":"msg_8","content":[]},"error":"rate_limit"}"#,
        r#"{"type":"result","is_error":false,"result":"the result"}"#,
        r#"{"type":"result","is_error":false,"result":"{}","structured_output":{},"stop_reason":"tool_use"}"#,
        r#"{"type":"result","is_error":true,"api_error_status":529,"result":"Overloaded"}"#,
        r#"{"type":"system","subtype":"api_retry","retry_delay_ms":7}"#,
        r#"{"type":"control_response","response":{"subtype":"error","request_id":"x","error":"no"}}"#,
        r#"{"type":"user","message":{"content":[]}}"#,
        r#"{"type":"stream_event","event":{"type":"ping"}}"#,
        "not JSON at all",
    ];
    lines[dice.below(lines.len())].to_owned()
}

/// All that the CLI writes until it is cut off, at any byte.
fn output(dice: &mut Dice) -> Vec<u8> {
    let mut index = 0;
    let count = dice.below(LINES_MAX);
    let lines: Vec<String> = (0..count).map(|_| line(dice, &mut index)).collect();
    let mut bytes = lines.join("\n").into_bytes();
    if dice.below(3) == 0 {
        bytes.truncate(dice.below(bytes.len() + 1));
    }
    bytes
}

#[test]
fn random_events_always_make_a_legal_answer() {
    for seed in 1..=SEEDS {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let output = output(&mut dice);
        for policy in [
            TurnPolicy::Final,
            TurnPolicy::Live,
            TurnPolicy::Single,
            TurnPolicy::Structured,
        ] {
            let thinking = [Thinking::Shown, Thinking::Hidden][dice.below(2)];
            let stops: &[String] = &["STOP".to_owned()][..dice.below(2)];
            check(seed, &output, Turns::new(policy, thinking, stops), stops);
        }
    }
}

fn check(seed: u64, output: &[u8], mut turns: Turns, stops: &[String]) {
    let mut order = Order::default();
    let (mut text, mut over) = (String::new(), false);
    for line in output.split(|byte| *byte == b'\n') {
        let Ok(event) = event::parse(line) else {
            continue;
        };
        let verdict = turns.feed(&event, line, &mut |event| {
            match event {
                // A sequence is one block's.
                AnswerEvent::BlockStart { .. } => text.push('|'),
                AnswerEvent::Delta {
                    kind: crate::api::DeltaKind::Text,
                    value,
                    ..
                } => text += &serde_json::from_str::<String>(value.get()).unwrap(),
                _ => {}
            }
            order.take(&event);
        });
        // Later events must be swallowed, so they are fed all the same.
        over = match verdict {
            Verdict::More => over,
            _ if over => panic!("seed {seed}: over twice"),
            Verdict::Done => {
                assert!(order.ended, "seed {seed}: Done without an end");
                true
            }
            Verdict::Failed(_) => {
                assert!(!order.ended, "seed {seed}: failed after its end");
                true
            }
        };
        assert!(over || !order.ended, "seed {seed}: ended without Done");
    }
    for stop in stops {
        assert!(!text.contains(stop), "seed {seed}: {text:?}");
    }
}
