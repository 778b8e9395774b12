//! `ccgw-manage skills`: skills of instances and those of `skills/TENANT`, compared by content and copied both
//! ways. Whatever an instance calls a skill is data: no name becomes a path outside, or a word of a command
//! that could mean something else.

pub(crate) mod args;
mod desk;
mod package;
mod place;
mod put;
mod rows;
mod shelf;
mod skill;
mod tally;

use std::{fs::File, path::Path};

pub(crate) use self::shelf::local_tree;
use self::{
    args::{Action, Skills},
    desk::{Desk, OnChange, OnMissing, There, Wanted, put_here, shelf_of},
    place::{Places, Scope},
    put::Put,
    shelf::Over,
};
use super::{access::Access, found::Found, say::Say, setup::state_dir, store};
use crate::config::{self, Config, Tenant};

/// Does it; true when all of it went well.
///
/// # Errors
/// What keeps it from doing anything.
pub(crate) fn run(file: &Path, skills: &Skills) -> Result<bool, String> {
    skills.action.volume().set();
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(file, &env).map_err(|it| it.to_string())?;
    let config = &loaded.config;
    match &skills.action {
        Action::List(it) => rows::list(config, it),
        Action::Diff(it) => rows::diff(config, it),
        Action::Pull(it) => each(config, it.tenant.as_deref(), |desk| {
            let wanted = Wanted {
                changed: OnChange::forced(it.force),
                missing: OnMissing::deleted(it.delete),
            };
            desk.pull(scope(it.all), wanted)
        }),
        Action::Push(it) => each(config, it.tenant.as_deref(), |desk| {
            desk.push(Wanted {
                changed: OnChange::forced(it.force),
                missing: OnMissing::deleted(it.delete),
            })
        }),
        Action::Bisync(it) => each(config, it.tenant.as_deref(), |desk| {
            if it.pull || !it.push {
                desk.pull(Scope::Own, Wanted::NEW_ONLY)?;
            }
            match it.push || !it.pull {
                true => desk.push(Wanted::NEW_ONLY),
                false => Ok(()),
            }
        }),
        Action::Clean(it) => clean(config, it.tenant.as_deref()),
    }
}

/// Takes over an instance's own skills that are not here yet, as setup does.
///
/// # Errors
/// When they cannot be read or written; those taken before stay.
pub(crate) fn pull_new(access: Access<'_>, (tenant, dir): (&str, &Path)) -> Result<String, String> {
    let _lock = lock(tenant)?;
    let there = There::of(Places::of(&access)?.read(Scope::Own)?);
    let here = shelf_of(dir)?;
    let (mut new, mut known) = (0, 0);
    for (name, (_, skill)) in &there.skills {
        let put = match here.has(name) {
            true => Put::Taken,
            false => put_here(dir, (Path::new(name), Over::Nothing), skill)?,
        };
        match put {
            Put::Done => new += 1,
            Put::Taken => known += 1,
        }
    }
    let mut text = format!("{new} skills copied, {known} here already");
    for why in &there.left_out {
        text += &format!("; left out {why}");
    }
    Ok(text)
}

fn scope(all: bool) -> Scope {
    match all {
        true => Scope::All,
        false => Scope::Own,
    }
}

/// Does something for each tenant that is meant and has an instance; true when all went well.
fn each(
    config: &Config,
    name: Option<&str>,
    act: impl Fn(&Desk<'_>) -> Result<(), String>,
) -> Result<bool, String> {
    let found = Found::search(&config.tenants);
    let say = Say::new();
    let mut good = true;
    for tenant in chosen(config, name)? {
        say.head(&tenant.name);
        if let Err(why) = at_desk((config, &found), tenant, say, &act) {
            say.fail(&why);
            good = false;
        }
    }
    Ok(good)
}

fn at_desk(
    (config, found): (&Config, &Found),
    tenant: &Tenant,
    say: Say,
    act: &impl Fn(&Desk<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let instance = found.own(&tenant.name)?;
    let access = found.access(instance);
    let _lock = lock(&tenant.name)?;
    let dir = config.skills.dir.join(&tenant.name);
    let desk = Desk::open((&tenant.name, dir), &access, say)?;
    act(&desk)
}

/// Two commands on one tenant take turns.
fn lock(tenant: &str) -> Result<File, String> {
    store::lock(&state_dir()?.join(format!("skills-{tenant}")))
}

fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c Tenant>, String> {
    match name {
        None => Ok(config.tenants.iter().collect()),
        Some(name) => config.tenant(name).map(|it| vec![it]),
    }
}

fn clean(config: &Config, name: Option<&str>) -> Result<bool, String> {
    let say = Say::new();
    let dir = &config.skills.dir;
    for tenant in chosen(config, name)? {
        let _lock = lock(&tenant.name)?;
        let own = dir.join(&tenant.name);
        let swept = shelf::sweep(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        say.ok(&format!(
            "{}: {swept} left by killed commands removed",
            tenant.name
        ));
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|_| name.is_none()) {
        let found = entry.file_name().to_string_lossy().into_owned();
        let is_dir = entry.file_type().is_ok_and(|it| it.is_dir());
        if is_dir && !config.tenants.iter().any(|it| it.name == found) {
            say.warn(&format!(
                "{} is of no tenant; remove it by hand if nobody needs it",
                entry.path().display()
            ));
        }
    }
    Ok(true)
}
