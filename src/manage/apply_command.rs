//! `ccgw-manage apply`: points tenants' instances at the gateway that runs, or back to where they were.

use std::path::Path;

use serde::Serialize;

use super::{
    apply::{self, EnvFiles},
    args::{Apply, Direction},
    backups::Backups,
    connect::{Candidate, Connected, Gateway, Look},
    doctor::Output,
    found::Found,
    given_key::GivenKey,
    identities::Identities,
    progress,
    prove::Finding,
    reach::Answering,
    say::{Mark, Say, plain},
    setup::{side_by_side, state_dir},
};
use crate::{
    config::{self, Config, Secret},
    openclaw::instance::Instance,
};

/// True when all went well.
///
/// # Errors
/// What keeps it from doing anything.
pub(crate) fn run(options: &Apply) -> Result<bool, String> {
    options.volume.set();
    let mut told = Told::new(options.output);
    let given = options.key.as_ref().map(GivenKey::read);
    let given = given.transpose()?;
    let config = load(&options.config)?;
    let state = state_dir()?;
    let found = match options.direction {
        Direction::Here => Found::search(&config.tenants),
        Direction::Back => Found::search_with(&config.tenants, former(options, &config, &state)?),
    };
    for problem in &found.engine_problems {
        told.tell(None, &[Finding::warn(problem, "")]);
    }
    if options.direction == Direction::Back {
        let mut good = true;
        for instance in chosen_to_revert(options, &config, &found, &mut told)? {
            let finding = revert(&found, instance, &Backups::of(&state, &instance.name));
            good &= finding.mark != Mark::Fail;
            told.tell(Some(&instance.name), &[finding]);
        }
        told.end();
        return Ok(good);
    }
    let chosen = chosen(options, &config, &found, &mut told)?;
    if chosen.is_empty() {
        return Err("no tenant has an instance that runs here".to_owned());
    }
    let connected = connect(
        &config,
        &found,
        (&chosen, given.as_ref(), options.env_files),
    )?;
    for (instance, connected) in chosen.iter().zip(&connected) {
        told.tell(Some(&instance.name), &connected.findings);
    }
    told.end();
    Ok(connected.iter().all(Connected::is_good))
}

/// Points the instance of one tenant at the gateway, with a key that may be given.
///
/// # Errors
/// What keeps it from being tried.
pub(crate) fn point(
    config: &Path,
    tenant: &str,
    given: Option<&Secret>,
) -> Result<Connected, String> {
    let config = load(config)?;
    let found = Found::search(&config.tenants);
    let chosen = [found.own(tenant)?];
    let connected = connect(&config, &found, (&chosen, given, EnvFiles::Update))?;
    let connected = connected.into_iter().next();
    connected.ok_or_else(|| format!("{tenant} was not connected"))
}

fn load(path: &Path) -> Result<Config, String> {
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(path, &env).map_err(|it| it.to_string())?;
    Ok(loaded.config)
}

fn connect(
    config: &Config,
    found: &Found,
    (chosen, given, env_files): (&[&Instance], Option<&Secret>, EnvFiles),
) -> Result<Vec<Connected>, String> {
    let state = state_dir()?;
    let answering = Answering::open(config)?;
    if !matches!(answering, Answering::Gateway { .. }) {
        return Err(
            "the gateway does not run; start it first, so that no instance points at nothing"
                .to_owned(),
        );
    }
    let identities = Identities::load(&state)?;
    let with = Look {
        config,
        answering: &answering,
        identities: &identities,
        given,
    };
    let _step = progress::step("pointing the instances here, and asking the gateway from inside");
    let connected = side_by_side(chosen, |instance| {
        let candidate = Candidate::look(found, instance, &with);
        let backups = Backups::of(&state, &instance.name);
        candidate.connect(&backups, (env_files, Gateway::Running))
    });
    let good = chosen.iter().zip(&connected);
    let good = good.filter(|(_, connected)| connected.is_good());
    Identities::note(&state, good.map(|(instance, _)| *instance))?;
    Ok(connected)
}

/// The instances of the tenants that are meant.
fn chosen<'f>(
    options: &Apply,
    config: &Config,
    found: &'f Found,
    told: &mut Told,
) -> Result<Vec<&'f Instance>, String> {
    let Some(name) = &options.tenant else {
        let mut chosen = Vec::new();
        for tenant in &config.tenants {
            match found.own(&tenant.name) {
                Ok(instance) => chosen.push(instance),
                Err(why) => told.tell(Some(&tenant.name), &[Finding::warn(why, "")]),
            }
        }
        return Ok(chosen);
    };
    let tenant = config.tenant(name)?;
    Ok(vec![found.own(&tenant.name)?])
}

/// The container of a tenant that was removed, as far as something was kept of it, and the tenant.
fn former(
    options: &Apply,
    config: &Config,
    state: &Path,
) -> Result<Option<(String, String)>, String> {
    let Some(name) = &options.tenant else {
        return Ok(None);
    };
    if config.tenant(name).is_ok() {
        return Ok(None);
    }
    let kept = Backups::of(state, name).newest()?;
    // What is of this machine has no container's name.
    let container = kept.and_then(|it| config::parse_container(it.of.split_once(':')?.0).ok());
    Ok(container.map(|container| (container, name.clone())))
}

/// As [`chosen`], and one whose tenant was removed may be meant too.
fn chosen_to_revert<'f>(
    options: &Apply,
    config: &Config,
    found: &'f Found,
    told: &mut Told,
) -> Result<Vec<&'f Instance>, String> {
    match &options.tenant {
        Some(name) => match found.own(name) {
            Ok(instance) => Ok(vec![instance]),
            Err(why) => config.tenant(name).and(Err(why)),
        },
        None => chosen(options, config, found, told),
    }
}

/// Puts an instance's files back as they were before the last change.
pub(crate) fn revert(found: &Found, instance: &Instance, backups: &Backups) -> Finding {
    match apply::revert(&found.access(instance), backups) {
        Ok(Some((files, dir))) => {
            let files: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
            Finding::ok(format!(
                "as before: {}; what was there until now: {}",
                files.join(", "),
                dir.display()
            ))
        }
        Ok(None) => Finding::ok("nothing was changed that could be put back"),
        Err(why) => Finding::fail(why, ""),
    }
}

/// How it went with each tenant: told at once, or for a script at the end.
enum Told {
    Text,
    Json(Vec<Row>),
}

#[derive(Serialize)]
struct Row {
    /// `None` for what concerns all.
    tenant: Option<String>,
    status: &'static str,
    text: String,
    mend: String,
}

impl Told {
    fn new(output: Output) -> Told {
        match output {
            Output::Text => Told::Text,
            Output::Json => Told::Json(Vec::new()),
        }
    }

    fn tell(&mut self, tenant: Option<&str>, findings: &[Finding]) {
        let say = Say::new();
        match self {
            Told::Json(rows) => rows.extend(findings.iter().map(|it| Row {
                tenant: tenant.map(str::to_owned),
                status: it.mark.name(),
                text: it.text.clone(),
                mend: it.mend.clone(),
            })),
            Told::Text => {
                if let Some(tenant) = tenant {
                    say.line(&plain(tenant));
                }
                for finding in findings {
                    say.mark(finding.mark, &finding.to_string());
                }
            }
        }
    }

    fn end(self) {
        if let Told::Json(rows) = self {
            Say::new().json(&rows);
        }
    }
}
