//! config.yaml on the disk, while one of us edits it: locked, read, checked, kept as it was, replaced.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, flock};

use super::host_file::{self, Leftovers};
use crate::{
    config,
    log::Timestamp,
    replace::{self, Owner},
};

/// The file, and the right to change it until this is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    /// No link: a link's target is edited, and the link stays one.
    path: PathBuf,
    before: Option<Before>,
    /// Closing it gives the lock back.
    _lock: File,
}

#[derive(Debug)]
struct Before {
    text: String,
    owner: Owner,
}

/// What became of the old file.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// `None` when there was none.
    pub(crate) backup: Option<PathBuf>,
}

/// Another edit takes milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// So many backups are kept; the oldest goes first.
const BACKUPS_MAX: usize = 20;

/// The file holds keys.
const MODE: u32 = 0o600;

impl Store {
    /// Locks a file that may not exist yet, and reads it.
    ///
    /// # Errors
    /// When another program edits it, or it is no file that can be edited.
    pub(crate) fn open(path: &Path) -> Result<Store, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::path::absolute(path).map_err(failed)?
            }
            resolved => resolved.map_err(failed)?,
        };
        let lock = lock(&path)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let name = Path::new(path.file_name().unwrap_or_default());
        // It is tidying, of which nothing depends.
        let _ = host_file::sweep(dir, name, Leftovers::All);
        let before = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Store {
            path,
            before,
            _lock: lock,
        })
    }

    /// What it holds; `None` when it does not exist.
    pub(crate) fn text(&self) -> Option<&str> {
        self.before.as_ref().map(|it| it.text.as_str())
    }

    /// Puts a new text in its place at once, private, with the owner of the old one; which is kept
    /// beside it.
    ///
    /// # Errors
    /// When the text is no valid configuration, the file was changed meanwhile, or it cannot be
    /// written; then it is as it was.
    pub(crate) fn replace(self, text: &str) -> Result<Replaced, String> {
        let failed = |error: io::Error| format!("cannot write {}: {error}", self.path.display());
        let env = |name: &str| std::env::var(name).ok();
        if text.len() as u64 > config::FILE_BYTES_MAX {
            return Err(format!(
                "{} would be larger than {} bytes",
                self.path.display(),
                config::FILE_BYTES_MAX
            ));
        }
        config::check_text(&self.path, text, &env).map_err(|it| it.to_string())?;
        let now = read(&self.path).map_err(failed)?;
        if now.as_ref().map(|it| &it.text) != self.before.as_ref().map(|it| &it.text) {
            return Err(format!(
                "{} was changed by somebody else just now; run this again",
                self.path.display()
            ));
        }
        let owner = match &self.before {
            Some(before) => Owner {
                mode: MODE,
                ..before.owner
            },
            None => Owner {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                mode: MODE,
            },
        };
        let backup = match &self.before {
            Some(before) => Some(self.keep(before).map_err(failed)?),
            None => None,
        };
        replace::atomically(&self.path, text.as_bytes(), owner).map_err(failed)?;
        self.forget_old_backups();
        Ok(Replaced { backup })
    }

    fn keep(&self, before: &Before) -> io::Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let stamp = Timestamp(now.map_or(0, |it| it.as_millis())).to_string();
        let stamp = stamp.replace([':', '-'], "").replace('.', "-");
        for number in 1.. {
            let suffix = match number {
                1 => String::new(),
                _ => format!("-{number}"),
            };
            let path = self.sibling(&format!("{BACKUP}{stamp}{suffix}"));
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(MODE)
                .open(&path);
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(mut file) => {
                    let written = file
                        .write_all(before.text.as_bytes())
                        .and_then(|()| file.sync_all());
                    if written.is_err() {
                        // Half a backup is none.
                        let _ = fs::remove_file(&path);
                    }
                    return written.map(|()| path);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A file beside it whose name begins with its own.
    fn sibling(&self, suffix: &str) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}{suffix}"))
    }

    fn forget_old_backups(&self) {
        let prefix = self.sibling(BACKUP);
        let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut own: Vec<PathBuf> = entries
            .filter(|it| it.file_name().to_string_lossy().starts_with(&*prefix))
            .map(|it| it.path())
            .collect();
        own.sort();
        let surplus = own.len().saturating_sub(BACKUPS_MAX);
        for path in &own[..surplus] {
            // One that stays takes a little room, no more.
            let _ = fs::remove_file(path);
        }
    }
}

