//! What the installed CLI is: asked in the background, while the gateway already listens.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    keeper::{self, Keeper, Launch},
    program::{Kind, Program, is_safe},
    trial,
    worker::Worker,
};
use crate::log;

/// The CLI that answers, and what is known of it.
pub(crate) struct Cli {
    pub(crate) program: Program,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    /// Set when the first question was answered or failed.
    asked: OnceLock<()>,
    version: Mutex<Option<String>>,
    /// The file that told it.
    file: Mutex<Option<FileId>>,
    /// Whether it takes transcripts, and of which version that is known.
    transcripts: Mutex<Option<(String, bool)>>,
}

/// `--version` takes 12 ms for the native binary and 80 ms through Node; a cold disk takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cli {
    /// Starts to ask the program for its version.
    pub(crate) fn start(program: Program, env: Vec<(OsString, OsString)>, cwd: &Path) -> Arc<Self> {
        let cli = Arc::new(Cli {
            program,
            env,
            cwd: cwd.to_owned(),
            asked: OnceLock::new(),
            version: Mutex::default(),
            file: Mutex::default(),
            transcripts: Mutex::default(),
        });
        let probed = Arc::clone(&cli);
        let probe = move || {
            probed.ask_again();
            // Set here and nowhere else while the thread lives.
            let _ = probed.asked.set(());
            probed.takes_transcripts();
        };
        if thread::Builder::new()
            .name("probe".to_owned())
            .spawn(probe)
            .is_err()
        {
            // Without a thread the first request will ask.
            let _ = cli.asked.set(());
        }
        cli
    }

    /// What `--version` printed, once it did.
    pub(crate) fn version(&self) -> Option<String> {
        self.known().clone()
    }

    /// Whether it may be given clients' text; waits for the probe, at most [`PATIENCE`] after start.
    /// A program that did not answer then, or is too old, is asked again: it may have been updated.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn ensure_safe(&self) -> Result<(), String> {
        if self.program.kind == Kind::StandIn {
            return Ok(());
        }
        self.asked.wait();
        let safe = self.known().as_deref().is_some_and(is_safe);
        // An update while the gateway runs is another program, for better or worse.
        let is_same = *self.file() == FileId::of(&self.program.path);
        if !safe || !is_same {
            self.ask_again();
        }
        safety(&self.program, self.known().as_deref())
    }

    /// Whether a client's history may be given to it as a session. The first one who asks of a version that was
    /// not measured waits for a trial.
    pub(crate) fn takes_transcripts(&self) -> bool {
        if self.program.kind == Kind::StandIn {
            return true;
        }
        let Some(version) = self.version().filter(|it| is_safe(it)) else {
            return false;
        };
        if trial::is_known(&version) {
            return true;
        }
        let mut known = self
            .transcripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((of, takes)) = &*known
            && *of == version
        {
            return *takes;
        }
        let tried = trial::takes_transcripts(&self.program, &self.env, &self.cwd);
        let why = tried
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        let takes = tried.unwrap_or(false);
        match takes {
            true => log::info("the CLI takes transcripts", &[("version", &version)]),
            false => log::warn(
                "the CLI does not take transcripts: where a session is lost, the model gets the client's history as text",
                &[("version", &version), ("why", &why)],
            ),
        }
        *known = Some((version, takes));
        takes
    }

    fn ask_again(&self) {
        *self.file() = FileId::of(&self.program.path);
        let version = ask(&self.program, self.env.clone(), &self.cwd);
        report(&self.program, version.as_deref());
        *self.known() = version;
    }

    fn file(&self) -> MutexGuard<'_, Option<FileId>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file with one content; what a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileId {
    fn of(path: &Path) -> Option<FileId> {
        let it = fs::metadata(path).ok()?;
        Some(FileId {
            device: it.dev(),
            inode: it.ino(),
            size: it.size(),
            modified: (it.mtime(), it.mtime_nsec()),
        })
    }
}

fn safety(program: &Program, version: Option<&str>) -> Result<(), String> {
    let path = program.path.display();
    match version {
        Some(version) if is_safe(version) => Ok(()),
        Some(version) => Err(format!(
            "the Claude Code CLI {path} is version {version}; versions before 2.1.329 read files and run commands \
             that a client's text names, so it is not used: run `claude update`"
        )),
        None => Err(format!(
            "the Claude Code CLI {path} did not tell its version (`--version`), so it is not used: check cli.bin"
        )),
    }
}

fn report(program: &Program, version: Option<&str>) {
    let path = program.path.display();
    match program.kind {
        Kind::ClaudeCode if safety(program, version).is_err() => {
            let why = safety(program, version).err().unwrap_or_default();
            log::error("every request will be refused", &[("why", &why)]);
        }
        _ => log::info(
            "found the CLI",
            &[
                ("version", &version.unwrap_or("unknown")),
                ("program", &path),
            ],
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
        wrapped_in: 0,
        limits: keeper::Limits::default(),
    };
    let keeper = Keeper::start().ok()?;
    let mut worker = Worker::start(keeper, &launch, Vec::new()).ok()?;
    worker.close_stdin();
    let version = worker.first_line(Instant::now() + PATIENCE);
    worker.end();
    version
}
