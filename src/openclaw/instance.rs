//! One OpenClaw instance, wherever it runs.

use std::path::{Path, PathBuf};

use super::mounts::{host_path, mount_of};
use crate::docker::Container;

/// An instance as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// The tenant's name; unique among those found.
    pub(crate) name: String,
    pub(crate) place: Place,
    /// openclaw.json as the instance itself knows it.
    pub(crate) config_path: PathBuf,
    /// As the instance itself knows it.
    pub(crate) state_dir: PathBuf,
    /// Why it was taken for an instance.
    pub(crate) reason: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Local,
    Docker(Box<Container>),
}

impl Instance {
    pub(crate) fn container(&self) -> Option<&Container> {
        match &self.place {
            Place::Local => None,
            Place::Docker(container) => Some(container),
        }
    }

    /// The container's name, or what stands for it.
    pub(crate) fn whereabouts(&self) -> &str {
        match &self.place {
            Place::Local => "this machine",
            Place::Docker(container) => container.plain_name(),
        }
    }

    /// What stays the same when it is started or made anew, and differs from every other instance's.
    pub(crate) fn identity(&self) -> String {
        format!("{}:{}", self.whereabouts(), self.config_path.display())
    }

    /// A path of its settings: `~` is the home that its state directory lies in, unless that was moved.
    pub(crate) fn expanded(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.state_dir.parent()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => path.into(),
        }
    }

    /// The host's directory that is mounted over one of the instance's paths, and what is below it.
    pub(crate) fn mount_of(&self, path: &Path) -> Option<(&Path, PathBuf)> {
        match &self.place {
            Place::Local => None,
            Place::Docker(container) => mount_of(&container.mounts, path),
        }
    }

    /// The host's path of one of the instance's; `None` when only the engine can reach it.
    pub(crate) fn on_host(&self, path: &Path) -> Option<PathBuf> {
        match &self.place {
            Place::Local => Some(path.to_owned()),
            Place::Docker(container) => host_path(&container.mounts, path),
        }
    }
}
