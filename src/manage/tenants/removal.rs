//! That a tenant is removed must be known where its name stands for its folders: the daemon that serves it notes it
//! when it reads the configuration again. Where none runs, the note is made in the state directory of the one that did.
//! Who types the command may be another user than the daemon's, root for example, whose own state directory is not it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    config::Tenant,
    manage::{operator, setup::state_path},
    state::{
        NAME,
        tenants::{KnownBy, note_removed},
    },
};

/// Of the packaged service.
const OF_THE_SYSTEM: &str = "/var/lib/ccgw/.local/state/ccgw";

/// Notes that a tenant was taken out of this file, which is done.
///
/// # Errors
/// What is not done, and how to do it.
pub(super) fn note(config: &Path, tenant: &Tenant) -> Result<(), String> {
    let owner = fs::metadata(config).map_or(0, |it| it.uid());
    let places = places(owner);
    let why = match operator::reload_of(config, &sockets(owner, &places)) {
        Some(Ok(())) => return Ok(()),
        Some(Err(why)) => format!("the gateway that serves this file did not take it over ({why})"),
        None => "no gateway that serves this file answers".to_owned(),
    };
    match noted_in(&places, tenant) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{why}, and {}", not_found(&places, tenant))),
        Err(error) => Err(format!("{why}, and {error}; {}", way_out(tenant))),
    }
}

/// State directories.
struct Places {
    /// The one that the environment names.
    own: Option<PathBuf>,
    /// Others that a daemon with this configuration may have.
    others: Vec<PathBuf>,
}

fn places(owner: u32) -> Places {
    let own = state_path().ok();
    let home = fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|it| home_of(&it, owner));
    let of_owner = home.map(|it| it.join(".local/state").join(NAME));
    let mut others: Vec<PathBuf> = [PathBuf::from(OF_THE_SYSTEM)]
        .into_iter()
        .chain(of_owner)
        .collect();
    others.dedup();
    others.retain(|it| Some(it) != own.as_ref());
    Places { own, others }
}

/// As /etc/passwd has it.
fn home_of(users: &str, uid: u32) -> Option<PathBuf> {
    let mut users = users.lines().map(|it| it.split(':').collect::<Vec<_>>());
    let user = users.find(|it| it.get(2).is_some_and(|it| it.parse() == Ok(uid)))?;
    let home = user.get(5).map(PathBuf::from);
    home.filter(|it| it.is_absolute())
}

/// Where the daemon of another user listens.
fn sockets(owner: u32, places: &Places) -> Vec<PathBuf> {
    let of_a_user = PathBuf::from(format!("/run/user/{owner}/ccgw"));
    let others = places.others.iter().cloned();
    others.chain([of_a_user]).collect()
}

/// Notes it wherever this tenant is known.
fn noted_in(places: &Places, tenant: &Tenant) -> Result<bool, String> {
    let (name, keys) = (&*tenant.name, tenant.key_prints());
    let all = places.own.iter().chain(&places.others);
    let mut noted = false;
    for state in all.filter(|it| is_readable(it)) {
        noted |= note_removed(state, name, KnownBy::Keys(&keys))?;
    }
    let Some(own) = places.own.as_ref().filter(|_| !noted) else {
        return Ok(noted);
    };
    // Its key may have changed while no daemon saw it.
    let is_the_daemons = own.join("tenants.json").exists();
    let is_named = ["STATE_DIRECTORY", "XDG_STATE_HOME"]
        .iter()
        .any(|it| std::env::var_os(it).is_some_and(|it| !it.is_empty()));
    note_removed(own, name, KnownBy::Name)?;
    Ok(is_the_daemons || is_named)
}

/// Another user's directory is no place to follow links from.
fn is_readable(state: &Path) -> bool {
    let file = state.join("tenants.json");
    fs::symlink_metadata(&file).is_ok_and(|it| it.is_file()) && fs::File::open(&file).is_ok()
}

fn not_found(places: &Places, tenant: &Tenant) -> String {
    let looked: Vec<String> = places
        .own
        .iter()
        .chain(&places.others)
        .map(|it| it.display().to_string())
        .collect();
    format!(
        "no state directory was found that knows tenant {} by its key (looked in {}), so its removal is noted nowhere; {}",
        tenant.name,
        looked.join(", "),
        way_out(tenant)
    )
}

fn way_out(tenant: &Tenant) -> String {
    let name = &tenant.name;
    format!(
        "before another tenant gets the name {name}, start the gateway once with this file, as the user that runs it: else that tenant gets the folders and conversations of this one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_the_one_of_the_uid() {
        let users = "root:x:0:0:root:/root:/bin/bash\nccgw:x:998:998::/var/lib/ccgw:/usr/sbin/nologin\nodd\n";
        assert_eq!(home_of(users, 998), Some("/var/lib/ccgw".into()));
        assert_eq!(home_of(users, 0), Some("/root".into()));
        assert_eq!(home_of(users, 1000), None);
    }
}
