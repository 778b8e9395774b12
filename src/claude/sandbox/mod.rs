//! What a run can see and do: bubblewrap gives it namespaces of its own, in which there is nothing of this machine
//! but what [`Room`] names.
//!
//! Everything keeps the path that it has outside, so that a command line, a session and a file's name mean the
//! same on both sides. Inside of bubblewrap this same binary comes first (`ccgw enter`): it takes on the limits
//! and the user that the run has, and becomes the CLI.

mod access;
mod become_user;
mod enter;
mod etc;
mod forward;
mod mounts;
mod own_user;
mod ownership;
mod pinned;
mod probe;

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use self::enter::Limits;
use self::etc::Etc;
use self::mounts::{Mount, Mounts};
pub(crate) use self::{
    access::ensure_closed,
    become_user::{Own, as_user, main as become_user},
    enter::main as enter,
    forward::main as forward,
    own_user::{ENGINES, Surroundings, config_dir, with_backups},
    ownership::{Inside, adopt_all, close, take},
    pinned::Pinned,
};
use super::keeper::{self, Launch};
use crate::{config, egress, relay};

/// What this machine has for runs to be confined by. Found once, when it is first asked for.
pub(crate) struct Sandboxes {
    /// The gateway's `PATH`, in which bubblewrap is looked for.
    path: Option<OsString>,
    /// Where this binary's copy is that sandboxes start with.
    entry: PathBuf,
    found: OnceLock<Result<Bwrap, String>>,
    /// Whether runs can have a network of their own.
    networks: OnceLock<Result<(), String>>,
    /// Whether runs can be other users than the gateway.
    users: OnceLock<Result<(), String>>,
}

/// A bubblewrap that works here.
#[derive(Debug, Clone)]
pub(crate) struct Bwrap {
    program: PathBuf,
    entry: PathBuf,
    features: Features,
    etc: Arc<Etc>,
    /// What of the system runs see.
    system: Vec<Mount>,
}

/// What a version of bubblewrap can do, and may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Features {
    /// From 0.8 on: no namespaces within the sandbox, and temporary directories with a size.
    Modern,
    Old,
}

/// What one run finds inside.
pub(crate) struct Room<'a> {
    /// Where it works, and writes.
    pub(crate) working_dir: (&'a Path, Pinned),
    pub(crate) config: ConfigRoom,
    /// Its `HOME`, written to as well.
    pub(crate) home: &'a Path,
    /// The tenant's own that it only reads.
    pub(crate) read_only: Vec<PathBuf>,
    /// Its instance's folders, by the names that they have there.
    pub(crate) mounts: Vec<(&'a config::Mount, Pinned)>,
    /// What it must not see, wherever that lies.
    pub(crate) hidden: &'a [PathBuf],
    pub(crate) sandbox: &'a config::Sandbox,
    /// The socket of its `openclaw` command.
    pub(crate) relay: Option<&'a Path>,
    /// Where it reaches what it may, when it has a network of its own: a socket, and what that leads to.
    pub(crate) way_out: Option<(&'a Path, &'a egress::Policy)>,
    /// Who it is when the gateway is root.
    pub(crate) user: Option<RunUser>,
}

/// What is in a run's `CLAUDE_CONFIG_DIR`: nothing with each process, but the sessions and a login. So no run leaves
/// settings there, for the next one or for whoever signs in there.
pub(crate) struct ConfigRoom {
    pub(crate) dir: PathBuf,
    pub(crate) projects: (PathBuf, Pinned),
    /// A file that appears in `dir`, and which one where runs could ever have written beside it.
    pub(crate) login: Option<(PathBuf, Option<Pinned>)>,
}

/// An ordinary user that a run of root's gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Users that no distribution gives to anybody (systemd, "Users, Groups, UIDs and GIDs"): from 0x70000000 on.
const UNUSED_USERS: u32 = 0x7000_0000;

/// As many as the tenants' names are spread over.
const UNUSED_USERS_COUNT: u32 = 0x0F00_0000;

/// How many of bubblewrap's own processes a run consists of beside the CLI: the one that waits outside, and the
/// first of the namespace.
const OWN_PROCESSES: usize = 2;

/// Loopback, and nothing else.
const OWN_NETWORK: &str = "--unshare-net";

/// Variables of the CLI, and of what it asks for credentials of clouds, that name a file to read.
const FILE_VARIABLES: [&str; 8] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CA_BUNDLE",
];

