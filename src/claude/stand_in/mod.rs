//! A program that stands in for the Claude Code CLI: same flags, same stream-json, no model.
//!
//! It lets `ccgw --demo` answer without an account, and it is the yardstick of the benchmarks, so
//! it starts fast: no threads, no configuration, one write call for each line. What it prints has
//! the line types, fields and order of Claude Code 2.1.330. It runs no tool and reads no file.
//!
//! The answer echoes the newest user text. Words in that text direct it:
//! `tool` makes a round with a Bash tool that is not executed, `[[deltas:N]]` answers with N small
//! pieces, `[[delay:MS]]` waits before each piece.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use input::{Heard, Input, Next};
use output::{Ending, Output, Usage};
use script::{Script, TOOL_COMMAND};

mod input;
mod output;
mod script;

/// How many user lines wait for the running turn to end. Nobody sends more; if somebody does, the
/// pipe holds them back.
const QUEUE_MAX: usize = 1_024;

/// The hidden command `stand-in`, with the CLI's own arguments.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = Options::read(args);
    let result = match options.version {
        Version::Asked => io::stdout().write_all(b"0.0.0 (ccgw stand-in)\n"),
        Version::NotAsked => StandIn::new(options).and_then(StandIn::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody to tell when stderr is closed as well.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// What it takes from the CLI's flags; the others are skipped, with or without their values.
struct Options {
    version: Version,
    model: String,
    session_id: Option<String>,
}

#[derive(PartialEq, Eq)]
enum Version {
    Asked,
    NotAsked,
}

impl Options {
    fn read(args: impl Iterator<Item = OsString>) -> Options {
        let mut options = Options {
            version: Version::NotAsked,
            model: String::from("claude-stand-in"),
            session_id: None,
        };
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            match flag {
                "--version" | "-v" => options.version = Version::Asked,
                "--model" => options.model = value.or_else(|| args.next()).unwrap_or_default(),
                "--session-id" | "--resume" => options.session_id = value.or_else(|| args.next()),
                _ => {}
            }
        }
        options
    }
}

struct StandIn {
    input: Input,
    output: Output,
    /// User texts that came while a turn was running.
    queue: VecDeque<String>,
    /// A quarter of the characters, as the real one takes where the API does not count.
    system_tokens: usize,
}

/// How one assistant message ended.
#[derive(PartialEq, Eq)]
enum Told {
    Whole,
    Interrupted,
}

impl StandIn {
    fn new(options: Options) -> io::Result<StandIn> {
        let output = Output::new(options.model, options.session_id)?;
        Ok(StandIn {
            input: Input::default(),
            output,
            queue: VecDeque::new(),
            system_tokens: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let text = match self.queued() {
                Some(text) => text,
                None => match self.input.next(None)? {
                    Next::Line(heard) => match self.hear(heard)? {
                        Some(text) => text,
                        None => continue,
                    },
                    Next::Eof | Next::Nothing => return Ok(()),
                },
            };
            self.turn(&text)?;
            // Like the CLI: what came meanwhile is one prompt together.
            while self.queue.len() < QUEUE_MAX
                && let Next::Line(heard) = self.input.next(Some(Duration::ZERO))?
            {
                if let Some(text) = self.hear(heard)? {
                    self.queue.push_back(text);
                }
            }
        }
    }

    fn queued(&mut self) -> Option<String> {
        let texts: Vec<String> = self.queue.drain(..).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// Answers whatever is no prompt; returns the text of what is one.
    fn hear(&mut self, heard: Heard) -> io::Result<Option<String>> {
        match heard {
            Heard::User(text) => return Ok(Some(text)),
            Heard::History => self.output.result(&Ending::history())?,
            Heard::Interrupt { id } => {
                self.output.control_success(&id, r#"{"still_queued":[]}"#)?
            }
            Heard::Initialize { id, system_prompt } => {
                self.system_tokens = system_prompt.encode_utf16().count().div_ceil(4);
                self.output.initialized(&id)?;
            }
            Heard::ContextUsage { id } => {
                let tokens = self.system_tokens;
                let usage =
                    format!(r#"{{"categories":[{{"id":"system_prompt","tokens":{tokens}}}]}}"#);
                self.output.control_success(&id, &usage)?;
            }
            Heard::SetModel { id, model } => self.output.set_model(&id, model)?,
            Heard::Setting { id } => self.output.control_success(&id, "{}")?,
            Heard::Unsupported { id, subtype } => self.output.unsupported(&id, &subtype)?,
            Heard::Ignored => {}
        }
        Ok(None)
    }

    fn turn(&mut self, text: &str) -> io::Result<()> {
        let script = Script::read(text);
        let mut ending = Ending::new(Instant::now());
        let usage = Usage::of_prompt(text);
        self.output.init()?;
        if script.tool_round() {
            self.tool_round(usage, &mut ending)?;
        }
        let told = self.answer(&script, usage, &mut ending)?;
        if told == Told::Interrupted {
            ending.interrupt();
        }
        self.output.result(&ending)
    }

    fn tool_round(&mut self, usage: Usage, ending: &mut Ending) -> io::Result<()> {
        let usage = usage.answering(TOOL_COMMAND);
        self.output.message_start(usage)?;
        self.output.tool_use(usage, TOOL_COMMAND)?;
        self.output.message_end("\"tool_use\"", usage)?;
        self.output.tool_result(TOOL_COMMAND)?;
        ending.count(usage);
        Ok(())
    }

    fn answer(&mut self, script: &Script, usage: Usage, ending: &mut Ending) -> io::Result<Told> {
        self.output.message_start(usage)?;
        self.output.text_start()?;
        let mut said = String::new();
        let mut told = Told::Whole;
        for piece in script.pieces() {
            if self.interrupted(script.delay())? {
                told = Told::Interrupted;
                break;
            }
            self.output.text_delta(&piece)?;
            said.push_str(&piece);
        }
        let usage = usage.answering(&said);
        self.output.text_stop(&said, usage)?;
        let stop_reason = if told == Told::Whole {
            "\"end_turn\""
        } else {
            "null"
        };
        self.output.message_end(stop_reason, usage)?;
        ending.count(usage);
        ending.say(said);
        Ok(told)
    }

    /// Listens for `delay`, and whether it was told to stop meanwhile.
    fn interrupted(&mut self, delay: Duration) -> io::Result<bool> {
        let until = Instant::now() + delay;
        loop {
            if self.queue.len() >= QUEUE_MAX {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return Ok(false);
            }
            match self
                .input
                .next(Some(until.saturating_duration_since(Instant::now())))?
            {
                Next::Nothing => return Ok(false),
                Next::Eof => {
                    // It finishes what it began, at the pace that was asked for.
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    return Ok(false);
                }
                Next::Line(heard) => {
                    let interrupt = matches!(heard, Heard::Interrupt { .. });
                    if let Some(text) = self.hear(heard)? {
                        self.queue.push_back(text);
                    }
                    if interrupt {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
