//! Which instance each tenant is of, kept in the state directory: names move, when a container goes and
//! another is found under its name, and a key and secrets must not move with them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    openclaw::instance::Instance,
    replace::{self, Owner},
};

/// What is known of all tenants.
#[derive(Debug)]
pub(crate) struct Identities {
    path: PathBuf,
    of_tenant: BTreeMap<String, String>,
}

impl Identities {
    /// Reads them; where nothing is kept yet, nothing is known.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn load(state_dir: &Path) -> Result<Identities, String> {
        let path = state_dir.join("instances.json");
        let failed = |why: String| format!("{}: {why}; mend or remove it", path.display());
        let of_tenant = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error.to_string())),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?
            }
        };
        Ok(Identities { path, of_tenant })
    }

    /// Whether a tenant may be this instance's. One that nobody was seen to have may be: a configuration
    /// from elsewhere is taken over by its names.
    ///
    /// # Errors
    /// Whose it is, and how to hand it over.
    pub(crate) fn check(&self, instance: &Instance) -> Result<(), String> {
        let own = instance.identity();
        match self.of_tenant.get(&instance.name) {
            Some(known) if *known != own => Err(format!(
                "tenant {} is of {known}, and this is {own}; give one of them another name, or remove the tenant's line from {} to hand it over",
                instance.name,
                self.path.display()
            )),
            _ => Ok(()),
        }
    }

    /// Gives the instances that are known their tenants' names, and puts them first, so that no other one gets
    /// their name.
    pub(crate) fn give_names(&self, instances: &mut [Instance]) {
        let known = |instance: &Instance| {
            let identity = instance.identity();
            let of = self.of_tenant.iter().find(|(_, known)| **known == identity);
            of.map(|(tenant, _)| tenant.clone())
        };
        for instance in instances.iter_mut() {
            if let Some(tenant) = known(instance) {
                instance.name = tenant;
            }
        }
        // Stable: the others keep their order.
        instances.sort_by_key(|it| known(it).is_none());
    }

    /// Notes instances that are connected.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note<'i>(
        state_dir: &Path,
        instances: impl Iterator<Item = &'i Instance>,
    ) -> Result<(), String> {
        // Another setup may have noted something meanwhile.
        let mut now = Identities::load(state_dir)?;
        let before = now.of_tenant.clone();
        now.of_tenant
            .extend(instances.map(|it| (it.name.clone(), it.identity())));
        match now.of_tenant == before {
            true => Ok(()),
            false => now.write(),
        }
    }

    /// Which instance a tenant is of, as far as one was seen.
    pub(crate) fn of(&self, tenant: &str) -> Option<&str> {
        self.of_tenant.get(tenant).map(String::as_str)
    }

    /// Lets another instance have the name of a tenant that is no more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn forget(state_dir: &Path, tenant: &str) -> Result<(), String> {
        let mut now = Identities::load(state_dir)?;
        match now.of_tenant.remove(tenant) {
            Some(_) => now.write(),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<(), String> {
        let now = self;
        // A map of texts always serialises.
        let text = serde_json::to_vec_pretty(&now.of_tenant).unwrap_or_default();
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        replace::atomically(&now.path, &text, owner)
            .map_err(|error| format!("cannot write {}: {error}", now.path.display()))
    }
}