/// Where this binary is inside.
const ENTRY: &str = "/run/ccgw/ccgw";

/// Where the commands are that a run has by us, and the socket that they use.
const COMMANDS: &str = "/run/ccgw/bin";
const RELAY: &str = "/run/ccgw/relay";

/// Where its connections are handed over.
const WAY_OUT: &str = "/run/ccgw/out";

impl Sandboxes {
    /// Looks for nothing yet. `entry` is where the copy of this binary is to be kept.
    pub(crate) fn new(path: Option<OsString>, entry: PathBuf) -> Sandboxes {
        Sandboxes {
            path,
            entry,
            found: OnceLock::new(),
            networks: OnceLock::new(),
            users: OnceLock::new(),
        }
    }

    /// Where this program is for runs to begin with, if a run can be another user than the gateway.
    ///
    /// # Errors
    /// Why not, as a part of a sentence.
    pub(crate) fn users(&self) -> Result<&Path, &str> {
        let found = self.users.get_or_init(|| become_user::try_it(&self.entry));
        match found {
            Ok(()) => Ok(&self.entry),
            Err(why) => Err(why),
        }
    }

    /// Bubblewrap, if it is installed and works here.
    ///
    /// # Errors
    /// Why not, as a part of a sentence, and what to do.
    pub(crate) fn bwrap(&self) -> Result<&Bwrap, &str> {
        let found = self
            .found
            .get_or_init(|| probe::find(self.path.as_deref(), &self.entry));
        found.as_ref().map_err(String::as_str)
    }

    /// Whether a run in a sandbox can have a network of its own.
    ///
    /// # Errors
    /// Why not, as a part of a sentence.
    pub(crate) fn networks(&self) -> Result<(), &str> {
        let bwrap = self.bwrap()?;
        let found = self.networks.get_or_init(|| probe::try_network(bwrap));
        found.as_ref().copied().map_err(String::as_str)
    }

    /// Whether something was looked for already.
    pub(crate) fn are_tried(&self) -> bool {
        self.found.get().is_some() || self.users.get().is_some()
    }
}

impl RunUser {
    /// Who a run of root's gateway is that works in this directory: its owner, so that what it writes belongs
    /// there; or where that is root, a user of the tenant's own.
    pub(crate) fn of(tenant: &str, working_dir: Option<Pinned>) -> RunUser {
        match working_dir {
            Some(Pinned { uid, gid, .. }) if uid != 0 => RunUser { uid, gid },
            _ => {
                let hash = hmac_sha256::Hash::hash(tenant.as_bytes());
                let number = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
                let uid = UNUSED_USERS + number % UNUSED_USERS_COUNT;
                RunUser { uid, gid: uid }
            }
        }
    }
}

