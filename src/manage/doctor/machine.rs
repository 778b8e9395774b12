//! What must be right of this machine, whatever instances there are.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Options, Report};
use crate::{
    claude::{
        command, program,
        sandbox::{RunUser, Sandboxes, Surroundings},
    },
    config::{Config, ConfigDir, Isolation, Loaded, TERMS, Tenant},
    manage::{
        cli_check,
        folders::{Closed, ROOT_CONF, Who, closed},
        found::Found,
        operator,
        prove::Finding,
        reach::Answering,
        setup::state_dir,
    },
};

pub(super) fn this_machine(options: &Options, loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    for notice in &loaded.notices {
        report.all("config", Finding::warn(notice, ""));
    }
    if loaded.notices.is_empty() {
        let tenants = config.tenants.len();
        let text = format!(
            "{} is valid and private, {tenants} tenants",
            options.config.display()
        );
        report.all("config", Finding::ok(text));
    }
    match cli_check::version(config) {
        Ok(version) => {
            report.all("cli", Finding::ok(version));
            report.all("login", login(config, &ConfigDir::Shared));
        }
        Err(why) => report.all("cli", Finding::fail(why, "")),
    }
    match state_dir() {
        Ok(state) => {
            let entry = state.join("bin").join("ccgw");
            let sandboxes = Sandboxes::new(std::env::var_os("PATH"), entry);
            for finding in isolation(config, &options.config, (&state, &sandboxes)) {
                report.all("isolation", finding);
            }
            for finding in folders(config, &sandboxes) {
                report.all("folders", finding);
            }
        }
        Err(why) => report.all("isolation", Finding::fail(why, "")),
    }
    super::network::network(config, report);
    if let Some(finding) = limits() {
        report.all("limits", finding);
    }
    if let Some(finding) = shared_login(config) {
        report.all("login", finding);
    }
    report.all("clock", clock(&options.config));
    report.all("disk", disk());
    report.all("memory", memory(config));
}

pub(super) fn login(config: &Config, dir: &ConfigDir) -> Finding {
    match cli_check::signed_in(config, dir) {
        Ok(true) => Finding::ok("the CLI says that it is signed in (only a request proves it)"),
        Ok(false) => Finding::warn(
            "the CLI is not signed in",
            "run `claude` as the user that runs ccgw; tenants with a credential in env do not need it",
        ),
        Err(why) => Finding::warn(why, ""),
    }
}

/// What keeps the tenants' runs apart, tried out.
fn isolation(
    config: &Config,
    file: &Path,
    (state, sandboxes): (&Path, &Sandboxes),
) -> Vec<Finding> {
    let of = |wanted: Isolation| -> Vec<&Tenant> {
        let has = |it: &&Tenant| it.isolation.unwrap_or(config.isolation) == wanted;
        config.tenants.iter().filter(has).collect()
    };
    let [auto, bwrap, user, none] = [
        Isolation::Auto,
        Isolation::Bwrap,
        Isolation::User,
        Isolation::None,
    ]
    .map(of);
    let mut findings = Vec::new();
    if !none.is_empty() {
        findings.push(Finding::warn(
            format!(
                "runs of {} are not confined (isolation: none): they can read all that ccgw can",
                names(&none)
            ),
            "write `isolation: auto`",
        ));
    }
    let own_users = OwnUsers::new(config, file, (state, sandboxes));
    for (tenants, wanted) in [(&auto, Isolation::Auto), (&bwrap, Isolation::Bwrap)] {
        if tenants.is_empty() {
            continue;
        }
        match (sandboxes.bwrap(), wanted) {
            (Ok(_), _) => findings.push(Finding::ok(format!(
                "bubblewrap works; runs of {} are confined",
                names(tenants)
            ))),
            (Err(why), Isolation::Auto) => {
                findings.extend(tenants.iter().map(|it| {
                    match (own_users.may_be(it), own_users.nameless(it)) {
                        (Err(and), _) => Finding::warn(
                            format!("runs of {} are not confined: {why}; and {and}", it.name),
                            "install bubblewrap",
                        ),
                        (Ok(()), Err(why)) => Finding::fail(
                            format!("requests of {} are refused: {why}", it.name),
                            "install bubblewrap",
                        ),
                        (Ok(()), Ok(said)) => Finding::ok(format!("{said} ({why})")),
                    }
                }));
            }
            (Err(why), _) => findings.push(Finding::fail(
                format!("requests of {} are refused: {why}", names(tenants)),
                "install bubblewrap, or write `isolation: auto`",
            )),
        }
    }
    findings.extend(user.iter().map(|it| match own_users.of(it) {
        Ok(said) => Finding::ok(said),
        Err(why) => Finding::fail(format!("requests of {} are refused: {why}", it.name), ""),
    }));
    findings
}

