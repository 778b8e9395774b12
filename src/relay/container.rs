//! An instance in a container, and the end of a command there.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::instance::{Bounded, Caller, TookTooLong};
use crate::{
    docker::{self, Engine},
    ids,
};

/// Where its commands go, and as whom.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) engine: Engine,
    pub(super) id: String,
    /// How `openclaw` is called there.
    pub(super) launcher: &'static [&'static str],
    /// The owner of its files, `uid:gid`.
    pub(super) user: Option<String>,
    /// Its `timeout`, if it has one.
    pub(super) timer: Option<&'static str>,
}

/// The engine ends nothing that runs in a container, not even when nobody listens any more. So the limit is kept by the
/// container's own `timeout`, whose two kinds both understand `-k`.
const TIMERS: [&str; 2] = ["/usr/bin/timeout", "/bin/timeout"];

/// How much longer the engine is listened to than a command may run.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(3);

/// For the Node of OpenClaw's images: ends every process with the mark that is its argument.
const END: &str = include_str!("end.js");

/// A second of politeness, some rounds by force, and the start of Node on a busy host.
const ENDING_MAX: Duration = Duration::from_secs(20);

impl Container {
    /// The timer that a container has.
    pub(super) fn timer(engine: &Engine, id: &str) -> Option<&'static str> {
        let has = |it: &&&str| engine.has(id, Path::new(it)).unwrap_or(false);
        TIMERS.iter().find(has).copied()
    }

    /// Runs `openclaw` with these words. Whatever of it is left when nobody listens any more is ended.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(super) fn run(
        &self,
        words: &[String],
        limit: Duration,
        caller: &mut Caller<'_>,
    ) -> Result<i32, String> {
        let started = Instant::now();
        let seconds = limit.as_millis().div_ceil(1000).to_string();
        let timed = self.timer.map(|it| [it, "-k", "1", &seconds]);
        let words = words.iter().map(String::as_str);
        let argv = timed.iter().flatten().chain(self.launcher).copied();
        let argv: Vec<&str> = argv.chain(words).collect();
        let mark = format!("CCGW_COMMAND={}", ids::random_hex::<12>());
        let command = docker::Command {
            argv: &argv,
            env: &[&mark],
            user: self.user.as_deref(),
            stdin: b"",
            timeout: limit + self.timer.map_or(Duration::ZERO, |_| ENDS_BY_ITSELF),
            caller: Some(caller.as_fd()),
        };
        let mut bounded = Bounded::new(caller);
        let code = self
            .engine
            .exec_to(&self.id, &command, &mut |channel, bytes| {
                bounded.pass(channel, bytes.to_vec())
            });
        match code {
            // Of `timeout`: by SIGTERM, or where that is not heeded, by SIGKILL.
            Ok(124 | 137 | 143) if self.timer.is_some() && started.elapsed() >= limit => {
                self.end(&mark);
                Err(io::Error::from(TookTooLong).to_string())
            }
            Ok(code) => Ok(i32::try_from(code).unwrap_or(1)),
            Err(error) => {
                self.end(&mark);
                Err(error.to_string())
            }
        }
    }

    /// Ends what has this mark. Where the container has no Node it goes on to its end or to its time.
    fn end(&self, mark: &str) {
        let command = docker::Command {
            argv: &["node", "-e", END, mark],
            env: &[],
            user: self.user.as_deref(),
            stdin: b"",
            timeout: ENDING_MAX,
            caller: None,
        };
        let _ = self.engine.exec(&self.id, &command);
    }
}
