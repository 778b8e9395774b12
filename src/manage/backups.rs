//! What an instance's files were before the gateway changed them: kept in the state directory, private,
//! one directory for each time, and put back from there.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::stamp;
use crate::{docker, ids};

/// The backups of one tenant's instance.
#[derive(Debug)]
pub(crate) struct Backups {
    dir: PathBuf,
}

/// A file as it was; `None` when there was none.
pub(crate) type Former = (PathBuf, Option<docker::File>);

/// A finished backup.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) dir: PathBuf,
    /// Which instance it is of.
    pub(crate) of: String,
    pub(crate) files: Vec<Former>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    of: String,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// As the instance knows it.
    path: PathBuf,
    /// The name of the copy beside the manifest.
    copy: Option<String>,
    /// User, group and mode.
    owner: Option<(u64, u64, u32)>,
}

const MANIFEST: &str = "files.json";

/// So many are kept; the oldest but one goes first.
const KEPT: usize = 50;

/// Commands that keep something at the same moment are few.
const TRIES: u32 = 100;

impl Backups {
    pub(crate) fn of(state_dir: &Path, tenant: &str) -> Backups {
        Backups {
            dir: state_dir.join("backups").join(tenant),
        }
    }

    /// Keeps files as they are now; tells where.
    ///
    /// # Errors
    /// When they cannot be written. Nothing must be changed then.
    pub(crate) fn keep(&self, of: &str, files: &[Former]) -> Result<PathBuf, String> {
        let kept = self.write(of, files);
        kept.map_err(|error| format!("cannot keep a backup in {}: {error}", self.dir.display()))
    }

    fn write(&self, of: &str, files: &[Former]) -> io::Result<PathBuf> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let dir = self.fresh()?;
        let mut manifest = Manifest {
            of: of.to_owned(),
            files: Vec::new(),
        };
        for (index, (path, file)) in files.iter().enumerate() {
            let copy = file.as_ref().map(|_| format!("{index}"));
            if let (Some(copy), Some(file)) = (&copy, file) {
                write_new(&dir.join(copy), &file.bytes)?;
            }
            manifest.files.push(Entry {
                path: path.clone(),
                copy,
                owner: file.as_ref().map(|it| (it.uid, it.gid, it.mode)),
            });
        }
        // Last: a backup without it was never finished, and is no backup.
        write_new(&dir.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        fs::File::open(&dir)?.sync_all()?;
        self.forget_old();
        Ok(dir)
    }

    fn fresh(&self) -> io::Result<PathBuf> {
        for _ in 0..TRIES {
            let dir = stamp::free(&self.dir);
            match DirBuilder::new().mode(0o700).create(&dir) {
                // Another command's of just now.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| dir),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The newest backup that was not put back yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn newest(&self) -> Result<Option<Backup>, String> {
        let Some(dir) = self.all().pop() else {
            return Ok(None);
        };
        let backup = read(&dir);
        let failed = |error| format!("cannot read the backup {}: {error}", dir.display());
        backup.map(Some).map_err(failed)
    }

    /// Finished backups, oldest first.
    fn all(&self) -> Vec<PathBuf> {
        let all = stamp::named(&self.dir).into_iter().map(|(_, dir)| dir);
        all.filter(|dir| dir.join(MANIFEST).is_file()).collect()
    }

    fn forget_old(&self) {
        let all = self.all();
        let surplus = all.len().saturating_sub(KEPT);
        // The first is how things were before the gateway: it stays.
        for dir in all.iter().skip(1).take(surplus) {
            // One that stays takes a little room, no more.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

impl Backup {
    /// Keeps files as they are before this is put back, in its own directory: what was changed since
    /// then must not be lost either.
    ///
    /// # Errors
    /// When they cannot be written. Nothing must be put back then.
    pub(crate) fn keep_present(&self, files: &[Former]) -> Result<(), String> {
        for (index, (_, file)) in files.iter().enumerate() {
            let Some(file) = file else { continue };
            let name = format!("{index}.before-revert-{}", ids::random_hex::<4>());
            let kept = write_new(&self.dir.join(name), &file.bytes);
            kept.map_err(|error| format!("cannot keep a copy in {}: {error}", self.dir.display()))?;
        }
        Ok(())
    }

    /// Marks it as put back, so that the next one to put back is older.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn done(&self) -> Result<(), String> {
        let renamed = fs::rename(
            self.dir.join(MANIFEST),
            self.dir.join("files-put-back.json"),
        );
        renamed.map_err(|error| format!("cannot mark {}: {error}", self.dir.display()))
    }
}

fn read(dir: &Path) -> io::Result<Backup> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST))?)?;
    let former = manifest.files.into_iter().map(|entry| {
        let Some(copy) = entry.copy else {
            return Ok((entry.path, None));
        };
        let bytes = fs::read(dir.join(copy))?;
        let (uid, gid, mode) = entry.owner.ok_or(io::ErrorKind::InvalidData)?;
        let file = docker::File {
            bytes,
            uid,
            gid,
            mode,
        };
        Ok((entry.path, Some(file)))
    });
    Ok(Backup {
        dir: dir.to_owned(),
        of: manifest.of,
        files: former.collect::<io::Result<_>>()?,
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn backups_come_back_newest_first_and_once() {
        let root = std::env::temp_dir().join(format!("ccgw-backups-{}", std::process::id()));
        let backups = Backups::of(&root, "a");
        assert!(backups.newest().unwrap().is_none());
        let file = |text: &str| {
            Some(docker::File {
                bytes: text.into(),
                uid: 1000,
                gid: 1001,
                mode: 0o640,
            })
        };
        let first = vec![
            (PathBuf::from("/x/openclaw.json"), file("{1}")),
            (PathBuf::from("/x/.env"), None),
        ];
        let second = vec![(PathBuf::from("/x/openclaw.json"), file("{2}"))];
        let dir = backups.keep("here", &first).unwrap();
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let copy = fs::metadata(dir.join("0")).unwrap();
        assert_eq!(copy.permissions().mode() & 0o777, 0o600);
        backups.keep("here", &second).unwrap();
        // One that was cut off while it was written does not count.
        fs::create_dir(root.join("backups/a/99991231-000000")).unwrap();
        let newest = backups.newest().unwrap().unwrap();
        assert_eq!((newest.of.as_str(), &newest.files), ("here", &second));
        newest.keep_present(&first).unwrap();
        newest.done().unwrap();
        assert_eq!(backups.newest().unwrap().unwrap().files, first);
        fs::remove_dir_all(root).unwrap();
    }
}
