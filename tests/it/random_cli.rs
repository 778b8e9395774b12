//! What a CLI might write, made from a seed: for the tests of `src/turn.rs` and for those over the wire.

const LINES_MAX: usize = 40;

/// Small, repeatable randomness.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // Spread, because small numbers begin alike; never 0, which would stay 0.
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// One line of the CLI's, of any kind, at any place; mostly such as may follow each other.
fn line(dice: &mut Dice, index: &mut u32) -> String {
    let event = match dice.below(20) {
        0 | 1 => {
            *index = 0;
            let id = dice.below(3);
            format!(
                r#"{{"type":"message_start","message":{{"id":"msg_{id}","usage":{{"input_tokens":1,"output_tokens":1}}}}}}"#
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
                r#"{"type":"text_delta","text":null}"#,
            ][dice.below(9)];
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

/// A run in the order that the CLI keeps to: tool rounds, then the answer.
fn run(dice: &mut Dice) -> Vec<String> {
    let rounds = dice.below(3);
    let mut lines = Vec::new();
    for turn in 0..=rounds {
        let last = turn == rounds;
        turn_lines(dice, last, &mut lines);
    }
    lines.push(r#"{"type":"result","is_error":false,"result":"the result"}"#.to_owned());
    lines
}

fn turn_lines(dice: &mut Dice, last: bool, lines: &mut Vec<String>) {
    let mut events = vec![
        r#"{"type":"message_start","message":{"id":"msg_TURN","usage":{"input_tokens":1,"output_tokens":1}}}"#
            .replace("TURN", &lines.len().to_string()),
    ];
    let mut block = |index: usize, kind: &str, deltas: &[&str]| {
        events.push(format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{kind}}}"#
        ));
        for delta in deltas {
            events.push(format!(
                r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#
            ));
        }
        events.push(format!(
            r#"{{"type":"content_block_stop","index":{index}}}"#
        ));
    };
    let text = r#"{"type":"text_delta","text":"a STOP or none "}"#;
    block(
        0,
        r#"{"type":"thinking","thinking":"","signature":""}"#,
        &[r#"{"type":"thinking_delta","thinking":"hm"}"#],
    );
    block(
        1,
        r#"{"type":"text","text":""}"#,
        &[text; 5][..dice.below(6)],
    );
    if !last {
        block(
            2,
            r#"{"type":"tool_use","id":"t","name":"Bash","input":{}}"#,
            &[r#"{"type":"input_json_delta","partial_json":"{}"}"#],
        );
    }
    let reason = if last { "end_turn" } else { "tool_use" };
    events.push(format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":5}}}}"#));
    events.push(r#"{"type":"message_stop"}"#.to_owned());
    lines.extend(
        events
            .iter()
            .map(|event| format!(r#"{{"type":"stream_event","event":{event}}}"#)),
    );
}

/// All that the CLI writes until it is cut off, at any byte: lines at random, or a run as it should be
/// with a few such lines in it.
pub(crate) fn output(dice: &mut Dice) -> Vec<u8> {
    let mut index = 0;
    let count = dice.below(LINES_MAX);
    let mut lines: Vec<String> = match dice.below(2) {
        0 => (0..count).map(|_| line(dice, &mut index)).collect(),
        _ => run(dice),
    };
    for _ in 0..dice.below(3) {
        let at = dice.below(lines.len() + 1);
        lines.insert(at, line(dice, &mut index));
    }
    let mut bytes = lines.join("\n").into_bytes();
    if dice.below(3) == 0 {
        bytes.truncate(dice.below(bytes.len() + 1));
    }
    bytes
}
