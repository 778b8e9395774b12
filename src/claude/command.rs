//! How the Claude Code CLI is started: the only list of its flags and environment variables.
//!
//! Every choice here was measured against the real CLI; nothing long or secret is in argv.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    keeper::{self, Launch},
    program::{Kind, Program},
};
use crate::{
    api::{BuiltInTools, Effort, Parameters, Prompt, Sampling},
    config::PermissionMode,
    session::{Turn, Uuid},
};

/// Where one tenant's runs live.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) working_dir: PathBuf,
    /// `CLAUDE_CONFIG_DIR`; `None` leaves the CLI its default, the gateway user's own login.
    pub(crate) config_dir: Option<PathBuf>,
    /// The plugin directory that shows the tenant's skills.
    pub(crate) skills_plugin: Option<PathBuf>,
}

/// Everything a launch is made from.
pub(crate) struct Recipe<'a> {
    pub(crate) program: &'a Program,
    pub(crate) permission_mode: PermissionMode,
    /// Whether the daemon, and so the CLI, runs as root.
    pub(crate) user: User,
    pub(crate) effort: Option<Effort>,
    pub(crate) place: &'a Place,
    pub(crate) base_env: &'a [(OsString, OsString)],
    pub(crate) tenant_env: &'a [(OsString, OsString)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Ordinary,
}

/// The built-in tools a run has. Left out on purpose: those that outlive the answer or reach other
/// sessions of the same login (`CronCreate`, `ScheduleWakeup`, `Monitor`, `ListAgents`,
/// `SendMessage`, `EnterWorktree`, `Workflow`). A name that the installed version does not know is ignored by it.
const TOOLS: [&str; 11] = [
    "Skill",
    "Task",
    "Bash",
    "Read",
    "Edit",
    "Write",
    "Glob",
    "Grep",
    "NotebookEdit",
    "WebFetch",
    "WebSearch",
];

/// What a run has to do with sessions of the CLI.
#[derive(Debug)]
pub(crate) enum Session<'a> {
    /// It leaves none.
    None,
    New(Uuid),
    /// A new one begins with all that another has up to a line. The other stays as it is, so that two
    /// requests may go on from one answer.
    From {
        turn: &'a Turn,
        new: Uuid,
    },
    /// A new one begins with a transcript.
    Transcript {
        file: &'a Path,
        new: Uuid,
    },
}

impl Session<'_> {
    /// Adds it to a command line.
    pub(crate) fn add_to(&self, launch: &mut Launch) {
        let mut args = Args(std::mem::take(&mut launch.args));
        match self {
            Session::None => args.add(["--no-session-persistence"]),
            Session::New(new) => args.add(["--session-id", &new.to_string()]),
            Session::From { turn, new } => {
                args.add(["--resume", &turn.place.session.to_string()]);
                args.add(["--resume-session-at", &turn.leaf.to_string()]);
                args.begin_anew(*new);
            }
            Session::Transcript { file, new } => {
                args.0.extend(["--resume".into(), file.as_os_str().into()]);
                args.begin_anew(*new);
            }
        }
        launch.args = args.0;
    }
}

/// The command line for one prompt, but for its [`Session`].
pub(crate) fn launch(recipe: &Recipe<'_>, prompt: &Prompt) -> Launch {
    let mut args = Args(Vec::with_capacity(48));
    if recipe.program.kind == Kind::StandIn {
        args.add(["stand-in"]);
    }
    args.add([
        "--print",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
    ]);
    args.add(["--verbose", "--include-partial-messages"]);
    // Nothing from the working directory or its parents: no settings, hooks, CLAUDE.md, MCP servers.
    args.add(["--setting-sources", "", "--strict-mcp-config"]);
    args.add(["--model", &prompt.model]);
    if let Some(effort) = prompt.effort.or(recipe.effort) {
        args.add(["--effort", effort_name(effort)]);
    }
    match prompt.tools {
        BuiltInTools::Off => args.add(["--tools", ""]),
        BuiltInTools::On => tools(&mut args, recipe),
    }
    Launch {
        program: recipe.program.path.clone(),
        args: args.0,
        env: environment(recipe, &prompt.parameters),
        cwd: recipe.place.working_dir.clone(),
        wrapped_in: 0,
        limits: keeper::Limits::default(),
    }
}

/// The command line for counting a prompt's tokens. Without it the CLI would remind the model of
/// its budget in every user message, and have that counted too.
pub(crate) fn launch_to_count(recipe: &Recipe<'_>, prompt: &Prompt) -> Launch {
    const NO_REMINDERS: &str = "CLAUDE_CODE_DISABLE_ATTACHMENTS";
    let mut launch = launch(recipe, prompt);
    Session::None.add_to(&mut launch);
    launch.env.retain(|(name, _)| name != NO_REMINDERS);
    launch.env.push((NO_REMINDERS.into(), "1".into()));
    launch
}

/// The command line for a trial that asks an API on this port, with a directory of its own for all that the
/// CLI keeps.
pub(crate) fn trial_launch(
    program: &Program,
    base_env: &[(OsString, OsString)],
    (dir, port): (&Path, u16),
) -> Launch {
    let mut args = Args(Vec::with_capacity(16));
    args.add(["--print", "--input-format", "stream-json"]);
    args.add(["--output-format", "stream-json", "--verbose"]);
    args.add(["--setting-sources", "", "--strict-mcp-config"]);
    args.add(["--model", "sonnet", "--tools", ""]);
    let mut env = base_env.to_vec();
    env.extend(SETTINGS.map(|(name, value)| (name.into(), value.into())));
    let own: [(&str, OsString); 4] = [
        ("CLAUDE_CONFIG_DIR", dir.into()),
        (
            "ANTHROPIC_BASE_URL",
            format!("http://127.0.0.1:{port}").into(),
        ),
        ("ANTHROPIC_API_KEY", "trial".into()),
        ("NO_PROXY", "127.0.0.1".into()),
    ];
    env.retain(|(known, _)| known != "NO_PROXY");
    env.extend(own.map(|(name, value)| (name.into(), value)));
    Launch {
        program: program.path.clone(),
        args: args.0,
        env,
        cwd: dir.to_owned(),
        wrapped_in: 0,
        limits: keeper::Limits::default(),
    }
}

