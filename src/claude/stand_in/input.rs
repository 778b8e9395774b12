//! The stand-in's stdin: lines of JSON, and what they ask for.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;

/// The longest line; the CLI takes 25 MB and more.
const LINE_MAX: usize = 256 << 20;

const READ_SIZE: usize = 64 << 10;

/// One line, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    User(String),
    /// A user line that only adds to the history (`shouldQuery: false`).
    History,
    Interrupt {
        id: String,
    },
    Initialize {
        id: String,
        system_prompt: String,
    },
    SetModel {
        id: String,
        model: String,
    },
    ContextUsage {
        id: String,
    },
    /// A control request that is accepted without effect.
    Setting {
        id: String,
    },
    Unsupported {
        id: String,
        subtype: String,
    },
    /// keep_alive, assistant history, and types to come.
    Ignored,
}

/// What waiting for a line brought.
pub(super) enum Next {
    Line(Heard),
    /// No line within the time.
    Nothing,
    Eof,
}

#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// How far `bytes` is known to have no line end.
    scanned: usize,
    eof: bool,
}

impl Input {
    /// The next line; waits for it at most `limit`, or for ever.
    ///
    /// # Errors
    /// A line that is no JSON, in the CLI's words, and a stdin that cannot be read.
    pub(super) fn next(&mut self, limit: Option<Duration>) -> io::Result<Next> {
        loop {
            if let Some(end) = self.bytes[self.scanned..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = self.scanned + end;
                let heard = understand(&self.bytes[..end])?;
                self.bytes.drain(..=end);
                self.scanned = 0;
                return Ok(Next::Line(heard));
            }
            self.scanned = self.bytes.len();
            if self.eof {
                return Ok(Next::Eof);
            }
            if !readable(limit)? {
                return Ok(Next::Nothing);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        if self.bytes.len() > LINE_MAX {
            return Err(syntax_error(self.bytes.len()));
        }
        let old = self.bytes.len();
        self.bytes.resize(old + READ_SIZE, 0);
        let count = retry_on_intr(|| rustix::io::read(io::stdin(), &mut self.bytes[old..]));
        self.bytes.truncate(old + *count.as_ref().unwrap_or(&0));
        if count? == 0 {
            self.eof = true;
            if !self.bytes.is_empty() {
                // A last line does not need its line end.
                self.bytes.push(b'\n');
            }
        }
        Ok(())
    }
}

fn readable(limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit
        .map(Timespec::try_from)
        .transpose()
        .map_err(|_| Errno::INVAL)?;
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    Ok(retry_on_intr(|| poll(&mut fds, limit.as_ref()))? > 0)
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default, rename = "shouldQuery")]
    should_query: Option<bool>,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Message {
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize, Default)]
struct Request {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default, rename = "systemPrompt")]
    system_prompt: String,
}

fn understand(line: &[u8]) -> io::Result<Heard> {
    if line.trim_ascii().is_empty() {
        return Ok(Heard::Ignored);
    }
    let line_chars = String::from_utf8_lossy(line).chars().count();
    let line: Line = serde_json::from_slice(line).map_err(|_| syntax_error(line_chars))?;
    Ok(match line.kind.as_str() {
        "user" if line.should_query == Some(false) => Heard::History,
        "user" => Heard::User(
            line.message
                .map_or_else(String::new, |message| text(message.content)),
        ),
        "control_request" => control(line.request_id, line.request),
        _ => Heard::Ignored,
    })
}

fn control(id: String, request: Option<Request>) -> Heard {
    let Request {
        subtype,
        model,
        system_prompt,
    } = request.unwrap_or_default();
    match subtype.as_str() {
        "initialize" => Heard::Initialize { id, system_prompt },
        "get_context_usage" => Heard::ContextUsage { id },
        "interrupt" => Heard::Interrupt { id },
        "set_model" => Heard::SetModel {
            id,
            model: model.unwrap_or_default(),
        },
        "apply_flag_settings" | "set_permission_mode" | "set_max_thinking_tokens" => {
            Heard::Setting { id }
        }
        _ => Heard::Unsupported { id, subtype },
    }
}

/// The texts of a message; images and documents are seen by nobody here.
fn text(content: Content) -> String {
    match content {
        Content::Text(text) => text,
        Content::Blocks(blocks) => blocks
            .into_iter()
            .filter_map(|block| block.text)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// Ends the process, in the words of the CLI.
fn syntax_error(chars: usize) -> io::Error {
    io::Error::other(format!(
        "Error parsing streaming input line (type=unknown, {chars} chars): SyntaxError"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: impl Into<Option<Heard>>) {
        assert_eq!(understand(line.as_bytes()).ok(), expect.into(), "{line}");
    }

    fn user(text: &str) -> Option<Heard> {
        Some(Heard::User(text.to_owned()))
    }

    #[test]
    fn lines_are_understood_as_the_cli_does() {
        check(
            r#"{"type":"user","message":{"role":"user","content":"hi"}}"#,
            user("hi"),
        );
        check(
            r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{}},{"type":"text","text":"b"}]}}"#,
            user("a\nb"),
        );
        check(
            r#"{"type":"user","message":{"role":"user","content":"q"},"shouldQuery":false}"#,
            Some(Heard::History),
        );
        check(r#"{"type":"keep_alive"}"#, Some(Heard::Ignored));
        check(
            r#"{"type":"from_the_future","message":null}"#,
            Some(Heard::Ignored),
        );
        check("  ", Some(Heard::Ignored));
        check(
            r#"{"type":"control_request","request_id":"i1","request":{"subtype":"interrupt"}}"#,
            Some(Heard::Interrupt {
                id: "i1".to_owned(),
            }),
        );
        check(
            r#"{"type":"control_request","request_id":"x","request":{"subtype":"nope"}}"#,
            Some(Heard::Unsupported {
                id: "x".to_owned(),
                subtype: "nope".to_owned(),
            }),
        );
        check("not json!", None);
        check(r#"{"type":"user""#, None);
    }
}
