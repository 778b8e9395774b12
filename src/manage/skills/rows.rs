//! What `list` and `diff` tell of each skill.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    args, chosen,
    desk::{There, shelf_of},
    place::{Places, Scope, Source},
    skill::Skill,
};
use crate::{
    config::{Config, Tenant},
    manage::{
        found::Found,
        say::{self, Say},
        table::{table, terminal_width},
    },
};

/// A skill as `list` and `diff` tell of it.
#[derive(Serialize)]
struct Row {
    tenant: String,
    skill: String,
    /// Of the instance, where it has it.
    source: Option<&'static str>,
    /// The plugin that it comes with.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<PluginOf>,
    #[serde(skip)]
    described: String,
    here: bool,
    /// `same`, `changed`, `only here` or `only there`.
    state: &'static str,
    /// Which side of a change was written later.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer: Option<&'static str>,
    /// Whether the model of the tenant's runs is shown it.
    seen: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    unseen: Option<&'static str>,
    /// Programs and variables that it asks for and its runs do not have.
    missing: Vec<String>,
    description: String,
}

#[derive(Serialize)]
struct PluginOf {
    id: String,
    enabled: bool,
}

/// # Errors
/// When there is no such tenant, or the skills here cannot be read.
pub(super) fn list(config: &Config, options: &args::List) -> Result<bool, String> {
    // Those of plugins that are off are told here, and taken nowhere.
    let scope = match options.all {
        true => Scope::WithOff,
        false => Scope::Own,
    };
    let (rows, good) = rows(config, options.tenant.as_deref(), scope)?;
    let say = Say::new();
    if options.json {
        say.json(&rows);
        return Ok(good);
    }
    let head = [
        "TENANT",
        "SKILL",
        "INSTANCE",
        "HERE",
        "MODEL SEES IT",
        "LACKS",
        "DESCRIPTION",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        lines.push(vec![
            row.tenant,
            row.skill,
            row.described,
            yes(row.here),
            match row.unseen {
                Some(why) => format!("no: {why}"),
                None => yes(row.seen),
            },
            row.missing.join(" "),
            row.description,
        ]);
    }
    table(&lines, terminal_width())
        .iter()
        .for_each(|it| say.line(it));
    Ok(good)
}

/// # Errors
/// As [`list`].
pub(super) fn diff(config: &Config, options: &args::Diff) -> Result<bool, String> {
    let (rows, good) = rows(config, options.tenant.as_deref(), super::scope(options.all))?;
    let say = Say::new();
    if options.json {
        say.json(&rows);
        return Ok(good);
    }
    let mut lines = vec![
        ["TENANT", "SKILL", "STATE", "INSTANCE", "NEWER"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in rows {
        lines.push(vec![
            row.tenant,
            row.skill,
            row.state.to_owned(),
            row.described,
            row.newer.unwrap_or("-").to_owned(),
        ]);
    }
    table(&lines, terminal_width())
        .iter()
        .for_each(|it| say.line(it));
    Ok(good)
}

/// Of all that are meant; false when an instance could not be read, which is told.
fn rows(config: &Config, name: Option<&str>, scope: Scope) -> Result<(Vec<Row>, bool), String> {
    let found = Found::search(&config.tenants);
    let mut rows = Vec::new();
    let mut good = true;
    for tenant in chosen(config, name)? {
        let here = shelf_of(&config.skills.dir.join(&tenant.name))?;
        let there = match found.own(&tenant.name) {
            // Only what is here can be shown, and that must be said.
            Err(why) => {
                say::prompt(&format!("{}: only what is here: {why}", tenant.name));
                say::prompt_end();
                There::default()
            }
            Ok(instance) => {
                let access = found.access(instance);
                let read = Places::of(&access).and_then(|it| it.read(scope));
                match read {
                    Ok(read) => There::of(read),
                    Err(why) => {
                        say::prompt(&format!("{}: {why}", tenant.name));
                        say::prompt_end();
                        good = false;
                        There::default()
                    }
                }
            }
        };
        let names: BTreeSet<&String> = here.skills.keys().chain(there.skills.keys()).collect();
        for name in names {
            rows.push(row(
                tenant,
                name,
                (here.skills.get(name), there.skills.get(name)),
            ));
        }
    }
    Ok((rows, good))
}

fn row(
    tenant: &Tenant,
    name: &str,
    (here, there): (Option<&Skill>, Option<&(Source, Skill)>),
) -> Row {
    let (state, newer) = match (here, there) {
        (Some(here), Some((_, there))) if here.hash() == there.hash() => ("same", None),
        (Some(here), Some((_, there))) => {
            let newer = match here.written().cmp(&there.written()) {
                std::cmp::Ordering::Greater => "here",
                std::cmp::Ordering::Less => "there",
                std::cmp::Ordering::Equal => "equal",
            };
            ("changed", Some(newer))
        }
        (Some(_), None) => ("only here", None),
        _ => ("only there", None),
    };
    let about = here
        .or(there.map(|(_, it)| it))
        .map(Skill::about)
        .unwrap_or_default();
    let has_env = |name: &String| tenant.env.iter().any(|(it, _)| it == name);
    let bins = about.bins.iter().filter(|it| !has_program(it));
    let env = about.env.iter().filter(|it| !has_env(it));
    Row {
        tenant: tenant.name.clone(),
        skill: name.to_owned(),
        source: there.map(|(source, _)| source.name()),
        plugin: there.and_then(|(source, _)| match source {
            Source::Extension { plugin, is_on } => Some(PluginOf {
                id: plugin.clone(),
                enabled: *is_on,
            }),
            _ => None,
        }),
        described: there.map_or_else(|| "-".to_owned(), |(source, _)| source.described()),
        here: here.is_some(),
        state,
        newer,
        seen: here.is_some() && about.unseen.is_none(),
        unseen: about.unseen,
        missing: bins.chain(env).cloned().collect(),
        description: about.description,
    }
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Of a name only; a path in it would look elsewhere.
    !name.contains('/') && std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