/// Whether the runs can work where config.yaml says.
fn folders(config: &Config, sandboxes: &Sandboxes) -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let mend = format!("let that user in, or {ROOT_CONF}");
    let mut findings = Vec::new();
    for tenant in &config.tenants {
        let as_owner = is_root
            && match tenant.isolation.unwrap_or(config.isolation) {
                Isolation::User => true,
                Isolation::Auto => sandboxes.bwrap().is_err(),
                Isolation::Bwrap | Isolation::None => false,
            };
        for closed in closed(tenant, &Who::Ourselves, as_owner) {
            findings.push(match closed {
                Closed::Shut(text) => Finding::fail(text, &mend),
                Closed::ReadOnly(text) => Finding::warn(text, &mend),
            });
        }
    }
    let has = |it: &Tenant| it.working_dir.is_some() || !it.mounts.is_empty();
    if findings.is_empty() && config.tenants.iter().any(has) {
        findings.push(Finding::ok(
            "the runs can enter and write those that are named",
        ));
    }
    findings
}

/// What keeps a run from taking the whole machine: only the gateway itself knows which groups it may make.
fn limits() -> Option<Finding> {
    Some(match operator::limits()? {
        Ok(what) => Finding::ok(format!("control groups limit a run's {what}")),
        Err(why) => Finding::warn(
            format!(
                "nothing limits the memory and CPU of a run, and processes are counted by user, so tenants whose \
                 folders have one owner can stop each other's: {why}"
            ),
            "run ccgw as a service with `Delegate=yes`",
        ),
    })
}

pub(super) fn names(tenants: &[&Tenant]) -> String {
    let names: Vec<&str> = tenants.iter().map(|it| it.name.as_str()).collect();
    names.join(", ")
}

/// Whether runs could be users of their own, asked of each tenant.
struct OwnUsers<'a> {
    config: &'a Config,
    file: PathBuf,
    state: &'a Path,
    sandboxes: &'a Sandboxes,
    env: Vec<(OsString, OsString)>,
}

impl<'a> OwnUsers<'a> {
    fn new(
        config: &'a Config,
        file: &Path,
        (state, sandboxes): (&'a Path, &'a Sandboxes),
    ) -> OwnUsers<'a> {
        OwnUsers {
            config,
            file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
            state,
            sandboxes,
            env: command::base_environment(|name| std::env::var_os(name), state),
        }
    }

    fn of(&self, tenant: &Tenant) -> Result<String, String> {
        self.asked(tenant, |it, tenant| it.user_of(tenant))
            .map(|user| said(tenant, user))
    }

    /// Where nobody wrote that they shall be.
    fn nameless(&self, tenant: &Tenant) -> Result<String, String> {
        self.asked(tenant, |it, tenant| it.nameless_user_of(tenant))
            .map(|user| said(tenant, user))
    }

    /// Whether this machine and the configuration let them.
    fn may_be(&self, tenant: &Tenant) -> Result<(), String> {
        self.asked(tenant, |it, tenant| it.may_have_user(tenant))
    }

    fn asked<T>(
        &self,
        tenant: &Tenant,
        what: impl FnOnce(&Surroundings<'_>, &Tenant) -> Result<T, String>,
    ) -> Result<T, String> {
        self.sandboxes.users()?;
        let program = program::find(&self.config.cli.bin, std::env::var_os("PATH").as_ref())?;
        let surroundings = Surroundings {
            config: self.config,
            config_file: &self.file,
            state: self.state,
            program: &program,
            env: &self.env,
        };
        what(&surroundings, tenant)
    }
}

