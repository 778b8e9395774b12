//! What a command that changes something says at its end: lines for people, or one JSON object.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::manage::{
    connect::Connected,
    doctor::Output,
    prove::Finding,
    say::{Mark, Say, must_line},
};

/// How pointing the instance here went, for scripts.
#[derive(Debug, Serialize)]
pub(super) struct Applied {
    pub(super) ok: bool,
    pub(super) findings: Vec<JsonFinding>,
}

#[derive(Debug, Serialize)]
pub(super) struct JsonFinding {
    status: &'static str,
    text: String,
    mend: String,
}

/// Points a tenant's instance here, and tells a failure as one of its findings.
pub(super) fn findings(connected: Result<Connected, String>) -> Vec<Finding> {
    match connected {
        Ok(connected) => connected.findings,
        Err(why) => vec![Finding::fail(format!("not connected: {why}"), "")],
    }
}

impl Applied {
    pub(super) fn of(findings: &[Finding]) -> Applied {
        let json = |it: &Finding| JsonFinding {
            status: it.mark.name(),
            text: it.text.clone(),
            mend: it.mend.clone(),
        };
        Applied {
            ok: findings.iter().all(|it| it.mark != Mark::Fail),
            findings: findings.iter().map(json).collect(),
        }
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// When nobody can read it.
pub(super) fn json(value: &impl Serialize) -> Result<(), String> {
    // Plain structs with string keys always serialise.
    must_line(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// The lines for people; nothing with `--json`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    say: Option<Say>,
}

impl Lines {
    pub(super) fn new(output: Output) -> Lines {
        let say = (output == Output::Text).then(Say::new);
        Lines { say }
    }

    pub(super) fn mark(self, mark: Mark, text: &str) {
        if let Some(say) = self.say {
            say.mark(mark, text);
        }
    }

    pub(super) fn ok(self, text: &str) {
        self.mark(Mark::Ok, text);
    }

    pub(super) fn findings(self, findings: &[Finding]) {
        for finding in findings {
            self.mark(finding.mark, &finding.to_string());
        }
    }

    /// That the file was changed, and where the old one is.
    pub(super) fn changed(self, what: &str, path: &Path, backup: Option<&PathBuf>) {
        let before = backup.map_or_else(String::new, |it| format!("; before: {}", it.display()));
        self.ok(&format!("{what} {}{before}", path.display()));
    }
}
