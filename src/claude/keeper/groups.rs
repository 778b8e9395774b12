//! Where this machine lets us make control groups, if it does: found once, when the daemon starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::group::{self, CONTROLLERS, Controller, Group, Limits, Place, Version};
use super::maker::Maker;

/// Belongs to the whole process, as the keepers do.
static GROUPS: OnceLock<Result<Groups, String>> = OnceLock::new();

/// Where the daemon itself is, beside the groups of the runs: on v2 a group with groups in it has no processes. A unit
/// names it in `DelegateSubgroup=`; where none does, the daemon makes it.
const OWN: &str = "daemon";

/// How long what an earlier life left may take to end.
const END_LIMIT: Duration = Duration::from_secs(3);

const ROUND: Duration = Duration::from_millis(20);

struct Groups {
    bases: Vec<Place>,
    /// Whose they are in all lives; a name is `ccgw-OWNER-MAKER-NUMBER`.
    owner: String,
    maker: Maker,
    count: AtomicU64,
}

/// Looks for them, and uses them for every keeper from now on. `owner` tells apart the daemons of a machine. To be
/// called once, before there are keepers or threads.
pub(crate) fn set_up(owner: &Path) {
    GROUPS.get_or_init(|| Groups::find(owner));
}

/// What limits runs beside rlimits, in words for people.
///
/// # Errors
/// Why nothing does.
pub(crate) fn controlled() -> Result<String, &'static str> {
    match GROUPS.get() {
        Some(Ok(groups)) => Ok(groups.to_string()),
        Some(Err(why)) => Err(why),
        None => Err("nobody has looked"),
    }
}

/// Whether the number of processes is limited for each run by itself.
pub(crate) fn count_processes() -> bool {
    let found = GROUPS.get().and_then(|it| it.as_ref().ok());
    let has = |it: &Place| it.controllers.contains(&Controller::Pids);
    found.is_some_and(|it| it.bases.iter().any(has))
}

/// A group for a new keeper; `None` where there are none.
///
/// # Errors
/// When one cannot be made where others could.
pub(super) fn make() -> io::Result<Option<Group>> {
    match GROUPS.get() {
        Some(Ok(groups)) => groups.next().map(Some),
        Some(Err(_)) | None => Ok(None),
    }
}

/// Ends what is in the groups of earlier lives of this daemon, and removes them, and those that other daemons left
/// empty when they were killed. Returns how many processes were ended.
pub(crate) fn end_left_over() -> usize {
    match GROUPS.get() {
        Some(Ok(groups)) => groups.end_left_over(),
        Some(Err(_)) | None => 0,
    }
}

impl Groups {
    fn find(owner: &Path) -> Result<Groups, String> {
        let maker = Maker::this_process().map_err(|it| it.to_string())?;
        let hash = hmac_sha256::Hash::hash(owner.as_os_str().as_encoded_bytes());
        let owner = crate::ids::hex(&hash[..4]);
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|it| it.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|it| it.to_string())?;
        let mut bases = Vec::new();
        let mut why = "this kernel has no control groups mounted".to_owned();
        for place in places(&own, &mounts) {
            match settled(place, &named(&owner, &maker, "trial")) {
                Ok(place) => bases.push(place),
                Err(error) => why = error,
            }
        }
        if bases.is_empty() {
            return Err(why);
        }
        Ok(Groups {
            bases,
            owner,
            maker,
            count: AtomicU64::new(0),
        })
    }

    fn next(&self) -> io::Result<Group> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = named(&self.owner, &self.maker, &number.to_string());
        Group::make(&self.bases, &name)
    }

    fn end_left_over(&self) -> usize {
        let deadline = Instant::now() + END_LIMIT;
        let mut ended = 0;
        for place in self.all_that(|name| name.left_by_others(self)) {
            // One that somebody is in stays.
            let _ = fs::remove_dir(place.dir);
        }
        let mut left = self.all_that(|name| name.left_by(self));
        while !left.is_empty() {
            let killed = left.iter().map(group::kill_all).max().unwrap_or(0);
            ended = ended.max(killed);
            left.retain(|it| fs::remove_dir(&it.dir).is_err() && it.dir.exists());
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(ROUND);
        }
        ended
    }

    fn all_that(&self, is_meant: impl Fn(&Name<'_>) -> bool) -> Vec<Place> {
        let is_meant = |name: &str| Name::parse(name).is_some_and(|it| is_meant(&it));
        let of_base = |base: &Place| {
            let entries = fs::read_dir(&base.dir).into_iter().flatten().flatten();
            let dirs = entries.filter(|it| it.file_name().to_str().is_some_and(is_meant));
            let places = dirs.map(|it| Place {
                dir: it.path(),
                ..base.clone()
            });
            places.collect::<Vec<_>>()
        };
        self.bases.iter().flat_map(of_base).collect()
    }
}

impl std::fmt::Display for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let controllers = self.bases.iter().flat_map(|it| &it.controllers);
        let names: Vec<&str> = controllers.map(|it| it.name()).collect();
        f.write_str(&names.join(", "))
    }
}

fn named(owner: &str, maker: &Maker, number: &str) -> String {
    format!("ccgw-{owner}-{maker}-{number}")
}

