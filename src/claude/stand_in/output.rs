//! The stand-in's stdout: the CLI's lines, each in one write.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Instant;

use rustix::io::retry_on_intr;

/// The moment of every line that carries one: nobody may take the stand-in's for a real one.
const TIMESTAMP: &str = "1970-01-01T00:00:00.000Z";

/// Made-up counts of one API call: a token is four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    input: usize,
    output: usize,
}

impl Usage {
    pub(super) fn of_prompt(text: &str) -> Usage {
        Usage {
            input: text.len().div_ceil(4),
            output: 1,
        }
    }

    pub(super) fn answering(self, text: &str) -> Usage {
        Usage {
            output: text.len().div_ceil(4),
            ..self
        }
    }
}

/// What the result line says about a turn.
pub(super) struct Ending {
    started: Instant,
    calls: usize,
    usage: Usage,
    text: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Completed,
    Interrupted,
}

impl Ending {
    pub(super) fn new(started: Instant) -> Ending {
        let usage = Usage {
            input: 0,
            output: 0,
        };
        Ending {
            started,
            calls: 0,
            usage,
            text: String::new(),
            outcome: Outcome::Completed,
        }
    }

    /// The turn that a history line makes: no call, no text.
    pub(super) fn history() -> Ending {
        Ending::new(Instant::now())
    }

    pub(super) fn count(&mut self, usage: Usage) {
        self.calls += 1;
        self.usage.input += usage.input;
        self.usage.output += usage.output;
    }

    pub(super) fn say(&mut self, text: String) {
        self.text = text;
    }

    pub(super) fn interrupt(&mut self) {
        self.outcome = Outcome::Interrupted;
    }
}

pub(super) struct Output {
    line: Vec<u8>,
    random: u64,
    session_id: String,
    model: String,
    cwd: String,
    /// Of the message being told.
    message_id: String,
    tool_use_id: String,
}

