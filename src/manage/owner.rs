//! Root's hand on another user's gateway: what is done to that user's configuration, state and instances is done as
//! that user, so that it lies where the gateway looks and belongs to whom it belongs.

use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
};

use super::{
    operator,
    say::{prompt, prompt_end},
    user::User,
};

/// Not the other user's.
const OURS: [&str; 6] = [
    "HOME",
    "USER",
    "LOGNAME",
    "MAIL",
    "SHELL",
    "RUNTIME_DIRECTORY",
];

/// Where root asks for something that concerns another user's configuration, becomes this program as that user, with
/// the same words after `first`; returns where nobody else is to be. Who says by `STATE_DIRECTORY` where the state is,
/// is taken at its word.
///
/// # Errors
/// When it cannot be that user.
pub(crate) fn act_as(first: &[&str], argv: &[OsString], file: &Path) -> Result<(), String> {
    if !is_roots_hand() {
        return Ok(());
    }
    let uid = match operator::gateway() {
        Some((config, uid)) if is_same(&config, file) => uid,
        _ => owner(file).unwrap_or_default(),
    };
    // Nobody whom this machine knows: a file of a container's user, for example.
    let Some(user) = (uid != 0)
        .then(|| User::named(&uid.to_string()).ok())
        .flatten()
    else {
        return Ok(());
    };
    let is_kept = |name: &str| !OURS.contains(&name) && !name.starts_with("XDG_");
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_kept(name))
        .collect();
    let program = std::env::current_exe().map_err(|it| format!("where ccgw is: {it}"))?;
    prompt(&format!("as {}, whose {} is", user.name, file.display()));
    prompt_end();
    let mut command = user.command(&program, &env);
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    let error = command.args(first).args(argv).exec();
    Err(format!(
        "setpriv cannot be started ({error}); run this as `sudo -u {} -H`",
        user.name
    ))
}

fn is_roots_hand() -> bool {
    let named = std::env::var_os("STATE_DIRECTORY").is_some_and(|it| !it.is_empty());
    !named && rustix::process::geteuid().is_root()
}

/// Whether what this user's gateway says of its configuration may be gone by: nothing is done in it with more power
/// than that user has.
pub(super) fn may_believe(uid: u32) -> bool {
    let is_own = uid == rustix::process::geteuid().as_raw();
    is_own || is_roots_hand() && User::named(&uid.to_string()).is_ok()
}

fn owner(file: &Path) -> Option<u32> {
    let file = std::path::absolute(file).ok()?;
    let metadata = fs::metadata(&file).or_else(|_| fs::metadata(file.parent().unwrap_or(&file)));
    metadata.ok().map(|it| it.uid())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |it: &Path| it.canonicalize().ok();
    real(one).is_some_and(|it| Some(it) == real(other))
}
