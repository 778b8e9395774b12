//! What is known of the tenants' credentials. One that does not work, or a usage limit, is answered
//! from memory until it may work again, without starting a CLI; then one real request at a time finds
//! out. Tenants that share a credential share what is known of it, and nobody else does.

mod credential;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::credential::{Credential, Kind, Moment, News, Run};
use super::{Tenant, answer::unix_now};
use crate::{api::ApiError, claude::failure::Cause, config::ConfigDir, log, scheduler::TenantId};

/// What is known of every credential.
pub(crate) struct Upstream {
    /// Of each tenant, by its number; tenants with one login have the same one.
    of_tenant: Vec<Arc<Mutex<Credential>>>,
}

/// A run that may ask the API; dropping it lets the next one find out what this one did not.
pub(crate) struct Pass<'a> {
    credential: &'a Mutex<Credential>,
    tenant: &'a str,
    run: Run,
    answered: Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    NotYet,
    Yes,
}

impl Upstream {
    /// What was known `before` stays known of every credential that is the same one.
    pub(super) fn new(
        tenants: &[Arc<Tenant>],
        before: Option<(&[Arc<Tenant>], &Upstream)>,
    ) -> Self {
        let mut of_tenant: Vec<Arc<Mutex<Credential>>> = Vec::new();
        for id in 0..tenants.len() {
            let own = |known: &Upstream, id: TenantId| Arc::clone(&known.of_tenant[id]);
            let shared = same_credential(tenants, id, &tenants[..id]);
            let known = before.and_then(|(old, known)| {
                same_credential(tenants, id, old).map(|id| own(known, id))
            });
            let credential = shared.map(|other| Arc::clone(&of_tenant[other])).or(known);
            of_tenant.push(credential.unwrap_or_default());
        }
        Upstream { of_tenant }
    }

    /// Whether a run for this tenant and model could start now, so that nobody queues for nothing.
    ///
    /// # Errors
    /// Why not, with the time to come back.
    pub(crate) fn check(&self, tenant: TenantId, model: &str) -> Result<(), ApiError> {
        lock(self.credential(tenant)).check(model, Instant::now())
    }

    /// Starts a run, which must tell how it went.
    ///
    /// # Errors
    /// As [`Upstream::check`]; no CLI must be started then.
    pub(crate) fn enter<'a>(
        &'a self,
        (id, tenant): (TenantId, &'a Tenant),
        model: &str,
    ) -> Result<Pass<'a>, ApiError> {
        let credential = self.credential(id);
        let run = lock(credential).enter(model, Instant::now())?;
        Ok(Pass {
            credential,
            tenant: &tenant.name,
            run,
            answered: Answered::NotYet,
        })
    }

    fn credential(&self, tenant: TenantId) -> &Mutex<Credential> {
        &self.of_tenant[tenant]
    }
}

impl Pass<'_> {
    /// The model answers. Cheap when told often.
    pub(crate) fn worked(&mut self) {
        if std::mem::replace(&mut self.answered, Answered::Yes) == Answered::Yes {
            return;
        }
        let revived = lock(self.credential).worked(&mut self.run);
        let message = match revived {
            None => return,
            Some(Kind::Login) => "the Claude login works again",
            Some(Kind::Limit) => "the usage limit is over",
        };
        log::info(message, &[("tenant", &self.tenant)]);
    }

    /// The run failed for this cause, which its client is told with this error; tells when to come
    /// back, where the cause lasts.
    pub(crate) fn failed(&mut self, cause: Cause, error: &ApiError) -> Option<Duration> {
        let now = Moment {
            at: Instant::now(),
            unix: unix_now(),
        };
        let mut credential = lock(self.credential);
        let news = credential.failed(&mut self.run, cause, error, now);
        let wait = credential.check(self.run.model(), now.at).err();
        drop(credential);
        if let News::Dead(kind, wait) = news {
            let message = match kind {
                Kind::Login => "the Claude login does not work; requests are refused without a run",
                Kind::Limit => "a usage limit is reached; requests are refused without a run",
            };
            let fields: [log::Field<'_>; 3] = [
                ("tenant", &self.tenant),
                ("for_s", &wait.as_secs()),
                ("why", &error.message),
            ];
            log::warn(message, &fields);
        }
        match cause {
            Cause::Other => None,
            Cause::Login(_) | Cause::Limit { .. } => wait.and_then(|it| it.retry_after),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        lock(self.credential).leave(&self.run);
    }
}

/// Which of `others`, by its number, has the same credential as a tenant: whoever shares its login, or it itself
/// under another configuration that changes nothing which may choose its credential.
fn same_credential(
    tenants: &[Arc<Tenant>],
    id: TenantId,
    others: &[Arc<Tenant>],
) -> Option<TenantId> {
    let tenant = &tenants[id];
    match shared_login(tenant) {
        Some(login) => others.iter().position(|it| shared_login(it) == Some(login)),
        None => others
            .get(id)
            .filter(|it| {
                shared_login(it).is_none()
                    && it.env == tenant.env
                    && it.config_dir == tenant.config_dir
            })
            .map(|_| id),
    }
}