impl Output {
    pub(super) fn new(model: String, session_id: Option<String>) -> io::Result<Output> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let mut output = Output {
            line: Vec::new(),
            random,
            session_id: session_id.unwrap_or_default(),
            model,
            cwd: std::env::current_dir()?.display().to_string(),
            message_id: String::new(),
            tool_use_id: String::new(),
        };
        if output.session_id.is_empty() {
            output.session_id = output.uuid().to_string();
        }
        Ok(output)
    }

    pub(super) fn init(&mut self) -> io::Result<()> {
        let (uuid, cwd, model) = (self.uuid(), Json(&self.cwd), Json(&self.model));
        let (session, version) = (Json(&self.session_id), env!("CARGO_PKG_VERSION"));
        let line = format_args!(
            r#"{{"type":"system","subtype":"init","cwd":{cwd},"session_id":{session},"tools":["Bash"],"mcp_servers":[],"model":{model},"permissionMode":"default","slash_commands":[],"apiKeySource":"none","claude_code_version":"0.0.0 (ccgw {version} stand-in)","output_style":"default","agents":[],"skills":[],"plugins":[],"uuid":"{uuid}"}}"#
        );
        write_line(&mut self.line, line)
    }

    pub(super) fn message_start(&mut self, usage: Usage) -> io::Result<()> {
        let (uuid, session) = (self.uuid(), Json(&self.session_id));
        let status = format_args!(
            r#"{{"type":"system","subtype":"status","status":"requesting","session_id":{session},"uuid":"{uuid}"}}"#
        );
        write_line(&mut self.line, status)?;
        self.message_id = format!("msg_{}", self.id());
        let usage = StartUsage(usage);
        let (id, model) = (&self.message_id, Json(&self.model));
        let event = format!(
            r#"{{"type":"message_start","message":{{"id":"{id}","type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}}}"#
        );
        self.stream_event(&event, r#""ttft_ms":1,"#)
    }

    pub(super) fn text_start(&mut self) -> io::Result<()> {
        self.stream_event(
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            "",
        )
    }

    pub(super) fn text_delta(&mut self, text: &str) -> io::Result<()> {
        let text = Json(text);
        let event = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}"#
        );
        self.stream_event(&event, "")
    }

    pub(super) fn text_stop(&mut self, text: &str, usage: Usage) -> io::Result<()> {
        self.block_stop(
            &format!(r#"{{"type":"text","text":{}}}"#, Json(text)),
            usage,
        )
    }

    /// A whole tool_use block, its input in three pieces as the API sends it.
    pub(super) fn tool_use(&mut self, usage: Usage, command: &str) -> io::Result<()> {
        self.tool_use_id = format!("toolu_{}", self.id());
        let start = format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"{}","name":"Bash","input":{{}}}}}}"#,
            self.tool_use_id
        );
        self.stream_event(&start, "")?;
        let input = format!(r#"{{"command": {}, "description": "a"}}"#, Json(command));
        let (first, second) = input.split_at(input.len() / 2);
        for piece in ["", first, second] {
            let piece = Json(piece);
            let delta = format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":{piece}}}}}"#
            );
            self.stream_event(&delta, "")?;
        }
        let block = format!(
            r#"{{"type":"tool_use","id":"{}","name":"Bash","input":{{"command":{},"description":"a"}}}}"#,
            self.tool_use_id,
            Json(command)
        );
        self.block_stop(&block, usage)
    }

    /// `stop_reason` is JSON: a string, or null for a message that was interrupted.
    pub(super) fn message_end(&mut self, stop_reason: &str, usage: Usage) -> io::Result<()> {
        let Usage { input, output } = usage;
        let delta = format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":{stop_reason},"stop_sequence":null}},"usage":{{"input_tokens":{input},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{output}}}}}"#
        );
        self.stream_event(&delta, "")?;
        self.stream_event(r#"{"type":"message_stop"}"#, "")
    }

    pub(super) fn tool_result(&mut self, command: &str) -> io::Result<()> {
        let (uuid, session, id) = (self.uuid(), Json(&self.session_id), &self.tool_use_id);
        let text = format!("[stand-in] not executed: {command}");
        let text = Json(&text);
        let line = format_args!(
            r#"{{"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"{id}","type":"tool_result","content":{text},"is_error":false}}]}},"parent_tool_use_id":null,"session_id":{session},"uuid":"{uuid}","timestamp":"{TIMESTAMP}","tool_use_result":{{"stdout":{text},"stderr":"","interrupted":false,"isImage":false,"noOutputExpected":false}},"tool_result_meta":[{{"id":"{id}","permission_decision":{{"decision":"accept","source":"config","reason_type":"rule"}}}}]}}"#
        );
        write_line(&mut self.line, line)
    }

    pub(super) fn result(&mut self, ending: &Ending) -> io::Result<()> {
        let (uuid, session) = (self.uuid(), Json(&self.session_id));
        let Usage { input, output } = ending.usage;
        let (turns, millis) = (ending.calls, ending.started.elapsed().as_millis());
        let (stop_reason, reason, verdict) = match ending.outcome {
            Outcome::Completed => {
                let text = Json(&ending.text);
                let verdict = format!(
                    r#""is_error":false,"num_turns":{turns},"subtype":"success","api_error_status":null,"result":{text}"#
                );
                (r#""end_turn""#, "completed", verdict)
            }
            Outcome::Interrupted => {
                let verdict = format!(
                    r#""is_error":true,"num_turns":{turns},"subtype":"error_during_execution","api_error_status":null,"errors":["[stand-in] Request was aborted."]"#
                );
                ("null", "aborted_streaming", verdict)
            }
        };
        let model = Json(&self.model);
        let line = format_args!(
            r#"{{"duration_api_ms":{millis},"stop_reason":{stop_reason},"session_id":{session},"total_cost_usd":0,"usage":{{"input_tokens":{input},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{output},"server_tool_use":{{"web_search_requests":0,"web_fetch_requests":0}},"service_tier":"standard"}},"modelUsage":{{{model}:{{"inputTokens":{input},"outputTokens":{output},"cacheReadInputTokens":0,"cacheCreationInputTokens":0,"webSearchRequests":0,"costUSD":0}}}},"permission_denials":[],"terminal_reason":"{reason}",{verdict},"type":"result","duration_ms":{millis},"uuid":"{uuid}"}}"#
        );
        write_line(&mut self.line, line)
    }

    pub(super) fn initialized(&mut self, id: &str) -> io::Result<()> {
        let pid = std::process::id();
        let response =
            format!(r#"{{"commands":[],"agents":[],"models":[],"account":{{}},"pid":{pid}}}"#);
        self.control_success(id, &response)
    }

    pub(super) fn set_model(&mut self, id: &str, model: String) -> io::Result<()> {
        self.model = model;
        let response = format!(r#"{{"model":{}}}"#, Json(&self.model));
        self.control_success(id, &response)
    }

    /// `response` is a JSON object.
    pub(super) fn control_success(&mut self, id: &str, response: &str) -> io::Result<()> {
        let id = Json(id);
        let line = format_args!(
            r#"{{"type":"control_response","response":{{"subtype":"success","request_id":{id},"response":{response}}}}}"#
        );
        write_line(&mut self.line, line)
    }

    pub(super) fn unsupported(&mut self, id: &str, subtype: &str) -> io::Result<()> {
        let error = format!("Unsupported control request subtype: {subtype}");
        let (id, error) = (Json(id), Json(&error));
        let line = format_args!(
            r#"{{"type":"control_response","response":{{"subtype":"error","request_id":{id},"error":{error},"error_code":"unsupported_request"}}}}"#
        );
        write_line(&mut self.line, line)
    }

    /// The assistant line comes before the block's stop, as in the CLI.
    fn block_stop(&mut self, block: &str, usage: Usage) -> io::Result<()> {
        let uuid = self.uuid();
        let request = self.id();
        let (session, model) = (Json(&self.session_id), Json(&self.model));
        let (id, usage) = (&self.message_id, StartUsage(usage));
        let line = format_args!(
            r#"{{"type":"assistant","message":{{"id":"{id}","type":"message","role":"assistant","model":{model},"content":[{block}],"stop_reason":null,"stop_sequence":null,"usage":{usage},"context_management":null}},"parent_tool_use_id":null,"session_id":{session},"uuid":"{uuid}","timestamp":"{TIMESTAMP}","request_id":"req_{request}"}}"#
        );
        write_line(&mut self.line, line)?;
        self.stream_event(r#"{"type":"content_block_stop","index":0}"#, "")
    }

    /// `event` is the API's event; `more` are fields of this one line, each with its comma.
    fn stream_event(&mut self, event: &str, more: &str) -> io::Result<()> {
        let (uuid, session, id) = (self.uuid(), Json(&self.session_id), &self.message_id);
        let line = format_args!(
            r#"{{"type":"stream_event","event":{event},"session_id":{session},"parent_tool_use_id":null,"uuid":"{uuid}",{more}"api_message_id":"{id}"}}"#
        );
        write_line(&mut self.line, line)
    }

    /// 24 hexadecimal digits, as in the API's ids.
    fn id(&mut self) -> String {
        format!(
            "{:016x}{:08x}",
            self.next_random(),
            self.next_random() >> 32
        )
    }

    fn uuid(&mut self) -> Uuid {
        Uuid(self.next_random(), self.next_random())
    }

    /// SplitMix64: different every time, which is all that these ids need to be.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn write_line(buffer: &mut Vec<u8>, line: fmt::Arguments<'_>) -> io::Result<()> {
    buffer.clear();
    buffer.write_fmt(line)?;
    buffer.push(b'\n');
    let mut rest = buffer.as_slice();
    while !rest.is_empty() {
        let written = retry_on_intr(|| rustix::io::write(io::stdout(), rest))?;
        rest = &rest[written..];
    }
    Ok(())
}

/// A random (version 4) UUID.
#[derive(Clone, Copy)]
struct Uuid(u64, u64);

impl Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uuid(high, low) = *self;
        write!(
            f,
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

/// A text as a JSON string.
struct Json<'a>(&'a str);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// The usage object of a message_start, which counts one token of output whatever follows.
struct StartUsage(Usage);

impl Display for StartUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.0.input;
        write!(
            f,
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,"service_tier":"standard","cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}}}"#
        )
    }
}
