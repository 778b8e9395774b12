//! Memory: the allocator's settings, so that what a large request took is given back when it is answered,
//! and how much of it the machine has.
#![allow(
    unsafe_code,
    reason = "the C library's allocator is set up by a C function; there is no safe wrapper"
)]

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// To be called once, before there are threads.
///
/// glibc's allocator raises its threshold for blocks of their own up to 32 MiB as it sees large ones
/// freed, and keeps everything below it: after four requests of 30 MB the daemon stayed at 180 MB.
/// A threshold that is set stays where it is, and two arenas are enough for threads that mostly wait.
pub(crate) fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [(libc::M_MMAP_THRESHOLD, 256 << 10), (libc::M_ARENA_MAX, 2)] {
        // SAFETY: mallopt only stores a number; no thread allocates beside this one yet. Its result
        // says whether the setting is known, and an unknown one changes nothing.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// What new processes could still have, in KiB: of the machine (proc(5), `MemAvailable`), and of the control
/// group where that has less (cgroup v2). `None` when the kernel does not say.
pub(crate) fn available_kib() -> Option<u64> {
    let machine = of_machine("MemAvailable:")?;
    let groups = groups().into_iter().filter_map(|group| {
        let (max, current) = (
            number(&group, "memory.max")?,
            number(&group, "memory.current")?,
        );
        let given_back = read(&group, "memory.stat").map_or(0, |it| reclaimable(&it));
        Some(max.saturating_sub(current.saturating_sub(given_back)) / 1024)
    });
    Some(groups.fold(machine, u64::min))
}

/// What all processes together may have, in KiB, as [`available_kib`]. As it was when somebody last looked: to read it
/// takes the kernel longer than a run may wait.
pub(crate) fn total_kib() -> Option<u64> {
    let mut known = TOTAL.lock().unwrap_or_else(PoisonError::into_inner);
    *known.get_or_insert_with(read_total)
}

/// Looks at [`total_kib`] again.
pub(crate) fn look_again() {
    let total = read_total();
    *TOTAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(total);
}

static TOTAL: Mutex<Option<Option<u64>>> = Mutex::new(None);

fn read_total() -> Option<u64> {
    let machine = of_machine("MemTotal:")?;
    let groups = groups().into_iter();
    let limits = groups.filter_map(|it| Some(number(&it, "memory.max")? / 1024));
    Some(limits.fold(machine, u64::min))
}

fn of_machine(name: &str) -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = meminfo.lines().find_map(|it| it.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The control group of this process and those around it: the limit of a service is that of all groups in its own.
fn groups() -> Vec<PathBuf> {
    const ROOT: &str = "/sys/fs/cgroup";
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|it| it.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let own = Path::new(ROOT).join(path);
    let groups = own.ancestors().take_while(|it| it.starts_with(ROOT));
    groups.map(Path::to_owned).collect()
}

fn read(group: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(group.join(file)).ok()
}

/// `None` where there is no limit.
fn number(group: &Path, file: &str) -> Option<u64> {
    read(group, file)?.trim().parse().ok()
}

/// What of a control group's memory the kernel takes back before it runs short, in bytes: files that are cached count
/// as used there.
fn reclaimable(stat: &str) -> u64 {
    const KINDS: [&str; 3] = ["inactive_file", "active_file", "slab_reclaimable"];
    let lines = stat.lines().filter_map(|it| it.split_once(' '));
    lines
        .filter(|(name, _)| KINDS.contains(name))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_files_are_not_in_the_way() {
        let stat =
            "anon 5\nfile 90\ninactive_file 60\nactive_file 30\nslab_reclaimable 7\nslab 9\nodd\n";
        assert_eq!(reclaimable(stat), 97);
        assert_eq!(reclaimable(""), 0);
    }
}
