//! How a skill gets into an instance's workspace, and out of it.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    place::{LIMITS, Places},
    shelf::{self, ASIDE, Over},
    skill::{Skill, by_skill, is_plain},
};
use crate::{
    docker::Engine,
    ids,
    manage::{progress, store},
    openclaw::instance::Place,
};

/// Moving takes some milliseconds; a busy machine more.
const MOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often what another command left is looked at, if it changes meanwhile.
const SWEEPS: usize = 4;

impl Places<'_> {
    /// Puts a skill into the workspace. In a container, whose tools can only move, there is a moment without
    /// any where an old one was; what is left there when the container ends then is put back by the next.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(
        &self,
        (name, at, over): (&str, &Path, Over),
        skill: &Skill,
    ) -> Result<Put, String> {
        let target = self.target();
        let path = target.join(at);
        let _step = progress::step(&format!("giving {name} to {}", self.access.instance.name));
        match (&self.access.instance.place, self.access.engine()) {
            (Place::Local, _) => {
                if let Some(link) = link_on_the_way(&target, at) {
                    let link = link.display();
                    return Err(format!("{link} is a link, which is not followed"));
                }
                let owner = shelf::owner_like(&self.workspace);
                let done = shelf::put(&target, (at, over), (&skill.files, owner));
                Put::of(done).map_err(|error| store::failed(&path, "written", &error))
            }
            (Place::Docker(container), Some(engine)) => self
                .put_in_container((engine, &container.id), (name, at, over), skill)
                .map_err(|why| format!("cannot write {}: {why}", path.display())),
            (Place::Docker(_), None) => Err("the Docker Engine is out of reach".to_owned()),
        }
    }

    fn put_in_container(
        &self,
        (engine, id): (&Engine, &str),
        (name, at, over): (&str, &Path, Over),
        skill: &Skill,
    ) -> Result<Put, String> {
        let target = self.target();
        let place = target.join(at);
        if over == Over::Nothing && engine.has(id, &place).map_err(|it| it.to_string())? {
            return Ok(Put::Taken);
        }
        let mark = ids::random_hex::<6>();
        let (new, old) = (
            format!(".{name}{ASIDE}{mark}"),
            format!(".{name}{ASIDE}old-{mark}"),
        );
        // Below the workspace, so that `skills` is made where there is none.
        let dir = Path::new("skills").join(&new);
        engine
            .write_tree(id, &self.workspace, (&dir, &skill.files), self.owner())
            .map_err(|it| it.to_string())?;
        let (new, old) = (target.join(new), target.join(old));
        match over {
            Over::Nothing => self.access.rename(&new, &place)?,
            Over::Old => self.exchange([&new, &place, &old])?,
        }
        Ok(Put::Done)
    }

    /// Puts what is at `new` in the place of what is there, which goes by way of `old`. It is one command in the
    /// container, so that it comes to its end, whatever becomes of this process: with the new one in place,
    /// or with the old one back.
    fn exchange(&self, [new, place, old]: [&Path; 3]) -> Result<(), String> {
        let paths = [new, place, old].map(Path::to_string_lossy);
        // What `find` would take for the directory that it looks at.
        if let Some(odd) = paths.iter().find(|it| it.contains("{}")) {
            return Err(format!("`{{}}` cannot be in a path: {odd}"));
        }
        let [new, place, old] = paths.each_ref().map(|it| &**it);
        let target = self.target();
        let target = target.to_string_lossy();
        let argv = [
            &["find", &target, "-maxdepth", "0"][..],
            &["-exec", "mv", "-T", place, old, ";"],
            &["(", "-exec", "mv", "-T", new, place, ";"],
            &["-print", "-exec", "rm", "-rf", old, ";"],
            &["-o", "-exec", "mv", "-T", old, place, ";", ")"],
        ];
        let ran = self.access.command(&argv.concat(), (b"", MOVE_TIMEOUT))?;
        match ran {
            // It says nothing of what its commands ended with but this.
            Some(ran) if ran.code == 0 && !ran.stdout.is_empty() => Ok(()),
            Some(ran) => Err(format!("it cannot be moved: {}", ran.stderr.trim())),
            None => Ok(()),
        }
    }

    /// Ends what a killed command left in the workspace: what was on its way is removed, and an old skill
    /// without a new one is put back.
    ///
    /// # Errors
    /// When it cannot be moved or removed.
    pub(super) fn sweep(&self) -> Result<usize, String> {
        // What a killed command began in a container may just come to its end there.
        let mut swept = self.sweep_once();
        for _ in 1..SWEEPS {
            if swept.is_ok() {
                break;
            }
            swept = self.sweep_once();
        }
        swept
    }

    fn sweep_once(&self) -> Result<usize, String> {
        let target = self.target();
        if matches!(self.access.instance.place, Place::Local) {
            return shelf::sweep(&target).map_err(|it| format!("{}: {it}", target.display()));
        }
        let Some(files) = self.access.read_tree(&target, LIMITS)? else {
            return Ok(0);
        };
        let mut left: Vec<String> = files
            .iter()
            .filter_map(|it| it.path.components().next()?.as_os_str().to_str())
            .filter(|it| it.starts_with('.') && it.contains(ASIDE))
            .map(str::to_owned)
            .collect();
        left.sort();
        left.dedup();
        if left.is_empty() {
            // What was read needs not be read again.
            *self.seen.borrow_mut() = Some(files);
            return Ok(0);
        }
        let found = by_skill(files);
        for aside in &left {
            let name = aside
                .split(ASIDE)
                .next()
                .unwrap_or_default()
                .trim_start_matches('.');
            let is_old = aside.contains(&format!("{ASIDE}old-"));
            match is_old && !found.has(name) && is_plain(name) {
                true => self
                    .access
                    .rename(&target.join(aside), &target.join(name))?,
                false => self.access.remove_tree(&target.join(aside))?,
            }
        }
        Ok(left.len())
    }

    /// Takes a skill out of the workspace.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&self, (name, at): (&str, &Path)) -> Result<(), String> {
        let target = self.target();
        let path = target.join(at);
        match self.access.instance.place {
            Place::Local => shelf::remove(&target, (name, at))
                .map_err(|error| store::failed(&path, "removed", &error)),
            Place::Docker(_) => {
                let mark = ids::random_hex::<6>();
                let aside = target.join(format!(".{name}{ASIDE}{mark}"));
                self.access.rename(&path, &aside)?;
                self.access.remove_tree(&aside)
            }
        }
    }
}

/// Whether a skill was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// Something that is no skill is in its place, and stays.
    Taken,
}

impl Put {
    pub(super) fn of(done: io::Result<()>) -> io::Result<Put> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Taken),
            done => done.map(|()| Put::Done),
        }
    }
}

/// The skills' directory, or one of the groups that a skill is in, when it is a link.
fn link_on_the_way(target: &Path, at: &Path) -> Option<PathBuf> {
    let mut dirs = vec![target.to_owned()];
    let groups = at.parent().into_iter().flatten();
    for group in groups {
        dirs.push(dirs[dirs.len() - 1].join(group));
    }
    dirs.into_iter().find(|it| it.is_symlink())
}
