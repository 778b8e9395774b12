//! What the kernel tells of processes (proc(5)), for the operator to see.

use std::{collections::HashMap, fs};

/// Resident memory of one process, in KiB; `None` when it is gone.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64 / 1024)
}

/// Resident memory of these processes with all that they started, in KiB. Pages that several of them share
/// count for each.
pub(crate) fn resident_of_trees(roots: &[i32]) -> HashMap<i32, u64> {
    if roots.is_empty() {
        return HashMap::new();
    }
    let parents = parents();
    let mut sums: HashMap<i32, u64> = roots.iter().map(|root| (*root, 0)).collect();
    for pid in parents.keys() {
        let mut above = Some(*pid);
        // A chain that is longer has changed while it was read.
        for _ in 0..parents.len() {
            let Some(ancestor) = above else { break };
            if let Some(sum) = sums.get_mut(&ancestor) {
                *sum += resident_kib(pid.unsigned_abs()).unwrap_or_default();
                break;
            }
            above = parents.get(&ancestor).copied();
        }
    }
    sums
}

/// The parent of every process.
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold anything, blanks and brackets too.
        let (_, after) = stat.rsplit_once(')')?;
        let parent = after.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    pids.filter_map(parent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_more_than_its_root() {
        let own = std::process::id();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let root = own.cast_signed();
        let child_pid = child.id().cast_signed();
        let whole = resident_of_trees(&[root])[&root];
        let parts = resident_of_trees(&[root, child_pid]);
        assert!(whole > parts[&child_pid] && parts[&child_pid] > 0);
        assert!(resident_of_trees(&[]).is_empty());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
