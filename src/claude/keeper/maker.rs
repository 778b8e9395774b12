//! Which daemon made a control group, so that another one can tell whether it still lives: as a part of the group's
//! name.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// A process, told apart from whoever gets its number later, and from whoever has it in another namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maker {
    namespace: u64,
    pid: u32,
    /// In the kernel's ticks since it started (proc(5)); groups do not outlive that either.
    started: u64,
}

impl Maker {
    /// # Errors
    /// Where there is no /proc.
    pub(super) fn this_process() -> io::Result<Maker> {
        let pid = std::process::id();
        Ok(Maker {
            namespace: fs::metadata("/proc/self/ns/pid")?.ino(),
            pid,
            started: started(pid).ok_or(io::ErrorKind::NotFound)?,
        })
    }

    /// From what its `Display` says.
    pub(super) fn parse(text: &str) -> Option<Maker> {
        let mut parts = text.split('.');
        let maker = Maker {
            namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        (maker.to_string() == text).then_some(maker)
    }

    /// Whether it has ended, as far as `observer` can see: of another namespace it sees nobody.
    pub(super) fn is_dead(&self, observer: &Maker) -> bool {
        self.namespace == observer.namespace && started(self.pid) != Some(self.started)
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.namespace, self.pid, self.started)
    }
}

/// `None` when there is no such process, or only what is left of one.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, blanks and brackets too.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_are_told_from_the_living_and_from_strangers() {
        let own = Maker::this_process().unwrap();
        assert_eq!(Maker::parse(&own.to_string()), Some(own));
        assert!(!own.is_dead(&own));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = Maker {
            pid: child.id(),
            ..own
        };
        child.wait().unwrap();
        assert!(gone.is_dead(&own));
        // Its number went to somebody else.
        let later = Maker {
            started: own.started + 1,
            ..own
        };
        assert!(later.is_dead(&own));
        let elsewhere = Maker {
            namespace: own.namespace + 1,
            ..gone
        };
        assert!(!elsewhere.is_dead(&own));
        for text in ["", "1", "1.2", "1.2.x", "1.2.3.4", "01.2.3", "cafe0123"] {
            assert_eq!(Maker::parse(text), None, "{text}");
        }
    }
}
