//! What the daemon remembers of conversations: for each answer, under the lineage that the next request
//! will begin with, the CLI session that holds it and the line of it that ends it.
//!
//! On disk it is a log of JSON lines, appended to with each answer and written anew, without what is
//! forgotten, at start and when most of it is old. A line that cannot be read is skipped: its conversation
//! goes on from the client's own history. A log that cannot be read at all is kept aside. Nothing a client said is in it.

mod trouble;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Key, Uuid};
use crate::{
    log,
    replace::{self, Owner},
};

/// More are never remembered; the oldest go first.
const TURNS_MAX: usize = 100_000;

/// A log with fewer superfluous lines is not worth writing anew.
const SUPERFLUOUS_MIN: usize = 1000;

/// When one that could not be written anew is tried again, unless it is twice as long before.
const SHORTEN_AGAIN: Duration = Duration::from_secs(60);

/// A line is some 250 bytes; one that is longer than this is none of ours.
const LINE_MAX: u64 = 8 << 10;

/// An answer that can be gone on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) place: Place,
    /// The line that ends it.
    pub(crate) leaf: Uuid,
}

/// Where a CLI session is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) session: Uuid,
    /// The directory of the CLI in which it keeps its sessions, `~/.claude/projects` by default.
    pub(crate) projects: Arc<Path>,
    /// The one in there for the working directory that it began in, where that is known.
    pub(crate) folder: Option<Arc<str>>,
}

/// A session that a run goes on from is not forgotten before this is dropped.
pub(crate) struct InUse {
    _alive: Arc<()>,
}

/// All of it; shared by all threads.
pub(crate) struct Store {
    inner: Mutex<Inner>,
}

struct Inner {
    turns: HashMap<Key, Remembered>,
    /// Each directory once.
    directories: Vec<Directory>,
    log: Option<Log>,
    /// What nothing may lead to any more, until somebody removes it.
    orphans: Vec<Place>,
    /// What runs go on from, as long as they live.
    in_use: HashMap<Uuid, Weak<()>>,
}

/// What the places of many sessions have in common.
struct Directory {
    projects: Arc<Path>,
    folder: Option<Arc<str>>,
}

/// One turn, small.
#[derive(Clone, Copy)]
struct Remembered {
    session: Uuid,
    leaf: Uuid,
    /// Seconds since 1970.
    at: u32,
    directory: u16,
    /// Another conversation had the same said in it: nobody can tell which of them goes on.
    ambiguous: bool,
}

struct Log {
    file: File,
    path: PathBuf,
    lines: usize,
    /// The last line may be written in part only.
    is_torn: bool,
    /// When it could not be written anew, and how many lines it had then.
    not_shortened: Option<(Instant, usize)>,
}

/// What of a log counts.
#[derive(PartialEq, Eq)]
enum Lines {
    /// Each of its lines, and it ends with one.
    All,
    /// Not all, or there is no log.
    Some,
    /// It is something else.
    None,
}

/// A line of the log.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    turn: Key,
    session: Uuid,
    leaf: Uuid,
    at: u32,
    projects: Cow<'a, str>,
    /// Not known of every session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ambiguous: bool,
}

impl Store {
    /// Reads what an earlier life remembered, but what is older than `forget_before` (seconds since 1970),
    /// and goes on writing there. Without a disk it remembers all the same, until it ends.
    pub(crate) fn open(path: &Path, forget_before: u64) -> Store {
        let mut inner = Inner {
            turns: HashMap::new(),
            directories: Vec::new(),
            log: None,
            orphans: Vec::new(),
            in_use: HashMap::new(),
        };
        let log = match inner.read(path, forget_before) {
            Ok(Lines::All) => inner.log_at(path),
            Ok(Lines::Some) => inner.written_anew(path),
            Ok(Lines::None) => {
                trouble::keep_aside(path, &"it has no line that is one of such a log")
                    .and_then(|_| inner.written_anew(path))
            }
            Err(error) => trouble::keep_aside(path, &error).and_then(|_| inner.written_anew(path)),
        };
        match log {
            Ok(log) => inner.log = Some(log),
            Err(error) => trouble::cannot_write(path, &error),
        }
        Store {
            inner: Mutex::new(inner),
        }
    }

    /// The turn that ended with this said, if there was one only.
    pub(crate) fn find(&self, key: Key) -> Option<Turn> {
        let inner = self.lock();
        let found = inner.turns.get(&key).filter(|it| !it.ambiguous)?;
        Some(Turn {
            place: inner.place(found),
            leaf: found.leaf,
        })
    }

