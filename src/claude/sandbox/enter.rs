//! The first program of a sandbox (`ccgw enter LIMITS PLACES -- PROGRAM ...`): makes sure that
//! what is mounted is what was meant, takes on what a run may cost and who it is,
//! and becomes the run.
//!
//! A gateway of root's has its runs be ordinary users. Such a run keeps one capability, CAP_DAC_OVERRIDE: the
//! login that it shares may be root's own, and the folder that it works in somebody else's. It reaches what is
//! mounted, and nothing else; what is mounted read-only stays so.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, ExitCode},
};

use rustix::{
    process::{Gid, Resource, Rlimit, Uid, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
        set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// When memory runs out, the kernel ends a run before the gateway and the instances (proc(5), oom_score_adj).
const FIRST_TO_GO: &str = "800";

#[derive(Debug, Default, PartialEq, Eq)]
struct Limits {
    processes: Option<u64>,
    file: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
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
    let Some(limits) = limits.to_str().and_then(parse) else {
        return failed("these limits are none");
    };
    if let Err(error) = take_on(&limits) {
        return failed(&format!("the limits of the run cannot be set: {error}"));
    }
    let error = Command::new(program).args(args).exec();
    failed(&format!("{}: {error}", program.display()))
}

fn failed(why: &str) -> ExitCode {
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

fn parse(text: &str) -> Option<Limits> {
    let mut limits = Limits::default();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=')?;
        match name {
            "processes" => limits.processes = Some(value.parse().ok()?),
            "file" => limits.file = Some(value.parse().ok()?),
            "uid" => limits.uid = Some(value.parse().ok()?),
            "gid" => limits.gid = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    // Half a user would be the other half of root.
    (limits.uid.is_some() == limits.gid.is_some()).then_some(limits)
}

fn take_on(limits: &Limits) -> io::Result<()> {
    // A kernel without it ends somebody else first, which is no reason not to run.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    // A core would hold the tenant's keys.
    limit(Resource::Core, 0)?;
    if let Some(file) = limits.file {
        limit(Resource::Fsize, file)?;
    }
    if let Some(processes) = limits.processes {
        limit(Resource::Nproc, processes)?;
    }
    if let (Some(uid), Some(gid)) = (limits.uid, limits.gid) {
        become_user(Uid::from_raw(uid), Gid::from_raw(gid))?;
    }
    Ok(())
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
        let all = Limits {
            processes: Some(9),
            file: Some(10),
            uid: Some(1),
            gid: Some(2),
        };
        for (text, expect) in [
            ("processes=9,file=10,uid=1,gid=2", Some(all)),
            (
                "processes=9",
                Some(Limits {
                    processes: Some(9),
                    ..Limits::default()
                }),
            ),
            ("processes=9,uid=1", None),
            ("processes=x", None),
            ("other=1", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }
}