/// The login that a tenant shares with all whose `config_dir` is the same; `None` when it has a
/// credential of its own, or may have.
fn shared_login(tenant: &Tenant) -> Option<&ConfigDir> {
    let of_its_own = tenant
        .env
        .iter()
        .any(|(name, _)| name.to_str().is_none_or(may_be_credential));
    match &tenant.config_dir {
        ConfigDir::Private => None,
        _ if of_its_own => None,
        dir => Some(dir),
    }
}

/// Whether a variable may decide which account pays. Too many only cost a run more to find out.
fn may_be_credential(name: &str) -> bool {
    const FAMILIES: [&str; 8] = [
        "ANTHROPIC_",
        "CLAUDE_",
        "AWS_",
        "GOOGLE_",
        "GCLOUD_",
        "CLOUD_ML_",
        "VERTEX_",
        "AZURE_",
    ];
    name == "HOME" || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Nothing in there is left half-changed by a panic.
fn lock(credential: &Mutex<Credential>) -> MutexGuard<'_, Credential> {
    credential.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(config_dir: ConfigDir, env: &[&str]) -> Tenant {
        Tenant {
            name: "t".to_owned(),
            incarnation: String::new(),
            env: env.iter().map(|name| (name.into(), "x".into())).collect(),
            working_dir: None,
            config_dir,
            isolation: None,
            network: None,
            mounts: Vec::new(),
            memory_bytes: None,
            cpu_weight: None,
        }
    }

    #[test]
    fn tenants_share_a_login_unless_they_may_have_their_own() {
        let path = |path: &str| ConfigDir::Path(path.into());
        let tenants = [
            tenant(ConfigDir::Shared, &[]),
            tenant(ConfigDir::Shared, &["EXAMPLE_TOKEN"]),
            tenant(path("/a"), &[]),
            tenant(path("/a"), &["PATH"]),
            tenant(path("/b"), &[]),
            tenant(ConfigDir::Private, &[]),
            tenant(ConfigDir::Private, &[]),
            tenant(ConfigDir::Shared, &["ANTHROPIC_API_KEY"]),
            tenant(ConfigDir::Shared, &["ANTHROPIC_API_KEY"]),
            tenant(ConfigDir::Shared, &["X", "CLAUDE_CODE_OAUTH_TOKEN"]),
            tenant(ConfigDir::Shared, &["ANTHROPIC_AUTH_TOKEN"]),
            tenant(ConfigDir::Shared, &["CLAUDE_CODE_USE_BEDROCK"]),
            tenant(ConfigDir::Shared, &["CLAUDE_CODE_USE_VERTEX"]),
            tenant(ConfigDir::Shared, &["ANTHROPIC_BASE_URL"]),
            tenant(path("/a"), &["CLAUDE_CONFIG_DIR"]),
            tenant(path("/a"), &["HOME"]),
            tenant(path("/a"), &["AWS_PROFILE"]),
            tenant(ConfigDir::Shared, &[]),
        ];
        let tenants = tenants.map(Arc::new);
        let upstream = Upstream::new(&tenants, None);
        let expect = [0, 0, 2, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0];
        assert_eq!(firsts(&upstream.of_tenant), expect);
    }

    /// For each, the first that is the same.
    fn firsts(credentials: &[Arc<Mutex<Credential>>]) -> Vec<usize> {
        let first = |it| credentials.iter().position(|other| Arc::ptr_eq(it, other));
        credentials.iter().map(|it| first(it).unwrap()).collect()
    }

    #[test]
    fn what_is_known_stays_with_its_credential() {
        let shared = || tenant(ConfigDir::Shared, &["PATH"]);
        let with_key = || tenant(ConfigDir::Shared, &["ANTHROPIC_API_KEY"]);
        let private = || tenant(ConfigDir::Private, &[]);
        let made = |all: [Tenant; 5]| all.map(Arc::new);
        let old = made([shared(), with_key(), private(), with_key(), private()]);
        let before = Upstream::new(&old, None);
        let other_key = tenant(ConfigDir::Shared, &["ANTHROPIC_AUTH_TOKEN"]);
        // The first has a key of its own now, the next two stay, another key, and the shared login.
        let new = made([with_key(), with_key(), private(), other_key, shared()]);
        let after = Upstream::new(&new, Some((&old, &before)));
        let all = [before.of_tenant, after.of_tenant].concat();
        assert_eq!(firsts(&all), [0, 1, 2, 3, 4, 5, 1, 2, 8, 0]);
    }
}
