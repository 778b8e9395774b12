//! The control group of one keeper: what the run in it may take of the machine, and whether it wanted more.
//!
//! A keeper is put there before it starts anything, and stays. So whatever a run starts is in the group from its
//! first instruction on, wherever it flees to, and no run waits for the kernel to move a process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What a run may take, with everything that it starts. `None` is no limit of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of memory, and as many of swap.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) processes: Option<u64>,
    /// Its share where CPUs are short, beside the 100 that everybody has.
    pub(crate) cpu_weight: Option<u64>,
}

/// How often something was held to its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Processes that were ended because they needed more memory than there may be.
    pub(crate) memory_kills: u64,
    /// Processes and threads that were not made.
    pub(crate) forks_refused: u64,
}

impl Excess {
    /// What has come since then. A new group counts from nothing.
    pub(super) fn since(self, before: Excess) -> Excess {
        Excess {
            memory_kills: self.memory_kills.saturating_sub(before.memory_kills),
            forks_refused: self.forks_refused.saturating_sub(before.forks_refused),
        }
    }
}

/// Which of the kernel's two interfaces (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What limits one kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

pub(super) const CONTROLLERS: [Controller; 3] =
    [Controller::Memory, Controller::Pids, Controller::Cpu];

impl Controller {
    /// As the kernel calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
        }
    }
}

/// A directory of the kernel's with what it controls. On v1 each controller may have one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
}

/// The groups of one keeper; removed when this is dropped, and so to be dropped after it.
#[derive(Debug)]
pub(super) struct Group {
    places: Vec<Place>,
    now: Option<Limits>,
}

impl Group {
    /// # Errors
    /// When the kernel makes no directory.
    pub(super) fn make(bases: &[Place], name: &str) -> io::Result<Group> {
        let mut group = Group {
            places: Vec::with_capacity(bases.len()),
            now: None,
        };
        for base in bases {
            let dir = base.dir.join(name);
            fs::create_dir(&dir).map_err(|it| named(&dir, &it))?;
            let place = base.clone();
            group.places.push(Place { dir, ..place });
        }
        Ok(group)
    }

    /// Moves a process there, with what it starts from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn take_in(&self, pid: Pid) -> io::Result<()> {
        let pid = pid.as_raw_nonzero().to_string();
        self.places
            .iter()
            .try_for_each(|it| write(&it.dir, "cgroup.procs", &pid))
    }

    /// Has what is in it keep to these from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        if self.now.as_ref() == Some(limits) {
            return Ok(());
        }
        for place in &self.places {
            for controller in &place.controllers {
                for setting in settings((place.version, *controller), limits) {
                    let Setting { file, value, need } = setting;
                    match write(&place.dir, file, &value) {
                        Err(error) if need == Need::Must => return Err(error),
                        // Kernels without an account of swap do not have it.
                        _ => {}
                    }
                }
            }
        }
        self.now = Some(*limits);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(*limits);
        Ok(())
    }

    /// Has what will be in it keep to the limits of the last run: most have the same, and then the next one has
    /// nothing to wait for (a write takes the kernel some 2 ms, and a keeper often serves one run only).
    pub(super) fn expect_the_same(&mut self) {
        let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            // The run that needs them tries again, and fails where they cannot be had.
            let _ = self.limit(&last);
        }
    }

    /// How often the kernel had to hold something here to its limits.
    pub(super) fn excess(&self) -> Excess {
        Excess {
            memory_kills: self.count(Controller::Memory, "oom_kill "),
            forks_refused: self.count(Controller::Pids, "max "),
        }
    }

    fn count(&self, controller: Controller, name: &str) -> u64 {
        let has_it = |it: &&Place| it.controllers.contains(&controller);
        let Some(place) = self.places.iter().find(has_it) else {
            return 0;
        };
        let file = match (controller, place.version) {
            (Controller::Memory, Version::V1) => "memory.oom_control",
            (Controller::Memory, Version::V2) => "memory.events",
            (Controller::Pids | Controller::Cpu, _) => "pids.events",
        };
        let text = fs::read_to_string(place.dir.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|it| it.strip_prefix(name));
        count.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in &self.places {
            // One that somebody is left in stays, and is removed at the next start.
            let _ = fs::remove_dir(&place.dir);
        }
    }
}

