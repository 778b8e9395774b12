//! The daemon's own children: every live keeper, and the orphans of keepers that were killed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions};

use super::{NAME, tree};

/// How long orphans may take to die of SIGKILL; the same bound as a keeper's own.
const END_LIMIT: Duration = Duration::from_secs(3);

/// When to look again although nobody has ended.
const ROUND_LIMIT: Duration = Duration::from_millis(20);

/// Children belong to the whole process, so the list of them does too. The lock is held while a
/// keeper is started and while orphans are killed: a keeper that is started but not yet listed
/// would be taken for an orphan.
static FAMILY: Mutex<Family> = Mutex::new(Family {
    adopts: false,
    keepers: Vec::new(),
});

struct Family {
    adopts: bool,
    keepers: Vec<Pid>,
}

/// Makes this process the one that orphans come to when a keeper is killed from outside, so that
/// nothing the keeper started survives. To be called once, when the daemon starts.
///
/// From then on this process must start other programs through keepers only: any other child is
/// killed with the orphans when a keeper dies.
///
/// # Errors
/// What prctl(PR_SET_CHILD_SUBREAPER) says; Linux before 3.4 does not have it.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    lock().adopts = true;
    Ok(())
}

/// Starts a keeper process on its end of the socket. Its argv and environment hold nothing.
pub(super) fn start(socket: Stdio) -> io::Result<Child> {
    let mut family = lock();
    // The name must not match `pkill ccgw`: who kills the daemon that way counts on the keepers.
    let child = keeper_command()
        .arg0(NAME)
        .env_clear()
        .current_dir("/")
        .stdin(socket)
        .spawn()?;
    family.keepers.push(Pid::from_child(&child));
    Ok(child)
}

/// Kills and reaps a keeper, then whatever it left behind. Returns how many would not die.
pub(super) fn bury(keeper: &mut Child) -> usize {
    let mut family = lock();
    // It may have ended by itself; a child that is not reaped yet can still be signalled.
    let _ = keeper.kill();
    // Only after this is everything below it ours. Cannot fail: nobody else reaps it.
    let _ = keeper.wait();
    let pid = Pid::from_child(keeper);
    family.keepers.retain(|other| *other != pid);
    if family.adopts {
        family.end_orphans()
    } else {
        0
    }
}

/// Ends what an earlier life of this daemon left: every process whose environment has this variable with this
/// value and that does not descend from us. Only when the daemon and the keepers were killed together can there
/// be any. Returns how many there were.
pub(crate) fn end_left_over((name, value): (&str, &OsStr)) -> usize {
    let mark = [name.as_bytes(), b"=", value.as_bytes()].concat();
    let deadline = Instant::now() + END_LIMIT;
    let mut ended: HashSet<Pid> = HashSet::new();
    loop {
        let left = tree::strangers_with(&mark);
        if left.is_empty() || Instant::now() >= deadline {
            return ended.len();
        }
        ended.extend(&left);
        tree::kill_strangers(&left, &mark).wait(ROUND_LIMIT);
    }
}

impl Family {
    fn end_orphans(&self) -> usize {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            let orphans = tree::descendants(&self.keepers);
            if orphans.is_empty() {
                return 0;
            }
            for pid in orphans {
                // Fails for those that are not our own children (yet): their parents go first.
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
            if Instant::now() >= deadline {
                return tree::alive(&self.keepers);
            }
            tree::kill_round(&self.keepers).wait(ROUND_LIMIT);
        }
    }
}

fn lock() -> MutexGuard<'static, Family> {
    // A panic while it was held leaves a list that is still true.
    FAMILY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running binary, even when its file was replaced by an update meanwhile.
#[cfg(not(test))]
fn keeper_command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("keeper").stdout(Stdio::null());
    command
}

#[cfg(test)]
fn keeper_command() -> Command {
    super::tests::keeper_command()
}
