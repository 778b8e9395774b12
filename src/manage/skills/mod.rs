//! `ccgw-manage skills`: skills of instances and those of `skills/TENANT`, compared by content and copied both
//! ways. Whatever an instance calls a skill is data: no name becomes a path outside, or a word of a command
//! that could mean something else.

pub(crate) mod args;
mod place;
mod shelf;
mod skill;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

pub(crate) use self::shelf::local_tree;
use self::{
    args::{Action, Skills},
    place::{Places, Scope, Source},
    skill::{Found as Shelf, Skill, by_skill},
};
use super::{
    access::Access,
    found::Found,
    question::agreed_or,
    say::{Say, plain},
    setup::state_dir,
    store,
    table::{table, terminal_width},
};
use crate::{
    config::{self, Config, Tenant},
    log::Timestamp,
};

/// Does it; true when all of it went well.
///
/// # Errors
/// What keeps it from doing anything.
pub(crate) fn run(file: &Path, skills: &Skills) -> Result<bool, String> {
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(file, &env).map_err(|it| it.to_string())?;
    let config = &loaded.config;
    match &skills.action {
        Action::List(it) => list(config, it),
        Action::Diff(it) => diff(config, it),
        Action::Pull(it) => each(config, it.tenant.as_deref(), |desk| {
            let wanted = Wanted {
                changed: on_change(it.force),
                missing: on_missing(it.delete),
            };
            desk.pull(scope(it.all), wanted)
        }),
        Action::Push(it) => each(config, it.tenant.as_deref(), |desk| {
            desk.push(Wanted {
                changed: on_change(it.force),
                missing: on_missing(it.delete),
            })
        }),
        Action::Bisync(it) => each(config, it.tenant.as_deref(), |desk| {
            if it.pull || !it.push {
                desk.pull(Scope::Own, Wanted::NEW_ONLY)?;
            }
            match it.push || !it.pull {
                true => desk.push(Wanted::NEW_ONLY),
                false => Ok(()),
            }
        }),
        Action::Clean(it) => clean(config, it.tenant.as_deref()),
    }
}

/// Takes over an instance's own skills that are not here yet, as setup does.
///
/// # Errors
/// When they cannot be read or written; those taken before stay.
pub(crate) fn pull_new(access: Access<'_>, dir: &Path) -> Result<String, String> {
    let places = Places::of(&access)?;
    let here = shelf_of(dir)?;
    let (mut new, mut known) = (0, 0);
    let (there, left_out) = flat(places.read(Scope::Own)?);
    for (name, (_, skill)) in &there {
        match here.skills.contains_key(name) {
            true => known += 1,
            false => {
                new += 1;
                put_here(dir, name, skill)?;
            }
        }
    }
    let mut text = format!("{new} skills copied, {known} here already");
    for why in left_out {
        text += &format!("; left out {why}");
    }
    Ok(text)
}

fn scope(all: bool) -> Scope {
    match all {
        true => Scope::All,
        false => Scope::Own,
    }
}

/// What becomes of a skill that is on both sides and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnChange {
    Replace,
    Ask,
    Leave,
}

/// What becomes of a skill that the other side does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnMissing {
    Remove,
    Name,
    Leave,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    changed: OnChange,
    missing: OnMissing,
}

impl Wanted {
    const NEW_ONLY: Wanted = Wanted {
        changed: OnChange::Leave,
        missing: OnMissing::Leave,
    };
}

fn on_change(force: bool) -> OnChange {
    match force {
        true => OnChange::Replace,
        false => OnChange::Ask,
    }
}

fn on_missing(delete: bool) -> OnMissing {
    match delete {
        true => OnMissing::Remove,
        false => OnMissing::Name,
    }
}

/// One tenant, its skills here and its instance.
struct Desk<'a> {
    tenant: &'a str,
    dir: PathBuf,
    places: Places<'a>,
    say: Say,
}

type There = BTreeMap<String, (Source, Skill)>;

/// The first source that has a name has it; what was left out anywhere.
fn flat(found: Vec<(Source, Shelf)>) -> (There, Vec<String>) {
    let mut there = There::new();
    let mut left_out = Vec::new();
    for (source, shelf) in found {
        left_out.extend(
            shelf
                .left_out
                .iter()
                .map(|why| format!("{} {why}", source.name())),
        );
        for (name, skill) in shelf.skills {
            there.entry(name).or_insert((source, skill));
        }
    }
    (there, left_out)
}

fn shelf_of(dir: &Path) -> Result<Shelf, String> {
    let files = local_tree(dir, place::LIMITS).map_err(|it| format!("{}: {it}", dir.display()))?;
    Ok(files.map(by_skill).unwrap_or_default())
}

