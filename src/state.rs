//! The state directory: what the daemon keeps between runs, private to its user (0700).
//!
//! Below the root no link is ever followed: a run may write here (its own workspace is one of
//! these directories), so every step is opened with `O_NOFOLLOW` relative to the one above.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

/// The directory, open for the life of the daemon.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    root: OwnedFd,
}

const PRIVATE: Mode = Mode::RWXU;

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
            .map(|base| base.join("ccgw"))
    }

    /// Opens the directory, creating it and what is missing above it.
    ///
    /// # Errors
    /// When it cannot be created or is not a directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
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
        Ok(StateDir {
            path: path.to_owned(),
            root,
        })
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

    /// A plugin directory through which the CLI sees `skills` (a directory with one directory per
    /// skill) and nothing else: the only layout that shows a tenant's skills to the model while all
    /// setting sources are off. Mended when something in it was changed.
    ///
    /// # Errors
    /// As [`StateDir::workspace`], and when the link or manifest cannot be written.
    pub(crate) fn skills_plugin(&self, tenant: &str, skills: &Path) -> io::Result<PathBuf> {
        let (path, plugin) = self.tenant_subdirectory(tenant, "plugin")?;
        keep_link(&plugin, "skills", skills)?;
        let manifest = subdirectory(&plugin, ".claude-plugin")?;
        keep_file(&manifest, "plugin.json", MANIFEST)?;
        Ok(path)
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

/// Makes `name` a link to `target`, replacing what is there in one step.
fn keep_link(parent: impl AsFd, name: &str, target: &Path) -> io::Result<()> {
    let current = rustix::fs::readlinkat(&parent, name, Vec::new());
    if current.is_ok_and(|current| current.as_bytes() == target.as_os_str().as_bytes()) {
        return Ok(());
    }
    let temporary = temporary_name(name);
    rustix::fs::symlinkat(target, &parent, temporary.as_str())?;
    replace(&parent, &temporary, name)
}

/// Makes `name` a regular file with this content, replacing what is there in one step.
fn keep_file(parent: impl AsFd, name: &str, content: &[u8]) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::openat(&parent, name, read, Mode::empty()) {
        // One byte more than expected tells a longer file from the right one.
        let mut current = vec![0; content.len() + 1];
        let length = rustix::io::read(&file, &mut current[..]).unwrap_or(0);
        if &current[..length] == content {
            return Ok(());
        }
    }
    let temporary = temporary_name(name);
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, temporary.as_str(), write, Mode::RUSR | Mode::WUSR)?;
    io::Write::write_all(&mut fs::File::from(file), content)?;
    replace(&parent, &temporary, name)
}

fn replace(parent: impl AsFd, temporary: &str, name: &str) -> io::Result<()> {
    rustix::fs::renameat(&parent, temporary, &parent, name).map_err(|error| {
        // What could not be moved must not stay behind; the first error is the one to tell.
        let _ = rustix::fs::unlinkat(&parent, temporary, AtFlags::empty());
        error.into()
    })
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
        symlink(&outside, scratch.0.join("state/tenants/a/plugin")).unwrap();
        assert!(state.skills_plugin("a", Path::new("/skills")).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn changed_plugin_is_mended_and_an_intact_one_left_alone() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0.join("state")).unwrap();
        let plugin = state.skills_plugin("a", Path::new("/skills/a")).unwrap();
        let manifest = plugin.join(".claude-plugin/plugin.json");
        let inode = fs::metadata(&manifest).unwrap().ino();
        state.skills_plugin("a", Path::new("/skills/a")).unwrap();
        assert_eq!(fs::metadata(&manifest).unwrap().ino(), inode);

        fs::write(&manifest, b"{\"hooks\":{}}").unwrap();
        state.skills_plugin("a", Path::new("/skills/b")).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), MANIFEST);
        assert_eq!(
            fs::read_link(plugin.join("skills")).unwrap(),
            Path::new("/skills/b")
        );
    }
}
