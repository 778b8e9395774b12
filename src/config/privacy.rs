//! config.yaml holds keys, so it is made private where it is this user's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Takes the file from other users; says so when it was open to them. A group other than this user's own was chosen by
/// somebody, and keeps what it may.
pub(crate) fn make_private(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mode = metadata.mode() & 0o7777;
    let is_own_group = metadata.gid() == rustix::process::getegid().as_raw();
    let open = mode & if is_own_group { 0o077 } else { 0o007 };
    if open == 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let private = mode & !open;
    fs::set_permissions(path, fs::Permissions::from_mode(private)).ok()?;
    Some(format!(
        "{} was open to other users (mode {mode:04o}) and holds keys; it is private now (mode {private:04o})",
        path.display()
    ))
}
