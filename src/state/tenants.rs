//! Which tenants there were, so that a new one under the name of one that was removed meets nothing of it: no
//! conversation, no stored answer, no file.
//!
//! A tenant that comes back is known by its key. One that was removed, seen by a daemon or done by `ccgw-manage`, and
//! is there again with another key, is another one: it has an id of its own, and the private folders of the one before
//! are kept in `removed/`, since an operator may want what is in them.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLockReadGuard},
};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{StateDir, subdirectory};
use crate::{
    ids, log,
    replace::{self, Owner},
};

/// Beside the folders of those that are there.
const REMOVED: &str = "removed";

/// What tells tenants of one name apart, by name.
pub(crate) type Incarnations = HashMap<String, String>;

/// While this lives, no folder of a tenant that is there is moved aside.
pub(crate) struct Stay<'s> {
    _present: RwLockReadGuard<'s, Incarnations>,
}

/// What is known of all tenants that ever were.
#[derive(Default, Clone, PartialEq, Serialize, Deserialize)]
struct Known(BTreeMap<String, Record>);

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    /// None for the first of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Stands for its key.
    key: String,
    #[serde(default)]
    removed: bool,
}

impl StateDir {
    /// Takes note of the tenants that there are now, each with what stands for its key and, if it has one that is
    /// still taken, for the key before. Returns what tells each apart from others of its name.
    ///
    /// # Errors
    /// When what is known cannot be read, or a folder of a tenant that is no more cannot be kept aside.
    pub(crate) fn meet<'t>(
        &self,
        tenants: impl Iterator<Item = (&'t str, Vec<String>)>,
    ) -> Result<Incarnations, String> {
        let path = file_in(&self.path);
        let before = Known::load(&path)?;
        let mut now = before.clone();
        now.0.values_mut().for_each(|it| it.removed = true);
        // Nobody is on the way into a folder while it is moved.
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        let mut incarnations = Incarnations::new();
        for (name, keys) in tenants {
            let is_new = before.is_new(name, &keys);
            if is_new {
                // Should it fail, nobody has the folders until it is tried again.
                present.insert(name.to_owned(), String::new());
                self.keep_aside(name)?;
            }
            let known = before.0.get(name).and_then(|it| it.id.clone());
            let id = if is_new {
                Some(ids::random_hex::<8>())
            } else {
                known
            };
            let own = incarnation(name, id.as_deref());
            present.insert(name.to_owned(), own.clone());
            incarnations.insert(name.to_owned(), own);
            let record = Record {
                id,
                key: keys.into_iter().next().unwrap_or_default(),
                removed: false,
            };
            now.0.insert(name.to_owned(), record);
        }
        if now != before
            && let Err(why) = now.write(&path)
        {
            // A tenant that was new is so again at the next start.
            log::warn("it is not noted which tenants there are", &[("why", &why)]);
        }
        Ok(incarnations)
    }

