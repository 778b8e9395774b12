//! Whether a tenant's runs can be a system user of their own: a user that nobody else is, for whom the ways to all
//! that a run needs are open, and those to all that it must not have are closed.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    FILE_VARIABLES, Pinned, RunUser,
    access::{Need, ensure_closed, ensure_open},
    mounts, ownership, value_of,
};
use crate::{
    config::{self, Config, ConfigDir},
    state,
};

/// What decides it.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) config_file: &'a Path,
    /// The state directory.
    pub(crate) state: &'a Path,
    /// The CLI.
    pub(crate) program: &'a Path,
    /// What every run's environment begins with.
    pub(crate) env: &'a [(OsString, OsString)],
}

/// From here on users are people's, or a container's that stands for them; below, they are the system's.
pub(super) const PEOPLE: u32 = 1000;

/// The gateway is somebody else.
pub(super) const ONLY_ROOT: &str = "only a gateway that runs as root can give each tenant a user of its own; run it as root, or install \
                                    bubblewrap and write `isolation: bwrap`";

/// Whoever gets at one of these is root.
pub(crate) const ENGINES: [&str; 3] = [
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
];

impl Surroundings<'_> {
    /// Whether this machine and the configuration let a tenant's runs be a user of their own. Nothing that a run or an
    /// instance can change decides it: who could make it fail could make itself root.
    ///
    /// # Errors
    /// Why not, as a part of a sentence, and the way out.
    pub(crate) fn may_have_user(&self, tenant: &config::Tenant) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err(ONLY_ROOT.to_owned());
        }
        if tenant.shares_the_login() {
            return Err(
                "it uses the login of the gateway's user, which no other user can read; give it a credential of its \
                 own: a key in env, or `config_dir: private` and a sign-in there"
                    .to_owned(),
            );
        }
        self.ensure_reachable(RunUser::of(&tenant.name, None))
    }

    /// The user that a tenant's runs can be.
    ///
    /// # Errors
    /// Why they can be none, as a part of a sentence, and the way out. What the gateway itself mends when a run
    /// comes, it does not count.
    pub(crate) fn user_of(&self, tenant: &config::Tenant) -> Result<RunUser, String> {
        self.may_have_user(tenant)?;
        let named = tenant.working_dir.clone().into_iter();
        for dir in named.chain(config_dir(tenant)) {
            Pinned::at(&dir)?;
        }
        let user = self.own_user(tenant)?;
        self.ensure_nobody_else_is(user, tenant)?;
        self.ensure_usable(user, tenant)?;
        let closed_soon = self.to_close();
        for path in self.secrets_from(tenant) {
            if !closed_soon.contains(&path) {
                ensure_closed(&path, user)?;
            }
        }
        Ok(user)
    }

    /// As [`Surroundings::user_of`], where nobody wrote that they shall be a user: none whom this machine knows by
    /// name. A folder's owner may be chosen by an instance, and a person's account is more than its folders.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn nameless_user_of(&self, tenant: &config::Tenant) -> Result<RunUser, String> {
        let user = self.user_of(tenant)?;
        let known = fs::read_to_string(USERS).unwrap_or_default();
        match name_of(user.uid, &known) {
            None => Ok(user),
            Some(name) => Err(format!(
                "its folder belongs to {name} (user {}), and its runs could do all that {name} can on this machine; \
                 install bubblewrap, or write `isolation: user` for it where that account is for nothing else",
                user.uid
            )),
        }
    }

    /// What of the configuration's a tenant's runs must not get at.
    pub(crate) fn secrets_from(&self, tenant: &config::Tenant) -> Vec<PathBuf> {
        let mut secrets = with_backups(self.config_file);
        secrets.retain(|it| it.is_file());
        secrets.extend(ENGINES.map(PathBuf::from));
        secrets.extend(self.login());
        let own = folders(tenant);
        let others = self.config.tenants.iter();
        let others = others.filter(|it| it.name != tenant.name);
        let is_own = |it: &PathBuf| own.iter().any(|own| own.starts_with(it));
        secrets.extend(others.flat_map(folders).filter(|it| !is_own(it)));
        secrets
    }

    /// What the gateway closes to others by itself when a run comes that is one.
    pub(crate) fn to_close(&self) -> Vec<PathBuf> {
        let mut paths = with_backups(self.config_file);
        // Where the configuration has a short name, others may begin with it.
        paths.retain(|it| it.is_file() && is_of(it, self.config_file));
        paths.extend(self.login());
        let tenants = || self.config.tenants.iter();
        paths.extend(tenants().filter_map(config_dir));
        // A folder of root's may be anything, /srv for example.
        let is_ones_own = |it: &PathBuf| {
            let found = fs::symlink_metadata(it);
            found.is_ok_and(|found| found.is_dir() && (found.uid() >= PEOPLE || is_empty(it)))
        };
        paths.extend(tenants().flat_map(folders).filter(is_ones_own));
        paths
    }

    /// Of the gateway's own user.
    fn login(&self) -> Option<PathBuf> {
        let home = value_of(self.env, "HOME").map(Path::new);
        let home = home.filter(|it| it.is_absolute());
        home.map(|it| it.join(".claude"))
    }

    fn working_dir(&self, tenant: &config::Tenant) -> PathBuf {
        let own = || self.state.join("tenants").join(&tenant.name);
        let configured = tenant.working_dir.clone();
        configured.unwrap_or_else(|| own().join("workspace"))
    }

    /// Its folder as it is now. A run that is its owner takes it over by the same rule, so that no exchange makes it
    /// somebody else's.
    fn folder(&self, tenant: &config::Tenant) -> Option<Pinned> {
        match &tenant.working_dir {
            Some(dir) => Pinned::at(dir).ok(),
            None => Pinned::ours(&self.working_dir(tenant)).ok(),
        }
    }

    /// The owner of its folder, or a user that no distribution gives to anybody. A group says nothing of who is
    /// meant: of one number with the user, nobody else is in it.
    fn own_user(&self, tenant: &config::Tenant) -> Result<RunUser, String> {
        let dir = self.working_dir(tenant);
        if tenant.working_dir.is_some() && !dir.is_dir() {
            return Err(format!("{} is no folder", dir.display()));
        }
        let folder = self.folder(tenant);
        let RunUser { uid, .. } = RunUser::of(&tenant.name, folder);
        let user = RunUser { uid, gid: uid };
        match folder.map_or(0, |it| it.uid) {
            0 if tenant.working_dir.is_some() && !is_empty(&dir) => {
                Err(ownership::not_its_own(&dir, user))
            }
            0 | PEOPLE.. => Ok(user),
            system => Err(format!(
                "{} belongs to user {system}, which is the system's; give the folder to another",
                dir.display()
            )),
        }
    }

    fn ensure_nobody_else_is(&self, user: RunUser, tenant: &config::Tenant) -> Result<(), String> {
        let mut others = self.config.tenants.iter();
        let same = others.find(|it| {
            let is_owner = |it: &config::Mount| {
                fs::symlink_metadata(&it.host).is_ok_and(|it| it.uid() == user.uid)
            };
            it.name != tenant.name
                && (RunUser::of(&it.name, self.folder(it)).uid == user.uid
                    || it.mounts.iter().any(is_owner))
        });
        match same {
            None => Ok(()),
            Some(other) => Err(format!(
                "tenant {} would be the same user ({}), since their folders have one owner; give one of the folders \
                 to another user, for example with `chown -R {}`",
                other.name,
                user.uid,
                RunUser::of(&tenant.name, None).uid
            )),
        }
    }

    /// What every run needs of this machine.
    fn ensure_reachable(&self, user: RunUser) -> Result<(), String> {
        let open = |path: &Path, need, way_out: &str| {
            ensure_open(path, user, need).map_err(|why| format!("{why}; {way_out}"))
        };
        open(
            self.state,
            Need::Way,
            "set STATE_DIRECTORY to a directory that others can reach, such as /var/lib/ccgw",
        )?;
        let program = fs::canonicalize(self.program).unwrap_or_else(|_| self.program.to_owned());
        let interpreter = mounts::found_interpreter(&program, value_of(self.env, "PATH"));
        for program in [Some(program), interpreter].into_iter().flatten() {
            let way_out = "install the CLI where every user can run it, such as below /usr/local, and set cli.bin";
            open(&program, Need::Use, way_out)?;
        }
        Ok(())
    }

    fn ensure_usable(&self, user: RunUser, tenant: &config::Tenant) -> Result<(), String> {
        self.ensure_reachable(user)?;
        let open = |path: &Path, need, way_out: &str| {
            ensure_open(path, user, need).map_err(|why| format!("{why}; {way_out}"))
        };
        if let Some(dir) = tenant.working_dir.as_ref() {
            open(dir, Need::Way, OPEN_THE_WAY)?;
        }
        if let Some(dir) = config_dir(tenant) {
            open(&dir, Need::Way, OPEN_THE_WAY)?;
            let owner = fs::metadata(&dir).map_or(0, |it| it.uid());
            if owner != user.uid && (owner != 0 || !is_empty(&dir)) {
                return Err(ownership::not_its_own(&dir, user));
            }
        }
        if let Some(skills) = state::skills_of(&self.config.skills.dir, &tenant.name) {
            open(&skills, Need::Way, OPEN_THE_WAY)?;
        }
        let names_a_file = |it: &&(String, config::Secret)| FILE_VARIABLES.contains(&it.0.as_str());
        let files = tenant.env.iter().filter(names_a_file);
        for (name, value) in files {
            let why = |why| format!("{name}: {why}; let that user read it");
            ensure_open(Path::new(value.expose()), user, Need::Read).map_err(why)?;
        }
        Ok(())
    }
}

