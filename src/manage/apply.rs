//! Points one instance at the gateway, or back where it was: the smallest edit, kept comments, a backup
//! before, a look afterwards, and everything as it was when any of it fails.

use std::path::{Path, PathBuf};

use super::{
    access::{Access, Ran},
    backups::{Backups, Former},
};
use crate::openclaw::{
    env_file,
    settings::{GatewayUrl, Plan, ProviderChange, Settings},
};

/// What an instance shall use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Without a trailing slash.
    pub(crate) origin: &'a str,
    pub(crate) key: &'a str,
    pub(crate) env_files: EnvFiles,
}

/// Whether an instance's `.env` is kept in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvFiles {
    Update,
    LeaveAlone,
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Applied {
    /// It points here already.
    Unchanged { notices: Vec<String> },
    Changed {
        providers: Vec<ProviderChange>,
        backup: PathBuf,
        notices: Vec<String>,
    },
}

/// Reads an instance's settings.
///
/// # Errors
/// What is wrong with its files, and the way out.
pub(crate) fn settings(access: &Access<'_>) -> Result<Settings, String> {
    let env = |name: &str| match &access.instance.place {
        crate::openclaw::instance::Place::Docker(container) => {
            container.env(name).map(str::to_owned)
        }
        crate::openclaw::instance::Place::Local => std::env::var(name).ok(),
    };
    let read = |path: &Path| access.read(path);
    Settings::read(&access.instance.config_path, &read, &env)
}

/// What would be changed.
///
/// # Errors
/// As [`settings`], and why the instance cannot use the gateway as it is configured.
pub(crate) fn plan(settings: &Settings, target: &Target<'_>) -> Result<Plan, String> {
    let url = GatewayUrl {
        origin: target.origin.to_owned(),
    };
    settings.plan(&url, target.key).map_err(|it| it.to_string())
}

/// Points an instance at the gateway.
///
/// # Errors
/// Why not; the instance is as it was then.
pub(crate) fn apply(
    access: &Access<'_>,
    target: &Target<'_>,
    backups: &Backups,
) -> Result<Applied, String> {
    let settings = settings(access)?;
    let plan = plan(&settings, target)?;
    let env_files = match target.env_files {
        EnvFiles::Update => changed_env_files(access, target)?,
        EnvFiles::LeaveAlone => Vec::new(),
    };
    let notices = plan.notices.clone();
    if plan.is_empty() && env_files.is_empty() {
        return Ok(Applied::Unchanged { notices });
    }
    let mut former = Vec::new();
    if !plan.is_empty() {
        former.extend(settings_files(access, &settings, &plan)?);
    }
    former.extend(
        env_files
            .iter()
            .map(|(path, old, _)| (path.clone(), Some(old.clone()))),
    );
    let backup = backups.keep(&former)?;
    let done = change(access, (&settings, &plan), target, &env_files);
    if let Err(why) = done {
        let why = why.replace(target.key, "[key]");
        return Err(match restore(access, &former) {
            Ok(()) => format!("{why}; its files are as they were"),
            Err(error) => format!(
                "{why}; and its files could not be put back ({error}), they are in {}",
                backup.display()
            ),
        });
    }
    Ok(Applied::Changed {
        providers: plan.providers,
        backup,
        notices,
    })
}

/// Puts back what the newest backup holds; tells which files, `None` when there is none.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn revert(
    access: &Access<'_>,
    backups: &Backups,
) -> Result<Option<Vec<PathBuf>>, String> {
    let Some((dir, former)) = backups.newest()? else {
        return Ok(None);
    };
    restore(access, &former)?;
    backups.done(&dir)?;
    Ok(Some(former.into_iter().map(|(path, _)| path).collect()))
}

