//! Notices that a file has become another: edited in place, replaced, or there for the first time.

use std::{os::unix::fs::MetadataExt, path::Path, thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::log;

/// Between two looks, each of which is one system call. inotify would tell sooner, and would have to follow
/// every directory and link on the way to the file, which may be replaced too.
const EVERY: Duration = Duration::from_millis(400);

/// What tells one state of a file from another; `None` when there is no such file.
pub(crate) type Look = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Tells of every change since `first`, which was taken before the file was read, that has lasted from one look to the next, so that nobody reads half of what an
/// editor writes. For as long as the process lives; nothing waits for its end.
pub(crate) fn start(path: &Path, first: Look) -> Receiver<()> {
    // One unread message says all there is to say.
    let (changed, changes) = bounded(1);
    let path = path.to_owned();
    let thread = thread::Builder::new().name("watch".to_owned());
    if let Err(error) = thread.spawn(move || watch(&path, first, &changed)) {
        log::warn(
            "the configuration is not watched; SIGHUP has it read again",
            &[("why", &error)],
        );
        return crossbeam_channel::never();
    }
    changes
}

fn watch(path: &Path, first: Look, changed: &Sender<()>) {
    let mut known = first;
    let mut last = first;
    loop {
        thread::sleep(EVERY);
        let now = look(path);
        if now != known && now == last && now.is_some() {
            known = now;
            let _ = changed.try_send(());
        }
        last = now;
    }
}

/// Looks at a file as it is now.
pub(crate) fn look(path: &Path) -> Look {
    let it = std::fs::metadata(path).ok()?;
    Some((
        it.dev(),
        it.ino(),
        it.size(),
        (it.mtime(), it.mtime_nsec()),
        (it.ctime(), it.ctime_nsec()),
    ))
}