fn said(tenant: &Tenant, user: RunUser) -> String {
    let name = &tenant.name;
    format!("runs of {name} are a system user of its own, {}", user.uid)
}

/// Several tenants that use one login of the CLI.
fn shared_login(config: &Config) -> Option<Finding> {
    let names = config.sharing_a_login();
    (names.len() > 1).then(|| {
        Finding::warn(
            format!(
                "{} use one login; if it is a Pro or Max plan, {TERMS}",
                names.join(", ")
            ),
            "give each a credential of its own: config_dir: private, or a key in env",
        )
    })
}

fn clock(file: &Path) -> Finding {
    let changed = std::fs::metadata(file).and_then(|it| it.modified());
    let ahead = changed
        .ok()
        .and_then(|it| it.duration_since(SystemTime::now()).ok());
    match ahead {
        Some(ahead) if ahead > Duration::from_secs(60) => Finding::warn(
            format!(
                "the clock is behind: config.yaml was changed {} s from now",
                ahead.as_secs()
            ),
            "set the clock, for example with `timedatectl set-ntp true`; logins and limits depend on it",
        ),
        _ => Finding::ok("not behind its own files"),
    }
}

/// A run writes transcripts and its own files; below this it soon fails.
const DISK_MIN: u64 = 512 << 20;

fn disk() -> Finding {
    let dir = match state_dir() {
        Ok(dir) => dir,
        Err(why) => return Finding::fail(why, ""),
    };
    match rustix::fs::statvfs(&dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{} MiB free in {}", free >> 20, dir.display());
            match free < DISK_MIN {
                true => Finding::warn(text, "make room: runs write there"),
                false => Finding::ok(text),
            }
        }
        Err(error) => Finding::warn(format!("{}: {error}", dir.display()), ""),
    }
}

/// What one run takes when it works: 150 to 300 MB, measured.
const RUN_MIB: u64 = 300;

fn memory(config: &Config) -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    let runs = config.cli.max_concurrent as u64;
    let Some(mib) = kib.map(|it| it / 1024) else {
        return Finding::warn("how much memory is free is not told here", "");
    };
    let text = format!("{mib} MiB available for {runs} runs of up to {RUN_MIB} MiB");
    match mib < runs * RUN_MIB {
        true => Finding::warn(
            text,
            "lower cli.max_concurrent, or the machine will swap or kill",
        ),
        false => Finding::ok(text),
    }
}

pub(super) fn docker(found: &Found, report: &mut Report) {
    for engine in &found.engines {
        let text = format!("Engine {} at {}", engine.release, engine.address());
        report.all("docker", Finding::ok(text));
    }
    for problem in &found.engine_problems {
        let mend = "start Docker, or let this user reach its socket (group docker), if instances run in it";
        report.all("docker", Finding::warn(problem, mend));
    }
    if found.engines.is_empty() && found.engine_problems.is_empty() {
        report.all("docker", Finding::ok("none here"));
    }
}

pub(super) fn gateway(answering: &Result<Answering, String>) -> Finding {
    match answering {
        Ok(Answering::Gateway { port }) => Finding::ok(format!("runs at port {port}")),
        Ok(Answering::Beacon(beacon)) => Finding::fail(
            format!("does not run; port {} is free", beacon.port),
            "start it: `ccgw config.yaml`, or its service where it has one",
        ),
        Err(why) => Finding::fail(why, ""),
    }
}
