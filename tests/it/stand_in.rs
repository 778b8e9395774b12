//! The stand-in CLI over its pipes, held against what the real one prints.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

struct StandIn {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl StandIn {
    fn start(args: &[&str]) -> StandIn {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ccgw"))
            .arg("stand-in")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        StandIn {
            process,
            stdin,
            stdout,
        }
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn ask(&mut self, text: &str) {
        self.say(&json!({"type":"user","message":{"role":"user","content":text}}));
    }

    #[track_caller]
    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.stdout.next().unwrap().unwrap()).unwrap()
    }

    /// The lines up to and with the next one of this type.
    #[track_caller]
    fn hear_up_to(&mut self, kind: &str) -> Vec<Value> {
        let mut lines = vec![self.hear()];
        while lines.last().unwrap()["type"] != kind {
            lines.push(self.hear());
        }
        lines
    }

    #[track_caller]
    fn close(self) {
        let StandIn {
            mut process,
            stdin,
            stdout,
        } = self;
        drop(stdin);
        assert_eq!(stdout.count(), 0, "it had more to say");
        assert_eq!(process.wait().unwrap().code(), Some(0));
    }
}

/// The type of a line, with what tells it from others of its type.
fn kind(line: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match line["type"].as_str().unwrap() {
        "system" => format!("system/{}", text(&line["subtype"])),
        "stream_event" => text(&line["event"]["type"]),
        "assistant" => format!("assistant/{}", text(&line["message"]["content"][0]["type"])),
        other => other.to_owned(),
    }
}

fn kinds(lines: &[Value]) -> Vec<String> {
    lines.iter().map(kind).collect()
}

/// The text of all text deltas.
fn streamed(lines: &[Value]) -> String {
    lines
        .iter()
        .filter_map(|line| line["event"]["delta"]["text"].as_str())
        .collect()
}

#[test]
fn an_answer_has_the_lines_of_the_real_one_in_its_order() {
    let mut cli = StandIn::start(&["--print", "--model", "claude-x", "--verbose"]);
    cli.ask("hi");
    let lines = cli.hear_up_to("result");
    assert_eq!(
        kinds(&lines),
        [
            "system/init",
            "system/status",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "assistant/text",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "result",
        ]
    );
    assert_eq!(streamed(&lines), "[stand-in] You said: hi");
    assert_eq!(lines[0]["model"], "claude-x");
    assert_eq!(lines[2]["event"]["message"]["model"], "claude-x");
    let result = lines.last().unwrap();
    assert_eq!(result["result"], "[stand-in] You said: hi");
    assert_eq!(
        (&result["is_error"], &result["subtype"]),
        (&json!(false), &json!("success"))
    );
    for line in &lines {
        assert_eq!(line["session_id"], lines[0]["session_id"], "{line}");
    }
    cli.close();
}

