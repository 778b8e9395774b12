//! Whether the folders that config.yaml gives to tenants can be entered and written by who works there: the gateway's
//! user, or where runs are users of their own, the owner of each tenant's folder.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::user::User;
use crate::config::{Config, Isolation, Tenant};

/// The way out that always is one.
pub(super) const ROOT_CONF: &str = "run the service as root, where runs are the folder's owner \
     (/usr/share/doc/ccgw/examples/root.conf)";

/// Who works in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The user of this process, by what the kernel says.
    Ourselves,
    /// Somebody else, by owner and mode; access lists are not looked at.
    Other {
        name: String,
        uid: u32,
        groups: Vec<u32>,
    },
}

/// What keeps somebody out of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Nothing works there.
    Shut(String),
    /// It can be read.
    ReadOnly(String),
}

impl Closed {
    pub(super) fn text(&self) -> &str {
        match self {
            Closed::Shut(text) | Closed::ReadOnly(text) => text,
        }
    }
}

impl Who {
    fn owner_of(metadata: &Metadata) -> Who {
        Who::Other {
            name: format!("user {}", metadata.uid()),
            uid: metadata.uid(),
            groups: vec![metadata.gid()],
        }
    }

    fn name(&self) -> &str {
        match self {
            Who::Ourselves => "the user that runs ccgw",
            Who::Other { name, .. } => name,
        }
    }

    /// Whether somebody may do this (4 read, 2 write, 1 enter) with a file.
    fn may(&self, bits: u32, metadata: &Metadata) -> bool {
        let Who::Other { uid, groups, .. } = self else {
            return true;
        };
        if *uid == 0 {
            return true;
        }
        let shift = if *uid == metadata.uid() {
            6
        } else if groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        metadata.mode() >> shift & bits == bits
    }

    fn enters(&self, dir: &Path) -> io::Result<()> {
        for step in dir.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let metadata = fs::metadata(step)?;
            if !metadata.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !self.may(1, &metadata) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        self.asked(dir, Access::EXEC_OK)
    }

    pub(super) fn writes(&self, dir: &Path) -> io::Result<()> {
        match self.may(3, &fs::metadata(dir)?) {
            true => self.asked(dir, Access::WRITE_OK | Access::EXEC_OK),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// The kernel, where it knows who is meant.
    fn asked(&self, dir: &Path, access: Access) -> io::Result<()> {
        match self {
            Who::Ourselves => Ok(accessat(CWD, dir, access, AtFlags::EACCESS)?),
            Who::Other { .. } => Ok(()),
        }
    }
}

/// What is wrong with a tenant's folders, for the gateway's user `who`; with `as_owner`, for the owner of its
/// `working_dir`, whom its runs are then.
pub(super) fn closed(tenant: &Tenant, who: &Who, as_owner: bool) -> Vec<Closed> {
    let mut all = Vec::new();
    let owner = tenant.working_dir.as_ref();
    let owner = owner.and_then(|it| fs::metadata(it).ok());
    // A folder of root's becomes the tenant's own.
    let owner = owner.filter(|it| as_owner && it.uid() != 0);
    let owner = owner.map(|it| Who::owner_of(&it));
    let who = owner.as_ref().unwrap_or(who);
    let what = |key: &str, dir: &Path| format!("{key} {} of {}", dir.display(), tenant.name);
    if let Some(dir) = &tenant.working_dir {
        all.extend(match (who.enters(dir), who.writes(dir)) {
            (Err(error), _) => Some(shut(&what("working_dir", dir), who, &error)),
            (_, Err(error)) => Some(Closed::ReadOnly(format!(
                "{} cannot be written by {} ({})",
                what("working_dir", dir),
                who.name(),
                plainly(&error)
            ))),
            _ => None,
        });
    }
    let others = tenant.mounts.iter().map(|it| it.host.as_path());
    let others = others.filter(|it| Some(*it) != tenant.working_dir.as_deref());
    for dir in others {
        // A file may be mounted too: its folder is the way to it.
        let way = match dir.is_file() {
            true => dir.parent().unwrap_or(dir),
            false => dir,
        };
        if let Err(error) = who.enters(way) {
            all.push(shut(&what("the mount", dir), who, &error));
        }
    }
    all
}

fn shut(what: &str, who: &Who, error: &io::Error) -> Closed {
    let name = who.name();
    let why = plainly(error);
    Closed::Shut(format!("{what} cannot be entered by {name} ({why})"))
}

/// Without the number.
pub(super) fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotFound => "it is not there".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// What is to be said of a configuration's folders, and of the file itself, when it is checked.
pub(crate) fn notices(file: &Path, config: &Config) -> Vec<String> {
    let is_root = rustix::process::geteuid().is_root();
    let gateway = match is_root {
        true => owner_of_place(file),
        false => None,
    };
    let mut notices = Vec::new();
    if let (Some(gateway), Ok(metadata)) = (&gateway, fs::metadata(file))
        && !gateway.may(4, &metadata)
    {
        let (file, name) = (file.display(), gateway.name());
        notices.push(format!(
            "{file} cannot be read by {name}, whose directory it is in, and who most likely runs the gateway \
             (it is user {}'s, mode {:04o}), run: chown {name}: {file}",
            metadata.uid(),
            metadata.mode() & 0o7777
        ));
    }
    let gateway = gateway.unwrap_or(Who::Ourselves);
    let is_roots = is_root && gateway == Who::Ourselves;
    for tenant in &config.tenants {
        let isolation = tenant.isolation.unwrap_or(config.isolation);
        let as_owner = is_roots && isolation == Isolation::User;
        let closed = closed(tenant, &gateway, as_owner);
        let text = |it: &Closed| format!("{}; let that user in, or {ROOT_CONF}", it.text());
        notices.extend(closed.iter().map(text));
    }
    notices
}

/// Whose the directory of a file is; `None` where it is root's.
fn owner_of_place(file: &Path) -> Option<Who> {
    let file = std::path::absolute(file).ok()?;
    let metadata = fs::metadata(file.parent()?).ok()?;
    if metadata.uid() == 0 {
        return None;
    }
    Some(match User::named(&metadata.uid().to_string()) {
        Ok(user) => user.into_who(),
        Err(_) => Who::owner_of(&metadata),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn owner_group_and_others_may_what_the_mode_says() {
        let dir = std::env::temp_dir().join(format!("ccgw-folders-{}", std::process::id()));
        fs::create_dir_all(dir.join("in")).unwrap();
        let own = fs::metadata(&dir).unwrap();
        let other = |uid: u32, gid: u32| Who::Other {
            name: "x".to_owned(),
            uid,
            groups: vec![gid],
        };
        let (uid, gid) = (own.uid(), own.gid());
        let stranger = other(uid + 1, gid + 1);
        let member = other(uid + 1, gid);
        for (mode, who, enters, writes) in [
            (0o700, &stranger, false, false),
            (0o755, &stranger, true, false),
            (0o757, &stranger, true, true),
            (0o750, &member, true, false),
            (0o770, &member, true, true),
            // The group's bits count for who is in it.
            (0o707, &member, false, false),
            (0o700, &Who::Ourselves, true, true),
        ] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(who.enters(&dir).is_ok(), enters, "{mode:o} {who:?}");
            assert_eq!(
                who.enters(&dir.join("in")).is_ok(),
                enters,
                "{mode:o} {who:?}"
            );
            assert_eq!(who.writes(&dir).is_ok(), writes, "{mode:o} {who:?}");
        }
        assert!(other(0, 0).enters(&dir).is_ok());
        assert!(Who::Ourselves.enters(&dir.join("none")).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
