//! What the machine's process table says: who carries a mark, and waiting for a condition.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at: a process's end has no event that a stranger can wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How soon a run's processes must be gone: the 3 s, doubled for a loaded machine.
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
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The process may have ended since the directory was read: then it holds nothing.
        let Ok(text) = fs::read(entry.path().join(file)) else {
            continue;
        };
        if pid != own && contains(&text, mark.as_bytes()) {
            found.push(pid);
        }
    }
    found
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
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until no process carries `mark` in its environment any more.
#[track_caller]
pub(crate) fn wait_until_gone(deadline: Duration, mark: &str) {
    let end = Instant::now() + deadline;
    loop {
        let left = processes_with_env(mark);
        if left.is_empty() {
            return;
        }
        if Instant::now() > end {
            let names: Vec<_> = left
                .iter()
                .map(|pid| format!("{pid} {}", cmdline(*pid)))
                .collect();
            panic!("still alive after {deadline:?}: {names:#?}");
        }
        thread::sleep(POLL_INTERVAL);
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
