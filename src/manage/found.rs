//! What there is on this machine: the engine, if any, and every instance.

use std::path::{Path, PathBuf};

use super::access::Access;
use crate::{
    docker::Engine,
    openclaw::{discover, instance::Instance},
};

/// The outcome of a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) engine: Option<Engine>,
    /// Why Docker could not be asked, where there seems to be one.
    pub(crate) engine_problem: Option<String>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) notices: Vec<String>,
    /// Containers that the engine would not tell of.
    pub(crate) unseen: usize,
}

impl Found {
    /// Searches. A host without Docker still has its local instances.
    pub(crate) fn search() -> Found {
        let env = |name: &str| std::env::var(name).ok();
        let (engine, mut engine_problem) = match Engine::find(env) {
            Ok(engine) => (engine, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut notices = Vec::new();
        let mut instances = Vec::new();
        if let Some(engine) = &engine {
            match in_containers(engine, &mut notices) {
                Ok(found) => instances.extend(found),
                Err(why) => engine_problem = Some(why),
            }
        }
        instances.extend(of_this_machine(env));
        let unseen = notices.len();
        notices.extend(without_doubles(&mut instances));
        notices.extend(discover::make_unique(&mut instances));
        Found {
            engine,
            engine_problem,
            instances,
            notices,
            unseen,
        }
    }

    pub(crate) fn access<'a>(&'a self, instance: &'a Instance) -> Access<'a> {
        Access::new(instance, self.engine.as_ref())
    }

    /// The instance of a tenant's name.
    pub(crate) fn named(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|it| it.name == name)
    }
}

fn in_containers(engine: &Engine, notices: &mut Vec<String>) -> Result<Vec<Instance>, String> {
    let running = engine.running().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for summary in running.iter().filter(|it| discover::is_worth_a_look(it)) {
        match engine.inspect(&summary.id) {
            Ok(container) => found.extend(discover::container(container)),
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
