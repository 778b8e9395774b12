//! `ccgw --setup`: finds the OpenClaw instances of this machine and makes each a tenant that uses the
//! gateway. Running it twice changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    apply::EnvFiles,
    backups::Backups,
    cli_check,
    companion::Companion,
    connect::{Candidate, Changed, Connected, Gateway, Look, Tenant},
    found::Found,
    identities::Identities,
    progress, question,
    reach::Answering,
    say::{Say, Volume},
    skills,
    store::Store,
    which::start_line,
};
use crate::{
    config::{self, Config, ConfigDir, Secret, edit::Change},
    openclaw::instance::Instance,
    state::StateDir,
};

/// What `ccgw --setup` was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `config.yaml` in the working directory when `None`.
    pub(crate) config: Option<PathBuf>,
    pub(crate) skills: Skills,
    pub(crate) mode: Mode,
    pub(crate) volume: Volume,
}

/// Whether skills are copied from the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skills {
    /// As `skills.sync` says.
    AsConfigured,
    Copy,
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On a terminal it asks before it changes anything.
    Ask,
    /// `--yes`.
    Do,
    /// `--dry-run`.
    Look,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All instances are connected.
    Good,
    /// Some are not, and it was said why; or the person said no.
    Incomplete,
}

/// Instances are tried out side by side: each waits for its own container most of the time.
const SIDE_BY_SIDE: usize = 8;

const QUESTION: &str = "Write config.yaml and point these instances at the gateway?";

/// Finds, shows, asks, writes, points, proves.
///
/// # Errors
/// What keeps it from doing anything at all.
pub(crate) fn run(options: &Options) -> Result<Outcome, String> {
    options.volume.set();
    let say = Say::new();
    let path = options
        .config
        .clone()
        .unwrap_or_else(|| "config.yaml".into());
    let config = load(&path)?;
    let version = cli_check::version(&config)?;
    say.head("Claude Code CLI");
    say.ok(&version);
    if let Ok(false) = cli_check::signed_in(&config, &ConfigDir::Shared) {
        say.warn("it is not signed in: run `claude` as the user that runs ccgw, or give each tenant a credential of its own");
    }
    let found = Found::search(&config.tenants);
    if !show(say, &found) {
        return Ok(Outcome::Incomplete);
    }
    let answering = Answering::open(&config)?;
    let identities = Identities::load(&state_path()?)?;
    let step = progress::step("looking into the instances, and asking from inside");
    let mut candidates = side_by_side(&found.instances, |instance| {
        let with = Look {
            config: &config,
            answering: &answering,
            identities: &identities,
            given: None,
        };
        Candidate::look(&found, instance, &with)
    });
    drop(step);
    preview(say, &candidates);
    if options.mode == Mode::Look {
        say.line("\nNothing was changed (--dry-run).");
        return Ok(outcome(candidates.iter().all(|it| it.preview().is_ok())));
    }
    if options.mode == Mode::Ask && !question::agreed_unless_refused(QUESTION)? {
        say.line("Nothing was changed.");
        return Ok(Outcome::Incomplete);
    }
    say.head(&path.display().to_string());
    write_config(say, &path, &mut candidates)?;
    let config = load(&path)?;
    let is_running = matches!(answering, Answering::Gateway { .. });
    let good = connect_all(say, &path, (&config, answering), &candidates)?;
    copy_skills(say, options.skills, (&config, &found), &candidates);
    next_steps(say, &path, is_running);
    Ok(outcome(good && found.unseen == 0))
}

/// How the setup before a first start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Or there was nothing to set up.
    Done,
    Declined,
}

/// What happens before the gateway starts where no configuration is: as [`run`], if there are
/// instances. Those that could not be connected were told; the others are served.
///
/// # Errors
/// As [`run`].
pub(crate) fn first() -> Result<First, String> {
    if Found::search(&[]).instances.is_empty() {
        return Ok(First::Done);
    }
    let outcome = run(&Options {
        config: None,
        skills: Skills::AsConfigured,
        mode: Mode::Ask,
        volume: Volume::Usual,
    })?;
    match outcome {
        Outcome::Incomplete if !Path::new("config.yaml").exists() => Ok(First::Declined),
        Outcome::Good | Outcome::Incomplete => Ok(First::Done),
    }
}

