//! `ccgw-manage doctor`: everything that must be right for an instance to get its answers, one line each,
//! with the mend. It asks no model anything.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    access::Access,
    apply::{self, EnvFiles, Target},
    ask::{Ask, CANNOT_ASK},
    beacon::{Beacon, SILENCE},
    cli_check,
    found::Found,
    prove::{self, Finding},
    reach::{self, Answering},
    say::{Mark, Say},
    setup::{side_by_side, state_dir},
    tenant_key,
};
use crate::{
    api::models,
    config::{self, Config, ConfigDir, Loaded, Moment},
    openclaw::{instance::Instance, settings::Settings},
};

/// What the doctor was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: std::path::PathBuf,
    /// All when `None`.
    pub(crate) tenant: Option<String>,
    pub(crate) depth: Depth,
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What is known at once.
    Quick,
    /// With a stream that is silent for a while.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    Json,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line {
    /// `None` for what concerns all.
    tenant: Option<String>,
    check: &'static str,
    status: &'static str,
    text: String,
    mend: String,
}

#[derive(Default)]
struct Report(Vec<Line>);

impl Report {
    fn add(&mut self, tenant: Option<&str>, check: &'static str, finding: Finding) {
        self.0.push(Line {
            tenant: tenant.map(str::to_owned),
            check,
            status: finding.mark.name(),
            text: finding.text,
            mend: finding.mend,
        });
    }

    fn all(&mut self, check: &'static str, finding: Finding) {
        self.add(None, check, finding);
    }

    fn is_good(&self) -> bool {
        self.0.iter().all(|line| line.status != Mark::Fail.name())
    }
}

/// Looks everything over; true when nothing failed.
///
/// # Errors
/// When the tenant that was named does not exist.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let mut report = Report::default();
    let env = |name: &str| std::env::var(name).ok();
    match config::load(&options.config, &env) {
        Err(problems) => report.all(
            "config",
            Finding::fail(
                problems.to_string(),
                "mend these lines; `ccgw --check` tells when it is good",
            ),
        ),
        Ok(loaded) => examine(options, &loaded, &mut report)?,
    }
    let is_good = report.is_good();
    print(options.output, &report);
    Ok(is_good)
}

fn print(output: Output, report: &Report) {
    let say = Say::new();
    if output == Output::Json {
        // Plain structs with string keys always serialise.
        say.line(&serde_json::to_string_pretty(&report.0).unwrap_or_default());
        return;
    }
    let mut tenant: Option<&str> = None;
    for line in &report.0 {
        if line.tenant.as_deref() != tenant {
            tenant = line.tenant.as_deref();
            say.head(tenant.unwrap_or_default());
        }
        let mark = [Mark::Ok, Mark::Warn, Mark::Fail]
            .into_iter()
            .find(|mark| mark.name() == line.status);
        let text = match line.mend.is_empty() {
            true => format!("{}: {}", line.check, line.text),
            false => format!("{}: {}; {}", line.check, line.text, line.mend),
        };
        say.mark(mark.unwrap_or(Mark::Fail), &text);
    }
}

fn examine(options: &Options, loaded: &Loaded, report: &mut Report) -> Result<(), String> {
    let config = &loaded.config;
    let chosen = chosen(options, config)?;
    this_machine(options, loaded, report);
    let found = Found::search(&config.tenants);
    docker(&found, report);
    let answering = Answering::open(config);
    report.all("gateway", gateway(&answering));
    let Ok(answering) = answering else {
        return Ok(());
    };
    let beacon = Beacon::open(([0, 0, 0, 0], 0).into());
    let depth = options.depth;
    let examined = side_by_side(&chosen, |tenant| {
        let mut own = Report::default();
        let setting = Setting {
            config,
            found: &found,
            answering: &answering,
            depth,
            beacon: beacon.as_ref().ok(),
        };
        setting.tenant(tenant, &mut own);
        own
    });
    report.0.extend(examined.into_iter().flat_map(|it| it.0));
    for instance in &found.instances {
        let is_known = config.tenants.iter().any(|it| it.name == instance.name);
        if !is_known && options.tenant.is_none() {
            let text = format!("{} is no tenant", instance.whereabouts());
            let mend = "`ccgw --setup` makes it one";
            report.add(Some(&instance.name), "tenant", Finding::warn(text, mend));
        }
    }
    Ok(())
}

