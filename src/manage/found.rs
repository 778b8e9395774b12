//! What there is on this machine: the engine, if any, and every instance.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{access::Access, identities::Identities, progress, setup::state_path};
use crate::{
    config::Tenant,
    docker::Engine,
    openclaw::{
        discover::{self, Claims},
        instance::Instance,
    },
};

/// The outcome of a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) engines: Vec<Engine>,
    /// Why an engine could not be asked, where there seems to be one.
    pub(crate) engine_problems: Vec<String>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) notices: Vec<String>,
    /// Containers that the engine would not tell of.
    pub(crate) unseen: usize,
    /// Which engine holds the container of this id.
    homes: BTreeMap<String, usize>,
    /// Instances that have the name of a tenant and are not the tenant's: why not.
    strangers: BTreeMap<String, String>,
}

impl Found {
    /// Searches. A host without Docker still has its local instances. A tenant's `container` is its own,
    /// whatever it is called.
    pub(crate) fn search(tenants: &[Tenant]) -> Found {
        Found::search_with(tenants, None)
    }

    /// As [`Found::search`], where one more container is some tenant's: each by its name.
    pub(crate) fn search_with(tenants: &[Tenant], former: Option<(String, String)>) -> Found {
        let _step = progress::step("looking for OpenClaw instances");
        let claims = tenants.iter().filter_map(|tenant| {
            let container = tenant.container.clone()?;
            Some((container, tenant.name.clone()))
        });
        let claims = &Claims::new(claims.chain(former));
        let env = |name: &str| std::env::var(name).ok();
        let (engines, errors) = Engine::find(env);
        let mut engine_problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let mut notices = Vec::new();
        let mut instances = Vec::new();
        let mut homes = BTreeMap::new();
        for (index, engine) in engines.iter().enumerate() {
            match in_containers(engine, claims, &mut notices) {
                Ok(found) => {
                    let ids = found.iter().filter_map(Instance::container);
                    homes.extend(ids.map(|it| (it.id.clone(), index)));
                    instances.extend(found);
                }
                Err(why) => engine_problems.push(why),
            }
        }
        instances.extend(of_this_machine(env));
        let unseen = notices.len();
        notices.extend(without_doubles(&mut instances));
        let known = state_path().and_then(|state| Identities::load(&state));
        let known = known.map_err(|why| notices.push(why)).ok();
        if let Some(known) = &known {
            known.give_names(&mut instances);
        }
        notices.extend(discover::make_unique(&mut instances, claims));
        let why = |it: &Instance| known.as_ref()?.check(it).err();
        let strangers = instances
            .iter()
            .filter_map(|it| Some((it.name.clone(), why(it)?)));
        Found {
            strangers: strangers.collect(),
            engines,
            engine_problems,
            instances,
            notices,
            unseen,
            homes,
        }
    }

    pub(crate) fn access<'a>(&'a self, instance: &'a Instance) -> Access<'a> {
        let home = instance.container().and_then(|it| self.homes.get(&it.id));
        Access::new(instance, home.and_then(|index| self.engines.get(*index)))
    }

    /// The engine that holds the container of this id.
    pub(crate) fn into_engine_of(mut self, id: &str) -> Option<Engine> {
        let index = *self.homes.get(id)?;
        (index < self.engines.len()).then(|| self.engines.swap_remove(index))
    }

    /// The instance of a tenant. One that only has its name gets neither its key nor its skills.
    pub(crate) fn named(&self, name: &str) -> Option<&Instance> {
        let named = self.instances.iter().find(|it| it.name == name);
        named.filter(|_| !self.strangers.contains_key(name))
    }

    /// The instance of a tenant.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn own(&self, name: &str) -> Result<&Instance, String> {
        self.named(name).ok_or_else(|| match self.stranger(name) {
            Some(why) => why.to_owned(),
            None => format!("no running OpenClaw is called `{name}`; start its container"),
        })
    }

    /// Why an instance of this name is not the tenant's, where there is one.
    pub(crate) fn stranger(&self, name: &str) -> Option<&str> {
        self.strangers.get(name).map(String::as_str)
    }
}

fn in_containers(
    engine: &Engine,
    claims: &Claims,
    notices: &mut Vec<String>,
) -> Result<Vec<Instance>, String> {
    let running = engine.running().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for summary in running.iter().filter(|it| discover::is_worth_a_look(it)) {
        match engine.inspect(&summary.id) {
            Ok(container) => found.extend(discover::container(container, claims)),
            // It ended in between.
            Err(error) if error.is_not_found() => {}
            Err(error) => notices.push(error.to_string()),
        }
    }
    // The engine lists the newest first; names that get a number shall not change with that.
    found.sort_by(|a, b| a.whereabouts().cmp(b.whereabouts()));
    Ok(found)
}

fn of_this_machine(env: impl Fn(&str) -> Option<String>) -> Vec<Instance> {
    let set = |name: &str| env(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let Some(home) = set("HOME") else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(&home).into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(".openclaw"))
        .collect();
    let has_config = |dir: &Path| dir.join("openclaw.json").symlink_metadata().is_ok();
    discover::local(
        &home,
        set("OPENCLAW_STATE_DIR").as_deref(),
        &names,
        &has_config,
    )
}

/// A container's files may be this user's own `~/.openclaw`, and two containers may share theirs: one file
/// is one instance, and the first that has it keeps it, which is a container if there is one.
fn without_doubles(instances: &mut Vec<Instance>) -> Vec<String> {
    let mut seen: Vec<(PathBuf, String)> = Vec::new();
    let mut notices = Vec::new();
    instances.retain(|instance| {
        let path = instance.on_host(&instance.config_path);
        let Some(path) = path.and_then(|it| it.canonicalize().ok()) else {
            return true;
        };
        match seen.iter().find(|(known, _)| *known == path) {
            Some((_, first)) => {
                notices.push(format!(
                    "{} and {first} have the same {}; it counts once",
                    instance.whereabouts(),
                    path.display()
                ));
                false
            }
            None => {
                seen.push((path, instance.whereabouts().to_owned()));
                true
            }
        }
    });
    notices
}
