//! OpenClaw's package, as an instance has it: where it is, and which of its directories hold skills.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{place::Source, skill::is_plain};
use crate::{
    manage::access::Access,
    openclaw::{
        instance::Place,
        settings::{Plugin, Settings},
    },
};

/// Where it is in OpenClaw's images, and by npm.
const PACKAGES: [&str; 3] = [
    "/app",
    "/usr/local/lib/node_modules/openclaw",
    "/usr/lib/node_modules/openclaw",
];

/// OpenClaw ships 64.
const EXTENSIONS_MAX: usize = 500;

const MANIFEST: &str = "openclaw.plugin.json";

/// Listing a directory takes some milliseconds; a busy machine more.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// All that OpenClaw ships: what is always there, then what comes with plugins, those that are on first.
///
/// # Errors
/// When the instance is out of reach.
pub(super) fn directories(
    access: &Access<'_>,
    settings: &Settings,
) -> Result<Vec<(Source, PathBuf)>, String> {
    let Some(package) = package(access)? else {
        return Ok(Vec::new());
    };
    let mut all = vec![
        (Source::Bundled, package.join("skills")),
        (Source::Bundled, package.join("custodian-skills")),
    ];
    let mut extensions = Vec::new();
    for dir in extensions_with_skills(access, &package.join("dist/extensions"))? {
        let manifest = access.file(&dir.join(MANIFEST))?;
        // Without one it is no plugin.
        let Some(plugin) = manifest.and_then(|it| Plugin::of_manifest(&it.bytes)) else {
            continue;
        };
        let is_on = settings.is_on(&plugin);
        let plugin = plugin.id;
        extensions.push((Source::Extension { plugin, is_on }, dir.join("skills")));
    }
    extensions.sort_by_key(|(source, dir)| (!source.is_on(), dir.clone()));
    all.extend(extensions);
    Ok(all)
}

fn package(access: &Access<'_>) -> Result<Option<PathBuf>, String> {
    let known = PACKAGES.map(PathBuf::from).into_iter();
    let of_command = matches!(access.instance.place, Place::Local)
        .then(of_command)
        .flatten();
    for package in of_command.into_iter().chain(known) {
        if access.has(&package.join("package.json"))? && access.has(&package.join("skills"))? {
            return Ok(Some(package));
        }
    }
    Ok(None)
}

/// The package whose `openclaw` is on this process's PATH: npm puts a link there.
fn of_command() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let command = std::env::split_paths(&path)
        .map(|dir| dir.join("openclaw"))
        .find(|it| it.is_file())?;
    let program = command.canonicalize().ok()?;
    program.parent().map(Path::to_path_buf)
}

fn extensions_with_skills(access: &Access<'_>, dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = match access.instance.place {
        Place::Local => listed_here(dir),
        Place::Docker(_) => listed_inside(access, dir)?,
    };
    // In a container that is what somebody else's program says.
    found.retain(|name| is_plain(name));
    found.sort();
    found.truncate(EXTENSIONS_MAX);
    Ok(found.into_iter().map(|name| dir.join(name)).collect())
}

fn listed_here(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|it| it.path().join("skills").is_dir())
        .filter_map(|it| it.file_name().into_string().ok())
        .collect()
}

/// The engine lists no directories, and an archive of them all has a thousand files of no interest.
fn listed_inside(access: &Access<'_>, dir: &Path) -> Result<Vec<String>, String> {
    let root = dir.to_string_lossy();
    let two_below = ["-mindepth", "2", "-maxdepth", "2", "-name", "skills"];
    let argv: Vec<&str> = ["find", &root].into_iter().chain(two_below).collect();
    // Neither the program nor the directory need be there.
    let ran = access.command(&argv, (b"", LIST_TIMEOUT))?;
    let listed = ran.map(|it| it.stdout).unwrap_or_default();
    let name = |line: &str| {
        let below = line.strip_prefix(&*root)?.strip_prefix('/')?;
        below.strip_suffix("/skills").map(str::to_owned)
    };
    Ok(listed.lines().filter_map(name).collect())
}
