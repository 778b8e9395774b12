//! One tenant's skills here and those of its instance: taken over one way or the other, nothing lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    place::{self, Places, Scope, Source},
    put::Put,
    shelf::{self, Over, local_tree},
    skill::{Found as Shelf, Skill, by_skill},
    tally::Tally,
};
use crate::manage::{
    access::Access, progress, question::agreed_or, say::Say, setup::state_dir, stamp, store,
};

/// What becomes of a skill that is on both sides and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnChange {
    Replace,
    Ask,
    Leave,
}

/// What becomes of a skill that the other side does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnMissing {
    Remove,
    Name,
    Leave,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) changed: OnChange,
    pub(super) missing: OnMissing,
}

impl Wanted {
    pub(super) const NEW_ONLY: Wanted = Wanted {
        changed: OnChange::Leave,
        missing: OnMissing::Leave,
    };
}

impl OnChange {
    pub(super) fn forced(is_forced: bool) -> OnChange {
        match is_forced {
            true => OnChange::Replace,
            false => OnChange::Ask,
        }
    }
}

impl OnMissing {
    pub(super) fn deleted(is_deleted: bool) -> OnMissing {
        match is_deleted {
            true => OnMissing::Remove,
            false => OnMissing::Name,
        }
    }
}

/// One tenant, its skills here and its instance.
pub(super) struct Desk<'a> {
    tenant: &'a str,
    dir: PathBuf,
    places: Places<'a>,
    say: Say,
    /// Made when something is kept.
    backups: PathBuf,
}

/// What an instance has.
#[derive(Default)]
pub(super) struct There {
    /// The first source that has a name has it.
    pub(super) skills: BTreeMap<String, (Source, Skill)>,
    /// What was left out, a sentence each.
    pub(super) left_out: Vec<String>,
    /// Under which names.
    odd: BTreeSet<String>,
}

impl There {
    pub(super) fn of(found: Vec<(Source, Shelf)>) -> There {
        let mut there = There::default();
        for (source, shelf) in found {
            let told = shelf.left_out.iter();
            there
                .left_out
                .extend(told.map(|why| format!("{} {why}", source.described())));
            there.odd.extend(shelf.odd);
            for (name, skill) in shelf.skills {
                there
                    .skills
                    .entry(name)
                    .or_insert_with(|| (source.clone(), skill));
            }
        }
        there
    }

    /// Whether it has such a skill, if only one that is left out.
    fn has(&self, name: &str) -> bool {
        self.skills.contains_key(name) || self.odd.contains(name)
    }
}

const NOTHING_THERE: &str = "the instance shows no skill at all, which looks like a mistake, so none is \
    removed here; remove by hand what is not wanted";

const NOTHING_HERE: &str = "there is no skill at all here, which looks like a mistake, so none of the \
    instance's is removed; remove there what is not wanted";

/// # Errors
/// When the directory cannot be read, or holds more than skills do.
pub(super) fn shelf_of(dir: &Path) -> Result<Shelf, String> {
    let files = local_tree(dir, place::LIMITS).map_err(|it| store::failed(dir, "read", &it))?;
    Ok(files.map(by_skill).unwrap_or_default())
}

/// # Errors
/// When it cannot be written; what was there stays.
pub(super) fn put_here(
    dir: &Path,
    (at, over): (&Path, Over),
    skill: &Skill,
) -> Result<Put, String> {
    let _step = progress::step(&format!("writing {}", dir.join(at).display()));
    Put::of(shelf::put(dir, (at, over), (&skill.files, None)))
        .map_err(|error| store::failed(&dir.join(at), "written", &error))
}

impl<'a> Desk<'a> {
    /// # Errors
    /// When the instance's settings cannot be read, or leftovers cannot be cleaned up.
    pub(super) fn open(
        (tenant, dir): (&'a str, PathBuf),
        access: &'a Access<'a>,
        say: Say,
    ) -> Result<Desk<'a>, String> {
        let desk = Desk {
            tenant,
            dir,
            places: Places::of(access)?,
            say,
            backups: backups_of(tenant)?,
        };
        let here = shelf::sweep(&desk.dir).map_err(|it| store::failed(&desk.dir, "tidied", &it))?;
        let swept = here + desk.places.sweep()?;
        if swept > 0 {
            say.ok(&format!(
                "{swept} left by a command that was killed, cleaned up"
            ));
        }
        Ok(desk)
    }

