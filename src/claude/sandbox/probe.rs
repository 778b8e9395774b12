//! Whether bubblewrap works here: it is tried with a run that says its version.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Bwrap, ENTRY, Features, OWN_NETWORK,
    enter::Limits,
    etc::{self, Etc},
    mounts::{self, Mounts},
    namespaces,
};
use crate::claude::{
    keeper::{self, Keeper, Launch},
    worker::Worker,
};

/// It takes some 10 ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it is looked for when `PATH` does not have it.
const USUAL: &str = "/usr/bin/bwrap";

/// # Errors
/// Why it cannot be used, as a part of a sentence.
pub(super) fn find(path: Option<&OsStr>, entry: &Path) -> Result<Bwrap, String> {
    let program = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|dir| dir.join("bwrap"))
        .chain([PathBuf::from(USUAL)])
        .find(|it| it.is_file())
        .ok_or("bubblewrap is not installed (`apt install bubblewrap`)")?;
    keep_entry(entry)?;
    let dir = entry.parent().and_then(Path::parent);
    let dir = dir.unwrap_or(Path::new("/")).join("etc");
    let (etc, of_etc) =
        Etc::new(dir.clone()).map_err(|it| format!("{} cannot be written: {it}", dir.display()))?;
    let etc = Arc::new(etc);
    let mut system = mounts::system();
    system.extend(of_etc);
    let mut why = String::new();
    for features in [Features::Modern, Features::Old] {
        let bwrap = Bwrap {
            program: program.clone(),
            entry: entry.to_owned(),
            features,
            etc: Arc::clone(&etc),
            system: system.clone(),
        };
        match try_it(&bwrap, None) {
            Ok(()) => return Ok(bwrap),
            // The newest way's trouble says most.
            Err(error) if why.is_empty() => why = error,
            Err(_) => {}
        }
    }
    Err(format!("{} does not work here: {why}", program.display()))
}

/// Has this program under the name that runs begin with.
///
/// # Errors
/// Why it cannot be kept there, as a part of a sentence.
pub(super) fn keep_entry(entry: &Path) -> Result<(), String> {
    copy_of_this_binary(entry).map_err(|it| format!("{} cannot be written: {it}", entry.display()))
}

/// A second name for this program, which no update takes away.
fn copy_of_this_binary(entry: &Path) -> io::Result<()> {
    let dir = entry.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let aside = entry.with_extension(crate::ids::random_hex::<8>());
    let linked = rustix::fs::linkat(
        rustix::fs::CWD,
        "/proc/self/exe",
        rustix::fs::CWD,
        &aside,
        rustix::fs::AtFlags::SYMLINK_FOLLOW,
    );
    // On another disk, or of another owner's.
    if linked.is_err() {
        fs::copy("/proc/self/exe", &aside)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
    }
    match fs::rename(&aside, entry) {
        // Where both are the same file nothing is renamed.
        Ok(()) if linked.is_ok() => match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        renamed => renamed,
    }
}

/// The packaged unit does not let it, where nobody has said so.
const UNIT: &str = " (a service of systemd needs more for it: network.conf in /usr/share/doc/ccgw/examples, or with root.conf the last lines of that)";

/// Whether sandboxes can have a network of their own, in which loopback works.
///
/// # Errors
/// Why not, as a part of a sentence.
pub(super) fn try_network(bwrap: &Bwrap) -> Result<(), String> {
    try_it(bwrap, Some(OWN_NETWORK)).map_err(|why| {
        let hint = match std::env::var_os("INVOCATION_ID") {
            Some(_) => UNIT,
            None => "",
        };
        format!(
            "{} can make no network here: {why}{hint}",
            bwrap.program.display()
        )
    })
}

fn try_it(bwrap: &Bwrap, more: Option<&str>) -> Result<(), String> {
    let root = rustix::process::geteuid().is_root();
    // As a user that no run is: it owns nothing here.
    let user = root.then_some(super::RunUser {
        uid: super::UNUSED_USERS - 1,
        gid: super::UNUSED_USERS - 1,
    });
    let mut mounts = Mounts::new(&bwrap.system);
    mounts.read_only_at(&bwrap.etc.current(), etc::INSIDE.into())?;
    mounts.read_only_at(&bwrap.entry, ENTRY.into())?;
    let mut args = namespaces(bwrap.features, user);
    args.extend(more.map(Into::into));
    args.extend(mounts.args(bwrap.features));
    let limits = Limits {
        processes: 100_000,
        file: 1 << 20,
        user,
    };
    args.extend(
        [
            "--",
            ENTRY,
            "enter",
            &limits.to_string(),
            "--",
            ENTRY,
            "--version",
        ]
        .map(Into::into),
    );
    let launch = Launch {
        program: bwrap.program.clone(),
        args,
        env: Vec::new(),
        cwd: "/".into(),
        wrapped_in: super::OWN_PROCESSES,
        limits: keeper::Limits::default(),
    };
    says_its_version(&launch)
}

/// Whether this program says its version when it is started so.
///
/// # Errors
/// What went wrong.
pub(super) fn says_its_version(launch: &Launch) -> Result<(), String> {
    let keeper = Keeper::start().map_err(|it| it.to_string())?;
    let mut worker =
        Worker::start(keeper, launch, Vec::new()).map_err(|it| it.error.to_string())?;
    worker.close_stdin();
    let said = worker.first_line(Instant::now() + PATIENCE);
    let why = String::from_utf8_lossy(worker.stderr_tail())
        .trim()
        .to_owned();
    worker.end();
    let expected = concat!("ccgw ", env!("CARGO_PKG_VERSION"));
    match said.as_deref() {
        Some(said) if said == expected => Ok(()),
        _ if why.is_empty() => Err("a trial said nothing".to_owned()),
        _ => Err(why),
    }
}
