//! The processes below this one: who they are, and how to kill them without ever hitting another.
//!
//! A pid read from /proc may belong to someone else a moment later. So a kill opens a pidfd first,
//! which pins the process that has the pid now, and then asks again whether that pid descends from
//! us; only then does it signal the pidfd. Needs Linux 5.3.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// How many processes one look at the tree takes in; the next round sees the rest. The kernel's
/// default limit of all pids on the machine.
const SEEN_MAX: usize = 32_768;

/// How many generations lie between a process and us at most, so that a /proc that changes while
/// we read it cannot keep us climbing.
const CLIMB_MAX: usize = 4_096;

/// How many ends one round waits for. One is enough to go on; more would only use descriptors.
const WATCHED_MAX: usize = 32;

/// One round of killing: SIGKILL was sent to everyone who was there.
#[derive(Debug)]
pub(super) struct Round {
    watched: Vec<OwnedFd>,
}

/// Sends SIGKILL to every process below this one, parents before children so that what forks
/// stops forking. `spared` processes and everything below them are left alone.
pub(super) fn kill_round(spared: &[Pid]) -> Round {
    let mut watched = Vec::new();
    for pid in descendants(spared) {
        // It ended by itself, or it is not ours any more: both mean there is nothing to kill. Not
        // permitted means a set-uid program: it is counted by `alive` in the end.
        if let Some(pidfd) = kill(pid, spared)
            && watched.len() < WATCHED_MAX
        {
            watched.push(pidfd);
        }
    }
    Round { watched }
}

impl Round {
    /// Waits until one of the killed has ended, at most `limit`: children that were forked while
    /// the round ran give no sign.
    pub(super) fn wait(&self, limit: Duration) {
        let mut fds: Vec<_> = self
            .watched
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        // The limit is milliseconds, so it always fits; and a poll that fails only makes the
        // caller's next round come early.
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut fds, limit.as_ref());
    }
}

/// Every process below this one, parents first, without the `spared` and what is below them.
/// Zombies are among them until they are reaped.
pub(super) fn descendants(spared: &[Pid]) -> Vec<Pid> {
    below(getpid(), spared)
}

/// Every process below another one, as [`descendants`].
pub(super) fn below(root: Pid, spared: &[Pid]) -> Vec<Pid> {
    let source = Source::choose();
    let mut found = source.children(root);
    found.retain(|pid| !spared.contains(pid));
    let mut next = 0;
    while next < found.len() && found.len() < SEEN_MAX {
        let children = source.children(found[next]);
        found.extend(children.iter().filter(|pid| !spared.contains(pid)));
        next += 1;
    }
    found
}

/// How many processes below this one still live; zombies do not.
pub(super) fn alive(spared: &[Pid]) -> usize {
    let lives = |pid: &Pid| stat(*pid).is_some_and(|stat| !matches!(stat.state, b'Z' | b'X'));
    descendants(spared).iter().filter(|pid| lives(pid)).count()
}

/// Every process of the machine that has this in its environment and does not descend from us.
pub(super) fn strangers_with(mark: &[u8]) -> Vec<Pid> {
    let processes = numbered_entries(Path::new("/proc"));
    let pids = processes.into_iter().filter_map(Pid::from_raw);
    pids.filter(|pid| is_stranger_with(*pid, mark)).collect()
}

/// Sends SIGKILL to those of them that still are.
pub(super) fn kill_strangers(pids: &[Pid], mark: &[u8]) -> Round {
    let kill = |pid: &Pid| {
        let pidfd = pidfd_open(*pid, PidfdFlags::empty()).ok()?;
        // Pinned by now; whoever had the number before is not meant.
        let is_meant = is_stranger_with(*pid, mark);
        is_meant
            .then(|| pidfd_send_signal(&pidfd, Signal::KILL).ok())
            .flatten()?;
        Some(pidfd)
    };
    let watched = pids.iter().filter_map(kill).take(WATCHED_MAX).collect();
    Round { watched }
}

fn is_stranger_with(pid: Pid, mark: &[u8]) -> bool {
    // Of another user's process nothing can be read, and a zombie has none.
    let environment = fs::read(proc_path(pid, "environ")).unwrap_or_default();
    let has_it = environment.split(|byte| *byte == 0).any(|it| it == mark);
    has_it && pid != getpid() && !descends_from_us(pid, &[])
}

fn kill(pid: Pid, spared: &[Pid]) -> Option<OwnedFd> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    if !descends_from_us(pid, spared) {
        return None;
    }
    pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
    Some(pidfd)
}

