//! The first program of a sandbox (`ccgw enter LIMITS PLACES -- PROGRAM ...`): makes sure that
//! what is mounted is what was meant, takes on what a run may cost and who it is,
//! and becomes the run.
//!
//! A gateway of root's has its runs be ordinary users. Such a run keeps one capability, CAP_DAC_OVERRIDE: the
//! login that it shares may be root's own, and the folder that it works in somebody else's. It reaches what is
//! mounted, and nothing else; what is mounted read-only stays so.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, ExitCode},
    str::FromStr,
};

use rustix::{
    process::{Gid, Resource, Rlimit, Uid, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
        set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{RunUser, config, keeper};

/// When memory runs out, the kernel ends a run before the gateway and the instances (proc(5), oom_score_adj).
const FIRST_TO_GO: &str = "800";

/// More than any machine has (proc(5), `pid_max`).
const PROCESSES_MAX: u64 = 1 << 22;

/// What a run may cost, and who it is; as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Processes and threads.
    pub(super) processes: u64,
    /// Bytes of a file.
    pub(super) file: u64,
    /// Another than it is already.
    pub(super) user: Option<RunUser>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "processes={},file={}", self.processes, self.file)?;
        match self.user {
            Some(RunUser { uid, gid }) => write!(f, ",uid={uid},gid={gid}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Limits {
    type Err = ();

    /// Whole or not at all: half a user would be the other half of root.
    fn from_str(text: &str) -> Result<Limits, ()> {
        let mut pairs = text.split(',');
        let mut value = |name: &str| -> Result<u64, ()> {
            let (own, value) = pairs.next().and_then(|it| it.split_once('=')).ok_or(())?;
            let value = value.parse().map_err(drop);
            value.and_then(|it| if own == name { Ok(it) } else { Err(()) })
        };
        let (processes, file) = (value("processes")?, value("file")?);
        let user = match value("uid") {
            Ok(uid) => Some(RunUser {
                uid: u32::try_from(uid).map_err(drop)?,
                gid: u32::try_from(value("gid")?).map_err(drop)?,
            }),
            Err(()) => None,
        };
        let limits = Limits {
            processes,
            file,
            user,
        };
        // Nothing is left over, or written in another way.
        if limits.to_string() == text {
            Ok(limits)
        } else {
            Err(())
        }
    }
}

/// The hidden command `enter`.
pub(crate) fn main(argv: &[OsString]) -> ExitCode {
    let Some((places, [program, args @ ..])) = argv
        .iter()
        .position(|it| it == "--")
        .map(|at| (&argv[..at], &argv[at + 1..]))
    else {
        return failed("this command is for ccgw itself");
    };
    let [limits, places @ ..] = places else {
        return failed("this command is for ccgw itself");
    };
    for place in places.chunks(2) {
        if !is_the_one(place) {
            return failed("a folder of this run was exchanged while it was mounted");
        }
    }
    let Some(limits) = limits.to_str().and_then(|it| it.parse().ok()) else {
        return failed("these limits are none");
    };
    if let Err(error) = take_on(&limits) {
        return failed(&format!("the limits of the run cannot be set: {error}"));
    }
    let error = Command::new(program).args(args).exec();
    failed(&format!("{}: {error}", program.display()))
}

pub(super) fn failed(why: &str) -> ExitCode {
    // The gateway shows what its runs say there.
    let _ = io::Write::write_all(&mut io::stderr(), format!("ccgw enter: {why}\n").as_bytes());
    ExitCode::from(126)
}

/// `DEVICE:INODE` and a path, which must be that one.
fn is_the_one(place: &[OsString]) -> bool {
    let [numbers, path] = place else { return false };
    let found = fs::symlink_metadata(path);
    found.is_ok_and(|it| numbers.to_str() == Some(&format!("{}:{}", it.dev(), it.ino())))
}

/// How many processes its user may have.
pub(super) fn processes(sandbox: &config::Sandbox) -> u64 {
    match keeper::count_processes() {
        // The kernel would count the other runs and the container of this user too.
        true => PROCESSES_MAX,
        false => sandbox.max_processes,
    }
}

fn take_on(limits: &Limits) -> io::Result<()> {
    cost_at_most(limits)?;
    match limits.user {
        Some(RunUser { uid, gid }) => become_user(Uid::from_raw(uid), Gid::from_raw(gid)),
        None => Ok(()),
    }
}

/// What the process may cost from now on, whoever it is.
pub(super) fn cost_at_most(limits: &Limits) -> io::Result<()> {
    // A kernel without it ends somebody else first, which is no reason not to run.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    // A core would hold the tenant's keys.
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, limits.file)?;
    limit(Resource::Nproc, limits.processes)
}

/// Never more than it is already.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |it| it.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// This process has one thread, so what is said of threads is true of all of it.
fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE;
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: KEPT,
    };
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(KEPT, true)?;
    set_keep_capabilities(false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_whole_or_not_at_all() {
        let of = |user| Limits {
            processes: 9,
            file: 10,
            user,
        };
        let user = RunUser { uid: 1, gid: 2 };
        for (text, expect) in [
            ("processes=9,file=10,uid=1,gid=2", Ok(of(Some(user)))),
            ("processes=9,file=10", Ok(of(None))),
            ("processes=9", Err(())),
            ("processes=9,file=10,uid=1", Err(())),
            ("processes=9,file=10,gid=2", Err(())),
            ("processes=9,file=10,uid=1,gid=2,uid=0", Err(())),
            ("processes=9,file=10,uid=1,gid=4294967296", Err(())),
            ("processes=x,file=10", Err(())),
            ("file=10,processes=9", Err(())),
            ("processes=+9,file=10", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(text.parse::<Limits>(), expect, "{text}");
        }
    }
}
