//! The gateway as a child of a command, for as long as instances are tried out against it.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::reach::gateway_runs;
use crate::config::Config;

/// A gateway that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Companion(Child);

/// Tells a gateway whose child it is, so that it ends with a command that is killed.
const ENDS_WITH_PARENT: &str = "CCGW_ENDS_WITH";

/// Sees to it that this process, if it is a companion, does not outlive the command that started it.
pub(crate) fn end_with_parent() {
    let Some(parent) = std::env::var(ENDS_WITH_PARENT).ok() else {
        return;
    };
    // The command starts it from its main thread, which lives as long as the command.
    let set = set_parent_process_death_signal(Some(Signal::TERM));
    let is_orphan = getppid().is_none_or(|it| it.as_raw_nonzero().to_string() != parent);
    if set.is_err() || is_orphan {
        std::process::exit(1);
    }
}

/// It listens after some milliseconds; a small host may be busy.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longer than it takes to end what still runs.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

impl Companion {
    /// Starts this same program with a configuration, and waits until it serves.
    ///
    /// # Errors
    /// Why it does not, in its own words.
    pub(crate) fn start(config_path: &Path, config: &Config) -> Result<Companion, String> {
        let failed = |why: String| format!("the gateway cannot be started: {why}");
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let child = Command::new(program)
            .arg("--")
            .arg(config_path)
            .env(ENDS_WITH_PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut companion = Companion(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while !gateway_runs(config) {
            let ended = companion
                .0
                .try_wait()
                .map_err(|it| failed(it.to_string()))?;
            if ended.is_some() {
                return Err(failed(companion.last_words()));
            }
            if Instant::now() > deadline {
                return Err(failed(format!(
                    "it does not answer within {} s",
                    START_TIMEOUT.as_secs()
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
        companion.drain_log();
        Ok(companion)
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = self.0.stderr.take() {
            // What was read is told; an error adds nothing.
            let _ = stderr.take(16 << 10).read_to_string(&mut text);
        }
        text.trim().to_owned()
    }

    /// Nobody reads its log, and a full pipe must not stop it.
    fn drain_log(&mut self) {
        if let Some(mut stderr) = self.0.stderr.take() {
            thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Its keepers end what it leaves.
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}