    /// Keeps a session from being forgotten for as long as a run needs it, which may be longer than it is remembered.
    pub(crate) fn hold(&self, session: Uuid) -> InUse {
        let mut inner = self.lock();
        inner.in_use.retain(|_, it| it.strong_count() > 0);
        let alive = inner.in_use.get(&session).and_then(Weak::upgrade);
        let alive = alive.unwrap_or_default();
        inner.in_use.insert(session, Arc::downgrade(&alive));
        InUse { _alive: alive }
    }

    /// Remembers a turn. `now` is in seconds since 1970. False when it cannot be found again: another one ended with
    /// the same said, and what was done in it, which no client sees, may be different. Then neither is found.
    pub(crate) fn remember(&self, key: Key, turn: &Turn, now: u64) -> bool {
        let mut inner = self.lock();
        let Some(directory) = inner.directory(&turn.place.projects, turn.place.folder.as_deref())
        else {
            return false;
        };
        let remembered = Remembered {
            session: turn.place.session,
            leaf: turn.leaf,
            at: seconds(now),
            directory,
            ambiguous: false,
        };
        let is_alone = inner.put(key, remembered);
        inner.append(key);
        if inner.turns.len() > TURNS_MAX + TURNS_MAX / 10 {
            inner.forget_older_than(0);
        }
        is_alone
    }

    /// Forgets what is older than this, in seconds since 1970, and what is too much; tells the sessions that
    /// nothing remembered leads to any more.
    pub(crate) fn forget_before(&self, time: u64) -> Vec<Place> {
        self.lock().forget_before(time)
    }