    /// Keeps the folders of a tenant's name in their place for a moment, for this one of that name; `None` when they
    /// are another's by now. Those of a tenant that is gone, and has no successor, are still its own.
    pub(crate) fn stay(&self, name: &str, incarnation: &str) -> Option<Stay<'_>> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        let is_own = present.get(name).is_none_or(|it| it == incarnation);
        is_own.then_some(Stay { _present: present })
    }

    fn keep_aside(&self, tenant: &str) -> Result<(), String> {
        let aside = format!("{tenant}.{}", ids::random_hex::<8>());
        let moved = || -> io::Result<bool> {
            let tenants = subdirectory(&self.root, "tenants")?;
            let removed = subdirectory(&self.root, REMOVED)?;
            match rustix::fs::renameat(tenants, tenant, removed, aside.as_str()) {
                Ok(()) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        match moved() {
            Ok(true) => {
                let path = self.path.join(REMOVED).join(&aside);
                log::warn(
                    "a tenant has the name of one that was removed; what was private of that one is kept aside",
                    &[("tenant", &tenant), ("path", &path.display())],
                );
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => Err(format!(
                "tenant {tenant} has the name of one that was removed, whose folder in {} cannot be moved to {REMOVED}/: {error}; move it, or give the new one another name",
                self.path.join("tenants").display()
            )),
        }
    }
}

/// How it is told that a tenant which is known is the one that was meant.
#[derive(Clone, Copy)]
pub(crate) enum KnownBy<'k> {
    Name,
    /// By what stands for one of these keys.
    Keys(&'k [String]),
}

/// Takes note, for a daemon that does not run now, that a tenant was removed. False when it is not known there.
///
/// # Errors
/// When it cannot be noted.
pub(crate) fn note_removed(state: &Path, tenant: &str, by: KnownBy<'_>) -> Result<bool, String> {
    let path = file_in(state);
    let mut known = Known::load(&path)?;
    let is_meant = |record: &Record| match by {
        KnownBy::Name => true,
        KnownBy::Keys(keys) => keys.contains(&record.key),
    };
    match known.0.get_mut(tenant) {
        Some(record) if !record.removed && is_meant(record) => record.removed = true,
        Some(record) => return Ok(is_meant(record)),
        None => return Ok(false),
    }
    known.write(&path).map(|()| true)
}

/// The first of a name is called as ever, so that what was remembered before is found.
fn incarnation(name: &str, id: Option<&str>) -> String {
    match id {
        // No name has a slash.
        Some(id) => format!("{name}/{id}"),
        None => name.to_owned(),
    }
}

fn file_in(state: &Path) -> PathBuf {
    state.join("tenants.json")
}

impl Known {
    fn load(path: &Path) -> Result<Known, String> {
        let failed = |why: String| format!("{}: {why}; mend or remove it", path.display());
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::default()),
            Err(error) => Err(failed(error.to_string())),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|it| failed(it.to_string())),
        }
    }

    fn is_new(&self, name: &str, keys: &[String]) -> bool {
        let record = self.0.get(name);
        record.is_some_and(|it| it.removed && !keys.contains(&it.key))
    }

    /// Its owner is the daemon's user, also where another one runs the tool.
    fn write(&self, path: &Path) -> Result<(), String> {
        let own = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        // Root makes it for whose directory it is.
        let directory = path.parent().filter(|_| own.uid == 0);
        let directory = directory.and_then(|it| fs::metadata(it).ok());
        let new = directory.map_or(own, |it| Owner {
            mode: own.mode,
            ..Owner::of(&it)
        });
        let owner = fs::metadata(path).map_or(new, |it| Owner::of(&it));
        // A map of texts always serialises.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        replace::atomically(path, &text, owner)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tells alpha apart once these are there, with their keys.
    #[track_caller]
    fn meet(state: &StateDir, tenants: &[(&str, &[&str])]) -> Option<String> {
        let tenants = tenants.iter().map(|(name, keys)| {
            let keys = keys.iter().map(|it| (*it).to_owned()).collect();
            (*name, keys)
        });
        state.meet(tenants).unwrap().remove("alpha")
    }

    #[test]
    fn a_new_tenant_of_an_old_name_meets_nothing_of_the_old_one() {
        let path = std::env::temp_dir().join(format!("ccgw-tenants-{}", std::process::id()));
        let state = StateDir::open(&path).unwrap();
        let first = Some("alpha".to_owned());
        assert_eq!(meet(&state, &[("alpha", &["1"]), ("beta", &["2"])]), first);
        let workspace = state.workspace("alpha").unwrap();
        fs::write(workspace.join("note"), "mine").unwrap();
        // Another key while it is there, and its coming back with that, are its own.
        assert_eq!(meet(&state, &[("alpha", &["3"])]), first);
        assert_eq!(meet(&state, &[]), None);
        assert_eq!(meet(&state, &[("alpha", &["4", "3"])]), first);
        assert!(note_removed(&path, "alpha", KnownBy::Name).unwrap());
        assert_eq!(meet(&state, &[("alpha", &["4"])]), first);
        assert!(workspace.join("note").exists());
        // Another one, which is not removed where somebody else's key is.
        let (foreign, own) = (["x".to_owned()], ["4".to_owned()]);
        assert!(!note_removed(&path, "alpha", KnownBy::Keys(&foreign)).unwrap());
        assert!(!note_removed(&path, "gamma", KnownBy::Name).unwrap());
        assert_eq!(meet(&state, &[("alpha", &["5", "4"])]), first);
        let own_now = ["5".to_owned()];
        assert!(!note_removed(&path, "alpha", KnownBy::Keys(&own)).unwrap());
        assert!(note_removed(&path, "alpha", KnownBy::Keys(&own_now)).unwrap());
        assert_eq!(meet(&state, &[("alpha", &["5"])]), first);
        assert!(note_removed(&path, "alpha", KnownBy::Name).unwrap());
        let second = meet(&state, &[("alpha", &["6"])]);
        assert_ne!(second, first);
        assert!(!workspace.exists());
        let aside = fs::read_dir(path.join(REMOVED)).unwrap().next();
        let kept = aside.unwrap().unwrap().path().join("workspace/note");
        assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
        assert_eq!(meet(&state, &[("alpha", &["6"])]), second);
        assert_eq!(meet(&state, &[("beta", &["2"])]), None);
        let third = meet(&state, &[("alpha", &["1"])]);
        assert!(third != second && third != first);
        fs::remove_dir_all(&path).unwrap();
    }
}
