//! What a tenant's runs see of this machine when they are in a sandbox, and whether they are.

mod announce;
mod network;
mod own_user;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Gateway, Served, Tenant, cost, job::Job};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{
        command::{Place, User},
        keeper::{self, Launch},
        program::Kind,
        sandbox::{self, Bwrap, ConfigRoom, Pinned, Room, RunUser},
    },
    config::{self, CREDENTIALS, ConfigDir, Isolation},
    log, relay,
};
pub(super) use network::wanted as network_of;
pub(crate) use own_user::LetIn;

/// What a tenant's runs are kept from others by, in fact.
enum Confined<'s> {
    Bwrap(&'s Bwrap),
    User(RunUser),
    Not,
}

/// The variable by which a later life of the daemon knows what this one left.
const LIFE: &str = "CCGW_STATE";

/// A login is taken to be good for so long after it was written.
const RENEWED: Duration = Duration::from_secs(3600);

/// The CLI's file with a login, in its config directory.
const LOGIN: &str = ".credentials.json";

/// Which isolation is wanted for a tenant.
pub(super) fn wanted(served: &Served, tenant: &Tenant) -> Isolation {
    tenant.isolation.unwrap_or(served.config.isolation)
}

impl Gateway {
    /// Ends what runs of an earlier life left behind: nothing, unless it and its keepers were killed together.
    pub(crate) fn end_left_over(&self) {
        // Without the relay's lock the state may be another daemon's, which runs.
        if self.relay.is_none() {
            return;
        }
        let ended = keeper::end_left_over((LIFE, self.state.path().as_os_str()))
            + keeper::end_left_over_groups();
        if ended > 0 {
            log::warn(
                "ended processes that an earlier life left",
                &[("processes", &ended)],
            );
        }
    }