fn chosen<'c>(options: &Options, config: &'c Config) -> Result<Vec<&'c config::Tenant>, String> {
    match &options.tenant {
        None => Ok(config.tenants.iter().collect()),
        Some(name) => Ok(vec![config.tenant(name)?]),
    }
}

fn this_machine(options: &Options, loaded: &Loaded, report: &mut Report) {
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
    report.all("clock", clock(&options.config));
    report.all("disk", disk());
    report.all("memory", memory(config));
}

fn login(config: &Config, dir: &ConfigDir) -> Finding {
    match cli_check::signed_in(config, dir) {
        Ok(true) => Finding::ok("the CLI says that it is signed in (only a request proves it)"),
        Ok(false) => Finding::warn(
            "the CLI is not signed in",
            "run `claude` as the user that runs ccgw; tenants with a credential in env do not need it",
        ),
        Err(why) => Finding::warn(why, ""),
    }
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

fn docker(found: &Found, report: &mut Report) {
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

fn gateway(answering: &Result<Answering, String>) -> Finding {
    match answering {
        Ok(Answering::Gateway { port }) => Finding::ok(format!("runs at port {port}")),
        Ok(Answering::Beacon(beacon)) => Finding::fail(
            format!("does not run; port {} is free", beacon.port),
            "start it: ccgw config.yaml, or systemctl start ccgw",
        ),
        Err(why) => Finding::fail(why, ""),
    }
}

/// What all tenants are looked at with.
struct Setting<'a> {
    config: &'a Config,
    found: &'a Found,
    answering: &'a Answering,
    depth: Depth,
    beacon: Option<&'a Beacon>,
}

impl Setting<'_> {
    fn tenant(&self, tenant: &config::Tenant, report: &mut Report) {
        let name = tenant.name.as_str();
        let mut add = |check, finding| report.add(Some(name), check, finding);
        if let Some(previous) = previous_key(tenant) {
            add("previous key", previous);
        }
        add("skills", self.skills(name));
        if tenant.config_dir != ConfigDir::Shared {
            add("login", login(self.config, &tenant.config_dir));
        }
        let Some(instance) = self.found.named(name) else {
            return add(
                "instance",
                Finding::warn(
                    "no running OpenClaw of this name was found",
                    "start its container; a tenant of something else needs nothing here",
                ),
            );
        };
        let access = self.found.access(instance);
        add("instance", Finding::ok(described(instance)));
        let origin = reach::origin(&access, (self.config, self.answering));
        let origin = match origin {
            Ok(origin) => origin,
            Err(why) => return add("reach", Finding::fail(why, "")),
        };
        add(
            "reach",
            Finding::ok(format!("reaches {origin} from inside")),
        );
        let read = apply::settings(&access);
        let key = match &read {
            Ok(read) => tenant_key::of(tenant, Some(read), None),
            Err(_) => tenant_key::of(tenant, None, None),
        };
        match &key {
            Ok(key) => self.pointed(&access, (&origin, key.expose()), &read, &mut add),
            Err(why) => add("key", Finding::fail(why, "")),
        }
        if self.depth == Depth::Whole {
            add("stream", self.stream(&access, &origin));
        }
    }

    /// Whether an instance asks here, with a key that is known.
    fn pointed(
        &self,
        access: &Access<'_>,
        (origin, key): (&str, &str),
        read: &Result<Settings, String>,
        add: &mut dyn FnMut(&'static str, Finding),
    ) {
        let runs = matches!(self.answering, Answering::Gateway { .. });
        if runs {
            let known = prove::key_is_known(access, origin, key);
            add(
                "key",
                match known {
                    Ok(()) => Finding::ok("the running gateway knows its key"),
                    Err(why) => Finding::fail(why, ""),
                },
            );
        }
        add("settings", settings(access, read, (origin, key)));
        if let (Ok(read), true) = (read, runs) {
            add("model", models(access, read, (origin, key)));
        }
    }

    fn skills(&self, tenant: &str) -> Finding {
        let dir = self.config.skills.dir.join(tenant);
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let count = entries
            .filter(|it| it.path().join("SKILL.md").is_file())
            .count();
        match count {
            0 => Finding::ok(format!("none in {}", dir.display())),
            count => Finding::ok(format!(
                "{count} in {} are shown to its runs",
                dir.display()
            )),
        }
    }

    /// Whether something between here and there ends connections that are silent.
    fn stream(&self, access: &Access<'_>, origin: &str) -> Finding {
        let Some(beacon) = self.beacon else {
            return Finding::warn("no port is free to try a silent stream with", "");
        };
        let host = origin.rsplit_once(':').map_or(origin, |(host, _)| host);
        let url = format!("{host}:{}/silent", beacon.port);
        let said = access.ask(&Ask {
            url: &url,
            key: None,
            body: None,
            timeout: SILENCE + Duration::from_secs(10),
        });
        match said {
            Ok(said) if said.body.contains(&beacon.word) => Finding::ok(format!(
                "a stream that is silent for {} s survives",
                SILENCE.as_secs()
            )),
            Ok(said) => Finding::warn(
                format!("somebody else answers at {url} ({})", said.status),
                "look for a proxy between the container and this machine",
            ),
            Err(why) => Finding::warn(
                format!(
                    "a stream that is silent for {} s does not survive: {why}",
                    SILENCE.as_secs()
                ),
                "a firewall that lets only the gateway's port through looks like this too; else look for a proxy with a short timeout",
            ),
        }
    }
}

/// How long the key before the present one is still taken.
fn previous_key(tenant: &config::Tenant) -> Option<Finding> {
    let until = tenant.previous_key?.until;
    Some(match until <= Moment::now() {
        true => Finding::warn(
            format!("its previous key is not taken any more since {until}"),
            "the next change with ccgw-manage removes it from the configuration",
        ),
        false => Finding::ok(format!("its previous key is taken until {until}")),
    })
}

fn described(instance: &Instance) -> String {
    format!("{} ({})", instance.whereabouts(), instance.reason)
}

/// An instance has a handful of models; each is a request from inside of it.
const MODELS_ASKED: usize = 4;

/// Whether the gateway takes the models that its agents start with. Those of other providers are not its business.
fn models(access: &Access<'_>, settings: &Settings, (origin, key): (&str, &str)) -> Finding {
    let mut names: Vec<String> = Vec::new();
    for model in settings.primary_models() {
        match model.model.split_once('/') {
            Some((_, id)) if models::resolve(id).is_ok() => names.push(id.to_owned()),
            _ => {}
        }
    }
    // Of two agents with the same one; and no model's name needs escapes in a URL.
    names.sort();
    names.dedup();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    names.retain(|it| it.bytes().all(is_plain));
    names.truncate(MODELS_ASKED);
    if names.is_empty() {
        let mend =
            "set agents.defaults.model.primary to a Claude model, or run `ccgw-manage apply`";
        return Finding::warn("none of its models is one that the gateway serves", mend);
    }
    for name in &names {
        let url = format!("{origin}/v1/models/{name}");
        let said = access.ask(&Ask {
            url: &url,
            key: Some(key),
            body: None,
            timeout: Duration::from_secs(10),
        });
        match said {
            Ok(said) if said.status == 200 => {}
            Ok(said) => {
                let text = format!("the gateway answers {} for {name:?}", said.status);
                return Finding::fail(text, "give the agent a model that `GET /v1/models` lists");
            }
            Err(why) if why == CANNOT_ASK => return Finding::warn(why, ""),
            Err(why) => return Finding::fail(why, ""),
        }
    }
    Finding::ok(format!("the gateway takes {}", names.join(", ")))
}

fn settings(
    access: &Access<'_>,
    settings: &Result<Settings, String>,
    (origin, key): (&str, &str),
) -> Finding {
    let mend = format!(
        "`ccgw-manage apply {}` points it here",
        access.instance.name
    );
    let target = Target {
        origin,
        key,
        env_files: EnvFiles::LeaveAlone,
    };
    let plan = settings.as_ref().map_err(Clone::clone);
    match plan.and_then(|settings| apply::plan(settings, &target)) {
        Ok(plan) if plan.is_empty() => match plan.notices.first() {
            Some(notice) => Finding::warn(notice, ""),
            None => Finding::ok("openclaw.json points at the gateway, with its key"),
        },
        Ok(plan) => {
            let providers: Vec<String> = plan
                .providers
                .iter()
                .map(|it| {
                    let now = it.previous_base_url.as_deref().unwrap_or("nothing");
                    format!("provider {} points at {now}", it.id)
                })
                .collect();
            Finding::fail(
                format!(
                    "openclaw.json is not as it should be: {}",
                    providers.join(", ")
                ),
                mend,
            )
        }
        Err(why) => Finding::fail(why, ""),
    }
}