const BACKUP: &str = ".bak-";

/// A file of its own: the configuration itself is replaced, and a lock on it would go with it.
///
/// # Errors
/// When another program has it for long, or it cannot be made.
pub(super) fn lock(path: &Path) -> Result<File, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lock_path = path.with_file_name(format!(".{name}.lock"));
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&lock_path);
    let file = opened.map_err(|error| format!("{}: {error}", lock_path.display()))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(LOCK_RETRY);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(format!(
                    "another ccgw is editing {}; wait for it and run this again",
                    path.display()
                ));
            }
            Err(error) => return Err(format!("{}: {error}", lock_path.display())),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Before>> {
    let opened = OpenOptions::new()
        .read(true)
        // A pipe would wait for somebody to write.
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > config::FILE_BYTES_MAX {
        return Err(io::Error::other("it is too large to be the configuration"));
    }
    let owner = Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: MODE,
    };
    let mut text = String::new();
    file.take(config::FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(Some(Before { text, owner }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const ONE: &str = "tenants:\n  - name: a\n    api_key: 12345678\n";
    const TWO: &str = "tenants:\n  - name: b\n    api_key: 12345678\n";

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir =
                std::env::temp_dir().join(format!("ccgw-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Dir(dir.canonicalize().unwrap())
        }

        fn file(&self) -> PathBuf {
            self.0.join("config.yaml")
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_file_is_private_and_an_old_one_is_kept() {
        let dir = Dir::new("new");
        let store = Store::open(&dir.file()).unwrap();
        assert_eq!(store.text(), None);
        assert!(store.replace(ONE).unwrap().backup.is_none());
        assert_eq!(mode(&dir.file()), 0o600);
        fs::set_permissions(dir.file(), fs::Permissions::from_mode(0o644)).unwrap();
        let store = Store::open(&dir.file()).unwrap();
        let backup = store.replace(TWO).unwrap().backup.unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), ONE);
        assert_eq!((mode(&backup), mode(&dir.file())), (0o600, 0o600));
        assert_eq!(fs::read_to_string(dir.file()).unwrap(), TWO);
    }

    #[test]
    fn invalid_text_and_a_change_meanwhile_leave_the_file_alone() {
        let dir = Dir::new("invalid");
        fs::write(dir.file(), ONE).unwrap();
        let error = Store::open(&dir.file()).unwrap().replace("tenants: 7\n");
        assert!(error.unwrap_err().contains("tenants: expected a list"));
        let store = Store::open(&dir.file()).unwrap();
        fs::write(dir.file(), "# by hand\n").unwrap();
        assert!(store.replace(TWO).unwrap_err().contains("somebody else"));
        assert_eq!(fs::read_to_string(dir.file()).unwrap(), "# by hand\n");
        let left = fs::read_dir(&dir.0).unwrap().count();
        // The file and the lock.
        assert_eq!(left, 2);
    }

    #[test]
    fn second_editor_waits_for_the_first() {
        let dir = Dir::new("two");
        let first = Store::open(&dir.file()).unwrap();
        let path = dir.file();
        let second = thread::spawn(move || Store::open(&path).unwrap().text().map(str::to_owned));
        first.replace(ONE).unwrap();
        // It reads what the first has written, whenever it comes.
        assert_eq!(second.join().unwrap().as_deref(), Some(ONE));
    }

    #[test]
    fn link_stays_a_link_and_a_pipe_is_refused() {
        let dir = Dir::new("link");
        let target = dir.0.join("real.yaml");
        fs::write(&target, ONE).unwrap();
        symlink(&target, dir.file()).unwrap();
        Store::open(&dir.file()).unwrap().replace(TWO).unwrap();
        assert!(fs::symlink_metadata(dir.file()).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), TWO);
        let pipe = dir.0.join("pipe.yaml");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(Store::open(&pipe).unwrap_err().contains("no regular file"));
    }

    #[test]
    fn only_the_newest_backups_stay() {
        let dir = Dir::new("old");
        fs::write(dir.file(), ONE).unwrap();
        for round in 0..BACKUPS_MAX + 3 {
            let text = if round % 2 == 0 { TWO } else { ONE };
            Store::open(&dir.file()).unwrap().replace(text).unwrap();
        }
        let backups = fs::read_dir(&dir.0).unwrap().flatten();
        let backups = backups.filter(|it| it.file_name().to_string_lossy().contains(".bak-"));
        assert_eq!(backups.count(), BACKUPS_MAX);
    }
}