fn descends_from_us(pid: Pid, spared: &[Pid]) -> bool {
    let us = getpid();
    let mut pid = pid;
    for _ in 0..CLIMB_MAX {
        if spared.contains(&pid) {
            return false;
        }
        match stat(pid).and_then(|stat| stat.parent) {
            Some(parent) if parent == us => return true,
            Some(parent) => pid = parent,
            None => return false,
        }
    }
    false
}

/// Where children are looked up: the kernel's own lists, or, where it was built without them
/// (CONFIG_PROC_CHILDREN), the parent of every process on the machine.
enum Source {
    Lists,
    Parents(Vec<(Pid, Pid)>),
}

impl Source {
    fn choose() -> Source {
        if Path::new("/proc/thread-self/children").exists() {
            Source::Lists
        } else {
            Source::Parents(all_parents())
        }
    }

    fn children(&self, pid: Pid) -> Vec<Pid> {
        match self {
            Source::Lists => listed_children(pid),
            Source::Parents(parents) => parents
                .iter()
                .filter(|(_, parent)| *parent == pid)
                .map(|(child, _)| *child)
                .collect(),
        }
    }
}

/// Each thread has its own list. A process that ended meanwhile has none, which is the truth.
fn listed_children(pid: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for thread in numbered_entries(&proc_path(pid, "task")) {
        let list = proc_path(pid, "task")
            .join(thread.to_string())
            .join("children");
        let list = fs::read_to_string(list).unwrap_or_default();
        children.extend(list.split_ascii_whitespace().filter_map(parse_pid));
    }
    children
}

fn all_parents() -> Vec<(Pid, Pid)> {
    let processes = numbered_entries(Path::new("/proc"));
    let pids = processes.into_iter().filter_map(Pid::from_raw);
    pids.filter_map(|pid| Some((pid, stat(pid)?.parent?)))
        .collect()
}

/// The entries of a directory in /proc that are numbers; none when the directory is gone.
fn numbered_entries(dir: &Path) -> Vec<i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    /// `None` for a process whose parent is outside our pid namespace.
    parent: Option<Pid>,
}

fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&fs::read(proc_path(pid, "stat")).ok()?)
}

/// `PID (NAME) STATE PPID …`, where NAME is any bytes, brackets and spaces included (proc(5)).
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let name_end = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&line[name_end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some(Stat {
        state,
        parent: parse_pid(fields.next()?),
    })
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

fn proc_path(pid: Pid, entry: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{entry}", pid.as_raw_nonzero()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[track_caller]
    fn check_stat(line: &str, expect: Option<(u8, i32)>) {
        let expect = expect.map(|(state, parent)| Stat {
            state,
            parent: Pid::from_raw(parent),
        });
        assert_eq!(parse_stat(line.as_bytes()), expect, "{line}");
    }

    #[test]
    fn stat_is_read_whatever_the_program_calls_itself() {
        check_stat("12 (sh) S 7 12 12 0 -1", Some((b'S', 7)));
        check_stat("12 (a) Z 99 (b) R 8 12", Some((b'R', 8)));
        check_stat("12 () Z 1", Some((b'Z', 1)));
        check_stat("12 (x y\n)) D 0 0", Some((b'D', 0)));
        check_stat("12 (sh", None);
        check_stat("12 (sh) S", None);
        check_stat("", None);
    }

    #[test]
    fn both_ways_to_find_children_agree() {
        // Its child says back what it is told, so it is there; both end when stdin closes.
        let mut parent = Command::new("timeout")
            .args(["600", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0];
        parent.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        parent
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        let pid = Pid::from_child(&parent);

        let listed = listed_children(pid);
        assert_eq!(listed.len(), 1);
        assert_eq!(Source::Parents(all_parents()).children(pid), listed);
        assert!(descendants(&[]).contains(&listed[0]));
        assert!(descends_from_us(listed[0], &[]));
        assert!(!descendants(&[pid]).contains(&listed[0]));
        assert!(!descends_from_us(listed[0], &[pid]));

        drop(parent.stdin.take());
        parent.wait().unwrap();
    }

    #[test]
    fn processes_of_others_are_never_ours() {
        let init = Pid::from_raw(1).unwrap();
        assert!(!descends_from_us(init, &[]));
        assert!(!descends_from_us(getpid(), &[]));
        assert!(kill(init, &[]).is_none());
    }
}