    /// How many turns are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().turns.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic could leave half done is a cache.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn read(&mut self, path: &Path, forget_before: u64) -> io::Result<Lines> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lines::Some),
            other => other?,
        };
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut line, mut unreadable, mut lines) = (Vec::new(), 0_usize, 0);
        let mut is_ended = false;
        loop {
            line.clear();
            let read = io::Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            lines += 1;
            is_ended = line.ends_with(b"\n");
            // Ends what a full disk had left of a line.
            if line == b"\n" {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(line) => self.take(&line, forget_before),
                Err(_) => unreadable += 1,
            }
        }
        // One line may be what a full disk had left of it.
        let is_other = unreadable > 1 && unreadable == lines;
        if unreadable > 0 && !is_other {
            log::warn(
                "lines of the sessions' log cannot be read; these conversations go on from what the client sends",
                &[("path", &path.display()), ("lines", &unreadable)],
            );
        }
        Ok(match is_ended && lines == self.turns.len() {
            true => Lines::All,
            false if is_other => Lines::None,
            false => Lines::Some,
        })
    }

    fn take(&mut self, line: &Line<'_>, forget_before: u64) {
        let Some(directory) = self.directory(Path::new(&*line.projects), line.folder.as_deref())
        else {
            return;
        };
        let remembered = Remembered {
            session: line.session,
            leaf: line.leaf,
            at: line.at,
            directory,
            ambiguous: line.ambiguous,
        };
        if u64::from(line.at) < forget_before || self.turns.len() >= 2 * TURNS_MAX {
            self.orphans.push(self.place(&remembered));
        } else {
            self.put(line.turn, remembered);
        }
    }

    /// Whether it is the only one.
    fn put(&mut self, key: Key, mut turn: Remembered) -> bool {
        if let Some(earlier) = self.turns.get(&key).copied() {
            let is_same = (earlier.session, earlier.leaf) == (turn.session, turn.leaf);
            turn.ambiguous |= earlier.ambiguous || !is_same;
            self.orphans.push(self.place(&earlier));
        }
        self.turns.insert(key, turn);
        !turn.ambiguous
    }

    fn place(&self, turn: &Remembered) -> Place {
        let Directory { projects, folder } = &self.directories[usize::from(turn.directory)];
        Place {
            session: turn.session,
            projects: Arc::clone(projects),
            folder: folder.clone(),
        }
    }

    /// The number of a directory; `None` when there are more than anybody has.
    fn directory(&mut self, projects: &Path, folder: Option<&str>) -> Option<u16> {
        let is_it = |it: &Directory| &*it.projects == projects && it.folder.as_deref() == folder;
        let known = self.directories.iter().position(is_it);
        let number = known.unwrap_or_else(|| {
            self.directories.push(Directory {
                projects: projects.into(),
                folder: folder.map(Arc::from),
            });
            self.directories.len() - 1
        });
        u16::try_from(number).ok()
    }

    fn line(&self, key: Key, turn: &Remembered) -> Vec<u8> {
        let Directory { projects, folder } = &self.directories[usize::from(turn.directory)];
        let line = Line {
            turn: key,
            session: turn.session,
            leaf: turn.leaf,
            at: turn.at,
            projects: projects.to_string_lossy(),
            folder: folder.as_deref().map(Cow::Borrowed),
            ambiguous: turn.ambiguous,
        };
        // Nothing in it can fail to be written.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn append(&mut self, key: Key) {
        let Some(turn) = self.turns.get(&key).copied() else {
            return;
        };
        if self.shorten() {
            return;
        }
        let mut line = self.line(key, &turn);
        if let Some(log) = &mut self.log {
            if log.is_torn {
                line.insert(0, b'\n');
            }
            log.lines += 1;
            let written = log.file.write_all(&line);
            log.is_torn = written.is_err();
            if let Err(error) = written {
                trouble::cannot_append(&log.path, &error);
            }
        }
    }

    /// Writes the log anew if most of it is superfluous; tells whether it did.
    fn shorten(&mut self) -> bool {
        let turns = self.turns.len();
        let superfluous = |log: &Log| log.lines.saturating_sub(turns);
        let is_old = |log: &&mut Log| superfluous(log) > turns + SUPERFLUOUS_MIN;
        let Some(log) = self.log.as_mut().filter(is_old) else {
            return false;
        };
        // Every answer waits for it, and on a full disk it fails each time.
        let waits = log.not_shortened.is_some_and(|(at, lines)| {
            at.elapsed() < SHORTEN_AGAIN && log.lines < lines.saturating_mul(2)
        });
        if waits {
            return false;
        }
        log.not_shortened = Some((Instant::now(), log.lines));
        let path = log.path.clone();
        match self.written_anew(&path) {
            Ok(log) => {
                self.log = Some(log);
                true
            }
            Err(error) => {
                trouble::cannot_shorten(&path, &error);
                false
            }
        }
    }

    fn written_anew(&self, path: &Path) -> io::Result<Log> {
        let lines = self.turns.iter().map(|(key, turn)| self.line(*key, turn));
        let bytes: Vec<u8> = lines.flatten().collect();
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        replace::atomically(path, &bytes, owner)?;
        self.log_at(path)
    }

    /// To go on writing where all of it is.
    fn log_at(&self, path: &Path) -> io::Result<Log> {
        let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
        Ok(Log {
            file,
            path: path.to_owned(),
            lines: self.turns.len(),
            is_torn: false,
            not_shortened: None,
        })
    }

    fn forget_before(&mut self, time: u64) -> Vec<Place> {
        self.in_use.retain(|_, it| it.strong_count() > 0);
        self.forget_older_than(seconds(time));
        let places: HashSet<Place> = self.orphans.drain(..).collect();
        if places.is_empty() {
            return Vec::new();
        }
        let kept: HashSet<Uuid> = self.turns.values().map(|it| it.session).collect();
        let unused = places.into_iter().filter(|it| !kept.contains(&it.session));
        let (later, now) = unused.partition(|it| self.in_use.contains_key(&it.session));
        self.orphans = later;
        now
    }

    /// And what is more than is ever remembered. Their lines go when the log is written anew, or are not read.
    fn forget_older_than(&mut self, time: u32) {
        let mut oldest = time;
        if let Some(surplus) = self.turns.len().checked_sub(TURNS_MAX + 1) {
            let mut times: Vec<u32> = self.turns.values().map(|it| it.at).collect();
            times.sort_unstable();
            oldest = oldest.max(times[surplus + 1]);
        }
        let in_use = &self.in_use;
        let is_old = |it: &Remembered| it.at < oldest && !in_use.contains_key(&it.session);
        let gone = self.turns.extract_if(|_, it| is_old(it));
        let gone: Vec<Remembered> = gone.map(|(_, turn)| turn).collect();
        let places: Vec<Place> = gone.iter().map(|it| self.place(it)).collect();
        self.orphans.extend(places);
        self.shorten();
    }
}

/// 136 years from 1970 on.
fn seconds(unix: u64) -> u32 {
    u32::try_from(unix).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
