//! One instance on its way to being a tenant: what it is, what it would need, and whether it got it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    access::Access,
    apply::{self, Applied, EnvFiles, Target},
    backups::Backups,
    folders::{self, ROOT_CONF, Who},
    found::Found,
    host_file,
    identities::Identities,
    prove::{self, Finding},
    reach::{self, Answering},
    say::Mark,
    tenant_key,
};
use crate::{
    config::{self, Config, Key, Secret, edit::NewTenant},
    docker::Mount,
    openclaw::{
        environment,
        instance::{Instance, Place},
        settings::Settings,
    },
};

/// The gateway that an instance shall use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// It may not know this configuration's keys yet.
    Running,
    /// It was started with this configuration just now.
    OurOwn,
}

/// An instance that was looked into.
pub(crate) struct Candidate<'a> {
    pub(crate) access: Access<'a>,
    /// Where it reaches the gateway, or why it does not.
    pub(crate) origin: Result<String, String>,
    /// What config.yaml needs for it, or why it can have nothing.
    pub(crate) tenant: Result<Tenant, String>,
    /// As they were when it was looked into.
    settings: Result<Settings, String>,
    workspace: Workspace,
}

/// Where an instance works, as far as the runs can.
#[derive(Debug, Clone, Default)]
struct Workspace {
    path: Option<PathBuf>,
    /// Why its runs do not have all of it, in words, with the way out.
    closed: Option<String>,
}

/// An instance's entry in config.yaml.
#[derive(Debug)]
pub(crate) enum Tenant {
    /// It has one. Variables that it does not have yet are added.
    Known {
        key: Secret,
        missing_env: Vec<(String, Secret)>,
        /// It has a working_dir.
        works_elsewhere: bool,
    },
    New {
        key: Secret,
        tenant: NewTenant,
    },
}

impl Tenant {
    pub(crate) fn key(&self) -> &Secret {
        match self {
            Tenant::Known { key, .. } | Tenant::New { key, .. } => key,
        }
    }
}

/// What instances are looked into with.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) config: &'a Config,
    pub(crate) answering: &'a Answering,
    pub(crate) identities: &'a Identities,
    /// The tenant's key, where the operator gave it.
    pub(crate) given: Option<&'a Secret>,
}

/// What became of an instance.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) findings: Vec<Finding>,
    pub(crate) changed: Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    No,
}

impl Connected {
    pub(crate) fn is_good(&self) -> bool {
        self.findings.iter().all(|it| it.mark != Mark::Fail)
    }
}