fn put_here(dir: &Path, name: &str, skill: &Skill) -> Result<(), String> {
    shelf::put(dir, name, skill, None)
        .map_err(|error| format!("cannot write {}: {error}", dir.join(name).display()))
}

/// Does something for each tenant that is meant and has an instance; true when all went well.
fn each(
    config: &Config,
    name: Option<&str>,
    act: impl Fn(&Desk<'_>) -> Result<(), String>,
) -> Result<bool, String> {
    let found = Found::search(&config.tenants);
    let say = Say::new();
    let mut good = true;
    for tenant in chosen(config, name)? {
        say.head(&tenant.name);
        if let Err(why) = at_desk((config, &found), tenant, say, &act) {
            say.fail(&why);
            good = false;
        }
    }
    Ok(good)
}

fn at_desk(
    (config, found): (&Config, &Found),
    tenant: &Tenant,
    say: Say,
    act: &impl Fn(&Desk<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let instance = found.named(&tenant.name).ok_or(
        "no running OpenClaw of this name was found; start its container, or name another tenant",
    )?;
    let access = found.access(instance);
    let _lock = lock(&tenant.name)?;
    let desk = Desk {
        tenant: &tenant.name,
        dir: config.skills.dir.join(&tenant.name),
        places: Places::of(&access)?,
        say,
    };
    let swept = desk.sweep_here()? + desk.places.sweep()?;
    if swept > 0 {
        say.ok(&format!(
            "{swept} left by a command that was killed, cleaned up"
        ));
    }
    act(&desk)
}

/// Two commands on one tenant take turns.
fn lock(tenant: &str) -> Result<File, String> {
    store::lock(&state_dir()?.join(format!("skills-{tenant}")))
}

fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c Tenant>, String> {
    match name {
        None => Ok(config.tenants.iter().collect()),
        Some(name) => config.tenant(name).map(|it| vec![it]),
    }
}

impl Desk<'_> {
    fn pull(&self, scope: Scope, wanted: Wanted) -> Result<(), String> {
        let (there, left_out) = flat(self.places.read(scope)?);
        let here = shelf_of(&self.dir)?;
        let mut tally = Tally::default();
        for (name, (source, skill)) in &there {
            let what = format!("{name} ({})", source.name());
            match here.skills.get(name) {
                None => {
                    put_here(&self.dir, name, skill)?;
                    tally.new.push(what);
                }
                Some(own) if own.hash() == skill.hash() => tally.same += 1,
                Some(own) if self.may_replace(wanted.changed, name)? => {
                    self.keep(name, own, "here")?;
                    put_here(&self.dir, name, skill)?;
                    tally.replaced.push(what);
                }
                Some(_) => tally.differ.push(what),
            }
        }
        let missing = here.skills.keys().filter(|it| !there.contains_key(*it));
        for name in missing {
            if wanted.missing == OnMissing::Remove {
                self.keep(name, &here.skills[name], "here")?;
                std::fs::remove_dir_all(self.dir.join(name))
                    .map_err(|it| format!("cannot remove {name}: {it}"))?;
                tally.removed.push(name.clone());
            } else {
                tally.missing.push(name.clone());
            }
        }
        self.report("pulled", &tally, (wanted, left_out));
        Ok(())
    }

    fn push(&self, wanted: Wanted) -> Result<(), String> {
        let here = shelf_of(&self.dir)?;
        let workspace = self.places.of_workspace()?;
        // What the instance has elsewhere with the same content needs no second copy.
        let (there, _) = flat(self.places.read(Scope::All)?);
        let mut tally = Tally::default();
        for (name, skill) in &here.skills {
            let same = |it: &Skill| it.hash() == skill.hash();
            match workspace.skills.get(name) {
                None if there.get(name).is_some_and(|(_, it)| same(it)) => tally.same += 1,
                None => {
                    self.places.put(name, skill)?;
                    tally.new.push(name.clone());
                }
                Some(theirs) if same(theirs) => tally.same += 1,
                Some(theirs) if self.may_replace(wanted.changed, name)? => {
                    self.keep(name, theirs, "instance")?;
                    self.places.put(name, skill)?;
                    tally.replaced.push(name.clone());
                }
                Some(_) => tally.differ.push(name.clone()),
            }
        }
        let missing = workspace.skills.iter();
        for (name, theirs) in missing.filter(|(name, _)| !here.skills.contains_key(*name)) {
            if wanted.missing == OnMissing::Remove {
                self.keep(name, theirs, "instance")?;
                self.places.remove(name)?;
                tally.removed.push(name.clone());
            } else {
                tally.missing.push(name.clone());
            }
        }
        self.report("pushed", &tally, (wanted, here.left_out));
        Ok(())
    }

    fn may_replace(&self, on_change: OnChange, name: &str) -> Result<bool, String> {
        match on_change {
            OnChange::Replace => Ok(true),
            OnChange::Leave => Ok(false),
            // Where nobody sits it is left, and told.
            OnChange::Ask => agreed_or(&format!("{}: {name} differs; replace it?", self.tenant)),
        }
    }

    /// Keeps a skill as it was, before it is replaced or removed.
    fn keep(&self, name: &str, skill: &Skill, whose: &str) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let stamp = Timestamp(now.map_or(0, |it| it.as_millis())).to_string();
        let dir = backups_of(self.tenant)?
            .join(stamp.replace(':', "-"))
            .join(format!("{name}.{whose}"));
        shelf::write_files(&dir, &skill.files, None)
            .map_err(|error| format!("cannot keep a backup in {}: {error}", dir.display()))
    }

    fn sweep_here(&self) -> Result<usize, String> {
        shelf::sweep(&self.dir).map_err(|error| format!("{}: {error}", self.dir.display()))
    }

    fn report(&self, done: &str, tally: &Tally, (wanted, left_out): (Wanted, Vec<String>)) {
        let (new, replaced) = (tally.new.len(), tally.replaced.len());
        self.say.ok(&format!(
            "{done}: {new} new, {replaced} replaced, {} removed; {} the same already",
            tally.removed.len(),
            tally.same
        ));
        for (what, names) in [
            ("new", &tally.new),
            ("replaced", &tally.replaced),
            ("removed", &tally.removed),
        ] {
            if !names.is_empty() {
                self.say
                    .line(&plain(&format!("        {what}: {}", names.join(", "))));
            }
        }
        if !tally.differ.is_empty() {
            let names = tally.differ.join(", ");
            self.say.warn(&format!(
                "left as they are, because they differ: {names}; --force replaces them"
            ));
        }
        if !tally.missing.is_empty() && wanted.missing == OnMissing::Name {
            let names = tally.missing.join(", ");
            self.say.warn(&format!(
                "not on the other side: {names}; --delete removes them"
            ));
        }
        for why in left_out {
            self.say.warn(&format!("left out: {why}"));
        }
        let kept = !tally.replaced.is_empty() || !tally.removed.is_empty();
        if let (true, Ok(dir)) = (kept, backups_of(self.tenant)) {
            self.say.line(&format!("        before: {}", dir.display()));
        }
    }
}

