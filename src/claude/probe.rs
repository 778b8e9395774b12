//! What the installed CLI is: asked once, in the background, while the gateway already listens.

use std::{
    ffi::OsString,
    os::fd::AsFd,
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use super::{
    keeper::{Keeper, Launch},
    program::{Abilities, Kind, Program, abilities},
    worker::{Step, Worker},
};
use crate::log;

/// The CLI that answers, and what is known of it.
pub(crate) struct Cli {
    pub(crate) program: Program,
    version: OnceLock<Option<String>>,
}

/// `--version` takes 12 ms for the native binary and 80 ms through Node; a cold disk takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cli {
    /// Starts to ask the program for its version.
    pub(crate) fn start(program: Program, env: Vec<(OsString, OsString)>, cwd: &Path) -> Arc<Self> {
        let cli = Arc::new(Cli {
            program,
            version: OnceLock::new(),
        });
        let (probed, cwd) = (Arc::clone(&cli), cwd.to_owned());
        let asked = thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                let version = ask(&probed.program, env, &cwd);
                report(&probed.program, version.as_deref());
                // Set here and nowhere else.
                let _ = probed.version.set(version);
            });
        if asked.is_err() {
            // Without a thread nobody will ask; unknown is what it stays.
            let _ = cli.version.set(None);
        }
        cli
    }

    /// What `--version` printed, once it did.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.get().and_then(Option::as_deref)
    }

    /// What the version can do; waits for the probe, at most [`PATIENCE`] after start.
    pub(crate) fn abilities(&self) -> Abilities {
        match self.program.kind {
            Kind::StandIn => Abilities { untyped_text: true },
            Kind::ClaudeCode => abilities(self.version.wait().as_deref()),
        }
    }
}

fn report(program: &Program, version: Option<&str>) {
    let path = program.path.display();
    match version {
        None => log::warn(
            "the CLI did not tell its version; it runs with the plain, most careful settings",
            &[("program", &path)],
        ),
        Some(version)
            if program.kind == Kind::ClaudeCode && !abilities(Some(version)).untyped_text =>
        {
            log::warn(
                "this CLI is older than 2.1.330 and runs with --restricted; update it with `claude update`",
                &[("version", &version), ("program", &path)],
            );
        }
        Some(version) => log::info(
            "found the CLI",
            &[("version", &version), ("program", &path)],
        ),
    }
}

fn ask(program: &Program, env: Vec<(OsString, OsString)>, cwd: &Path) -> Option<String> {
    let mut args: Vec<OsString> = Vec::new();
    if program.kind == Kind::StandIn {
        args.push("stand-in".into());
    }
    args.push("--version".into());
    let launch = Launch {
        program: program.path.clone(),
        args,
        env,
        cwd: cwd.to_owned(),
    };
    let mut keeper = Keeper::start().ok()?;
    let mut worker = Worker::start(&mut keeper, &launch, Vec::new()).ok()?;
    worker.close_stdin();
    let version = first_line(&mut worker);
    worker.end();
    version
}

fn first_line(worker: &mut Worker<'_>) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    // Nobody writes to it: this wait ends by output, exit or time.
    let never = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?;
    loop {
        match worker.wait(never.as_fd(), until).ok()? {
            Step::Output => {
                if let Some(line) = worker.next_line().ok()? {
                    let text = String::from_utf8_lossy(line).trim().to_owned();
                    return (!text.is_empty() && text.len() <= 200).then_some(text);
                }
            }
            Step::Woken => {}
            Step::Timeout | Step::Ended => return None,
        }
    }
}