fn restore(access: &Access<'_>, former: &[Former]) -> Result<(), String> {
    for (path, bytes) in former {
        let now = access.read(path)?;
        match (bytes, now) {
            (Some(bytes), Some(now)) if *bytes == now => {}
            (Some(bytes), now) => access.replace(path, now.as_deref(), bytes)?,
            (None, Some(_)) => access.remove(path)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The files that the change will touch, as they are: those edited here, or the one that OpenClaw writes.
fn settings_files(
    access: &Access<'_>,
    settings: &Settings,
    plan: &Plan,
) -> Result<Vec<Former>, String> {
    let mut paths: Vec<PathBuf> = settings
        .edited(plan)?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let root = &access.instance.config_path;
    if !paths.contains(root) {
        paths.push(root.clone());
    }
    let former = paths.into_iter().map(|path| {
        let bytes = access.read(&path)?;
        Ok((path, bytes))
    });
    former.collect()
}

type EnvFileChange = (PathBuf, Vec<u8>, String);

fn change(
    access: &Access<'_>,
    (settings, plan): (&Settings, &Plan),
    target: &Target<'_>,
    env_files: &[EnvFileChange],
) -> Result<(), String> {
    if !plan.is_empty() {
        change_settings(access, settings, plan)?;
        let now = self::settings(access)?;
        let left = self::plan(&now, target)?;
        if !left.is_empty() {
            return Err("openclaw.json does not hold what was written to it".to_owned());
        }
    }
    // Only now: while openclaw.json points elsewhere, this key would go there.
    for (path, old, new) in env_files {
        access.replace(path, Some(old), new.as_bytes())?;
    }
    Ok(())
}

/// Through OpenClaw itself, which checks what it writes; but it would drop comments, so a file that
/// has some, or is made of several, is edited here and checked by OpenClaw afterwards.
fn change_settings(access: &Access<'_>, settings: &Settings, plan: &Plan) -> Result<(), String> {
    let edited = settings.edited(plan)?;
    let root = &access.instance.config_path;
    let is_only_root = edited.iter().all(|(path, _)| path == root);
    if is_only_root && !settings.has_comments() {
        let patch = plan.patch.to_string();
        let patched = access.openclaw(&["config", "patch", "--stdin"], patch.as_bytes())?;
        match patched {
            Some(ran) if ran.code == 0 => return Ok(()),
            Some(ran) => return Err(format!("`openclaw config patch` failed: {}", words(&ran))),
            None => return write_edited(access, &edited),
        }
    }
    write_edited(access, &edited)?;
    match access.openclaw(&["config", "validate"], b"")? {
        Some(ran) if ran.code != 0 => Err(format!(
            "OpenClaw does not accept the edited openclaw.json: {}",
            words(&ran)
        )),
        _ => Ok(()),
    }
}

fn write_edited(access: &Access<'_>, edited: &[(PathBuf, String)]) -> Result<(), String> {
    for (path, text) in edited {
        let old = access.read(path)?;
        access.replace(path, old.as_deref(), text.as_bytes())?;
    }
    Ok(())
}

/// The end of what a command said; the beginning is a banner.
fn words(ran: &Ran) -> String {
    let all = format!("{}\n{}", ran.stdout.trim(), ran.stderr.trim());
    let lines: Vec<&str> = all
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    let from = lines.len().saturating_sub(6);
    lines[from..].join(" | ").chars().take(600).collect()
}

/// `.env` files that name the two variables or may get them: the instance's own, and the one that its
/// compose project was started with in the reference's layout. None is created.
fn changed_env_files(
    access: &Access<'_>,
    target: &Target<'_>,
) -> Result<Vec<EnvFileChange>, String> {
    let mut changed = Vec::new();
    let path = access.instance.state_dir.join(".env");
    let Some(bytes) = access.read(&path)? else {
        return Ok(changed);
    };
    let text =
        String::from_utf8(bytes.clone()).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    if let Some(new) = env_file::pointed(&text, target.origin, target.key) {
        changed.push((path, bytes, new));
    }
    Ok(changed)
}
