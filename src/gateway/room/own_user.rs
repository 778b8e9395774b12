//! A tenant's runs as a system user of its own: the folders and files that they need become theirs, or open to them,
//! and what the configuration names is closed to them.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::super::{Gateway, Served, Tenant, job::Job};
use crate::{
    claude::{
        command::Place,
        keeper::Launch,
        sandbox::{self, Inside, Own, RunUser, Surroundings},
    },
    config::{self, Config},
    state::{self, First},
};

/// Whose runs have been which user in this life of the daemon, and nothing else since.
#[derive(Default)]
pub(crate) struct LetIn(Mutex<HashMap<String, u32>>);

impl LetIn {
    fn is(&self, tenant: &str, user: RunUser) -> First {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(tenant) == Some(&user.uid) {
            true => First::No,
            false => First::Yes,
        }
    }

    fn note(&self, tenant: &str, user: RunUser) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(tenant.to_owned(), user.uid);
    }

    /// A run as somebody else leaves files that are not the user's.
    pub(super) fn forget(&self, tenant: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(tenant);
    }
}

impl Gateway {
    /// The user that a tenant's runs can be here.
    ///
    /// # Errors
    /// Why they can be none, as a part of a sentence.
    pub(super) fn own_user_of(&self, served: &Served, tenant: &Tenant) -> Result<RunUser, String> {
        self.sandboxes.users().map_err(str::to_owned)?;
        let tenant = configured(served, tenant)?;
        self.surroundings(served).user_of(tenant)
    }

    /// Whether a tenant's runs are a user of their own where nothing stronger works.
    ///
    /// # Errors
    /// Why not, as a part of a sentence.
    pub(super) fn may_have_user(&self, served: &Served, tenant: &Tenant) -> Result<(), String> {
        self.sandboxes.users().map_err(str::to_owned)?;
        let tenant = configured(served, tenant)?;
        self.surroundings(served).may_have_user(tenant)
    }

    /// As [`Gateway::own_user_of`], where nobody wrote that they shall be one.
    ///
    /// # Errors
    /// As there.
    pub(super) fn nameless_user_of(
        &self,
        served: &Served,
        tenant: &Tenant,
    ) -> Result<RunUser, String> {
        let tenant = configured(served, tenant)?;
        self.surroundings(served).nameless_user_of(tenant)
    }

    fn surroundings<'a>(&'a self, served: &'a Served) -> Surroundings<'a> {
        Surroundings {
            config: &served.config,
            config_file: &self.config_file,
            state: self.state.path(),
            program: &served.cli.program.path,
            env: &self.base_env,
        }
    }

    /// The run of a job as this user.
    ///
    /// # Errors
    /// What cannot be made that user's, or be closed to it.
    pub(super) fn as_own_user(
        &self,
        job: &Job,
        (launch, place): (Launch, &Place),
        user: RunUser,
    ) -> Result<Launch, String> {
        let served = &*job.served;
        let tenant = configured(served, &job.tenant)?;
        let name = &tenant.name;
        let surroundings = self.surroundings(served);
        surroundings
            .to_close()
            .iter()
            .for_each(|it| sandbox::close(it));
        for path in surroundings.secrets_from(tenant) {
            sandbox::ensure_closed(&path, user)?;
        }
        let first = self.let_in.is(name, user);
        let let_in = self.state.let_in(name, user, first);
        let_in.map_err(|it| format!("{}: {it}", self.state.path().display()))?;
        let inside = match first {
            First::Yes => Inside::Tree,
            First::No => Inside::Top,
        };
        if let Some(dir) = &tenant.working_dir {
            sandbox::take(dir, user, Inside::Left)?;
        }
        let named = sandbox::config_dir(tenant);
        let own = self.state.cli_config(name).map_err(|it| it.to_string())?;
        let config_dir = named.as_ref().unwrap_or(&own);
        sandbox::take(config_dir, user, inside)?;
        show_skills(&served.config, (name, user))?;
        self.let_in.note(name, user);
        let relay = self.relay.as_ref().and_then(|it| it.socket_of(name));
        if let Some(socket) = &relay {
            super::give(socket, user).map_err(|it| format!("{}: {it}", socket.display()))?;
        }
        let commands = self.state.program_copy();
        let commands = commands.parent().unwrap_or(&commands);
        let own = Own {
            user,
            entry: self.sandboxes.users()?,
            home: &self.state.home(name).map_err(|it| it.to_string())?,
            config_dir,
            temporary: &self.state.temporary(name),
            sandbox: &served.config.sandbox,
            relay: relay.as_deref().map(|it| (it, commands)),
        };
        let launch = Launch {
            cwd: place.working_dir.clone(),
            ..launch
        };
        sandbox::as_user(launch, &own)
    }
}

/// A tenant that stands in the configuration: whoever else is served has no user of its own.
fn configured<'s>(served: &'s Served, tenant: &Tenant) -> Result<&'s config::Tenant, String> {
    let found = served.config.tenant(&tenant.name);
    found.map_err(|_| "without tenants there is nobody to tell apart".to_owned())
}

/// A tenant's skills are read by its own user, and by no other one.
fn show_skills(config: &Config, (tenant, user): (&str, RunUser)) -> Result<(), String> {
    let dir = &config.skills.dir;
    // What else is in there is none of ours.
    for name in config.tenants.iter().map(|it| it.name.as_str()) {
        let (path, is_own) = (dir.join(name), name == tenant);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let failed = |it: std::io::Error| format!("{}: {it}", path.display());
        let mode = metadata.mode() & 0o777;
        if !metadata.is_dir() {
            continue;
        }
        if is_own && metadata.gid() != user.gid {
            std::os::unix::fs::lchown(&path, None, Some(user.gid)).map_err(failed)?;
        }
        let wanted = match is_own {
            true => (mode | 0o050) & !0o007,
            false => mode & !0o007,
        };
        if mode != wanted {
            let wanted = fs::Permissions::from_mode(wanted);
            fs::set_permissions(&path, wanted).map_err(failed)?;
        }
    }
    match state::skills_of(dir, tenant) {
        Some(own) => ensure_readable(&own),
        None => Ok(()),
    }
}

/// Skills lie there as they were copied, and are nobody's secret once their folder is closed.
fn ensure_readable(skills: &Path) -> Result<(), String> {
    let entries = fs::read_dir(skills).into_iter().flatten().flatten();
    let open = |path: PathBuf, wanted: u32| {
        let closed = fs::metadata(&path).is_ok_and(|it| it.mode() & wanted != wanted);
        match closed {
            true => Err(format!(
                "{} cannot be read by other users; `chmod -R o+rX {}`",
                path.display(),
                skills.display()
            )),
            false => Ok(()),
        }
    };
    for skill in entries.map(|it| it.path()) {
        let wanted = if skill.is_dir() { 0o005 } else { 0o004 };
        open(skill.join("SKILL.md"), 0o004)?;
        open(skill, wanted)?;
    }
    Ok(())
}