/// Whom this machine knows.
const USERS: &str = "/etc/passwd";

/// The name of a user in passwd(5)'s format.
fn name_of(uid: u32, users: &str) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

const OPEN_THE_WAY: &str = "let others go through it (`chmod o+x`), or name a folder elsewhere";

/// The CLI's config directory, where the configuration names one.
pub(crate) fn config_dir(tenant: &config::Tenant) -> Option<PathBuf> {
    let named = tenant.env.iter().rfind(|it| it.0 == "CLAUDE_CONFIG_DIR");
    let named = named.map(|(_, value)| PathBuf::from(value.expose()));
    named.or_else(|| match &tenant.config_dir {
        ConfigDir::Path(path) => Some(path.clone()),
        ConfigDir::Shared | ConfigDir::Private => None,
    })
}

/// What of this machine is a tenant's.
fn folders(tenant: &config::Tenant) -> Vec<PathBuf> {
    let mounts = tenant.mounts.iter().map(|it| it.host.clone());
    let named = tenant.working_dir.clone().into_iter();
    named.chain(config_dir(tenant)).chain(mounts).collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut it| it.next().is_none())
}

/// Whether a file is another, or a backup of it.
fn is_of(path: &Path, file: &Path) -> bool {
    let names = [path, file].map(|it| it.file_name().unwrap_or_default().as_encoded_bytes());
    let rest = names[0].strip_prefix(names[1]);
    rest.is_some_and(|it| it.is_empty() || it.starts_with(b".") || it.starts_with(b"~"))
}

/// The configuration, and what is beside it by that name: its backups hold the same keys.
pub(crate) fn with_backups(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().unwrap_or(OsStr::new("")).to_owned();
    let dir = file.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |it: &OsString| it.as_encoded_bytes().starts_with(name.as_encoded_bytes());
    entries
        .map(|it| it.file_name())
        .filter(named)
        .map(|it| dir.join(it))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_their_number() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000:,,,:/home/alice:/bin/sh\n";
        for (uid, expect) in [
            (0, Some("root")),
            (1000, Some("alice")),
            (100, None),
            (1, None),
        ] {
            assert_eq!(name_of(uid, users), expect, "{uid}");
        }
    }
}
