//! The state directory: what the daemon keeps between runs, private to its user (0700).
//!
//! Below the root no link is ever followed: a run may write here (its own workspace is one of
//! these directories), so every step is opened with `O_NOFOLLOW` relative to the one above.

mod hold;
mod let_in;
pub(crate) mod tenants;

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    sync::RwLock,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

pub(crate) use self::{hold::NotHeld, let_in::First};
use crate::log;

/// The directory, open for the life of the daemon.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    root: OwnedFd,
    /// Of the one daemon that has it.
    _lock: Option<OwnedFd>,
    /// Whose the folders of each tenant's name are now.
    present: RwLock<tenants::Incarnations>,
}

const PRIVATE: Mode = Mode::RWXU;

/// Its name where no variable gives it one.
pub(crate) const NAME: &str = "ccgw";

impl StateDir {
    /// Where state lives: `$STATE_DIRECTORY` (set by systemd), else `$XDG_STATE_HOME/ccgw`, else
    /// `~/.local/state/ccgw`. `None` when the environment names none of them.
    pub(crate) fn locate(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        if let Some(dirs) = set("STATE_DIRECTORY") {
            // systemd joins several with colons; the first is ours.
            return dirs.split(':').next().map(PathBuf::from);
        }
        set("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state")))
            .map(|base| base.join(NAME))
    }

    /// Opens the directory, creating it and what is missing above it.
    ///
    /// # Errors
    /// When it cannot be created or is not a directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Runs start in directories of their own, so a relative path would mean something else there.
        let path = &std::path::absolute(path)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        // The root itself may be a link: systemd's DynamicUser makes it one.
        let root = rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        hold::make_private(&root)?;
        Ok(StateDir {
            path: path.to_owned(),
            root,
            _lock: None,
            present: RwLock::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A tenant's private working directory, made at need.
    ///
    /// # Errors
    /// When a step of the path is not a directory, a link for example.
    pub(crate) fn workspace(&self, tenant: &str) -> io::Result<PathBuf> {
        self.tenant_subdirectory(tenant, "workspace")
            .map(|(path, _)| path)
    }

    /// A tenant's private CLI config directory, made at need.
    ///
    /// # Errors
    /// As [`StateDir::workspace`].
    pub(crate) fn cli_config(&self, tenant: &str) -> io::Result<PathBuf> {
        self.tenant_subdirectory(tenant, "claude")
            .map(|(path, _)| path)
    }

    /// A tenant's private `HOME`, made at need.
    ///
    /// # Errors
    /// As [`StateDir::workspace`].
    pub(crate) fn home(&self, tenant: &str) -> io::Result<PathBuf> {
        self.tenant_subdirectory(tenant, "home")
            .map(|(path, _)| path)
    }

    /// Where clients' histories lie for a tenant's runs to read, made at need.
    ///
    /// # Errors
    /// As [`StateDir::workspace`].
    pub(crate) fn seeds(&self, tenant: &str) -> io::Result<PathBuf> {
        self.tenant_subdirectory(tenant, SEEDS)
            .map(|(path, _)| path)
    }

    /// Where the sessions of a tenant lie that has no CLI config directory of its own, made at need.
    ///
    /// # Errors
    /// As [`StateDir::workspace`].
    pub(crate) fn projects(&self, tenant: &str) -> io::Result<PathBuf> {
        let (path, directory) = self.tenant_subdirectory(tenant, "claude")?;
        subdirectory(&directory, "projects")?;
        Ok(path.join("projects"))
    }

    /// Where runs reach the daemon.
    pub(crate) fn relay(&self) -> PathBuf {
        self.path.join("relay")
    }

    /// Where a copy of this program may be kept.
    pub(crate) fn program_copy(&self) -> PathBuf {
        self.path.join("bin").join("ccgw")
    }

    /// Writes a client's history where a run of the tenant's can read it: a new file of this name.
    ///
    /// # Errors
    /// As [`StateDir::workspace`], and when it cannot be written.
    pub(crate) fn seed(&self, tenant: &str, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let (path, directory) = self.tenant_subdirectory(tenant, SEEDS)?;
        let path = path.join(name);
        let written = new_file(&directory, name).and_then(|mut it| {
            io::Write::write_all(&mut it, content)?;
            let_in::as_its_directory(&it, &directory)
        });
        if written.is_err() {
            // Half of one is of no use; what cannot be removed now is removed at the next start.
            let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        }
        written.map(|()| path)
    }

    /// Removes what a life before this one left of clients' histories.
    pub(crate) fn remove_seeds(&self) {
        let tenants = fs::read_dir(self.path.join("tenants"))
            .into_iter()
            .flatten();
        for tenant in tenants
            .flatten()
            .filter_map(|it| it.file_name().into_string().ok())
        {
            let Ok((_, directory)) = self.tenant_subdirectory(&tenant, SEEDS) else {
                continue;
            };
            let entries = rustix::fs::Dir::read_from(&directory).into_iter().flatten();
            for entry in entries.flatten() {
                // Directories, "." among them, are none of ours.
                let _ = rustix::fs::unlinkat(&directory, entry.file_name(), AtFlags::empty());
            }
        }
    }

    /// Where conversations are remembered.
    pub(crate) fn sessions_log(&self) -> PathBuf {
        self.path.join("sessions.jsonl")
    }

    /// A plugin directory through which the CLI sees `skills` (a directory with one directory per
    /// skill) and nothing else: the only layout that shows a tenant's skills to the model while all
    /// setting sources are off.
    ///
    /// A run can reach it, and hooks, agents or servers planted there would be part of every later
    /// run. So it is looked through each time, and one that is not exactly as it was made is set
    /// aside and made anew.
    ///
    /// # Errors
    /// As [`StateDir::workspace`], and when it cannot be written.
    pub(crate) fn skills_plugin(&self, tenant: &str, skills: &Path) -> io::Result<PathBuf> {
        let of_tenant = subdirectory(&subdirectory(&self.root, "tenants")?, tenant)?;
        let path = self.path.join("tenants").join(tenant).join(PLUGIN);
        if is_our_plugin(&of_tenant, skills) {
            return Ok(path);
        }
        let aside = temporary_name(PLUGIN);
        match rustix::fs::renameat(&of_tenant, PLUGIN, &of_tenant, aside.as_str()) {
            Ok(()) => log::warn(
                "a tenant's skills plugin was changed or outdated; set aside and made anew",
                &[("tenant", &tenant), ("aside", &aside)],
            ),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = temporary_name(PLUGIN);
        make_plugin(&of_tenant, &fresh, skills)?;
        match rustix::fs::renameat(&of_tenant, fresh.as_str(), &of_tenant, PLUGIN) {
            // Another run of this tenant was quicker, and made the same.
            Err(Errno::EXIST | Errno::NOTEMPTY) if is_our_plugin(&of_tenant, skills) => Ok(path),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(path),
        }
    }

    fn tenant_subdirectory(&self, tenant: &str, name: &str) -> io::Result<(PathBuf, OwnedFd)> {
        let tenants = subdirectory(&self.root, "tenants")?;
        let of_tenant = subdirectory(&tenants, tenant)?;
        let directory = subdirectory(&of_tenant, name)?;
        Ok((self.path.join("tenants").join(tenant).join(name), directory))
    }
}

/// The name becomes the prefix under which the model sees the skills: `openclaw:weather`.
const MANIFEST: &[u8] =
    b"{\"name\":\"openclaw\",\"version\":\"1.0.0\",\"description\":\"Skills of this OpenClaw instance\"}\n";

fn subdirectory(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(&parent, name, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
}

const PLUGIN: &str = "plugin";
const SEEDS: &str = "seeds";
const MANIFEST_DIR: &str = ".claude-plugin";
const MANIFEST_FILE: &str = "plugin.json";

fn make_plugin(parent: impl AsFd, name: &str, skills: &Path) -> io::Result<()> {
    let plugin = subdirectory(parent, name)?;
    rustix::fs::symlinkat(skills, &plugin, "skills")?;
    let manifest = subdirectory(&plugin, MANIFEST_DIR)?;
    io::Write::write_all(&mut new_file(&manifest, MANIFEST_FILE)?, MANIFEST)
}

fn new_file(parent: impl AsFd, name: &str) -> io::Result<fs::File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}

/// Whether it is there with nothing missing, nothing changed and nothing added.
fn is_our_plugin(parent: impl AsFd, skills: &Path) -> bool {
    let open = |parent: &OwnedFd, name: &str, kind: OFlags| {
        let flags = kind | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    };
    let Ok(parent) = parent.as_fd().try_clone_to_owned() else {
        return false;
    };
    let Ok(plugin) = open(&parent, PLUGIN, OFlags::DIRECTORY) else {
        return false;
    };
    let Ok(manifest) = open(&plugin, MANIFEST_DIR, OFlags::DIRECTORY) else {
        return false;
    };
    let link = rustix::fs::readlinkat(&plugin, "skills", Vec::new());
    let file = open(&manifest, MANIFEST_FILE, OFlags::empty());
    holds_only(&plugin, &[MANIFEST_DIR, "skills"])
        && holds_only(&manifest, &[MANIFEST_FILE])
        && link.is_ok_and(|link| link.as_bytes() == skills.as_os_str().as_bytes())
        && file.is_ok_and(|file| reads(&file, MANIFEST))
}

fn holds_only(directory: &OwnedFd, names: &[&str]) -> bool {
    let Ok(entries) = rustix::fs::Dir::read_from(directory) else {
        return false;
    };
    entries.into_iter().all(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name().to_bytes();
            matches!(name, b"." | b"..") || names.iter().any(|it| it.as_bytes() == name)
        })
    })
}

