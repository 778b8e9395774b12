//! Directories of an instance.

use std::path::Path;

use super::{Access, command::run_in};
use crate::{
    docker::{self, Engine},
    manage::skills,
};

impl Access<'_> {
    /// Renames within a directory of a container.
    ///
    /// # Errors
    /// When it cannot be done; the old name stays then.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), String> {
        let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
        self.tool(&["mv", "-T", &from, &to])
    }

    /// Removes a directory of a container with all that is in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), String> {
        self.tool(&["rm", "-rf", "--", &path.to_string_lossy()])
    }

    /// The user and group of a directory in a container.
    pub(crate) fn owner_of_directory(&self, dir: &Path) -> (u64, u64) {
        match self.container() {
            Ok(Some((engine, id))) => {
                let (uid, gid, _) = owner_in_container(engine, id, &dir.join("x"));
                (uid, gid)
            }
            _ => (0, 0),
        }
    }

    fn tool(&self, argv: &[&str]) -> Result<(), String> {
        let Some((engine, id)) = self.container()? else {
            return Ok(());
        };
        let ran = run_in(engine, id, argv)?;
        match ran.code {
            0 => Ok(()),
            code => Err(format!(
                "{} failed with {code}: {}",
                argv[0],
                ran.stderr.trim()
            )),
        }
    }

    /// All regular files below a directory; `None` when there is no such directory.
    ///
    /// # Errors
    /// When it cannot be read, or holds more than the limits allow.
    pub(crate) fn read_tree(
        &self,
        dir: &Path,
        limits: docker::TreeLimits,
    ) -> Result<Option<Vec<docker::TreeFile>>, String> {
        match self.container()? {
            None => skills::local_tree(dir, limits)
                .map_err(|error| format!("{}: {error}", dir.display())),
            Some((engine, id)) => engine
                .read_tree(id, dir, limits)
                .map_err(|error| error.to_string()),
        }
    }

    /// Whether there is anything at a path; a link counts, wherever it leads.
    ///
    /// # Errors
    /// When that cannot be told.
    pub(crate) fn has(&self, path: &Path) -> Result<bool, String> {
        match self.container()? {
            None => Ok(path.symlink_metadata().is_ok()),
            Some((engine, id)) => engine.has(id, path).map_err(|error| error.to_string()),
        }
    }
}

/// Of a new file: that of the user who runs the container, who must be able to read it.
pub(super) fn owner_in_container(engine: &Engine, id: &str, path: &Path) -> (u64, u64, u32) {
    let dir = path.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let asked = run_in(engine, id, &["stat", "-c", "%u %g", &dir]);
    let text = asked.map(|ran| ran.stdout).unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|it| it.parse().ok());
    // OpenClaw's image runs as node, 1000.
    let uid = numbers.next().unwrap_or(1000);
    (uid, numbers.next().unwrap_or(uid), 0o600)
}
