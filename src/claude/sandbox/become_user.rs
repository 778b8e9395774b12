//! A run as a system user of its tenant's own, in no namespaces (`ccgw become LIMITS DIRECTORY -- PROGRAM ...`): the
//! program that takes on who the run is and what it may cost, and becomes it.
//!
//! Nothing is mounted here, and so nothing of root's powers is kept: what this user can do is what the owners of
//! this machine's files let everybody do, and what its own files are.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use rustix::{
    fs::Mode,
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
        set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use super::{
    RunUser, UNUSED_USERS,
    enter::{self, Limits, cost_at_most, failed},
    own_user::ONLY_ROOT,
    probe,
};
use crate::{
    claude::keeper::{self, Launch},
    config, relay,
};

/// What a run of its own user has.
pub(crate) struct Own<'a> {
    pub(crate) user: RunUser,
    /// This program, where that user can start it.
    pub(crate) entry: &'a Path,
    pub(crate) home: &'a Path,
    pub(crate) config_dir: &'a Path,
    pub(crate) temporary: &'a Path,
    pub(crate) sandbox: &'a config::Sandbox,
    /// The socket of its `openclaw` command, and where that is.
    pub(crate) relay: Option<(&'a Path, &'a Path)>,
}

/// Where programs put their temporary files; the last one is the CLI's own.
const TEMPORARY: [&str; 2] = ["TMPDIR", "CLAUDE_CODE_TMPDIR"];

/// The same run, as another user.
///
/// # Errors
/// When its program is not there.
pub(crate) fn as_user(launch: Launch, own: &Own<'_>) -> Result<Launch, String> {
    let program = std::fs::canonicalize(&launch.program)
        .map_err(|it| format!("{}: {it}", launch.program.display()))?;
    let limits = Limits {
        processes: enter::processes(own.sandbox),
        file: own.sandbox.max_file_bytes,
        user: Some(own.user),
    };
    let mut args = words(&limits, &launch.cwd, &program);
    args.extend(launch.args);
    let mut env = launch.env;
    let gateways = ["HOME", "CLAUDE_CONFIG_DIR", "USER", "LOGNAME"];
    env.retain(|(name, _)| !gateways.iter().chain(&TEMPORARY).any(|it| name == it));
    if let Some(relay) = own.relay {
        relay::into_environment(&mut env, relay);
    }
    env.push(("HOME".into(), own.home.into()));
    env.push(("CLAUDE_CONFIG_DIR".into(), own.config_dir.into()));
    env.extend(TEMPORARY.map(|name| (name.into(), own.temporary.into())));
    Ok(Launch {
        program: own.entry.to_owned(),
        args,
        env,
        cwd: "/".into(),
        // It becomes the program, and stays the process that it is.
        wrapped_in: 0,
        limits: launch.limits,
    })
}

fn words(limits: &Limits, directory: &Path, program: &Path) -> Vec<OsString> {
    vec![
        "become".into(),
        limits.to_string().into(),
        directory.into(),
        "--".into(),
        program.into(),
    ]
}

/// Whether a run can be another user here: a container's root may lack what that takes.
///
/// # Errors
/// Why not, as a part of a sentence.
pub(super) fn try_it(entry: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err(ONLY_ROOT.to_owned());
    }
    probe::keep_entry(entry)?;
    keep_command(entry).map_err(|it| format!("{}: {it}", entry.display()))?;
    let limits = Limits {
        processes: 100_000,
        file: 1 << 20,
        user: Some(RunUser {
            uid: UNUSED_USERS - 1,
            gid: UNUSED_USERS - 1,
        }),
    };
    // By this name it needs no way to the file.
    let itself = PathBuf::from("/proc/self/exe");
    let mut args = words(&limits, Path::new("/"), &itself);
    args.push("--version".into());
    let launch = Launch {
        program: entry.to_owned(),
        args,
        env: Vec::new(),
        cwd: "/".into(),
        wrapped_in: 0,
        limits: keeper::Limits::default(),
    };
    probe::says_its_version(&launch).map_err(|why| format!("runs cannot be other users: {why}"))
}

/// The `openclaw` command of runs, beside the program that it is.
fn keep_command(entry: &Path) -> io::Result<()> {
    let command = entry.with_file_name(relay::NAME);
    let aside = entry.with_file_name(crate::ids::random_hex::<8>());
    std::os::unix::fs::symlink(entry, &aside)?;
    std::fs::rename(aside, command)
}

/// The hidden command `become`.
pub(crate) fn main(argv: &[OsString]) -> ExitCode {
    let [limits, directory, dashes, program, args @ ..] = argv else {
        return failed("this command is for ccgw itself");
    };
    let limits: Option<Limits> = limits.to_str().and_then(|it| it.parse().ok());
    let Some((limits, user)) = limits.and_then(|it| Some((it, it.user?))) else {
        return failed("these limits are none");
    };
    if dashes != "--" || user.uid == 0 || user.gid == 0 {
        return failed("this command is for ccgw itself");
    }
    if let Err(error) = take_on(&limits, user) {
        return failed(&format!("it cannot become user {}: {error}", user.uid));
    }
    // As that user, so that a link in the way leads nowhere where it could not go itself.
    if let Err(error) = std::env::set_current_dir(directory) {
        return failed(&format!(
            "user {} cannot work in {}: {error}",
            user.uid,
            directory.display()
        ));
    }
    let error = Command::new(program).args(args).exec();
    failed(&format!(
        "user {} cannot start {}: {error}",
        user.uid,
        program.display()
    ))
}

/// This process has one thread, so what is said of threads is true of all of it.
fn take_on(limits: &Limits, user: RunUser) -> io::Result<()> {
    cost_at_most(limits)?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_keep_capabilities(false)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets)?;
    // No program that it starts is more than it is, whatever that file's mode says.
    set_no_new_privs(true)?;
    Ok(())
}