impl<'a> Candidate<'a> {
    /// Looks into an instance; changes nothing.
    pub(crate) fn look(found: &'a Found, instance: &'a Instance, with: &Look<'_>) -> Candidate<'a> {
        let access = found.access(instance);
        let settings = apply::settings(&access);
        let workspace = settings.as_ref().ok();
        let workspace =
            workspace.map_or_else(Workspace::default, |it| workspace_on_host(&access, it));
        let tenant = match (with.identities.check(instance), &settings) {
            (Err(why), _) => Err(why),
            (Ok(()), Ok(settings)) => tenant_of(&access, (settings, workspace.path.clone()), with),
            (Ok(()), Err(why)) => Err(why.clone()),
        };
        Candidate {
            access,
            origin: reach::origin(&access, (with.config, with.answering)),
            tenant,
            settings,
            workspace,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.access.instance.name
    }

    /// What would be changed in its openclaw.json, in words.
    ///
    /// # Errors
    /// Why it cannot be connected.
    pub(crate) fn preview(&self) -> Result<Vec<String>, String> {
        let origin = self.origin.as_ref()?;
        let tenant = self.tenant.as_ref()?;
        let settings = self.settings.as_ref()?;
        let target = Target {
            origin,
            key: tenant.key().expose(),
            env_files: EnvFiles::LeaveAlone,
        };
        let plan = apply::plan(settings, &target)?;
        let mut lines: Vec<String> = self.described(settings);
        let changes: Vec<String> = plan
            .providers
            .iter()
            .map(|it| {
                let before = it.previous_base_url.as_deref().unwrap_or("nothing");
                format!(
                    "provider {} ({}): {before} -> {}",
                    it.id,
                    it.api.name(),
                    it.base_url
                )
            })
            .collect();
        if plan.is_empty() {
            lines.push("openclaw.json points at the gateway already".to_owned());
        }
        lines.extend(changes);
        lines.extend(plan.notices);
        Ok(lines)
    }

    /// Why its runs cannot work where it works, where that is not the operator's own choice.
    pub(crate) fn closed_workspace(&self) -> Option<&str> {
        match &self.tenant {
            Ok(Tenant::Known {
                works_elsewhere, ..
            }) if *works_elsewhere => None,
            Ok(_) => self.workspace.closed.as_deref(),
            Err(_) => None,
        }
    }

    /// What else is known of it.
    fn described(&self, settings: &Settings) -> Vec<String> {
        let port = settings.gateway_port().map(|port| format!("port {port}"));
        let workspace = self.workspace.path.as_ref();
        let workspace = workspace.map(|path| format!("workspace {}", path.display()));
        let known: Vec<String> = port.into_iter().chain(workspace).collect();
        match known.is_empty() {
            true => Vec::new(),
            false => vec![known.join(", ")],
        }
    }

    /// Points it at the gateway, which runs, and proves that it is served.
    pub(crate) fn connect(
        &self,
        backups: &Backups,
        (env_files, gateway): (EnvFiles, Gateway),
    ) -> Connected {
        let mut findings = Vec::new();
        let done = self.try_to_connect(backups, (env_files, gateway), &mut findings);
        let changed = match done {
            Ok(changed) => changed,
            Err(why) => {
                findings.push(Finding::fail(format!("not connected: {why}"), ""));
                Changed::No
            }
        };
        Connected { findings, changed }
    }

    fn try_to_connect(
        &self,
        backups: &Backups,
        (env_files, gateway): (EnvFiles, Gateway),
        findings: &mut Vec<Finding>,
    ) -> Result<Changed, String> {
        let origin = self.origin.as_ref()?;
        let key = self.tenant.as_ref()?.key().expose();
        if gateway == Gateway::Running {
            prove::new_key_is_known(&self.access, origin, key)?;
        }
        let target = Target {
            origin,
            key,
            env_files,
        };
        let changed = match apply::apply(&self.access, &target, backups)? {
            Applied::Unchanged { notices } => {
                findings.push(Finding::ok(format!("points at {origin} already")));
                findings.extend(notices.into_iter().map(|it| Finding::warn(it, "")));
                Changed::No
            }
            Applied::Changed {
                providers,
                backup,
                notices,
                ..
            } => {
                let ids: Vec<&str> = providers.iter().map(|it| it.id.as_str()).collect();
                findings.push(Finding::ok(format!(
                    "points at {origin} (provider {}); before: {}",
                    ids.join(", "),
                    backup.display()
                )));
                findings.extend(notices.into_iter().map(|it| Finding::warn(it, "")));
                Changed::Yes
            }
        };
        // Also when nothing was changed: the last proof may have failed.
        findings.push(prove::request(&self.access, origin, key));
        Ok(changed)
    }
}

fn tenant_of(
    access: &Access<'_>,
    (settings, workspace): (&Settings, Option<PathBuf>),
    with: &Look<'_>,
) -> Result<Tenant, String> {
    let instance = access.instance;
    let env = variables(access, settings);
    let known = with
        .config
        .tenants
        .iter()
        .find(|it| it.name == instance.name);
    if let Some(known) = known {
        let has = |name: &str| known.env.iter().any(|(it, _)| it == name);
        return Ok(Tenant::Known {
            key: tenant_key::of(known, Some(settings), with.given)?,
            missing_env: env.into_iter().filter(|(name, _)| !has(name)).collect(),
            works_elsewhere: known.working_dir.is_some(),
        });
    }
    let key = tenant_key::new()?;
    Ok(Tenant::New {
        tenant: NewTenant {
            name: instance.name.clone(),
            key: Key::Plain(key.clone()),
            container: None,
            mounts: mounts_of(access, workspace.as_deref()),
            working_dir: workspace,
            env,
        },
        key,
    })
}

/// What a tenant needs of an instance.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) env: Vec<(String, Secret)>,
    pub(super) working_dir: Option<PathBuf>,
    pub(super) mounts: Vec<config::Mount>,
    /// Why its runs do not have all of the instance's workspace, with the way out.
    pub(super) closed: Option<String>,
}

/// # Errors
/// What is wrong with the instance's settings.
pub(super) fn needs(access: &Access<'_>) -> Result<Needs, String> {
    let settings = apply::settings(access)?;
    let workspace = workspace_on_host(access, &settings);
    Ok(Needs {
        env: variables(access, &settings),
        mounts: mounts_of(access, workspace.path.as_deref()),
        working_dir: workspace.path,
        closed: workspace.closed,
    })
}

/// What the instance's prompts speak of: its workspace, and the files that came in by its channels. A run in a
/// sandbox finds them by the instance's own names.
fn mounts_of(access: &Access<'_>, workspace: Option<&Path>) -> Vec<config::Mount> {
    let instance = access.instance;
    let Some(workspace) = workspace else {
        return Vec::new();
    };
    let media = instance.state_dir.join("media");
    let media = instance.on_host(&media).map(|host| (media, host));
    // Of a directory that is there, and no link: what is mounted is what a link leads to.
    let media = media.filter(|(inside, host)| match instance.mount_of(inside) {
        Some((mount, below)) => host_file::is_dir(mount, &below),
        None => std::fs::symlink_metadata(host).is_ok_and(|it| it.is_dir()),
    });
    let inside = match &instance.place {
        // It has the same name already.
        Place::Local => None,
        Place::Docker(container) => inside_of(&container.mounts, workspace),
    };
    let workspace = inside.map(|inside| (inside, workspace.to_owned()));
    let mounts = workspace.into_iter().chain(media);
    let real = |host: PathBuf| host.canonicalize().unwrap_or(host);
    mounts
        .map(|(inside, host)| config::Mount {
            inside,
            host: real(host),
        })
        .collect()
}

/// The container's name for one of the host's paths.
fn inside_of(mounts: &[Mount], path: &Path) -> Option<PathBuf> {
    let real = |it: &Mount| Some((it.source.canonicalize().ok()?, it.destination.clone()));
    let holding = mounts.iter().filter_map(real);
    let holding = holding.filter(|(source, _)| path.starts_with(source));
    let (source, destination) = holding.max_by_key(|(source, _)| source.components().count())?;
    let below = path.strip_prefix(source).ok()?;
    Some(match below.as_os_str().is_empty() {
        true => destination,
        false => destination.join(below),
    })
}

/// The variables of the instance that its runs get.
fn variables(access: &Access<'_>, settings: &Settings) -> Vec<(String, Secret)> {
    let settings = settings.env_vars();
    let (container, mounts) = match &access.instance.place {
        Place::Docker(container) => (&*container.config.env, &*container.mounts),
        Place::Local => (&[][..], &[][..]),
    };
    let all = environment::of_tenant(container, &settings, mounts);
    let secret = |(name, value)| (name, Secret::new(value));
    all.into_iter().map(secret).collect()
}

/// The instance's workspace, where the runs can work in it.
fn workspace_on_host(access: &Access<'_>, settings: &Settings) -> Workspace {
    let instance = access.instance;
    let inside = match settings.workspace() {
        Some(path) => instance.expanded(&path),
        None => instance.state_dir.join("workspace"),
    };
    let Some(path) = instance.on_host(&inside) else {
        return Workspace::default();
    };
    // A link could lead anywhere once it is followed.
    let entered = match instance.mount_of(&inside) {
        Some((mount, below)) => host_file::enter(mount, &below),
        None => match std::fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => host_file::enter(&path, Path::new("")),
            Err(error) => Err(error),
        },
    };
    let closed = |what: &str, error: &io::Error| {
        format!(
            "its workspace {} cannot be {what} by the user that runs ccgw ({}); let that user in, or {ROOT_CONF}, and \
             write it as `working_dir` of this tenant",
            path.display(),
            folders::plainly(error)
        )
    };
    match entered {
        Ok(()) => Workspace {
            closed: Who::Ourselves
                .writes(&path)
                .err()
                .map(|error| closed("written", &error)),
            // Links of the operator's own are followed now, and none later.
            path: Some(path.canonicalize().unwrap_or(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Workspace {
            closed: Some(format!(
                "{}. Until then its runs have a private folder",
                closed("entered", &error)
            )),
            path: None,
        },
        Err(_) => Workspace::default(),
    }
}