#[test]
fn the_word_tool_makes_a_round_that_runs_nothing() {
    let mut cli = StandIn::start(&[]);
    cli.ask("use a tool");
    let lines = cli.hear_up_to("result");
    let round: Vec<_> = kinds(&lines).into_iter().skip(1).take(12).collect();
    assert_eq!(
        round,
        [
            "system/status",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "assistant/tool_use",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "user",
            "system/status",
        ]
    );
    let tool_use = &lines[7]["message"]["content"][0];
    assert_eq!(tool_use["name"], "Bash");
    let input: String = lines
        .iter()
        .filter_map(|line| line["event"]["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(
        serde_json::from_str::<Value>(&input).unwrap(),
        tool_use["input"]
    );
    assert_eq!(lines[9]["event"]["delta"]["stop_reason"], "tool_use");
    let tool_result = &lines[11]["message"]["content"][0];
    assert_eq!(tool_result["tool_use_id"], tool_use["id"]);
    assert_eq!(
        tool_result["content"],
        "[stand-in] not executed: echo stand-in"
    );
    assert_eq!(lines.last().unwrap()["num_turns"], 2);
    cli.close();
}

#[test]
fn usage_figures_add_up() {
    let mut cli = StandIn::start(&[]);
    cli.ask("use a tool");
    let lines = cli.hear_up_to("result");
    let sum = |field: &str| -> u64 {
        let ends = lines.iter().filter(|line| kind(line) == "message_delta");
        ends.map(|line| line["event"]["usage"][field].as_u64().unwrap())
            .sum()
    };
    let usage = &lines.last().unwrap()["usage"];
    for field in ["input_tokens", "output_tokens"] {
        assert_eq!(usage[field], sum(field), "{field}");
        assert_ne!(usage[field], 0, "{field}");
    }
}

#[test]
fn blocks_of_a_message_are_one_text() {
    let mut cli = StandIn::start(&[]);
    let content = json!([{"type":"text","text":"a\u{1f600}\"\\\n"},{"type":"text","text":"b"}]);
    cli.say(&json!({"type":"user","message":{"role":"user","content":content}}));
    assert_eq!(
        streamed(&cli.hear_up_to("result")),
        "[stand-in] You said: a\u{1f600}\"\\\n\nb"
    );
}

#[test]
fn a_marker_asks_for_so_many_deltas() {
    let mut cli = StandIn::start(&[]);
    cli.ask("[[deltas:1000]] [[delay:0]]");
    let lines = cli.hear_up_to("result");
    let deltas = lines
        .iter()
        .filter(|line| kind(line) == "content_block_delta");
    assert_eq!(deltas.count(), 1000);
    assert_eq!(lines.last().unwrap()["result"], streamed(&lines));
}

#[test]
fn control_requests_are_answered_by_their_id() {
    let mut cli = StandIn::start(&[]);
    for (request, subtype, field, value) in [
        (
            json!({"subtype":"initialize","systemPrompt":"S"}),
            "success",
            "commands",
            json!([]),
        ),
        (
            json!({"subtype":"set_model","model":"claude-y"}),
            "success",
            "model",
            json!("claude-y"),
        ),
        (
            json!({"subtype":"interrupt"}),
            "success",
            "still_queued",
            json!([]),
        ),
        (json!({"subtype":"nope"}), "error", "none", json!(null)),
    ] {
        cli.say(&json!({"type":"control_request","request_id":"r\"1","request":request}));
        let answer = cli.hear();
        assert_eq!(answer["type"], "control_response", "{request}");
        assert_eq!(answer["response"]["request_id"], "r\"1", "{request}");
        assert_eq!(answer["response"]["subtype"], subtype, "{request}");
        assert_eq!(answer["response"]["response"][field], value, "{request}");
    }
    cli.ask("hi");
    assert_eq!(cli.hear_up_to("result")[0]["model"], "claude-y");
    cli.close();
}

#[test]
fn an_interrupt_closes_the_block_and_the_process_goes_on() {
    let mut cli = StandIn::start(&[]);
    // Without the interrupt this would take 28 hours.
    cli.ask("[[deltas:1000000]] [[delay:100]]");
    while kind(&cli.hear()) != "content_block_delta" {}
    cli.say(&json!({"type":"control_request","request_id":"i","request":{"subtype":"interrupt"}}));
    let mut lines = cli.hear_up_to("control_response");
    lines = lines.split_off(lines.len() - 1);
    lines.extend(cli.hear_up_to("result"));
    assert_eq!(
        kinds(&lines),
        [
            "control_response",
            "assistant/text",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "result",
        ]
    );
    let result = &lines[5];
    assert_eq!(result["subtype"], "error_during_execution");
    assert_eq!(result["terminal_reason"], "aborted_streaming");
    assert_eq!(result["is_error"], true);
    cli.ask("again");
    assert_eq!(
        streamed(&cli.hear_up_to("result")),
        "[stand-in] You said: again"
    );
    cli.close();
}

#[test]
fn what_comes_during_a_turn_is_one_prompt_after_it() {
    let mut cli = StandIn::start(&[]);
    let line = |text: &str| json!({"type":"user","message":{"role":"user","content":text}});
    write!(cli.stdin, "{}\n{}\n{}\n", line("a"), line("b"), line("c")).unwrap();
    assert_eq!(
        streamed(&cli.hear_up_to("result")),
        "[stand-in] You said: a"
    );
    assert_eq!(
        streamed(&cli.hear_up_to("result")),
        "[stand-in] You said: b\nc"
    );
    cli.close();
}

#[test]
fn a_turn_is_finished_after_stdin_is_closed() {
    let StandIn {
        mut process,
        mut stdin,
        stdout,
    } = StandIn::start(&[]);
    // Without a line end, too.
    let line =
        json!({"type":"user","message":{"role":"user","content":"[[deltas:50]] [[delay:1]]"}});
    write!(stdin, "{line}").unwrap();
    drop(stdin);
    let lines: Vec<Value> = stdout
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(kind(lines.last().unwrap()), "result");
    assert_eq!(
        lines
            .iter()
            .filter(|line| kind(line) == "content_block_delta")
            .count(),
        50
    );
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn history_makes_no_turn() {
    let mut cli = StandIn::start(&[]);
    cli.say(&json!({"type":"keep_alive"}));
    cli.say(&json!({"type":"user","message":{"role":"user","content":"q"},"shouldQuery":false}));
    let result = cli.hear();
    assert_eq!(
        (&result["type"], &result["num_turns"]),
        (&json!("result"), &json!(0))
    );
    cli.say(&json!({"type":"assistant","message":{"role":"assistant","content":[]}}));
    cli.close();
}

#[test]
fn a_line_that_is_no_json_ends_it_like_the_real_one() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_ccgw"))
        .arg("stand-in")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(b"not json!\n")
        .unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Error parsing streaming input line (type=unknown, 9 chars): SyntaxError\n"
    );
}

#[test]
fn its_version_is_no_real_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_ccgw"))
        .args(["stand-in", "--version"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0.0.0 (ccgw stand-in)\n");
    assert!(output.status.success());
}