fn backups_of(tenant: &str) -> Result<PathBuf, String> {
    Ok(state_dir()?
        .join("backups")
        .join(format!("{tenant}.skills")))
}

#[derive(Default)]
struct Tally {
    new: Vec<String>,
    replaced: Vec<String>,
    removed: Vec<String>,
    differ: Vec<String>,
    missing: Vec<String>,
    same: usize,
}

/// A skill as `list` and `diff` tell of it.
#[derive(Serialize)]
struct Row {
    tenant: String,
    skill: String,
    /// Of the instance, where it has it.
    source: Option<&'static str>,
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

fn list(config: &Config, options: &args::List) -> Result<bool, String> {
    let (rows, good) = rows(config, options.tenant.as_deref(), scope(options.all))?;
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
            row.source.unwrap_or("-").to_owned(),
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

fn diff(config: &Config, options: &args::Diff) -> Result<bool, String> {
    let (rows, good) = rows(config, options.tenant.as_deref(), scope(options.all))?;
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
            row.source.unwrap_or("-").to_owned(),
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
        let there = match found.named(&tenant.name) {
            None => There::new(),
            Some(instance) => {
                let access = found.access(instance);
                let read = Places::of(&access).and_then(|it| it.read(scope));
                match read {
                    Ok(read) => flat(read).0,
                    Err(why) => {
                        super::say::prompt(&format!("{}: {why}", tenant.name));
                        super::say::prompt_end();
                        good = false;
                        There::new()
                    }
                }
            }
        };
        let names: BTreeSet<&String> = here.skills.keys().chain(there.keys()).collect();
        for name in names {
            rows.push(row(tenant, name, (here.skills.get(name), there.get(name))));
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

fn clean(config: &Config, name: Option<&str>) -> Result<bool, String> {
    let say = Say::new();
    let dir = &config.skills.dir;
    for tenant in chosen(config, name)? {
        let _lock = lock(&tenant.name)?;
        let own = dir.join(&tenant.name);
        let swept = shelf::sweep(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        say.ok(&format!(
            "{}: {swept} left by killed commands removed",
            tenant.name
        ));
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|_| name.is_none()) {
        let found = entry.file_name().to_string_lossy().into_owned();
        let is_dir = entry.file_type().is_ok_and(|it| it.is_dir());
        if is_dir && !config.tenants.iter().any(|it| it.name == found) {
            say.warn(&format!(
                "{} is of no tenant; remove it by hand if nobody needs it",
                entry.path().display()
            ));
        }
    }
    Ok(true)
}