fn tools(args: &mut Args, recipe: &Recipe<'_>) {
    args.add(["--tools", &TOOLS.join(",")]);
    if let Some(plugin) = &recipe.place.skills_plugin {
        args.0.push("--plugin-dir".into());
        args.0.push(plugin.into());
    }
    let mode = recipe.permission_mode;
    let everything_allowed = mode == PermissionMode::BypassPermissions;
    if everything_allowed && recipe.user == User::Ordinary {
        args.add(["--dangerously-skip-permissions"]);
    } else if everything_allowed {
        // The CLI refuses root that flag; an allow list of all the tools comes to the same.
        // --allowedTools takes all that follows up to the next option.
        args.add(["--permission-mode", "dontAsk", "--allowedTools"]);
        args.add(TOOLS);
    } else {
        args.add(["--permission-mode", mode.cli_name()]);
    }
}

fn effort_name(effort: Effort) -> &'static str {
    match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

/// What the CLI itself is told, below the tenant's own environment.
const SETTINGS: [(&str, &str); 8] = [
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "1"),
    // The default of 10 turns one rejected request into three minutes of silence.
    ("CLAUDE_CODE_MAX_RETRIES", "2"),
    // Without it claude-opus-4-1 and claude-opus-4-20250514 are answered by another model.
    ("CLAUDE_CODE_DISABLE_LEGACY_MODEL_REMAP", "1"),
    // Its fallback delivers an answer a second time, outside the stream.
    ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1"),
];

/// JSON that the CLI merges into every request that it sends to the API.
const EXTRA_BODY: &str = "CLAUDE_CODE_EXTRA_BODY";

/// What the API itself is asked for, beside what the CLI asks it.
#[derive(Serialize)]
struct ExtraBody<'a> {
    /// The API refuses sequences of blanks; those are matched here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(flatten)]
    sampling: &'a Sampling,
}

/// `None` when there is nothing to ask for.
fn extra_body(parameters: &Parameters, tenants_own: Option<&OsStr>) -> Option<String> {
    let stops = parameters.stop_sequences.iter().map(String::as_str);
    let ours = ExtraBody {
        stop_sequences: stops.filter(|it| !it.trim().is_empty()).collect(),
        sampling: &parameters.sampling,
    };
    let Ok(Value::Object(mut body)) = serde_json::to_value(&ours) else {
        return None;
    };
    if body.is_empty() {
        return None;
    }
    // The tenant's own environment has the last word here too.
    let own = tenants_own
        .and_then(OsStr::to_str)
        .map(serde_json::from_str);
    if let Some(Ok(Value::Object(own))) = own {
        body.extend(own);
    }
    Some(Value::Object(body).to_string())
}

fn environment(recipe: &Recipe<'_>, parameters: &Parameters) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = recipe.base_env.to_vec();
    let mut set = |name: OsString, value: OsString| {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    };
    for (name, value) in SETTINGS {
        set(name.into(), value.into());
    }
    if let Some(dir) = &recipe.place.config_dir {
        set("CLAUDE_CONFIG_DIR".into(), dir.into());
    }
    if let Some(max) = parameters.max_tokens {
        set(
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS".into(),
            max.to_string().into(),
        );
    }
    for (name, value) in recipe.tenant_env {
        set(name.clone(), value.clone());
    }
    let own = recipe
        .tenant_env
        .iter()
        .find(|(name, _)| name == EXTRA_BODY);
    if let Some(body) = extra_body(parameters, own.map(|(_, value)| value.as_os_str())) {
        set(EXTRA_BODY.into(), body.into());
    }
    env
}

/// What every run gets of the daemon's own environment: where programs and the user's home are,
/// language and time zone, and how this host reaches the network. No credential: a tenant's come
/// from its own `env`, and the gateway user's login is found by the CLI itself under HOME.
pub(crate) fn base_environment(
    get: impl Fn(&str) -> Option<OsString>,
    home_if_unset: &Path,
) -> Vec<(OsString, OsString)> {
    let defaults: [(&str, &str); 2] = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("LANG", "C.UTF-8"),
    ];
    const TAKEN: [&str; 20] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "TMPDIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let mut env = Vec::with_capacity(TAKEN.len());
    for name in TAKEN {
        let default = defaults
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).into());
        let fallback = if name == "HOME" {
            Some(home_if_unset.into())
        } else {
            default
        };
        let value = get(name).filter(|value| !value.is_empty()).or(fallback);
        env.extend(value.map(|value| (OsString::from(name), value)));
    }
    env
}

struct Args(Vec<OsString>);

impl Args {
    fn add<const N: usize>(&mut self, args: [&str; N]) {
        self.0.extend(args.into_iter().map(OsString::from));
    }

    fn begin_anew(&mut self, new: Uuid) {
        self.add(["--fork-session", "--session-id", &new.to_string()]);
        // Its default is the system prompt that the session began with, whatever this request says.
        self.add(["--system-prompt-snapshot", "off"]);
    }
}

#[cfg(test)]
mod tests;