/// Sends SIGKILL to everybody in a group; returns how many there were.
pub(super) fn kill_all(place: &Place) -> usize {
    let pids = members(&place.dir);
    if place.version == Version::V2 && write(&place.dir, "cgroup.kill", "1").is_ok() {
        return pids.len();
    }
    for pid in &pids {
        // Pinned before it is looked for again, so that nobody else who has the number now is hit.
        if let Ok(pidfd) = pidfd_open(*pid, PidfdFlags::empty())
            && members(&place.dir).contains(pid)
        {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    pids.len()
}

fn members(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|it| it.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// Of the last run that had any.
static LAST: Mutex<Option<Limits>> = Mutex::new(None);

/// One file of a group's, and what to write there.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

/// In this order: v1 takes no limit of memory and swap together that is below the one of memory alone.
fn settings(what: (Version, Controller), limits: &Limits) -> Vec<Setting> {
    let set = |file, value, need| Setting { file, value, need };
    let or = |value: Option<u64>, none: &str| value.map_or(none.to_owned(), |it| it.to_string());
    let (memory, weight) = (limits.memory, limits.cpu_weight.unwrap_or(100));
    match what {
        (Version::V2, Controller::Memory) => vec![
            set("memory.max", or(memory, "max"), Need::Must),
            set("memory.swap.max", or(memory, "max"), Need::May),
        ],
        (Version::V1, Controller::Memory) => {
            const BOTH: &str = "memory.memsw.limit_in_bytes";
            let both = memory.map(|it| it.saturating_mul(2));
            vec![
                set(BOTH, "-1".to_owned(), Need::May),
                set("memory.limit_in_bytes", or(memory, "-1"), Need::Must),
                set(BOTH, or(both, "-1"), Need::May),
            ]
        }
        (_, Controller::Pids) => {
            vec![set("pids.max", or(limits.processes, "max"), Need::Must)]
        }
        (Version::V2, Controller::Cpu) => {
            vec![set("cpu.weight", weight.to_string(), Need::Must)]
        }
        // Where everybody has 1024.
        (Version::V1, Controller::Cpu) => {
            let shares = (weight * 1024 / 100).max(2);
            vec![set("cpu.shares", shares.to_string(), Need::Must)]
        }
    }
}

/// In one write, as the kernel wants it.
pub(super) fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    // Not created where it is not there.
    let open = fs::File::options().write(true).open(&path);
    let written = open.and_then(|it| rustix::io::write(it, value.as_bytes()).map_err(Into::into));
    written.map(drop).map_err(|it| named(&path, &it))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: Version, limits: Limits, expect: &str) {
        let all = CONTROLLERS
            .iter()
            .flat_map(|it| settings((version, *it), &limits));
        let all: Vec<String> = all.map(|it| format!("{}={}", it.file, it.value)).collect();
        assert_eq!(all.join(" "), expect);
    }

    #[test]
    fn limits_have_their_files() {
        let some = Limits {
            memory: Some(1 << 30),
            processes: Some(64),
            cpu_weight: Some(50),
        };
        check(
            Version::V2,
            some,
            "memory.max=1073741824 memory.swap.max=1073741824 pids.max=64 cpu.weight=50",
        );
        check(
            Version::V1,
            some,
            "memory.memsw.limit_in_bytes=-1 memory.limit_in_bytes=1073741824 memory.memsw.limit_in_bytes=2147483648 \
             pids.max=64 cpu.shares=512",
        );
        check(
            Version::V2,
            Limits::default(),
            "memory.max=max memory.swap.max=max pids.max=max cpu.weight=100",
        );
        check(
            Version::V1,
            Limits::default(),
            "memory.memsw.limit_in_bytes=-1 memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1 pids.max=max \
             cpu.shares=1024",
        );
        let least = Limits {
            cpu_weight: Some(1),
            ..Limits::default()
        };
        let shares = settings((Version::V1, Controller::Cpu), &least);
        assert_eq!(shares[0].value, "10");
    }
}
