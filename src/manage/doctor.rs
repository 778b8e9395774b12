//! `ccgw-manage doctor`: everything that must be right for an instance to get its answers, one line each,
//! with the mend. It asks no model anything.

mod machine;
mod network;
mod tenant;

use serde::Serialize;

use self::tenant::Setting;
use super::{
    beacon::Beacon,
    found::Found,
    progress,
    prove::Finding,
    reach::Answering,
    say::{Mark, Say, Volume},
    setup::side_by_side,
};
use crate::config::{self, Config, Loaded};

/// What the doctor was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: std::path::PathBuf,
    /// All when `None`.
    pub(crate) tenant: Option<String>,
    pub(crate) depth: Depth,
    pub(crate) output: Output,
    pub(crate) volume: Volume,
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
    options.volume.set();
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
    machine::this_machine(options, loaded, report);
    let found = Found::search(&config.tenants);
    machine::docker(&found, report);
    let answering = Answering::open(config);
    report.all("gateway", machine::gateway(&answering));
    let Ok(answering) = answering else {
        return Ok(());
    };
    let beacon = Beacon::open(([0, 0, 0, 0], 0).into());
    let depth = options.depth;
    let _step = progress::step("asking the gateway from inside of the instances");
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
