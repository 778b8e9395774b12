//! What a user can reach of this machine's files, told from their owners and modes.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::RunUser;

/// What is wanted of a file or directory, as bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Only the way to it.
    Way,
    Read,
    /// Also to go into a directory, or to run a program.
    Use,
}

/// Makes sure that a user gets at a path.
///
/// # Errors
/// Which file or directory is in the way, as a part of a sentence.
pub(super) fn ensure_open(path: &Path, user: RunUser, need: Need) -> Result<(), String> {
    let shown = path.display();
    let real = fs::canonicalize(path).map_err(|it| format!("{shown}: {it}"))?;
    if let Some(closed) = closed_directory(path, user).or_else(|| closed_directory(&real, user)) {
        return Err(format!(
            "{shown} lies in {}, which user {} cannot go through",
            closed.display(),
            user.uid
        ));
    }
    let wanted = match need {
        Need::Way => 0,
        Need::Read => 0o4,
        Need::Use => 0o5,
    };
    let metadata = fs::metadata(&real).map_err(|it| format!("{shown}: {it}"))?;
    match bits(&metadata, user) & wanted == wanted {
        true => Ok(()),
        false => Err(format!("user {} cannot use {shown}", user.uid)),
    }
}

/// Makes sure that a user can do nothing with a path. What is not there is closed.
///
/// # Errors
/// That it can, as a part of a sentence, and how to close it.
pub(crate) fn ensure_closed(path: &Path, user: RunUser) -> Result<(), String> {
    let Some(found) = opened(path, user) else {
        return Ok(());
    };
    let (shown, uid) = (path.display(), user.uid);
    Err(match Standing::of(&found, user) {
        // An owner may change the mode again.
        Standing::Owner => format!(
            "{shown} belongs to user {uid}, as whom the runs are; give it to another one: `chown root {shown}`, and `chmod go-rwx {shown}`"
        ),
        Standing::Group => format!(
            "group {} can get at {shown}, and the runs are of that group; close it: `chmod g-rwx {shown}`",
            user.gid
        ),
        Standing::Other => {
            format!("other users can get at {shown}; close it: `chmod o-rwx {shown}`")
        }
    })
}

/// What a user gets at, if it gets at it.
fn opened(path: &Path, user: RunUser) -> Option<Metadata> {
    let real = fs::canonicalize(path).ok()?;
    let found = fs::metadata(&real).ok()?;
    let is_open = closed_directory(&real, user).is_none() && bits(&found, user) != 0;
    is_open.then_some(found)
}

/// The first directory above a path that a user cannot go through.
fn closed_directory(path: &Path, user: RunUser) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let open = |it: &&Path| fs::metadata(it).is_ok_and(|it| bits(&it, user) & 0o1 != 0);
    // A relative path ends above in nothing.
    let mut above = above.into_iter().filter(|it| *it != Path::new(""));
    above.find(|it| !open(it)).map(Path::to_owned)
}

/// What a user is to a file.
enum Standing {
    Owner,
    Group,
    Other,
}

impl Standing {
    fn of(file: &Metadata, user: RunUser) -> Standing {
        match (file.uid() == user.uid, file.gid() == user.gid) {
            (true, _) => Standing::Owner,
            (false, true) => Standing::Group,
            (false, false) => Standing::Other,
        }
    }
}

/// Read, write and search, as three bits.
fn bits(metadata: &Metadata, user: RunUser) -> u32 {
    let shift = match Standing::of(metadata, user) {
        Standing::Owner => 6,
        Standing::Group => 3,
        Standing::Other => 0,
    };
    metadata.mode() >> shift & 0o7
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Whether somebody else gets at a file below two directories with these modes.
    #[track_caller]
    fn check(modes: [u32; 3], need: Need, opens: bool, touches: bool) {
        let name = format!("ccgw-access-{}-{modes:?}", std::process::id());
        let top = std::env::temp_dir().join(name.replace(' ', ""));
        let dir = top.join("dir");
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("file");
        fs::write(&file, "x").unwrap();
        let paths = [&top, &dir, &file];
        for (path, mode) in paths.iter().zip(modes).rev() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let stranger = RunUser {
            uid: 0x7777_7777,
            gid: 0x7777_7777,
        };
        let opened = ensure_open(&file, stranger, need);
        let is_closed = ensure_closed(&file, stranger).is_ok();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(opened.is_ok(), opens, "{modes:?} {opened:?}");
        assert_eq!(!is_closed, touches, "{modes:?}");
    }

    #[test]
    fn stranger_gets_at_what_every_step_lets_it() {
        check([0o711, 0o711, 0o644], Need::Read, true, true);
        check([0o711, 0o711, 0o644], Need::Use, false, true);
        check([0o711, 0o711, 0o755], Need::Use, true, true);
        check([0o711, 0o711, 0o600], Need::Read, false, false);
        check([0o711, 0o711, 0o660], Need::Way, true, false);
        check([0o711, 0o711, 0o602], Need::Read, false, true);
        check([0o711, 0o755, 0o400], Need::Way, true, false);
        check([0o711, 0o744, 0o777], Need::Way, false, false);
    }

    #[test]
    fn owner_and_group_have_their_own_bits() {
        let name = format!("ccgw-access-own-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o142)).unwrap();
        let found = fs::metadata(&file).unwrap();
        let (uid, gid) = (found.uid(), found.gid());
        for (user, expect) in [
            (RunUser { uid, gid }, 0o1),
            (RunUser { uid: uid + 1, gid }, 0o4),
            (
                RunUser {
                    uid: uid + 1,
                    gid: gid + 1,
                },
                0o2,
            ),
        ] {
            assert_eq!(bits(&found, user), expect, "{user:?}");
        }
        // How each is kept out is something else.
        let stranger = (uid + 1, gid + 1);
        for (user, way_out, wrong) in [
            ((uid, gid), "chown root", "chmod o-rwx"),
            ((uid + 1, gid), "chmod g-rwx", "chmod o-rwx"),
            (stranger, "chmod o-rwx", "chown"),
        ] {
            let (uid, gid) = user;
            let why = ensure_closed(&file, RunUser { uid, gid }).unwrap_err();
            assert!(why.contains(way_out) && !why.contains(wrong), "{why}");
        }
        fs::remove_file(&file).unwrap();
    }
}