fn outcome(is_good: bool) -> Outcome {
    match is_good {
        true => Outcome::Good,
        false => Outcome::Incomplete,
    }
}

fn load(path: &Path) -> Result<Config, String> {
    let env = |name: &str| std::env::var(name).ok();
    if path.exists() {
        let loaded = config::load(path, &env).map_err(|it| it.to_string())?;
        return Ok(loaded.config);
    }
    let absolute = std::path::absolute(path).map_err(|it| it.to_string())?;
    let dir = absolute.parent().unwrap_or(Path::new("/"));
    Config::default_in(dir, &env).map_err(|it| it.to_string())
}

/// Tells what there is; false when there is nothing to connect.
fn show(say: Say, found: &Found) -> bool {
    say.head("OpenClaw instances");
    for engine in &found.engines {
        say.ok(&format!(
            "Docker Engine {} at {}",
            engine.release,
            engine.address()
        ));
    }
    for problem in &found.engine_problems {
        say.warn(problem);
    }
    if found.engines.is_empty() && found.engine_problems.is_empty() {
        say.ok("no Docker here");
    }
    for instance in &found.instances {
        say.ok(&described(instance));
    }
    for notice in &found.notices {
        say.warn(notice);
    }
    if found.instances.is_empty() {
        say.fail(
            "none found: start your OpenClaw containers, or create ~/.openclaw/openclaw.json with `openclaw setup`, and run this again",
        );
    }
    !found.instances.is_empty()
}

fn described(instance: &Instance) -> String {
    format!(
        "{}: {}, {} (found by {})",
        instance.name,
        instance.whereabouts(),
        instance.config_path.display(),
        instance.reason
    )
}

fn preview(say: Say, candidates: &[Candidate<'_>]) {
    for candidate in candidates {
        say.head(candidate.name());
        match &candidate.tenant {
            Ok(Tenant::New { tenant, .. }) => {
                let names: Vec<&str> = tenant.env.iter().map(|(name, _)| name.as_str()).collect();
                say.ok(&format!("new tenant{}", variables(&names)));
            }
            Ok(Tenant::Known { missing_env, .. }) => {
                let names: Vec<&str> = missing_env.iter().map(|(name, _)| name.as_str()).collect();
                say.ok(&format!("tenant already{}", variables(&names)));
            }
            Err(_) => {}
        }
        if let Some(why) = candidate.closed_workspace() {
            say.warn(why);
        }
        match candidate.preview() {
            Ok(lines) => lines.iter().for_each(|line| say.ok(line)),
            Err(why) => say.fail(&why),
        }
    }
}

/// Names only: the values are secrets.
fn variables(names: &[&str]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!(", with variables {}", names.join(", ")),
    }
}

