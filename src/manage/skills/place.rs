//! An instance's skills: where they are, and how they are read.

use std::{
    cell::{OnceCell, RefCell},
    path::PathBuf,
};

use super::{
    package,
    skill::{Found, by_skill},
};
use crate::{
    docker::{TreeFile, TreeLimits},
    manage::{access::Access, apply, progress},
    openclaw::settings::Settings,
};

/// OpenClaw ships 60 skills with some hundred files; this is far more, and bounded.
pub(super) const LIMITS: TreeLimits = TreeLimits {
    files: 5000,
    bytes: 64 << 20,
};

/// Where a skill of an instance comes from, in the order in which OpenClaw prefers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Workspace,
    /// `.agents/skills` in the workspace.
    Agents,
    /// `.agents/skills` in the home of the state directory.
    Personal,
    /// Those that `openclaw skills install` brings.
    Managed,
    /// Those that the agent made for itself.
    Workshop,
    /// Those that OpenClaw ships.
    Bundled,
    /// Those that OpenClaw ships with one of its plugins, and has while the plugin is on.
    Extension {
        plugin: String,
        is_on: bool,
    },
}

impl Source {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Source::Workspace => "workspace",
            Source::Agents => ".agents",
            Source::Personal => "~/.agents",
            Source::Managed => "managed",
            Source::Workshop => "workshop",
            Source::Bundled => "bundled",
            Source::Extension { .. } => "extension",
        }
    }

    /// With the plugin's name, which is the instance's text.
    pub(super) fn described(&self) -> String {
        match self {
            Source::Extension { plugin, is_on } => {
                let state = if *is_on { "" } else { ", off" };
                format!("extension {plugin}{state}")
            }
            other => other.name().to_owned(),
        }
    }

    /// Whether the instance has its skills.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Source::Extension { is_on: false, .. })
    }
}

/// Which sources are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// What belongs to this instance.
    Own,
    /// With what OpenClaw ships, and the instance has.
    All,
    /// With those of plugins that are off.
    WithOff,
}

/// An instance's directories.
pub(super) struct Places<'a> {
    pub(super) access: &'a Access<'a>,
    pub(super) workspace: PathBuf,
    settings: Settings,
    owner: OnceCell<(u64, u64)>,
    /// The files of the workspace's skills, when the look for leftovers has read them just now.
    pub(super) seen: RefCell<Option<Vec<TreeFile>>>,
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
            settings,
            owner: OnceCell::new(),
            seen: RefCell::new(None),
        })
    }

    /// All skills, each from the source that OpenClaw takes it from. The workspace's come first, where there
    /// is one.
    ///
    /// # Errors
    /// When a directory cannot be read, or holds more than skills do.
    pub(super) fn read(&self, scope: Scope) -> Result<Vec<(Source, Found)>, String> {
        let mut found = Vec::new();
        for (source, dir) in self.directories(scope)? {
            let (what, whose) = (source.described(), &self.access.instance.name);
            let _step = progress::step(&format!("reading the skills of {whose}: {what}"));
            let seen = match source {
                Source::Workspace => self.seen.take(),
                _ => None,
            };
            let files = match seen {
                Some(files) => Some(files),
                None => self.access.read_tree(&dir, LIMITS)?,
            };
            if let Some(files) = files {
                found.push((source, by_skill(files)));
            }
        }
        Ok(found)
    }

    /// Where `push` puts them.
    pub(super) fn target(&self) -> PathBuf {
        self.workspace.join("skills")
    }

    /// Whose the workspace of a container is.
    pub(super) fn owner(&self) -> (u64, u64) {
        *self
            .owner
            .get_or_init(|| self.access.owner_of_directory(&self.workspace))
    }

    fn directories(&self, scope: Scope) -> Result<Vec<(Source, PathBuf)>, String> {
        let state = &self.access.instance.state_dir;
        let mut all = vec![
            (Source::Workspace, self.target()),
            (Source::Agents, self.workspace.join(".agents/skills")),
        ];
        // As OpenClaw has it: not where its state was moved.
        let home = state.parent().filter(|_| state.ends_with(".openclaw"));
        all.extend(home.map(|home| (Source::Personal, home.join(".agents/skills"))));
        all.push((Source::Managed, state.join("skills")));
        for agent in self.settings.agents() {
            let dir = state
                .join("agents")
                .join(agent)
                .join("agent/workshop-skills");
            all.push((Source::Workshop, dir));
        }
        if scope != Scope::Own {
            let mut shipped = package::directories(self.access, &self.settings)?;
            shipped.retain(|(source, _)| scope == Scope::WithOff || source.is_on());
            all.extend(shipped);
        }
        Ok(all)
    }
}
