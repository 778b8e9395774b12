//! A tenant's key as an instance needs it: its text, from wherever it is known.

use crate::{
    config::{Key, KeyHash, Moment, Secret, Tenant},
    ids,
    openclaw::settings::Settings,
};

/// The key: as it was given, from the configuration, or, where that has a hash only, from the instance that
/// was given it before.
///
/// # Errors
/// What is missing, and how to give it.
pub(crate) fn of(
    tenant: &Tenant,
    settings: Option<&Settings>,
    given: Option<&Secret>,
) -> Result<Secret, String> {
    let (name, hash) = (&tenant.name, tenant.key.hash());
    if let Some(given) = given {
        return match KeyHash::of(given.expose()) == hash {
            true => Ok(given.clone()),
            false => Err(format!(
                "the key that was given is not the one of tenant {name}"
            )),
        };
    }
    if let Key::Plain(key) = &tenant.key {
        return Ok(key.clone());
    }
    let of_instance = settings.map(Settings::api_keys).unwrap_or_default();
    let own = of_instance.into_iter().find(|it| KeyHash::of(it) == hash);
    own.map(Secret::new).ok_or_else(|| {
        format!(
            "the configuration has only the SHA-256 of its key, and the instance does not have the key; \
             give it: `ccgw-manage apply {name} --key -` reads it from stdin"
        )
    })
}

/// Until when the instance's key is taken, if it has the tenant's previous one.
pub(crate) fn previous_of(tenant: &Tenant, settings: &Settings) -> Option<Moment> {
    let previous = tenant.previous_key?;
    let has_it = settings
        .api_keys()
        .iter()
        .any(|it| KeyHash::of(it) == previous.hash);
    has_it.then_some(previous.until)
}

/// A key that nobody has: 32 random bytes, as the reference's keys were.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn new() -> Result<Secret, String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|it| format!("no random bytes for a key: {it}"))?;
    Ok(Secret::new(ids::hex(&bytes)))
}
