//! `ccgw-manage remove`: a tenant leaves the configuration; what of it stays is said.

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{
    Command,
    edit::{Missing, TAKEN_OVER, edit},
    look, output, removal,
    report::{self, Lines},
};
use crate::{
    config::{Config, edit::Change},
    manage::{
        apply_command::revert,
        backups::Backups,
        doctor::Output,
        drift,
        found::Found,
        identities::Identities,
        prove::Finding,
        question::agreed,
        say::Mark,
        setup::{state_dir, state_path},
    },
};

/// Remove a tenant: its key is not taken any more. Asks before.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "remove",
    help_triggers("-h", "--help"),
    example = "Put its instance back as it was before ccgw, then remove it:
  $ ccgw-manage remove alice --revert"
)]
pub(crate) struct RemoveArguments {
    /// the tenant
    #[argh(positional, arg_name = "TENANT")]
    name: String,

    /// before that, put its instance's files back as `apply --revert` does
    #[argh(switch)]
    revert: bool,

    /// do not ask
    #[argh(switch)]
    yes: bool,

    /// print a JSON object; asks nothing, so it needs --yes
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    name: String,
    instance: Instance,
    asking: Asking,
    output: Output,
}

/// What becomes of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instance {
    Leave,
    Revert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Ask,
    Yes,
}

impl RemoveArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        if self.json && !self.yes {
            return Err("--json asks nothing; add --yes".to_owned());
        }
        Ok(Command::Remove(Options {
            name: self.name,
            instance: match self.revert {
                true => Instance::Revert,
                false => Instance::Leave,
            },
            asking: match self.yes {
                true => Asking::Yes,
                false => Asking::Ask,
            },
            output: output(self.json),
        }))
    }
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    config: &'a Path,
    backup: Option<PathBuf>,
    /// What is still there.
    left: Vec<String>,
    reverted: Option<String>,
    warnings: Vec<String>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<bool, String> {
    let name = &options.name;
    let config = look::load(path)?;
    let tenant = config.tenant(name)?;
    let found = Found::search(&config.tenants);
    let lines = Lines::new(options.output);
    let left = left(&config, &found, options);
    if options.asking == Asking::Ask {
        left.iter().for_each(|it| lines.mark(Mark::Warn, it));
        if !agreed(&format!("Remove tenant {name}?"))? {
            lines.ok("nothing was changed");
            return Ok(false);
        }
    }
    let reverted = match options.instance {
        Instance::Leave => None,
        Instance::Revert => Some(put_back(&found, name, config.server.port)?),
    };
    lines.findings(reverted.as_slice());
    let edited = edit(path, Missing::Refuse, |before| {
        before.tenant(name)?;
        Ok(vec![Change::RemoveTenant(name.clone())])
    })?;
    let mut warnings = edited.notes;
    if config.tenants.len() == 1 {
        warnings.push(LAST.to_owned());
    }
    // Whoever gets this name next is another one.
    let forgotten = state_path().and_then(|state| Identities::forget(&state, name));
    warnings.extend(forgotten.err());
    warnings.extend(removal::note(path, tenant).err());
    lines.changed(
        &format!("tenant {name} is removed from"),
        path,
        edited.backup.as_ref(),
    );
    lines.ok(TAKEN_OVER);
    if options.asking == Asking::Yes {
        left.iter().for_each(|it| lines.mark(Mark::Warn, it));
    }
    warnings.iter().for_each(|it| lines.mark(Mark::Warn, it));
    if options.output == Output::Json {
        report::json(&Removed {
            name,
            config: path,
            backup: edited.backup,
            left,
            reverted: reverted.map(|it| it.text),
            warnings,
        })?;
    }
    Ok(true)
}

const LAST: &str = "that was the last tenant: started without any, the gateway serves all programs of this machine without a key";

/// What a removal does not take away.
fn left(config: &Config, found: &Found, options: &Options) -> Vec<String> {
    let name = &options.name;
    let mut left = Vec::new();
    let skills = config.skills.dir.join(name);
    if skills.is_dir() {
        left.push(format!("its skills stay in {}", skills.display()));
    }
    if let (Some(instance), Instance::Leave) = (found.named(name), options.instance) {
        left.push(format!(
            "its instance ({}) still points here, and gets a 401; `ccgw-manage apply {name} --revert` puts back what was there before",
            instance.whereabouts()
        ));
    }
    left
}

/// # Errors
/// When it cannot be put back; then nothing else is done either.
fn put_back(found: &Found, name: &str, port: u16) -> Result<Finding, String> {
    let none = |why| format!("nothing was put back or removed: {why}, or leave out --revert");
    let instance = found.own(name).map_err(none)?;
    let backups = Backups::of(&state_dir()?, name);
    let mut finding = revert(found, instance, &backups);
    // Each rotation and each apply kept what was there before it.
    while finding.mark == Mark::Ok
        && drift::points_here(found, instance, port)
        && backups.newest()?.is_some()
    {
        finding = revert(found, instance, &backups);
    }
    match finding.mark {
        Mark::Fail => Err(format!("nothing was removed: {finding}")),
        Mark::Ok | Mark::Warn if drift::points_here(found, instance, port) => Ok(Finding::warn(
            format!("{finding}; it still points here"),
            "give its provider another baseUrl",
        )),
        Mark::Ok | Mark::Warn => Ok(finding),
    }
}
