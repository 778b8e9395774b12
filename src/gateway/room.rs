//! What a tenant's runs see of this machine when they are in a sandbox, and whether they are.

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
        sandbox::{self, Bwrap, ConfigRoom, Room, RunUser},
    },
    config::{self, CREDENTIALS, ConfigDir, Isolation},
    log, relay,
};

/// What a tenant's runs are kept from others by, in fact.
enum Confined<'s> {
    Bwrap(&'s Bwrap),
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
    /// How a tenant's runs are confined, in the words of the configuration; `None` as long as it is not known what
    /// works here.
    pub(super) fn isolation_of(&self, served: &Served, tenant: &Tenant) -> Option<&'static str> {
        let known = self.sandboxes.known()?;
        Some(match (wanted(served, tenant), known) {
            (Isolation::None, _) | (Isolation::Auto, Err(_)) => Isolation::None.name(),
            (Isolation::Auto | Isolation::Bwrap, Ok(_)) => Isolation::Bwrap.name(),
            (Isolation::Bwrap, Err(_)) => "impossible",
        })
    }

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

    /// Finds out what works here, and says for whom it is used.
    pub(crate) fn announce_isolation(&self) {
        let served = self.served();
        let tenants: Vec<&Tenant> = served.present().map(|(_, it)| it).collect();
        if served.cli.program.kind == Kind::StandIn {
            return;
        }
        let of = |it: &Isolation| {
            let wants = |tenant: &&&Tenant| wanted(&served, tenant) == *it;
            tenants
                .iter()
                .filter(wants)
                .map(|it| it.name.as_str())
                .collect::<Vec<_>>()
        };
        let [auto, bwrap, none] =
            [Isolation::Auto, Isolation::Bwrap, Isolation::None].map(|it| of(&it));
        let found = match auto.len() + bwrap.len() {
            0 => Err(""),
            _ => self.sandboxes.bwrap().map(drop),
        };
        let mut open = none;
        match found {
            Ok(()) => log::info(
                "runs are confined by bubblewrap",
                &[("tenants", &[auto, bwrap].concat().join(","))],
            ),
            Err(why) => {
                if !bwrap.is_empty() {
                    let names = bwrap.join(",");
                    log::error(
                        "requests will be refused: isolation is bwrap, which does not work here",
                        &[("tenants", &names), ("why", &why)],
                    );
                }
                if !auto.is_empty() {
                    log::warn("no sandbox for runs", &[("why", &why)]);
                    open.extend(auto);
                }
            }
        }
        // Of one tenant's runs nobody else is in danger but this host.
        if !open.is_empty() && tenants.len() > 1 {
            log::warn(
                "runs of these tenants are not isolated from each other or from this host: each can read all keys",
                &[("tenants", &open.join(","))],
            );
        }
    }

    /// Says what limits a run's memory, processes and CPU.
    pub(crate) fn announce_limits(&self) {
        match keeper::controlled() {
            Ok(what) => log::info("runs have control groups", &[("limited", &what)]),
            Err(why) => log::info(
                "no control groups for runs: their memory and CPU are not limited, processes by rlimit in a sandbox",
                &[("why", &why)],
            ),
        }
    }

    /// What runs with this wish are confined by.
    ///
    /// # Errors
    /// When they must not run as they would.
    fn confined(&self, wanted: Isolation) -> Result<Confined<'_>, String> {
        // Nobody waits for what is not wanted.
        if wanted == Isolation::None {
            return Ok(Confined::Not);
        }
        match self.sandboxes.bwrap() {
            Ok(bwrap) => Ok(Confined::Bwrap(bwrap)),
            Err(why) if wanted == Isolation::Bwrap => Err(format!("isolation is bwrap, but {why}")),
            Err(_) => Ok(Confined::Not),
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
        let wanted = wanted(served, tenant);
        let configured = tenant.working_dir.iter();
        let hosts = tenant
            .mounts
            .iter()
            .map(|it| &it.host)
            .filter(|it| it.exists());
        let bwrap = match self.confined(wanted).map_err(refused)? {
            Confined::Bwrap(bwrap) => bwrap,
            Confined::Not => {
                if let (Some(relay), Some(socket)) = (relay, &socket) {
                    relay::into_environment(&mut launch.env, (socket, &relay.commands()));
                }
                return Ok(launch);
            }
        };
        for path in configured.chain(hosts) {
            sandbox::ensure_no_link(path).map_err(refused)?;
        }
        let unwritable = |it: io::Error| refused(it.to_string());
        let home = self.state.home(name).map_err(unwritable)?;
        let seeds = self.state.seeds(name).map_err(unwritable)?;
        let hidden = self.hidden(served, tenant);
        let plugin = place.skills_plugin.iter().flat_map(|plugin| {
            let skills = crate::state::skills_of(&served.config.skills.dir, name);
            [plugin.clone()].into_iter().chain(skills)
        });
        let room = Room {
            working_dir: &place.working_dir,
            config: self.config_room(tenant, &launch).map_err(unwritable)?,
            home: &home,
            read_only: plugin.chain([seeds]).collect(),
            mounts: &tenant.mounts,
            hidden: &hidden,
            sandbox: &served.config.sandbox,
            relay: socket.as_deref(),
            user: (self.user == User::Root).then(|| RunUser::of(name, &place.working_dir)),
        };
        let confined = sandbox::confined(launch, bwrap, &room);
        confined.map_err(|why| {
            SPARING.info("no sandbox", &[("tenant", name), ("why", &why)]);
            refused(why)
        })
    }

    /// Whether a run may renew a login that others use as well. The CLI locks what it renews in its config
    /// directory, of which each sandbox has its own. One that was renewed an hour ago is good for hours.
    pub(super) fn may_renew_a_login(&self, job: &Job) -> bool {
        let (served, tenant) = (&*job.served, &*job.tenant);
        let shares = served.config.tenant(&tenant.name);
        let shares = shares.is_ok_and(config::Tenant::shares_the_login);
        let is_confined = matches!(
            self.confined(wanted(served, tenant)),
            Ok(Confined::Bwrap(_))
        );
        let login = home_of(&self.base_env).map(|it| it.join(".claude").join(LOGIN));
        let renewed = login.and_then(|it| it.metadata().ok()?.modified().ok());
        let age = renewed.and_then(|it| it.elapsed().ok());
        shares && is_confined && age.is_some_and(|it| it > RENEWED)
    }

    fn config_room(&self, tenant: &Tenant, launch: &Launch) -> io::Result<ConfigRoom> {
        let named = tenant.env.iter().rfind(|it| it.0 == "CLAUDE_CONFIG_DIR");
        let named = named.map(|(_, value)| PathBuf::from(value));
        let named = named.or_else(|| tenant.config_dir.path().map(Path::to_owned));
        if let Some(dir) = named {
            let projects = dir.join("projects");
            match fs::create_dir(&projects) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // An earlier run in no sandbox may have been here.
            sandbox::ensure_no_link(&projects).map_err(io::Error::other)?;
            let login = Some(dir.join(LOGIN)).filter(|it| is_file(it));
            return Ok(ConfigRoom {
                dir,
                projects,
                login,
            });
        }
        let projects = self.state.projects(&tenant.name)?;
        let dir = projects.parent().unwrap_or(&projects).to_owned();
        let has_own = tenant
            .env
            .iter()
            .any(|(name, _)| CREDENTIALS.iter().any(|it| name == it));
        let login = match tenant.config_dir {
            ConfigDir::Private => Some(dir.join(LOGIN)).filter(|it| is_file(it)),
            _ if has_own => None,
            // No run writes there, and links in it are its owner's.
            _ => home_of(&launch.env)
                .map(|it| it.join(".claude").join(LOGIN))
                .filter(|it| it.is_file()),
        };
        Ok(ConfigRoom {
            login,
            dir,
            projects,
        })
    }

    /// What must not be inside of a tenant's sandbox: the gateway's own, and the other tenants'.
    fn hidden(&self, served: &Served, tenant: &Tenant) -> Vec<PathBuf> {
        let mut hidden = vec![
            self.state.path().to_owned(),
            served.config.skills.dir.clone(),
        ];
        hidden.extend(with_backups(&self.config_file));
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

/// Not what a link leads to.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_file())
}

fn home_of(env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let home = env.iter().rfind(|(name, _)| name == "HOME");
    home.map(|(_, value)| PathBuf::from(value))
        .filter(|it| it.is_absolute())
}

/// The configuration, and what is beside it by that name: its backups hold the same keys.
fn with_backups(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_owned();
    let dir = file.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |it: &OsString| it.as_encoded_bytes().starts_with(name.as_encoded_bytes());
    entries
        .map(|it| it.file_name())
        .filter(named)
        .map(|it| dir.join(it))
        .collect()
}

impl ConfigDir {
    fn path(&self) -> Option<&Path> {
        match self {
            ConfigDir::Path(path) => Some(path),
            ConfigDir::Shared | ConfigDir::Private => None,
        }
    }
}
