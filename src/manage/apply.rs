//! Points one instance at the gateway, or back where it was: the smallest edit, kept comments, a backup
//! before, a look afterwards, and everything as it was when any of it fails.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    access::{Access, Ran},
    backups::{Backups, Former},
};
use crate::{
    docker,
    openclaw::{
        env_file,
        instance::Place,
        settings::{GatewayUrl, Plan, ProviderChange, Settings},
    },
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
    read(access).map(|(settings, _)| settings)
}

/// Files as they were when they were read: what a change is based on, and what its backup holds.
type Seen = BTreeMap<PathBuf, Option<docker::File>>;

fn read(access: &Access<'_>) -> Result<(Settings, Seen), String> {
    let env = |name: &str| match &access.instance.place {
        Place::Docker(container) => container.env(name).map(str::to_owned),
        Place::Local => std::env::var(name).ok(),
    };
    let seen = RefCell::new(Seen::new());
    let read = |path: &Path| {
        let file = access.file(path)?;
        let bytes = file.as_ref().map(|it| it.bytes.clone());
        seen.borrow_mut().insert(path.to_owned(), file);
        Ok(bytes)
    };
    let settings = Settings::read(&access.instance.config_path, &read, &env)?;
    Ok((settings, seen.into_inner()))
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
    let (settings, seen) = read(access)?;
    seen.keys().for_each(|path| access.sweep(path));
    access.sweep(&access.instance.state_dir.join(".env"));
    let plan = plan(&settings, target)?;
    let mut notices = plan.notices.clone();
    let env_files = match target.env_files {
        // It decides nothing that openclaw.json does not say, so it keeps nobody from being connected.
        EnvFiles::Update => changed_env_files(access, target).unwrap_or_else(|why| {
            notices.push(format!("its .env was left alone: {why}"));
            Vec::new()
        }),
        EnvFiles::LeaveAlone => Vec::new(),
    };
    if plan.is_empty() && env_files.is_empty() {
        return Ok(Applied::Unchanged { notices });
    }
    let mut former = Vec::new();
    if !plan.is_empty() {
        former.extend(settings_files(access, (&settings, &seen), &plan)?);
    }
    former.extend(
        env_files
            .iter()
            .map(|(path, old, _)| (path.clone(), Some(old.clone()))),
    );
    let backup = backups.keep(&access.instance.identity(), &former)?;
    let mut change = Change {
        access,
        seen: &seen,
        touched: Vec::new(),
    };
    if let Err(why) = change.make((&settings, &plan), target, &env_files) {
        let why = why.replace(target.key, "[key]");
        former.retain(|(path, _)| change.touched.contains(path));
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

/// Puts back what the newest backup holds, after keeping what is there now beside it; tells which files
/// and where the copies are, `None` when there is nothing to put back.
///
/// # Errors
/// When the backup is of another instance that had this name, or a file cannot be written.
pub(crate) fn revert(
    access: &Access<'_>,
    backups: &Backups,
) -> Result<Option<(Vec<PathBuf>, PathBuf)>, String> {
    let Some(backup) = backups.newest()? else {
        return Ok(None);
    };
    let own = access.instance.identity();
    if backup.of != own {
        return Err(format!(
            "its newest backup, {}, is of {}, and this is {own}; put it back by hand",
            backup.dir.display(),
            backup.of
        ));
    }
    let mut present = Vec::new();
    for (path, _) in &backup.files {
        present.push((path.clone(), access.file(path)?));
    }
    backup.keep_present(&present)?;
    restore(access, &backup.files)?;
    backup.done()?;
    let files = backup.files.into_iter().map(|(path, _)| path).collect();
    Ok(Some((files, backup.dir)))
}

/// The last first: a key in `.env` goes before openclaw.json points back to where that key must not go.
fn restore(access: &Access<'_>, former: &[Former]) -> Result<(), String> {
    for (path, file) in former.iter().rev() {
        let now = access.file(path)?;
        match (file, now) {
            (Some(file), Some(now)) if *file == now => {}
            (Some(file), _) => access.put(path, file)?,
            (None, Some(_)) => access.remove(path)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The files that the change will touch, as they were read: those edited here, or the one that OpenClaw writes.
fn settings_files(
    access: &Access<'_>,
    (settings, seen): (&Settings, &Seen),
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
    let former = |path: PathBuf| {
        let file = seen.get(&path).cloned().flatten();
        (path, file)
    };
    Ok(paths.into_iter().map(former).collect())
}

type EnvFileChange = (PathBuf, docker::File, String);

/// A change on its way, and what of it was done.
struct Change<'a> {
    access: &'a Access<'a>,
    seen: &'a Seen,
    /// Only these are put back when the rest fails: what somebody else wrote is theirs.
    touched: Vec<PathBuf>,
}

impl Change<'_> {
    fn make(
        &mut self,
        (settings, plan): (&Settings, &Plan),
        target: &Target<'_>,
        env_files: &[EnvFileChange],
    ) -> Result<(), String> {
        if !plan.is_empty() {
            self.settings(settings, plan)?;
            let now = self::settings(self.access)?;
            let left = self::plan(&now, target)?;
            if !left.is_empty() {
                return Err("openclaw.json does not hold what was written to it".to_owned());
            }
        }
        // Only now: while openclaw.json points elsewhere, this key would go there.
        for (path, old, new) in env_files {
            self.access
                .replace(path, Some(&old.bytes), new.as_bytes())?;
            self.touched.push(path.clone());
        }
        Ok(())
    }

    /// Through OpenClaw itself, which checks what it writes; but it would drop comments, so a file that
    /// has some, or is made of several, is edited here and checked by OpenClaw afterwards.
    fn settings(&mut self, settings: &Settings, plan: &Plan) -> Result<(), String> {
        let edited = settings.edited(plan)?;
        let root = &self.access.instance.config_path;
        let is_only_root = edited.iter().all(|(path, _)| path == root);
        if is_only_root && !settings.has_comments() {
            let patch = plan.patch.to_string();
            let words_of_it = ["config", "patch", "--stdin"];
            match self.access.openclaw(&words_of_it, patch.as_bytes())? {
                Some(ran) if ran.code == 0 => {
                    self.touched.push(root.clone());
                    return Ok(());
                }
                // Older ones have no such command.
                Some(ran) if words(&ran).contains("unknown command") => {}
                Some(ran) => {
                    return Err(format!("`openclaw config patch` failed: {}", words(&ran)));
                }
                None => return self.write(&edited),
            }
        }
        self.write(&edited)?;
        match self.access.openclaw(&["config", "validate"], b"")? {
            Some(ran) if ran.code != 0 && !words(&ran).contains("unknown command") => Err(format!(
                "OpenClaw does not accept the edited openclaw.json: {}",
                words(&ran)
            )),
            _ => Ok(()),
        }
    }

    fn write(&mut self, edited: &[(PathBuf, String)]) -> Result<(), String> {
        for (path, text) in edited {
            let old = self.seen.get(path).and_then(Option::as_ref);
            let old = old.map(|it| it.bytes.as_slice());
            self.access.replace(path, old, text.as_bytes())?;
            self.touched.push(path.clone());
        }
        Ok(())
    }
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
    let Some(file) = access.file(&path)? else {
        return Ok(changed);
    };
    let text =
        std::str::from_utf8(&file.bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    if let Some(new) = env_file::pointed(text, target.origin, target.key) {
        changed.push((path, file, new));
    }
    Ok(changed)
}
