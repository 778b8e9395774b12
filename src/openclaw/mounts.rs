//! Paths of a container as paths of the host. Pure.

use std::path::{Component, Path, PathBuf};

use crate::docker::Mount;

/// The host's path of a container's path: by the mount that holds it most closely. `None` when it is
/// in the container's own layers, or when `..` or a relative path leaves open where it is.
pub(crate) fn host_path(mounts: &[Mount], path: &Path) -> Option<PathBuf> {
    let (source, below) = mount_of(mounts, path)?;
    Some(match below.as_os_str().is_empty() {
        true => source.to_owned(),
        false => source.join(below),
    })
}

/// The host's side of that mount, and what is below it.
pub(crate) fn mount_of<'m>(mounts: &'m [Mount], path: &Path) -> Option<(&'m Path, PathBuf)> {
    if !is_plain(path) {
        return None;
    }
    let holding = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.destination));
    let mount = holding.max_by_key(|mount| mount.destination.components().count())?;
    let is_on_host = matches!(mount.kind.as_str(), "bind" | "volume");
    if !is_on_host || !mount.source.is_absolute() {
        return None;
    }
    let below = path.strip_prefix(&mount.destination).ok()?;
    Some((&mount.source, below.to_owned()))
}

fn is_plain(path: &Path) -> bool {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, destination: &str) -> Mount {
        Mount {
            kind: kind.to_owned(),
            source: source.into(),
            destination: destination.into(),
            writable: true,
        }
    }

    #[test]
    fn longest_mount_wins() {
        let mounts = [
            mount("bind", "/srv/home", "/home/node"),
            mount(
                "volume",
                "/var/lib/docker/volumes/c/_data",
                "/home/node/.openclaw",
            ),
            mount("bind", "/srv/work", "/home/node/.openclaw/workspace"),
            mount("tmpfs", "", "/home/node/.openclaw/tmp"),
        ];
        for (path, expect) in [
            ("/home/node/x", Some("/srv/home/x")),
            ("/home/node", Some("/srv/home")),
            (
                "/home/node/.openclaw/openclaw.json",
                Some("/var/lib/docker/volumes/c/_data/openclaw.json"),
            ),
            ("/home/node/.openclaw/workspace", Some("/srv/work")),
            ("/home/node/.openclaw/workspace/a", Some("/srv/work/a")),
            (
                "/home/node/.openclaw/workspaces",
                Some("/var/lib/docker/volumes/c/_data/workspaces"),
            ),
            ("/home/node/.openclaw/tmp/x", None),
            ("/home/nodes", None),
            ("/etc/passwd", None),
            ("/home/node/../../etc/passwd", None),
            ("home/node", None),
        ] {
            let got = host_path(&mounts, Path::new(path));
            assert_eq!(got.as_deref(), expect.map(Path::new), "{path}");
        }
    }
}
