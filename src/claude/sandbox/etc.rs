//! What of /etc is inside: programs need some of it, while the rest holds passwords and keys.
//!
//! Plain files are copies in one directory, with links to them: bubblewrap takes some 0.2 ms for each mount, most of it
//! to read how much is mounted by then. What lies in /usr by itself is a link too, so that a time zone keeps its name.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::mounts::Mount;
use crate::ids;

/// Where the copies are inside.
pub(super) const INSIDE: &str = "/run/ccgw/etc";

const NAMES: [&str; 29] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "protocols",
    // Often a link to somewhere in /run.
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Runs may still use earlier copies, but not for ever.
const COPIES_MAX: usize = 16;

/// The copies, made anew when a file is another.
#[derive(Debug)]
pub(super) struct Etc {
    dir: PathBuf,
    files: Vec<&'static str>,
    now: Mutex<Option<PathBuf>>,
}

impl Etc {
    /// Finds what there is, and copies it into a directory in `dir`. Returns what to mount beside the copies.
    ///
    /// # Errors
    /// When nothing can be copied.
    pub(super) fn new(dir: PathBuf) -> io::Result<(Etc, Vec<Mount>)> {
        let (mut files, mut mounts) = (Vec::new(), Vec::new());
        for name in NAMES {
            let at = Path::new("/etc").join(name);
            let Ok(real) = fs::canonicalize(&at) else {
                continue;
            };
            mounts.push(if real.starts_with("/usr") {
                Mount::Link { target: real, at }
            } else if real.is_dir() {
                Mount::System { from: real, to: at }
            } else {
                files.push(name);
                let target = Path::new(INSIDE).join(name);
                Mount::Link { target, at }
            });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        let etc = Etc {
            dir,
            files,
            now: Mutex::default(),
        };
        *etc.lock() = Some(etc.copied()?);
        Ok((etc, mounts))
    }

    /// The directory of the copies as the files are now, or as they were when they could last be copied.
    pub(super) fn current(&self) -> PathBuf {
        let mut now = self.lock();
        if let Ok(new) = self.copied() {
            *now = Some(new);
        }
        now.clone().unwrap_or_else(|| self.dir.clone())
    }

    fn copied(&self) -> io::Result<PathBuf> {
        let path = self.dir.join(self.stamp());
        if path.is_dir() {
            return Ok(path);
        }
        let aside = self.dir.join(format!("new-{}", ids::random_hex::<8>()));
        let made = self.copy_to(&aside);
        match made.and_then(|()| fs::rename(&aside, &path)) {
            Ok(()) => self.remove_old(),
            Err(error) => {
                // Half of it is of no use; and who was faster has made the same.
                let _ = fs::remove_dir_all(&aside);
                if !path.is_dir() {
                    return Err(error);
                }
            }
        }
        Ok(path)
    }

    fn copy_to(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)?;
        for name in &self.files {
            let to = dir.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
                fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
            }
            match fs::copy(Path::new("/etc").join(name), &to) {
                Ok(_) => fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?,
                // It went meanwhile, or is not for this user.
                Err(error) if error.raw_os_error() != Some(NO_SPACE) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stands for what all files are.
    fn stamp(&self) -> String {
        let mut hash = hmac_sha256::Hash::new();
        for name in &self.files {
            hash.update(name);
            let Ok(it) = fs::metadata(Path::new("/etc").join(name)) else {
                continue;
            };
            let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
            times.iter().for_each(|it| hash.update(it.to_le_bytes()));
            let numbers = [it.dev(), it.ino(), it.size()];
            numbers.iter().for_each(|it| hash.update(it.to_le_bytes()));
        }
        let hash = hash.finalize();
        hash[..8].iter().map(|it| format!("{it:02x}")).collect()
    }

    fn remove_old(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let made = |it: &fs::DirEntry| it.metadata().and_then(|it| it.modified()).ok();
        let mut copies: Vec<_> = entries.map(|it| (made(&it), it.path())).collect();
        copies.sort_unstable_by(|one, other| other.cmp(one));
        for (_, path) in copies.into_iter().skip(COPIES_MAX) {
            // It is looked for again with the next new copy.
            let _ = fs::remove_dir_all(path);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        // It is only ever replaced whole.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy that is not whole must not be taken for one.
const NO_SPACE: i32 = rustix::io::Errno::NOSPC.raw_os_error();