/// What the name of a group of ours says.
struct Name<'n> {
    owner: &'n str,
    maker: Maker,
}

impl Name<'_> {
    fn parse(name: &str) -> Option<Name<'_>> {
        let mut parts = name.strip_prefix("ccgw-")?.splitn(3, '-');
        let (owner, maker, _) = (parts.next()?, parts.next()?, parts.next()?);
        let maker = Maker::parse(maker)?;
        Some(Name { owner, maker })
    }

    /// By an earlier life of this daemon: there is only one at a time.
    fn left_by(&self, groups: &Groups) -> bool {
        self.owner == groups.owner && self.maker != groups.maker
    }

    fn left_by_others(&self, groups: &Groups) -> bool {
        self.owner != groups.owner && self.maker.is_dead(&groups.maker)
    }
}

/// Where this process is, in each hierarchy that has something of what we want.
fn places(own: &str, mounts: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (version, controllers) = match names {
            "" => (Version::V2, Vec::new()),
            names => {
                let is_of = |it: &Controller| names.split(',').any(|name| name == it.name());
                (Version::V1, CONTROLLERS.into_iter().filter(is_of).collect())
            }
        };
        if version == Version::V1 && controllers.is_empty() {
            continue;
        }
        let Some(dir) = mounts.lines().find_map(|it| mounted(it, names, path)) else {
            continue;
        };
        places.push(Place {
            dir,
            version,
            controllers,
        });
    }
    places
}

/// Where a line of mountinfo (proc(5)) has this path of a hierarchy.
fn mounted(line: &str, names: &str, path: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, at) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    let is_it = match names {
        "" => kind == "cgroup2",
        names => {
            kind == "cgroup"
                && names
                    .split(',')
                    .all(|name| options.split(',').any(|it| it == name))
        }
    };
    let below = Path::new(path).strip_prefix(root).ok()?;
    is_it.then(|| Path::new(at).join(below))
}

/// The place, ready to have groups made in it, as a trial shows.
///
/// # Errors
/// Why there can be none.
fn settled(place: Place, trial: &str) -> Result<Place, String> {
    let place = match place.version {
        Version::V1 => place,
        Version::V2 => unified(&place.dir)?,
    };
    let trial = Group::make(std::slice::from_ref(&place), trial);
    let limited = trial.and_then(|mut it| it.limit(&Limits::default()));
    limited.map_err(|it| it.to_string())?;
    Ok(place)
}

/// What makes them possible.
const ADVICE: &str = "a service has groups of its own with `Delegate=yes`";

/// On v2 the daemon has to make way for the groups of the runs first.
fn unified(own: &Path) -> Result<Place, String> {
    let text = |it: io::Error| format!("{it}; {ADVICE}");
    let base = match own.file_name() {
        Some(name) if name == OWN => own.parent().unwrap_or(own),
        _ => own,
    };
    let there = fs::read_to_string(base.join("cgroup.controllers")).map_err(text)?;
    let is_there = |it: &Controller| there.split_whitespace().any(|name| name == it.name());
    let controllers: Vec<Controller> = CONTROLLERS.into_iter().filter(is_there).collect();
    if controllers.is_empty() {
        return Err(format!(
            "{} has none of memory, pids and cpu",
            base.display()
        ));
    }
    let pid = std::process::id().to_string();
    let inner = base.join(OWN);
    if own == base {
        match fs::create_dir(&inner) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("{}: {}", inner.display(), text(error)));
            }
            _ => {}
        }
        group::write(&inner, "cgroup.procs", &pid).map_err(text)?;
    }
    let names: Vec<String> = controllers
        .iter()
        .map(|it| format!("+{}", it.name()))
        .collect();
    if let Err(error) = group::write(base, "cgroup.subtree_control", &names.join(" ")) {
        if own == base && group::write(base, "cgroup.procs", &pid).is_ok() {
            let _ = fs::remove_dir(&inner);
        }
        return Err(text(error));
    }
    Ok(Place {
        dir: base.to_owned(),
        version: Version::V2,
        controllers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(own: &str, mounts: &str, expect: &[&str]) {
        let shown = |it: &Place| {
            let names: Vec<&str> = it.controllers.iter().map(|it| it.name()).collect();
            format!("{:?} {} {}", it.version, it.dir.display(), names.join(","))
        };
        let places: Vec<String> = places(own, mounts).iter().map(shown).collect();
        assert_eq!(places, expect);
    }

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let unified =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        check(
            "0::/system.slice/ccgw.service/daemon\n",
            unified,
            &["V2 /sys/fs/cgroup/system.slice/ccgw.service/daemon "],
        );
        check("0::/\n", "", &[]);
        let old = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             36 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        check(
            "9:name=systemd:/\n8:pids:/user\n4:memory:/docker/x/y\n2:cpu,cpuacct:/\n1:memory:/elsewhere\nodd\n",
            old,
            &[
                "V1 /sys/fs/cgroup/pids/user pids",
                "V1 /sys/fs/cgroup/memory/y memory",
                "V1 /sys/fs/cgroup/cpu,cpuacct/ cpu",
            ],
        );
    }
}
