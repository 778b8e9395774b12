//! `ccgw-manage apply`: points tenants' instances at the gateway that runs, or back to where they were.

use super::{
    apply,
    args::{Apply, Direction},
    backups::Backups,
    connect::{Candidate, Gateway},
    found::Found,
    identities::Identities,
    reach::Answering,
    say::{Mark, Say},
    setup::{side_by_side, state_dir},
    tenants::given_key,
};
use crate::{config, openclaw::instance::Instance};

/// True when all went well.
///
/// # Errors
/// What keeps it from doing anything.
pub(crate) fn run(options: &Apply) -> Result<bool, String> {
    let say = Say::new();
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(&options.config, &env).map_err(|it| it.to_string())?;
    let found = Found::search();
    for problem in &found.engine_problems {
        say.warn(problem);
    }
    let tenants: Vec<&str> = loaded
        .config
        .tenants
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    let chosen = chosen(options, &tenants, &found)?;
    if chosen.is_empty() {
        return Err("no tenant has an instance that runs here".to_owned());
    }
    let state = state_dir()?;
    let given = options.key.as_deref().map(given_key).transpose()?;
    if options.direction == Direction::Back {
        let mut good = true;
        for instance in chosen {
            good &= revert(say, &found, instance, &Backups::of(&state, &instance.name));
        }
        return Ok(good);
    }
    let answering = Answering::open(&loaded.config)?;
    if !matches!(answering, Answering::Gateway { .. }) {
        return Err(
            "the gateway does not run; start it first, so that no instance points at nothing"
                .to_owned(),
        );
    }
    let identities = Identities::load(&state)?;
    let connected = side_by_side(&chosen, |instance| {
        let parts = (&loaded.config, &answering);
        let known = (&identities, given.as_ref());
        let candidate = Candidate::look(&found, instance, parts, known);
        candidate.connect(
            &Backups::of(&state, &instance.name),
            (options.env_files, Gateway::Running),
        )
    });
    for (instance, connected) in chosen.iter().zip(&connected) {
        say.line(&instance.name);
        for finding in &connected.findings {
            let text = match finding.mend.is_empty() {
                true => finding.text.clone(),
                false => format!("{}; {}", finding.text, finding.mend),
            };
            say.mark(finding.mark, &text);
        }
    }
    Ok(connected.iter().all(super::connect::Connected::is_good))
}

/// The instances of the tenants that are meant.
fn chosen<'f>(
    options: &Apply,
    tenants: &[&str],
    found: &'f Found,
) -> Result<Vec<&'f Instance>, String> {
    let Some(name) = &options.tenant else {
        let is_tenant = |it: &&Instance| tenants.contains(&it.name.as_str());
        for tenant in tenants.iter().filter(|it| found.named(it).is_none()) {
            Say::new().warn(&format!(
                "{tenant}: no running OpenClaw is called so; start its container, if it has one"
            ));
        }
        return Ok(found.instances.iter().filter(is_tenant).collect());
    };
    if !tenants.contains(&name.as_str()) {
        return Err(format!(
            "no tenant is called `{name}`; there are: {}",
            tenants.join(", ")
        ));
    }
    match found.named(name) {
        Some(instance) => Ok(vec![instance]),
        None => Err(format!(
            "no running OpenClaw is called `{name}`; start its container"
        )),
    }
}

fn revert(say: Say, found: &Found, instance: &Instance, backups: &Backups) -> bool {
    say.line(&instance.name);
    let (mark, text) = match apply::revert(&found.access(instance), backups) {
        Ok(Some((files, dir))) => {
            let files: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
            let text = format!(
                "as before: {}; what was there until now: {}",
                files.join(", "),
                dir.display()
            );
            (Mark::Ok, text)
        }
        Ok(None) => (
            Mark::Ok,
            "nothing was changed that could be put back".to_owned(),
        ),
        Err(why) => (Mark::Fail, why),
    };
    say.mark(mark, &text);
    mark != Mark::Fail
}