/// Writes what the candidates need. Those that cannot be connected get their tenant all the same when
/// it is known what it needs: mending them is then one more run of setup. One whose place in the file
/// cannot be edited is told, and the others are written.
fn write_config(say: Say, path: &Path, candidates: &mut [Candidate<'_>]) -> Result<(), String> {
    let store = Store::open(path)?;
    let before = store.text().map(str::to_owned);
    let mut text = before
        .clone()
        .unwrap_or_else(|| config::edit::NEW_FILE.to_owned());
    for candidate in candidates {
        match config::edit::edited(&text, &changes(candidate)) {
            Ok(edited) => text = edited,
            Err(error) => {
                say.fail(&format!("{}: {error}", candidate.name()));
                candidate.tenant = Err(error.to_string());
            }
        }
    }
    if before.as_ref() == Some(&text) {
        say.ok("nothing to change");
        return Ok(());
    }
    match store.replace(&text)?.backup {
        Some(backup) => say.ok(&format!("written; before: {}", backup.display())),
        None => say.ok("written, with keys in it: mode 0600"),
    }
    Ok(())
}

fn changes(candidate: &Candidate<'_>) -> Vec<Change> {
    match &candidate.tenant {
        Ok(Tenant::New { tenant, .. }) => vec![Change::AddTenant(tenant.clone())],
        Ok(Tenant::Known { missing_env, .. }) => {
            let set = |(name, value): &(String, Secret)| Change::SetEnv {
                tenant: candidate.name().to_owned(),
                name: name.clone(),
                value: value.clone(),
            };
            missing_env.iter().map(set).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// True when every instance is connected.
fn connect_all(
    say: Say,
    path: &Path,
    (config, answering): (&Config, Answering),
    candidates: &[Candidate<'_>],
) -> Result<bool, String> {
    let state = state_dir()?;
    // The gateway takes the port that the beacon had.
    let (companion, gateway) = match answering {
        Answering::Gateway { .. } => (None, Gateway::Running),
        Answering::Beacon(beacon) => {
            drop(beacon);
            (Some(Companion::start(path, config)?), Gateway::OurOwn)
        }
    };
    let _step = progress::step("pointing the instances here, and asking the gateway from inside");
    let connected = side_by_side(candidates, |candidate| {
        let backups = Backups::of(&state, candidate.name());
        candidate.connect(&backups, (EnvFiles::Update, gateway))
    });
    drop(companion);
    let served = candidates.iter().zip(&connected);
    let served = served.filter(|(_, connected)| connected.is_good());
    Identities::note(
        &state,
        served.map(|(candidate, _)| candidate.access.instance),
    )?;
    for (candidate, connected) in candidates.iter().zip(&connected) {
        say.head(candidate.name());
        tell(say, connected);
    }
    Ok(connected.iter().all(Connected::is_good))
}

fn tell(say: Say, connected: &Connected) {
    for finding in &connected.findings {
        say.mark(finding.mark, &finding.to_string());
    }
    if connected.changed == Changed::No && connected.is_good() {
        say.ok("nothing to change");
    }
}

fn copy_skills(
    say: Say,
    skills: Skills,
    (config, found): (&Config, &Found),
    candidates: &[Candidate<'_>],
) {
    let wanted = match skills {
        Skills::Copy => true,
        Skills::Leave => false,
        Skills::AsConfigured => config.skills.sync == config::SkillsSync::Auto,
    };
    if !wanted {
        return;
    }
    say.head("Skills");
    // Of another instance, whose skills would run commands for a tenant that is not its own: told above.
    let own = |it: &&Candidate<'_>| found.stranger(it.name()).is_none();
    for candidate in candidates.iter().filter(own) {
        let access = found.access(candidate.access.instance);
        let dir = config.skills.dir.join(candidate.name());
        match skills::pull_new(access, (candidate.name(), &dir)) {
            Ok(copied) => say.ok(&format!("{}: {copied}", candidate.name())),
            Err(why) => say.warn(&format!("{}: {why}", candidate.name())),
        }
    }
}

fn next_steps(say: Say, path: &Path, is_running: bool) {
    say.detail("\nNext");
    match is_running {
        true => say.detail("  The gateway runs. `ccgw-manage doctor` looks after it."),
        false => say.detail(&format!(
            "  Start the gateway: {}\n  Then `ccgw-manage doctor` looks after it; until it runs, the instances get no answers.",
            start_line(path)
        )),
    }
}

/// Where the state directory is or will be.
///
/// # Errors
/// When the environment names no place for it.
pub(crate) fn state_path() -> Result<PathBuf, String> {
    let env = |name: &str| std::env::var(name).ok();
    let path = StateDir::locate(env);
    path.ok_or_else(|| "no state directory: set HOME, XDG_STATE_HOME or STATE_DIRECTORY".to_owned())
}

/// Where backups are kept, made at need.
///
/// # Errors
/// When there is no place for it.
pub(crate) fn state_dir() -> Result<PathBuf, String> {
    let path = state_path()?;
    let failed = |error: std::io::Error| format!("state directory {}: {error}", path.display());
    StateDir::open(&path).map_err(failed)?;
    Ok(path)
}

/// Does one thing for each, some at a time, and keeps their order.
pub(crate) fn side_by_side<'s, T: Sync, R: Send>(
    items: &'s [T],
    work: impl Fn(&'s T) -> R + Sync,
) -> Vec<R> {
    let next = Mutex::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    let take = || {
        let mut next = next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = *next;
        *next += 1;
        index
    };
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = take();
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    let done = done.lock();
                    done.unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((index, result));
                }
            });
        }
    });
    let done = done.into_inner();
    let mut done = done.unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
