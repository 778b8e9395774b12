//! Where instances were last found, so that not every command looks for its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::instance::Whereabouts;
use crate::config::Config;

/// How long it is taken for granted that an instance is where it was. One that has moved is looked for at once.
const KNOWN_FOR: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Found>>);

struct Found {
    /// The configuration by which it was found. A command that began under an older one may note late what it found.
    by: Arc<Config>,
    at: Instant,
    place: Arc<Whereabouts>,
}

impl Known {
    /// Where a tenant's instance was found by this configuration.
    pub(super) fn get(&self, tenant: &str, config: &Arc<Config>) -> Option<Arc<Whereabouts>> {
        let known = self.lock();
        let found = known.get(tenant)?;
        let counts = Arc::ptr_eq(&found.by, config) && found.at.elapsed() < KNOWN_FOR;
        counts.then(|| Arc::clone(&found.place))
    }

    pub(super) fn note(&self, tenant: &str, config: &Arc<Config>, place: &Arc<Whereabouts>) {
        let found = Found {
            by: Arc::clone(config),
            at: Instant::now(),
            place: Arc::clone(place),
        };
        self.lock().insert(tenant.to_owned(), found);
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        // What is in there is only ever replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_an_older_configuration_led_to_is_not_known_under_a_newer_one() {
        let config = || Arc::new(Config::default_in(Path::new("/"), &|_| None).unwrap());
        let (old, new) = (config(), config());
        let place = Arc::new(Whereabouts::Local {
            state_dir: "/old".into(),
            config_path: "/old/openclaw.json".into(),
        });
        let known = Known::default();
        known.note("alpha", &old, &place);
        assert!(known.get("alpha", &old).is_some());
        known.forget();
        // By a command that began before.
        known.note("alpha", &old, &place);
        assert!(known.get("alpha", &new).is_none());
        known.note("alpha", &new, &place);
        assert!(known.get("alpha", &new).is_some());
        assert!(known.get("beta", &new).is_none());
    }
}