fn reads(file: &OwnedFd, content: &[u8]) -> bool {
    // One byte more than expected tells a longer file from the right one.
    let mut current = vec![0; content.len() + 1];
    rustix::io::read(file, &mut current[..]).is_ok_and(|length| &current[..length] == content)
}

/// Unguessable, so that a run cannot put something in its way.
fn temporary_name(name: &str) -> String {
    format!(".{name}.{}", crate::ids::random_hex::<8>())
}

/// Whether a tenant has skills: `dir/<tenant>` is a directory.
pub(crate) fn skills_of(dir: &Path, tenant: &str) -> Option<PathBuf> {
    let path = dir.join(OsStr::new(tenant));
    path.is_dir().then_some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("ccgw-state-{}", crate::ids::random_hex::<8>()));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn systemd_directory_wins_and_home_is_last() {
        let all = [
            ("STATE_DIRECTORY", "/a:/b"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        for (from, expect) in [
            (0, Some("/a")),
            (1, Some("/x/ccgw")),
            (2, Some("/h/.local/state/ccgw")),
            (3, None),
        ] {
            let env = |name: &str| {
                all[from..]
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                StateDir::locate(env),
                expect.map(PathBuf::from),
                "from {from}"
            );
        }
    }

    #[test]
    fn directories_are_private() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0.join("deep/state")).unwrap();
        for path in [
            state.workspace("a").unwrap(),
            state.cli_config("a").unwrap(),
        ] {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700,
                "{path:?}"
            );
        }
    }

    #[test]
    fn planted_link_is_not_followed() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0.join("state")).unwrap();
        state.workspace("a").unwrap();
        let outside = scratch.0.join("outside");
        fs::create_dir(&outside).unwrap();
        let tenant = scratch.0.join("state/tenants/a");
        symlink(&outside, tenant.join("plugin")).unwrap();
        let plugin = state.skills_plugin("a", Path::new("/skills")).unwrap();
        assert!(fs::symlink_metadata(&plugin).unwrap().is_dir());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        fs::remove_dir(tenant.join("workspace")).unwrap();
        symlink(&outside, tenant.join("workspace")).unwrap();
        assert!(state.workspace("a").is_err());
    }

    /// Changes an intact plugin and expects it to be intact again.
    #[track_caller]
    fn check_mended(change: impl FnOnce(&Path)) {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0.join("state")).unwrap();
        let skills = Path::new("/skills/a");
        let plugin = state.skills_plugin("a", skills).unwrap();
        change(&plugin);
        assert_eq!(state.skills_plugin("a", skills).unwrap(), plugin);
        let manifest = plugin.join(".claude-plugin/plugin.json");
        assert_eq!(fs::read(&manifest).unwrap(), MANIFEST);
        assert_eq!(fs::read_link(plugin.join("skills")).unwrap(), skills);
        assert_eq!(fs::read_dir(&plugin).unwrap().count(), 2);
        // What is intact is left alone.
        let inode = fs::metadata(&manifest).unwrap().ino();
        state.skills_plugin("a", skills).unwrap();
        assert_eq!(fs::metadata(&manifest).unwrap().ino(), inode);
    }

    #[test]
    fn changed_plugin_is_made_anew() {
        check_mended(|_| {});
        check_mended(|plugin| {
            fs::create_dir(plugin.join("hooks")).unwrap();
            fs::write(plugin.join("hooks/hooks.json"), b"{}").unwrap();
        });
        check_mended(|plugin| fs::write(plugin.join(".mcp.json"), b"{}").unwrap());
        check_mended(|plugin| {
            fs::write(plugin.join(".claude-plugin/plugin.json"), b"{\"hooks\":{}}").unwrap()
        });
        check_mended(|plugin| fs::write(plugin.join(".claude-plugin/x"), b"").unwrap());
        check_mended(|plugin| {
            fs::remove_file(plugin.join("skills")).unwrap();
            fs::create_dir_all(plugin.join("skills/planted")).unwrap();
        });
        check_mended(|plugin| fs::remove_dir_all(plugin).unwrap());
        check_mended(|plugin| {
            fs::remove_dir_all(plugin).unwrap();
            fs::write(plugin, b"a file").unwrap();
        });
    }
}
