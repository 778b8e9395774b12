//! What the machine's process table says: who carries a mark, and waiting for a condition.

use std::{
    fs,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at: a process's end has no event that a stranger can wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How soon a run's processes must be gone: 3 s, doubled for a loaded machine.
pub(crate) const DEAD_WITHIN: Duration = Duration::from_secs(6);

/// The processes whose environment holds `mark`, zombies left out, because a zombie has none.
pub(crate) fn processes_with_env(mark: &str) -> Vec<u32> {
    processes_where("environ", mark)
}

/// The processes whose command line holds `mark`, this test process left out.
pub(crate) fn processes_with_cmdline(mark: &str) -> Vec<u32> {
    processes_where("cmdline", mark)
}

fn processes_where(file: &str, mark: &str) -> Vec<u32> {
    // A process may have ended since it was listed: then it holds nothing.
    let text = |pid| {
        let read = || fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // In the middle of an exec both are empty for a moment; a process can also be without for good.
        for _ in 0..1000 {
            let text = read();
            if !text.is_empty() || !is_between_programs(pid) {
                return text;
            }
            thread::yield_now();
        }
        Vec::new()
    };
    let own = std::process::id();
    all_processes()
        .filter(|pid| *pid != own && contains(&text(*pid), mark.as_bytes()))
        .collect()
}

/// Whether a process is in an exec: it has a program already, which tells it from a zombie and from
/// the kernel's own threads, and neither words nor an environment yet.
fn is_between_programs(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
        && cmdline(pid).is_empty()
        && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| text.is_empty())
}

/// Every process below this one, children of children included.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        let children = children(parent);
        open.extend(&children);
        found.extend(children);
    }
    found
}

/// By every process's own word, because not every kernel has the list of children in /proc.
fn children(pid: u32) -> Vec<u32> {
    let parent = pid.to_string();
    // The second word after the name is the parent.
    let has_parent = |pid: &u32| stat_after_name(*pid).split(' ').nth(1) == Some(&parent);
    all_processes().filter(has_parent).collect()
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What `/proc/PID/stat` says after the name, which is in parentheses and may hold any character;
/// empty when the process has ended.
fn stat_after_name(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default()
}

/// Whether a process runs; a zombie, which nobody has waited for yet, does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let state = stat_after_name(pid);
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// Whether `text` holds `part` anywhere.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The command line of a process, for messages; empty when it has ended.
pub(crate) fn cmdline(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

/// Resident memory of a process in KiB, from `/proc/PID/status`.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Looks at `condition` until it holds, and panics naming `what` when the deadline passes.
#[track_caller]
pub(crate) fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let mut held = || condition().then_some(());
    assert!(
        look_until(deadline, &mut held).is_some(),
        "not within {deadline:?}: {what}"
    );
}

/// Looks until there is something, at most this long.
pub(crate) fn look_until<T>(deadline: Duration, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until no process carries `mark` in its environment any more.
#[track_caller]
pub(crate) fn wait_until_gone(deadline: Duration, mark: &str) {
    let mut left = Vec::new();
    let mut gone = || {
        left = processes_with_env(mark);
        left.is_empty().then_some(())
    };
    if look_until(deadline, &mut gone).is_none() {
        let name = |pid: &u32| format!("{pid} {}", cmdline(*pid));
        let names: Vec<_> = left.iter().map(name).collect();
        panic!("still alive after {deadline:?}: {names:#?}");
    }
}

/// Sends a signal by the `kill` program, because std has no call for it.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(
        status.unwrap().success(),
        "kill -s {name} {pid} failed: is the process already gone?"
    );
}

/// Says what was skipped past the capture of the test harness: CI looks for it.
pub(crate) fn say_skipped(text: &str) {
    let line = format!("{text}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}
