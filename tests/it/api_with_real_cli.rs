//! The kit proves itself: the real CLI talks to the scripted API directly, without the gateway.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{api::ScriptedApi, cli::real_cli, temp::TempDir};

/// What one run of the CLI printed, and how it ended.
struct Run {
    lines: Vec<Value>,
    exit: Option<i32>,
}

impl Run {
    #[track_caller]
    fn result(&self) -> &Value {
        let result = self.lines.iter().rfind(|line| line["type"] == "result");
        result.unwrap_or_else(|| {
            panic!(
                "no result line, exit {:?}, lines {:#?}",
                self.exit, self.lines
            )
        })
    }

    /// The deltas of every streamed text, joined.
    fn streamed_text(&self) -> String {
        let deltas = self
            .lines
            .iter()
            .filter(|line| line["type"] == "stream_event");
        deltas
            .filter_map(|line| line["event"]["delta"]["text"].as_str())
            .collect()
    }
}

/// Runs the CLI with tools on and nothing loaded from the directory, as the gateway would.
#[track_caller]
fn run(api: &ScriptedApi, prompt: &str) -> Run {
    let dir = TempDir::new();
    let output = command(api, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = output.unwrap();
    let line = json!({"type": "user", "message": {"role": "user", "content": prompt}});
    // Closing stdin after the one line ends the CLI after its answer.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        !stdout.is_empty(),
        "the CLI printed nothing: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    Run {
        lines,
        exit: output.status.code(),
    }
}

fn command(api: &ScriptedApi, dir: &Path) -> Command {
    let mut command = Command::new(real_cli());
    command
        .args([
            "--print",
            "--output-format",
            "stream-json",
            "--verbose",
            "--include-partial-messages",
        ])
        .args([
            "--input-format",
            "stream-json",
            "--model",
            "claude-sonnet-4-6",
        ])
        .args([
            "--restricted",
            "--strict-mcp-config",
            "--tools",
            "Bash,Read,Skill",
        ])
        .args([
            "--permission-mode",
            "dontAsk",
            "--allowedTools",
            "Bash",
            "Read",
            "Skill",
        ])
        .arg("--no-session-persistence")
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("CLAUDE_CONFIG_DIR", dir.join("config"))
        .env("ANTHROPIC_BASE_URL", api.url())
        .env("ANTHROPIC_API_KEY", "test-key")
        .env("CLAUDE_CODE_MAX_RETRIES", "0")
        .env("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_TELEMETRY", "1");
    command
}

#[test]
fn plain_text_arrives_and_is_asked_for_once() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[text:hello from the script]]");
    assert_eq!(run.result()["result"], "hello from the script");
    assert_eq!(run.streamed_text(), "hello from the script");
    assert_eq!(run.exit, Some(0));
    assert_eq!(api.prompts().len(), 1, "{:#?}", api.requests());
    let prompt = api.last_prompt();
    assert_eq!(prompt.header("x-api-key"), Some("test-key"));
    assert_eq!(prompt.body["model"], "claude-sonnet-4-6");
}

#[test]
fn answers_without_a_marker_and_echo_carry_the_prompt() {
    let api = ScriptedApi::start();
    assert_eq!(
        run(&api, "no marker here").result()["result"],
        "OK: no marker here"
    );
    assert_eq!(
        run(&api, "[[echo]] and more").result()["result"],
        "[[echo]] and more"
    );
}

#[test]
fn bash_round_runs_and_its_result_comes_back() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[bash:echo made-$((40+2))]]");
    assert_eq!(run.result()["result"], "result: made-42");
    assert_eq!(api.prompts().len(), 2);
}

#[test]
fn parallel_tools_give_both_results_in_one_round() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[bash2:echo one-$((1+0));;echo two-$((1+1))]]");
    assert_eq!(run.result()["result"], "result: one-1 | two-2");
    assert_eq!(api.prompts().len(), 2);
}

