//! A stand-in for the CLI written in sh, for what the real one cannot be made to do.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{cli::VERSION, temp::TempDir};

/// The part of every script that behaves like the CLI: it answers `--version`, writes down how it
/// was called, answers control requests and waits for the user's line, which is then in `$line`.
///
/// `answer TEXT` prints a whole legal turn; `begin TEXT` and `end TEXT` are its two halves, split
/// after the first delta; `last TEXT` is the result line alone. `idle` waits for the end of stdin,
/// as the CLI does after its answer.
const PRELUDE: &str = r#"
[ "$1" = --version ] && { echo "VERSION (Claude Code)"; exit 0; }
begin() { sed "s/@TEXT@/$1/g" "$here/begin.ndjson"; }
end() { sed "s/@TEXT@/$1/g" "$here/end.ndjson"; last "$1"; }
last() { sed "s/@TEXT@/$1/g" "$here/last.ndjson"; }
answer() { begin "$1"; end "$1"; }
idle() { cat > /dev/null; }
wait_for_user_line() {
  while IFS= read -r line; do
    case $line in
      *'"control_request"'*)
        id=${line#*'"request_id":"'}
        id=${id%%'"'*}
        printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s","response":{}}}\n' "$id" ;;
      *) return ;;
    esac
  done
  exit 0
}
printf '%s\n' "$@" > "$here/$$.argv"
tr '\0' '\n' < /proc/$$/environ > "$here/$$.env"
pwd > "$here/$$.cwd"
wait_for_user_line
for argument in "$@"; do
  case $argument in *.jsonl) cat "$argument" > "$here/$$.prompt" ;; esac
done
printf '%s\n' "$line" >> "$here/$$.prompt"
"#;

/// The script, its records and its gate, in a directory below the test's own.
pub(crate) struct FakeCli {
    dir: PathBuf,
    script: PathBuf,
}

impl FakeCli {
    /// A script with a raw sh body, run once the user's line has come.
    pub(crate) fn script(dir: &TempDir, body: &str) -> FakeCli {
        let fake = FakeCli {
            dir: dir.create_dir("fake-cli"),
            script: dir.path().join("claude"),
        };
        for (name, lines) in [("begin", begin()), ("end", end()), ("last", vec![last()])] {
            fs::write(fake.dir.join(format!("{name}.ndjson")), ndjson(&lines)).unwrap();
        }
        let here = fake.dir.display();
        let prelude = PRELUDE.replace("VERSION", VERSION);
        fs::write(
            &fake.script,
            format!("#!/bin/sh\nhere='{here}'\n{prelude}\n{body}\n"),
        )
        .unwrap();
        fs::set_permissions(&fake.script, fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    /// A script that prints these lines and ends with this exit code.
    pub(crate) fn lines(dir: &TempDir, lines: &[Value], exit: u8) -> FakeCli {
        let fake = FakeCli::script(dir, &format!("cat \"$here/lines\"; exit {exit}"));
        fs::write(fake.dir.join("lines"), ndjson(lines)).unwrap();
        fake
    }

    /// What goes into `cli.bin`.
    pub(crate) fn path(&self) -> &Path {
        &self.script
    }

    /// The arguments of every run so far, one per line of each text.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.records("argv")
    }

    /// The environment of every run so far.
    pub(crate) fn environments(&self) -> Vec<String> {
        self.records("env")
    }

    /// The working directory of every run so far.
    pub(crate) fn directories(&self) -> Vec<String> {
        self.records("cwd")
    }

    /// What reached a run so far, as JSON lines: a transcript, where it was given one, and the user's line.
    pub(crate) fn prompts(&self) -> Vec<String> {
        self.records("prompt")
    }

    /// A file that the body wrote into `$here`; empty when there is none yet.
    pub(crate) fn note(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Where the body finds a file as `$here/NAME`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn records(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.dir)
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        entries
            .filter(|path| path.extension().is_some_and(|it| it == kind))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect()
    }

    /// A gate where runs wait with `read -r _ < "$here/gate"`, one line for each run.
    pub(crate) fn gate(&self) -> Gate {
        let path = self.dir.join("gate");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success(), "mkfifo failed");
        // Open for reading too: then opening does not wait, and lines wait for their readers.
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        Gate(pipe)
    }
}

/// The writing end of a gate; dropping it lets nobody through.
pub(crate) struct Gate(File);

impl Gate {
    /// Lets this many runs go on, those that wait now or the next ones.
    pub(crate) fn let_through(&mut self, runs: usize) {
        self.0.write_all("go\n".repeat(runs).as_bytes()).unwrap();
    }
}

fn ndjson(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A whole legal turn with its result line, as the CLI prints it.
pub(crate) fn turn(text: &str) -> Vec<Value> {
    let mut lines = begin();
    lines.extend(end());
    lines.push(last());
    let with_text =
        |line: Value| serde_json::from_str(&line.to_string().replace("@TEXT@", text)).unwrap();
    lines.into_iter().map(with_text).collect()
}

fn begin() -> Vec<Value> {
    let message = json!({
        "id": "msg_fake", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}
    });
    vec![
        json!({"type": "system", "subtype": "init", "session_id": "fake", "model": "claude-sonnet-4-6", "tools": [], "claude_code_version": VERSION}),
        json!({"type": "system", "subtype": "status", "status": "requesting", "session_id": "fake"}),
        stream_event(&json!({"type": "message_start", "message": message})),
        stream_event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        stream_event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "@TEXT@"}}),
        ),
    ]
}

fn end() -> Vec<Value> {
    let message = json!({
        "id": "msg_fake", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": "@TEXT@"}], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}
    });
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    vec![
        json!({"type": "assistant", "message": message, "parent_tool_use_id": null, "session_id": "fake"}),
        stream_event(&json!({"type": "content_block_stop", "index": 0})),
        stream_event(
            &json!({"type": "message_delta", "delta": delta, "usage": {"input_tokens": 3, "output_tokens": 5}}),
        ),
        stream_event(&json!({"type": "message_stop"})),
    ]
}

fn last() -> Value {
    json!({
        "type": "result", "subtype": "success", "is_error": false, "api_error_status": null, "result": "@TEXT@",
        "stop_reason": "end_turn", "num_turns": 1, "session_id": "fake", "total_cost_usd": 0.0,
        "usage": {"input_tokens": 3, "output_tokens": 5}
    })
}

fn stream_event(event: &Value) -> Value {
    json!({"type": "stream_event", "event": event, "session_id": "fake", "parent_tool_use_id": null})
}
