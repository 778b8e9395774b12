//! Descriptors that a process inherits without having asked for them.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{FdFlags, fcntl_setfd};

/// Marks everything but stdin, stdout and stderr to be closed on exec. What we open ourselves
/// already is; this is for what the daemon's own parent left open (a shell's `exec 3<file`), which
/// no program started by us has any business with. For a process with one thread.
#[allow(
    unsafe_code,
    reason = "a descriptor that nobody handed to us exists only as a number"
)]
pub(super) fn close_on_exec() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok()),
        );
    }
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: the number is not -1, and the borrow ends within the loop. This process has one
        // thread, so nobody closes the descriptor meanwhile; the one that read the directory is
        // closed already, and the call then fails with EBADF and changes nothing.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    Ok(())
}
