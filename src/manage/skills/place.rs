//! An instance's skills: where they are, and how one gets into its workspace.

use std::path::{Path, PathBuf};

use super::{
    shelf::{self, ASIDE},
    skill::{Found, Skill, by_skill},
};
use crate::{
    docker::{Engine, TreeLimits},
    ids,
    manage::{access::Access, apply},
    openclaw::instance::Place,
};

/// OpenClaw ships 60 skills with some hundred files; this is far more, and bounded.
pub(super) const LIMITS: TreeLimits = TreeLimits {
    files: 5000,
    bytes: 64 << 20,
};

/// Where a skill of an instance comes from, in the order in which OpenClaw prefers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Workspace,
    /// `.agents/skills` in the workspace.
    Agents,
    /// Those that `openclaw skills install` brings.
    Managed,
    /// Those that the agent made for itself.
    Workshop,
    /// Those that OpenClaw ships.
    Bundled,
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Workspace => "workspace",
            Source::Agents => ".agents",
            Source::Managed => "managed",
            Source::Workshop => "workshop",
            Source::Bundled => "bundled",
        }
    }
}

/// Which sources are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// What belongs to this instance.
    Own,
    /// With what OpenClaw ships.
    All,
}

/// Where OpenClaw's package is, in its images and by npm.
const PACKAGES: [&str; 3] = [
    "/app",
    "/usr/local/lib/node_modules/openclaw",
    "/usr/lib/node_modules/openclaw",
];

/// An instance's directories.
pub(super) struct Places<'a> {
    access: &'a Access<'a>,
    workspace: PathBuf,
    agents: Vec<String>,
}

impl<'a> Places<'a> {
    /// # Errors
    /// When its settings cannot be read.
    pub(super) fn of(access: &'a Access<'a>) -> Result<Places<'a>, String> {
        let settings = apply::settings(access)?;
        let workspace = settings.workspace().map_or_else(
            || access.instance.state_dir.join("workspace"),
            |path| access.instance.expanded(&path),
        );
        Ok(Places {
            access,
            workspace,
            agents: settings.agents(),
        })
    }

    /// All skills, each from the source that OpenClaw takes it from.
    ///
    /// # Errors
    /// When a directory cannot be read, or holds more than skills do.
    pub(super) fn read(&self, scope: Scope) -> Result<Vec<(Source, Found)>, String> {
        let mut found = Vec::new();
        for (source, dir) in self.directories(scope)? {
            if let Some(files) = self.access.read_tree(&dir, LIMITS)? {
                found.push((source, by_skill(files)));
            }
        }
        Ok(found)
    }

    /// Only those of the workspace, where `push` puts them.
    ///
    /// # Errors
    /// As [`Places::read`].
    pub(super) fn of_workspace(&self) -> Result<Found, String> {
        let files = self.access.read_tree(&self.target(), LIMITS)?;
        Ok(files.map(by_skill).unwrap_or_default())
    }

    fn target(&self) -> PathBuf {
        self.workspace.join("skills")
    }

    fn directories(&self, scope: Scope) -> Result<Vec<(Source, PathBuf)>, String> {
        let state = &self.access.instance.state_dir;
        let mut all = vec![
            (Source::Workspace, self.target()),
            (Source::Agents, self.workspace.join(".agents/skills")),
            (Source::Managed, state.join("skills")),
        ];
        for agent in &self.agents {
            let dir = state
                .join("agents")
                .join(agent)
                .join("agent/workshop-skills");
            all.push((Source::Workshop, dir));
        }
        if scope == Scope::All {
            for package in PACKAGES {
                let dir = Path::new(package).join("skills");
                all.push((Source::Bundled, dir));
            }
        }
        Ok(all)
    }

    /// Puts a skill into the workspace, in the place of one of its name. In a container, whose tools can only
    /// move, there is a moment without any; what is left there when it is killed is put back by the next.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(&self, name: &str, skill: &Skill) -> Result<(), String> {
        let target = self.target();
        let failed = |why: String| format!("cannot write {}: {why}", target.join(name).display());
        match (&self.access.instance.place, self.access.engine()) {
            (Place::Local, _) => {
                if target.is_symlink() {
                    return Err(failed("it is a link, which is not followed".to_owned()));
                }
                let owner = shelf::owner_like(&self.workspace);
                shelf::put(&target, name, skill, owner).map_err(|it| failed(it.to_string()))
            }
            (Place::Docker(container), Some(engine)) => {
                let place = (engine, container.id.as_str());
                self.put_in_container(place, name, skill).map_err(failed)
            }
            (Place::Docker(_), None) => Err("the Docker Engine is out of reach".to_owned()),
        }
    }

    fn put_in_container(
        &self,
        (engine, id): (&Engine, &str),
        name: &str,
        skill: &Skill,
    ) -> Result<(), String> {
        let target = self.target();
        let owner = self.access.owner_of_directory(&self.workspace);
        let mark = ids::random_hex::<6>();
        let (new, old) = (
            format!(".{name}{ASIDE}{mark}"),
            format!(".{name}{ASIDE}old-{mark}"),
        );
        let has = |path: &Path| engine.has(id, path).map_err(|it| it.to_string());
        // Below the workspace, so that `skills` is made where there is none.
        let dir = Path::new("skills").join(&new);
        engine
            .write_tree(id, &self.workspace, (&dir, &skill.files), owner)
            .map_err(|it| it.to_string())?;
        let (new, old, place) = (target.join(new), target.join(old), target.join(name));
        let is_there = has(&place)?;
        if is_there {
            self.access.rename(&place, &old)?;
        }
        if let Err(why) = self.access.rename(&new, &place) {
            if is_there {
                self.access.rename(&old, &place)?;
            }
            return Err(why);
        }
        match is_there {
            true => self.access.remove_tree(&old),
            false => Ok(()),
        }
    }

    /// Ends what a killed command left in the workspace: what was on its way is removed, and an old skill
    /// without a new one is put back.
    ///
    /// # Errors
    /// When it cannot be moved or removed.
    pub(super) fn sweep(&self) -> Result<usize, String> {
        let target = self.target();
        if matches!(self.access.instance.place, Place::Local) {
            return shelf::sweep(&target).map_err(|it| format!("{}: {it}", target.display()));
        }
        let Some(files) = self.access.read_tree(&target, LIMITS)? else {
            return Ok(0);
        };
        let mut left: Vec<String> = files
            .iter()
            .filter_map(|it| it.path.components().next()?.as_os_str().to_str())
            .filter(|it| it.starts_with('.') && it.contains(ASIDE))
            .map(str::to_owned)
            .collect();
        left.sort();
        left.dedup();
        for aside in &left {
            let name = aside
                .split(ASIDE)
                .next()
                .unwrap_or_default()
                .trim_start_matches('.');
            let is_old = aside.contains(&format!("{ASIDE}old-"));
            let has_place = files.iter().any(|it| it.path.starts_with(name));
            match is_old && !has_place && !name.is_empty() {
                true => self
                    .access
                    .rename(&target.join(aside), &target.join(name))?,
                false => self.access.remove_tree(&target.join(aside))?,
            }
        }
        Ok(left.len())
    }

    /// Takes a skill out of the workspace.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        let place = self.target().join(name);
        match self.access.instance.place {
            Place::Local => std::fs::remove_dir_all(&place)
                .map_err(|error| format!("cannot remove {}: {error}", place.display())),
            Place::Docker(_) => self.access.remove_tree(&place),
        }
    }
}