/// The same run, in a sandbox.
///
/// # Errors
/// When the room cannot be had, as a sentence for the operator.
pub(crate) fn confined(launch: Launch, bwrap: &Bwrap, room: &Room<'_>) -> Result<Launch, String> {
    let program = fs::canonicalize(&launch.program)
        .map_err(|it| format!("{}: {it}", launch.program.display()))?;
    let mut mounts = Mounts::new(&bwrap.system);
    mounts.read_only_at(&bwrap.etc.current(), etc::INSIDE.into())?;
    mounts.read_only_at(&bwrap.entry, ENTRY.into())?;
    if let Some(socket) = room.relay {
        let command = Path::new(COMMANDS).join(relay::NAME);
        mounts.link(Path::new(ENTRY), command);
        mounts.read_only_at(socket, RELAY.into())?;
    }
    if let Some((socket, _)) = room.way_out {
        mounts.read_only_at(socket, WAY_OUT.into())?;
    }
    mounts::program(&mut mounts, &program, value_of(&launch.env, "PATH"))?;
    let (working_dir, working) = room.working_dir;
    mounts.writable(working_dir)?;
    // An instance could put a link in the way of what is mounted, between our look at it and bubblewrap's.
    let mut places = vec![(working, working_dir)];
    for (mount, found) in &room.mounts {
        places.push((*found, &mount.inside));
        // An instance has its own name for the folder that its runs work in.
        match found.is(working) {
            true => mounts.writable_at(&mount.host, mount.inside.clone())?,
            false => mounts.read_only_at(&mount.host, mount.inside.clone())?,
        }
    }
    let named = FILE_VARIABLES.iter().filter_map(|name| {
        let path = Path::new(value_of(&launch.env, name)?);
        Some((name, path)).filter(|_| path.is_absolute())
    });
    for (name, path) in named {
        // What distributions link there, no instance exchanges.
        if path.starts_with("/etc") || path.starts_with("/usr") {
            mounts.read_only(path)?;
        } else if let Some(found) = pinned::named_file(path, *name == "SSL_CERT_DIR")? {
            mounts.read_only(path)?;
            places.push((found, path));
        }
    }
    for path in &room.sandbox.read_only {
        mounts.read_only(path)?;
    }
    mounts.hide(room.hidden)?;
    mounts.writable(room.home)?;
    for path in &room.read_only {
        mounts.read_only(path)?;
    }
    let ConfigRoom {
        dir,
        projects,
        login,
    } = &room.config;
    mounts.config_dir(dir)?;
    let (projects, found) = projects;
    mounts.writable(projects)?;
    places.push((*found, projects));
    let login = login.as_ref();
    let login = login.and_then(|(it, found)| Some((it, dir.join(it.file_name()?), found)));
    if let Some((from, to, found)) = &login {
        mounts.writable_at(from, to.clone())?;
        places.extend(found.map(|it| (it, to.as_path())));
    }
    let mut args = namespaces(bwrap.features, room.user);
    args.extend(room.way_out.map(|_| OWN_NETWORK.into()));
    args.extend(mounts.args(bwrap.features));
    args.push("--chdir".into());
    args.push(launch.cwd.clone().into());
    args.push("--".into());
    args.push(ENTRY.into());
    args.push("enter".into());
    let limits = Limits {
        processes: enter::processes(room.sandbox),
        file: room.sandbox.max_file_bytes,
        user: room.user,
    };
    args.push(limits.to_string().into());
    for (found, inside) in places {
        args.extend([found.word(), inside.into()]);
    }
    args.push("--".into());
    if room.way_out.is_some() {
        args.extend([ENTRY, "forward", "--"].map(OsString::from));
    }
    args.push(program.into());
    args.extend(launch.args);
    Ok(Launch {
        program: bwrap.program.clone(),
        args,
        env: environment(launch.env, room),
        cwd: "/".into(),
        wrapped_in: OWN_PROCESSES + usize::from(room.way_out.is_some()),
        limits: launch.limits,
    })
}

fn namespaces(features: Features, user: Option<RunUser>) -> Vec<OsString> {
    let mut args: Vec<&str> = vec![
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        // Without a terminal of ours nothing can be typed into it (TIOCSTI).
        "--new-session",
        "--hostname",
        "ccgw",
        "--cap-drop",
        "ALL",
    ];
    match user {
        None => {
            args.push("--unshare-user");
            if features == Features::Modern {
                args.push("--disable-userns");
            }
        }
        // What the entry needs to become that user; see there.
        Some(_) => {
            for capability in ["CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"] {
                args.extend(["--cap-add", capability]);
            }
        }
    }
    args.into_iter().map(OsString::from).collect()
}

fn environment(mut env: Vec<(OsString, OsString)>, room: &Room<'_>) -> Vec<(OsString, OsString)> {
    // The gateway's own temporary directory is not inside.
    env.retain(|(name, _)| name != "TMPDIR" && name != "HOME" && name != "CLAUDE_CONFIG_DIR");
    if room.relay.is_some() {
        relay::into_environment(&mut env, (Path::new(RELAY), Path::new(COMMANDS)));
    }
    if let Some((_, policy)) = room.way_out {
        egress::into_environment(&mut env, policy);
    }
    env.push(("HOME".into(), room.home.into()));
    env.push(("CLAUDE_CONFIG_DIR".into(), room.config.dir.clone().into()));
    env
}

fn value_of<'e>(env: &'e [(OsString, OsString)], name: &str) -> Option<&'e OsStr> {
    let found = env.iter().rfind(|(known, _)| known == name);
    found.map(|(_, value)| value.as_os_str())
}
