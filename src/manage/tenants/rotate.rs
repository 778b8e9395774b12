//! `ccgw-manage rotate`: a new key for a tenant, while the old one is still taken for a while.

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{
    Command,
    add::{Then, say_key},
    edit::{Missing, TAKEN_OVER, edit, without_previous},
    grace, output,
    report::{self, Applied, Lines},
};
use crate::{
    config::{
        Config, Key, KeyHash, Moment, Secret, Tenant,
        edit::{Change, Field},
        last_four,
    },
    manage::{apply_command, doctor::Output, given_key::GivenKey, say::Mark, tenant_key},
};

/// Give a tenant a new key, which is shown once; the old one is taken for a while longer.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "rotate",
    help_triggers("-h", "--help"),
    example = "A new key for alice and her instance:
  $ ccgw-manage rotate alice --apply",
    example = "The old key got out, and must not work any more:
  $ ccgw-manage rotate alice --grace 0s --apply"
)]
pub(crate) struct RotateArguments {
    /// the tenant
    #[argh(positional, arg_name = "TENANT")]
    name: String,

    /// how long the old key is still taken: 90s, 15m, 24h or 7d (default: 24h)
    #[argh(option, arg_name = "TIME", default = "\"24h\".to_owned()")]
    grace: String,

    /// the new key instead of a random one; `-` reads it from stdin, where no other user sees it
    #[argh(option, arg_name = "KEY")]
    key: Option<String>,

    /// give the new key to its instance
    #[argh(switch)]
    apply: bool,

    /// print a JSON object
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    name: String,
    grace_s: u64,
    key: Option<GivenKey>,
    then: Then,
    output: Output,
}

impl RotateArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        Ok(Command::Rotate(Options {
            name: self.name,
            grace_s: grace::parse(&self.grace)?,
            key: self.key.as_deref().map(GivenKey::parse).transpose()?,
            then: Then::of(self.apply),
            output: output(self.json),
        }))
    }
}

#[derive(Serialize)]
struct Rotated<'a> {
    name: &'a str,
    /// Null when it was given.
    api_key: Option<&'a str>,
    key_last4: &'a str,
    /// Null when the old key is not taken any more.
    previous_key_until: Option<String>,
    config: &'a Path,
    backup: Option<PathBuf>,
    applied: Option<Applied>,
    warnings: Vec<String>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<bool, String> {
    let given = options.key.as_ref();
    let mut warnings: Vec<String> = Vec::new();
    warnings.extend(given.and_then(GivenKey::warning).map(str::to_owned));
    let key = match given {
        Some(given) => given.read()?,
        None => tenant_key::new()?,
    };
    let until = Moment(Moment::now().0.saturating_add(options.grace_s));
    let until = (options.grace_s > 0).then_some(until);
    let edited = edit(path, Missing::Refuse, |before| {
        changes(before, options, (&key, until))
    })?;
    let before = edited.before.tenant(&options.name)?;
    if let Some(previous) = before.previous_key.filter(|it| it.until > Moment::now()) {
        warnings.push(format!(
            "the key before the last one, which was taken until {}, is not any more",
            previous.until
        ));
    }
    warnings.extend(edited.notes);
    let lines = Lines::new(options.output);
    let shown = given.is_none().then(|| key.expose());
    if options.output == Output::Text {
        lines.changed(
            &format!("the new key of {} is in", options.name),
            path,
            edited.backup.as_ref(),
        );
        lines.ok(TAKEN_OVER);
        lines.ok(&match until {
            Some(until) => format!("the old key is taken until {until}"),
            None => "the old key is not taken any more".to_owned(),
        });
        say_key(lines, shown, None)?;
        warnings.iter().for_each(|it| lines.mark(Mark::Warn, it));
    }
    let findings = match options.then {
        Then::Nothing => None,
        Then::Apply => Some(report::findings(apply_command::point(
            path,
            &options.name,
            Some(&key),
        ))),
    };
    let applied = findings.as_deref().map(Applied::of);
    let good = applied.as_ref().is_none_or(|it| it.ok);
    match &findings {
        Some(findings) => lines.findings(findings),
        None => lines.ok(&format!(
            "`ccgw-manage apply {}` gives it to the instance",
            options.name
        )),
    }
    if options.output == Output::Json {
        report::json(&Rotated {
            name: &options.name,
            api_key: shown,
            key_last4: last_four(key.expose()),
            previous_key_until: until.map(|it| it.to_string()),
            config: path,
            backup: edited.backup,
            applied,
            warnings,
        })?;
    }
    Ok(good)
}

fn changes(
    before: &Config,
    options: &Options,
    (key, until): (&Secret, Option<Moment>),
) -> Result<Vec<Change>, String> {
    let tenant: &Tenant = before.tenant(&options.name)?;
    if tenant.key.hash() == KeyHash::of(key.expose()) {
        return Err(format!("this is the key that {} has already", tenant.name));
    }
    let set = |field, value: String| Change::Set {
        tenant: tenant.name.clone(),
        field,
        value: Secret::new(value),
    };
    // As it was kept before, so is it kept again.
    let mut changes = vec![match &tenant.key {
        Key::Plain(_) => set(Field::ApiKey, key.expose().to_owned()),
        Key::Hashed(_) => set(Field::ApiKeySha256, KeyHash::of(key.expose()).hex()),
    }];
    match until {
        Some(until) => changes.extend([
            set(Field::PreviousKeySha256, tenant.key.hash().hex()),
            set(Field::PreviousKeyUntil, until.to_string()),
        ]),
        None => changes.extend(without_previous(&tenant.name)),
    }
    Ok(changes)
}