#[test]
fn rounds_are_counted() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[rounds:3]]");
    assert_eq!(run.result()["result"], "done after 3 rounds");
    assert_eq!(api.prompts().len(), 4);
}

#[test]
fn read_shows_the_file() {
    let dir = TempDir::new();
    let file = dir.write("note.txt", "a line to read\n");
    let api = ScriptedApi::start();
    let run = run(&api, &format!("[[read:{}]]", file.display()));
    // Whether the file may be read is the CLI's decision; that it was asked to is the script's.
    let called = run
        .lines
        .iter()
        .any(|line| line["message"]["content"][0]["name"] == "Read");
    assert!(called, "{:#?}", run.lines);
    assert!(
        run.result()["result"]
            .as_str()
            .unwrap()
            .starts_with("result: ")
    );
}

#[test]
fn unknown_skill_is_answered_by_the_cli_itself() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[skill:no-such-skill]]");
    let result = run.result()["result"].as_str().unwrap();
    assert!(result.contains("no-such-skill"), "{result}");
}

#[test]
fn thinking_comes_with_its_signature() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[think:let me see]]");
    let delta = |kind: &str| {
        run.lines
            .iter()
            .any(|line| line["event"]["delta"]["type"] == kind)
    };
    assert!(delta("thinking_delta") && delta("signature_delta"));
    assert_eq!(run.result()["result"], "thought");
}

#[test]
fn slow_answer_comes_in_pieces() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[slow:5x20]]");
    assert_eq!(run.streamed_text(), "tick1 tick2 tick3 tick4 tick5 ");
    let deltas = run
        .lines
        .iter()
        .filter(|line| line["event"]["delta"]["type"] == "text_delta");
    assert_eq!(deltas.count(), 5);
}

#[test]
fn gate_holds_the_answer_until_it_is_opened() {
    let api = ScriptedApi::start();
    let dir = TempDir::new();
    let mut child = command(&api, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = json!({"type": "user", "message": {"role": "user", "content": "[[gate:go]]"}});
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
    api.wait_for_prompts(1);
    assert!(child.try_wait().unwrap().is_none());
    api.open_gate("go");
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("before after")
    );
}

#[test]
fn big_answer_is_whole() {
    let api = ScriptedApi::start();
    assert_eq!(run(&api, "[[big:300000]]").streamed_text().len(), 300_000);
}

#[test]
fn http_errors_keep_their_status() {
    #[track_caller]
    fn check(status: u16) {
        let api = ScriptedApi::start();
        let run = run(&api, &format!("[[status:{status}]]"));
        assert_eq!(run.result()["is_error"], true);
        assert_eq!(run.result()["api_error_status"], status);
        assert_eq!(run.exit, Some(1));
    }
    for status in [400, 401, 403, 404, 413, 429, 500, 529] {
        check(status);
    }
}

#[test]
fn broken_streams_end_in_an_error() {
    #[track_caller]
    fn check(marker: &str) {
        let api = ScriptedApi::start();
        let run = run(&api, marker);
        assert_eq!(
            run.result()["is_error"],
            true,
            "{marker}: {:#}",
            run.result()
        );
    }
    check("[[overloaded-midstream]]");
    check("[[drop]]");
}

#[test]
fn max_tokens_makes_the_cli_go_on_by_itself() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[maxtokens]]");
    assert!(
        run.streamed_text().starts_with("cut off in the mid"),
        "{}",
        run.streamed_text()
    );
    assert!(api.prompts().len() > 1);
}

#[test]
fn refusal_makes_the_cli_go_on_by_itself() {
    let api = ScriptedApi::start();
    let run = run(&api, "[[refusal]]");
    assert!(
        run.lines
            .iter()
            .any(|line| line["event"]["delta"]["stop_reason"] == "refusal")
    );
    assert_eq!(api.prompts().len(), 2);
}

#[test]
fn empty_answer_is_asked_again() {
    let api = ScriptedApi::start();
    assert_eq!(run(&api, "[[empty]]").result()["is_error"], false);
    assert!(api.prompts().len() > 1);
}
