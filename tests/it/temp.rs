//! A directory of its own for each test, gone afterwards unless the test failed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process, thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// A directory that is removed on drop, and kept (its path printed) when the test panics.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        let path = env::temp_dir().join(format!("ccgw-it-{}", unique()));
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below the directory, with the directories on the way to it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn create_dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the files of this test are kept in {}", self.0.display());
        } else {
            // A process of the test that is just ending may still write here; a leftover in the
            // temporary directory is no reason to fail the test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A word that no other test, test process or test run uses: for directories and process marks.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!(
        "{}-{nanos:x}-{}",
        process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
