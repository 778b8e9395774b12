//! `ccgw-manage apply`: points tenants' instances at the gateway that runs, or back to where they were.

use std::path::{Path, PathBuf};

use super::{
    apply::{self, EnvFiles},
    args::{Apply, Direction},
    backups::Backups,
    connect::{Candidate, Connected, Gateway, Look},
    found::Found,
    identities::Identities,
    prove::Finding,
    reach::Answering,
    say::Say,
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
    let say = Say::new();
    let given = options.key.as_ref().map(super::given_key::GivenKey::read);
    let given = given.transpose()?;
    let config = load(&options.config)?;
    let found = Found::search(&config.tenants);
    for problem in &found.engine_problems {
        say.warn(problem);
    }
    let state = state_dir()?;
    if options.direction == Direction::Back {
        let chosen = chosen_to_revert(options, &config, (&found, &state))?;
        let mut good = true;
        for (name, instance) in chosen {
            let finding = revert(&found, instance, &Backups::of(&state, &name));
            good &= finding.mark != super::say::Mark::Fail;
            tell(say, &name, &[finding]);
        }
        return Ok(good);
    }
    let chosen = chosen(options, &config, &found)?;
    if chosen.is_empty() {
        return Err("no tenant has an instance that runs here".to_owned());
    }
    let connected = connect(
        &config,
        &found,
        (&chosen, given.as_ref(), options.env_files),
    )?;
    for (instance, connected) in chosen.iter().zip(&connected) {
        tell(say, &instance.name, &connected.findings);
    }
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
    let instance = found.named(tenant).ok_or_else(|| not_found(tenant))?;
    let chosen = [instance];
    let connected = connect(&config, &found, (&chosen, given, EnvFiles::Update))?;
    let connected = connected.into_iter().next();
    connected.ok_or_else(|| not_found(tenant))
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
) -> Result<Vec<&'f Instance>, String> {
    let Some(name) = &options.tenant else {
        let mut chosen = Vec::new();
        for tenant in &config.tenants {
            match found.named(&tenant.name) {
                Some(instance) => chosen.push(instance),
                None => Say::new().warn(&format!(
                    "{}: no running OpenClaw is called so; start its container, if it has one",
                    tenant.name
                )),
            }
        }
        return Ok(chosen);
    };
    let tenant = config.tenant(name)?;
    let instance = found.named(&tenant.name);
    Ok(vec![instance.ok_or_else(|| not_found(name))?])
}

/// As [`chosen`], with the tenants' names; and an instance whose tenant was removed is still known by what
/// was kept of it.
fn chosen_to_revert<'f>(
    options: &Apply,
    config: &Config,
    (found, state): (&'f Found, &PathBuf),
) -> Result<Vec<(String, &'f Instance)>, String> {
    let Some(name) = &options.tenant else {
        let chosen = chosen(options, config, found)?;
        return Ok(chosen.into_iter().map(|it| (it.name.clone(), it)).collect());
    };
    let former = Backups::of(state, name).newest()?;
    let of_former = || {
        let former = former.as_ref()?;
        let mut all = found.instances.iter();
        all.find(|it| it.identity() == former.of)
    };
    match found.named(name).or_else(of_former) {
        Some(instance) => Ok(vec![(name.clone(), instance)]),
        None => config.tenant(name).and(Err(not_found(name))),
    }
}

fn not_found(name: &str) -> String {
    format!("no running OpenClaw is called `{name}`; start its container")
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

fn tell(say: Say, name: &str, findings: &[Finding]) {
    say.line(&super::say::plain(name));
    for finding in findings {
        say.mark(finding.mark, &finding.to_string());
    }
}