    /// # Errors
    /// When something cannot be read or written. What was done before is told, and stays.
    pub(super) fn pull(&self, scope: Scope, wanted: Wanted) -> Result<(), String> {
        let there = There::of(self.places.read(scope)?);
        let here = shelf_of(&self.dir)?;
        let mut tally = Tally::default();
        let done = self.take((&there, &here), wanted, &mut tally);
        tally.tell(self.say, "pulled", (wanted.missing, &self.backups));
        tell_left_out(self.say, &there.left_out);
        done
    }

    fn take(
        &self,
        (there, here): (&There, &Shelf),
        wanted: Wanted,
        tally: &mut Tally,
    ) -> Result<(), String> {
        for (name, (source, skill)) in &there.skills {
            let what = format!("{name} ({})", source.described());
            match here.skills.get(name) {
                None => match put_here(&self.dir, (Path::new(name), Over::Nothing), skill)? {
                    Put::Done => tally.new.push(what),
                    Put::Taken => tally.taken.push(what),
                },
                Some(own) if own.hash() == skill.hash() => tally.same += 1,
                Some(own) if self.may_replace(wanted.changed, name)? => {
                    self.keep(name, own, "here")?;
                    put_here(&self.dir, (&own.at, Over::Old), skill)?;
                    tally.replaced.push(what);
                }
                Some(_) => tally.differ.push(what),
            }
        }
        let missing = here.skills.iter();
        for (name, own) in missing.filter(|(name, _)| !there.has(name)) {
            if wanted.missing != OnMissing::Remove {
                tally.missing.push(name.clone());
                continue;
            }
            if there.skills.is_empty() {
                return Err(NOTHING_THERE.to_owned());
            }
            self.keep(name, own, "here")?;
            shelf::remove(&self.dir, (name, &own.at))
                .map_err(|it| store::failed(&self.dir.join(&own.at), "removed", &it))?;
            tally.removed.push(name.clone());
        }
        Ok(())
    }

    /// # Errors
    /// As [`Desk::pull`].
    pub(super) fn push(&self, wanted: Wanted) -> Result<(), String> {
        let here = shelf_of(&self.dir)?;
        let there = There::of(self.places.read(Scope::All)?);
        let mut tally = Tally::default();
        let done = self.give((&here, &there), wanted, &mut tally);
        tally.tell(self.say, "pushed", (wanted.missing, &self.backups));
        tell_left_out(self.say, &here.left_out);
        done
    }

    fn give(
        &self,
        (here, there): (&Shelf, &There),
        wanted: Wanted,
        tally: &mut Tally,
    ) -> Result<(), String> {
        for (name, skill) in &here.skills {
            match there.skills.get(name) {
                // What the instance has elsewhere with the same content needs no second copy.
                Some((_, theirs)) if theirs.hash() == skill.hash() => tally.same += 1,
                Some((Source::Workspace, theirs)) => {
                    if self.may_replace(wanted.changed, name)? {
                        self.keep(name, theirs, "instance")?;
                        self.places.put((name, &theirs.at, Over::Old), skill)?;
                        tally.replaced.push(name.clone());
                    } else {
                        tally.differ.push(name.clone());
                    }
                }
                _ => {
                    let place = (name.as_str(), Path::new(name), Over::Nothing);
                    match self.places.put(place, skill)? {
                        Put::Done => tally.new.push(name.clone()),
                        Put::Taken => tally.taken.push(name.clone()),
                    }
                }
            }
        }
        let missing = there.skills.iter();
        for (name, (source, theirs)) in missing {
            if *source != Source::Workspace || here.has(name) {
                continue;
            }
            if wanted.missing != OnMissing::Remove {
                tally.missing.push(name.clone());
                continue;
            }
            if here.skills.is_empty() {
                return Err(NOTHING_HERE.to_owned());
            }
            self.keep(name, theirs, "instance")?;
            self.places.remove((name, &theirs.at))?;
            tally.removed.push(name.clone());
        }
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
        let dir = &self.backups;
        let at = format!("{name}.{whose}");
        let place = (Path::new(&at), Over::Nothing);
        shelf::put(dir, place, (&skill.files, None)).map_err(|it| {
            let why = store::failed(dir, "written", &it);
            format!("no backup can be kept, so nothing is replaced: {why}")
        })
    }
}

fn tell_left_out(say: Say, left_out: &[String]) {
    for why in left_out {
        say.warn(&format!("left out: {why}"));
    }
}

/// One for each command that replaced or removed something.
const BACKUPS_MAX: usize = 50;

/// Where what this command replaces or removes is kept; the oldest go when there are many.
fn backups_of(tenant: &str) -> Result<PathBuf, String> {
    let all = state_dir()?
        .join("backups")
        .join(format!("{tenant}.skills"));
    stamp::prune(&all, BACKUPS_MAX);
    Ok(stamp::free(&all))
}