    /// What a tenant's runs are confined by: where the choice is ours, the strongest that works.
    ///
    /// # Errors
    /// When they must not run as they would.
    fn confined(&self, served: &Served, tenant: &Tenant) -> Result<Confined<'_>, String> {
        let walls = self.walls(served, tenant)?;
        self.ensure_network(served, tenant, &walls)?;
        Ok(walls)
    }

    fn walls(&self, served: &Served, tenant: &Tenant) -> Result<Confined<'_>, String> {
        match wanted(served, tenant) {
            // Nobody waits for what is not wanted.
            Isolation::None => Ok(Confined::Not),
            Isolation::Bwrap => match self.sandboxes.bwrap() {
                Ok(bwrap) => Ok(Confined::Bwrap(bwrap)),
                Err(why) => Err(format!("isolation is bwrap, but {why}")),
            },
            Isolation::User => match self.own_user_of(served, tenant) {
                Ok(user) => Ok(Confined::User(user)),
                Err(why) => Err(format!("isolation is user, but {why}")),
            },
            Isolation::Auto => match (self.sandboxes.bwrap(), self.may_have_user(served, tenant)) {
                (Ok(bwrap), _) => Ok(Confined::Bwrap(bwrap)),
                (Err(_), Err(_)) => Ok(Confined::Not),
                // What stands against it now may have been put there by the tenant: then it is no run rather than root's.
                (Err(_), Ok(())) => match self.nameless_user_of(served, tenant) {
                    Ok(user) => Ok(Confined::User(user)),
                    Err(why) => Err(format!(
                        "without bubblewrap its runs must be a user of their own, but {why}; `isolation: none` would run \
                         them as the gateway's user"
                    )),
                },
            },
        }
    }

    /// The run of a job, in its sandbox if it has one.
    ///
    /// # Errors
    /// When it must have one and cannot.
    pub(super) fn confine(
        &self,
        job: &Job,
        launch: Launch,
        place: &Place,
    ) -> Result<Launch, ApiError> {
        let (served, tenant) = (&*job.served, &*job.tenant);
        let mut launch = launch;
        launch.env.push((LIFE.into(), self.state.path().into()));
        launch.limits = cost::limits(served, tenant);
        if served.cli.program.kind == Kind::StandIn {
            return Ok(launch);
        }
        let relay = self.relay.as_ref();
        let socket = relay.and_then(|it| it.socket_of(&tenant.name));
        let name = &tenant.name;
        let refused = |why: String| {
            let text = format!("the sandbox of tenant {name} cannot be made: {why}");
            ApiError::new(ErrorKind::Unavailable, text)
        };
        let not_made = |why: String| {
            SPARING.info("no sandbox", &[("tenant", name), ("why", &why)]);
            refused(why)
        };
        let bwrap = match self.confined(served, tenant).map_err(refused)? {
            Confined::Bwrap(bwrap) => bwrap,
            Confined::User(user) => {
                let own = self.as_own_user(job, (launch, place), user);
                return own.map_err(not_made);
            }
            Confined::Not => {
                self.let_in.forget(name);
                if let (Some(relay), Some(socket)) = (relay, &socket) {
                    relay::into_environment(&mut launch.env, (socket, &relay.commands()));
                }
                return Ok(launch);
            }
        };
        let working_dir = match &tenant.working_dir {
            Some(dir) => Pinned::at(dir),
            None => Pinned::ours(&place.working_dir),
        };
        let working_dir = (&*place.working_dir, working_dir.map_err(refused)?);
        let mounts = tenant.mounts.iter();
        let mounts =
            mounts.map(|it| Pinned::found(&it.host).map(|found| found.map(|found| (it, found))));
        let mounts: Result<Vec<_>, String> = mounts.filter_map(Result::transpose).collect();
        let mounts = mounts.map_err(refused)?;
        let unwritable = |it: io::Error| refused(it.to_string());
        let home = self.state.home(name).map_err(unwritable)?;
        let seeds = self.state.seeds(name).map_err(unwritable)?;
        let hidden = self.hidden(served, tenant);
        let plugin = place.skills_plugin.iter().flat_map(|plugin| {
            let skills = crate::state::skills_of(&served.config.skills.dir, name);
            [plugin.clone()].into_iter().chain(skills)
        });
        let user = (self.user == User::Root).then(|| RunUser::of(name, Some(working_dir.1)));
        if let (Some(socket), Some(user)) = (&socket, user) {
            give(socket, user).map_err(unwritable)?;
        }
        let way_out = self.way_out(served, tenant).map_err(refused)?;
        if let (Some((socket, _)), Some(user)) = (&way_out, user) {
            give(socket, user).map_err(unwritable)?;
        }
        let room = Room {
            working_dir,
            config: self.config_room(tenant, &launch).map_err(refused)?,
            home: &home,
            read_only: plugin.chain([seeds]).collect(),
            mounts,
            hidden: &hidden,
            sandbox: &served.config.sandbox,
            relay: socket.as_deref(),
            way_out: way_out
                .as_ref()
                .map(|(socket, policy)| (socket.as_path(), policy)),
            user,
        };
        sandbox::confined(launch, bwrap, &room).map_err(not_made)
    }

    /// Whether a run may renew a login that others use as well. The CLI locks what it renews in its config
    /// directory, of which each sandbox has its own. One that was renewed an hour ago is good for hours.
    pub(super) fn may_renew_a_login(&self, job: &Job) -> bool {
        let (served, tenant) = (&*job.served, &*job.tenant);
        let shares = served.config.tenant(&tenant.name);
        if !shares.is_ok_and(config::Tenant::shares_the_login) {
            return false;
        }
        let login = home_of(&self.base_env).map(|it| it.join(".claude").join(LOGIN));
        let renewed = login.and_then(|it| it.metadata().ok()?.modified().ok());
        let age = renewed.and_then(|it| it.elapsed().ok());
        // What confines it takes the longest to tell.
        age.is_some_and(|it| it > RENEWED)
            && matches!(self.confined(served, tenant), Ok(Confined::Bwrap(_)))
    }

    fn config_room(&self, tenant: &Tenant, launch: &Launch) -> Result<ConfigRoom, String> {
        let named = tenant.env.iter().rfind(|it| it.0 == "CLAUDE_CONFIG_DIR");
        let named = named.map(|(_, value)| PathBuf::from(value));
        let named = named.or_else(|| tenant.config_dir.path().map(Path::to_owned));
        if let Some(dir) = named {
            // A run in no sandbox may have been here, or be.
            let projects = (dir.join("projects"), Pinned::made_in(&dir, "projects")?);
            let login = pinned_file(dir.join(LOGIN))?;
            return Ok(ConfigRoom {
                dir,
                projects,
                login,
            });
        }
        let projects = self.state.projects(&tenant.name);
        let projects = projects.map_err(|it| it.to_string())?;
        let dir = projects.parent().unwrap_or(&projects).to_owned();
        let has_own = tenant
            .env
            .iter()
            .any(|(name, _)| CREDENTIALS.iter().any(|it| name == it));
        let login = match tenant.config_dir {
            ConfigDir::Private => {
                let real = fs::canonicalize(&dir).map_err(|it| it.to_string())?;
                pinned_file(real.join(LOGIN))?
            }
            _ if has_own => None,
            // No run writes there, and links in it are its owner's.
            _ => home_of(&launch.env)
                .map(|it| it.join(".claude").join(LOGIN))
                .filter(|it| it.is_file())
                .map(|it| (it, None)),
        };
        let found = Pinned::ours(&projects)?;
        Ok(ConfigRoom {
            login,
            dir,
            projects: (projects, found),
        })
    }

    /// What must not be inside of a tenant's sandbox: the gateway's own, and the other tenants'.
    fn hidden(&self, served: &Served, tenant: &Tenant) -> Vec<PathBuf> {
        let mut hidden = vec![
            self.state.path().to_owned(),
            served.config.skills.dir.clone(),
        ];
        hidden.extend(sandbox::with_backups(&self.config_file));
        hidden.extend(sandbox::ENGINES.map(PathBuf::from));
        let own_dir = tenant.config_dir.path();
        if let Some(home) = home_of(&self.base_env).filter(|_| own_dir.is_none()) {
            hidden.extend([".claude", ".claude.json"].map(|it| home.join(it)));
        }
        let others = served
            .config
            .tenants
            .iter()
            .filter(|it| it.name != tenant.name);
        for other in others {
            let own = other
                .working_dir
                .iter()
                .filter(|it| tenant.working_dir.as_ref() != Some(*it));
            hidden.extend(own.cloned());
            hidden.extend(other.mounts.iter().map(|it| it.host.clone()));
            hidden.extend(
                other
                    .config_dir
                    .path()
                    .filter(|it| Some(*it) != own_dir)
                    .map(Path::to_owned),
            );
        }
        hidden
    }
}

static SPARING: log::Sparing = log::Sparing::new();

/// A file, and not what a link leads to.
fn pinned_file(path: PathBuf) -> Result<Option<(PathBuf, Option<Pinned>)>, String> {
    if !fs::symlink_metadata(&path).is_ok_and(|it| it.is_file()) {
        return Ok(None);
    }
    let found = Pinned::found(&path)?;
    Ok(found.map(|it| (path, Some(it))))
}

fn home_of(env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let home = env.iter().rfind(|(name, _)| name == "HOME");
    home.map(|(_, value)| PathBuf::from(value))
        .filter(|it| it.is_absolute())
}

/// The relay's socket, which only this user then reaches.
fn give(socket: &Path, user: RunUser) -> io::Result<()> {
    std::os::unix::fs::lchown(socket, Some(user.uid), Some(user.gid))
}

impl ConfigDir {
    fn path(&self) -> Option<&Path> {
        match self {
            ConfigDir::Path(path) => Some(path),
            ConfigDir::Shared | ConfigDir::Private => None,
        }
    }
}
