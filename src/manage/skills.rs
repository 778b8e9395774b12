//! Skills of an instance, copied to the gateway: new ones only, as data, whatever they are called.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use super::{access::Access, apply};
use crate::{
    docker::{TreeFile, TreeLimits},
    ids,
};

/// OpenClaw ships 60 skills with some hundred files; this is far more, and bounded.
const LIMITS: TreeLimits = TreeLimits {
    files: 5000,
    bytes: 64 << 20,
};

const DEPTH_MAX: usize = 10;
const NAME_MAX: usize = 64;

/// What a directory must hold to be a skill.
const SKILL_FILE: &str = "SKILL.md";

/// What was done, in numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    new: usize,
    known: usize,
    /// Names that no file system should have.
    odd: usize,
}

impl std::fmt::Display for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} skills copied, {} here already", self.new, self.known)?;
        match self.odd {
            0 => Ok(()),
            odd => write!(f, ", {odd} with unusable names left out"),
        }
    }
}

/// Copies the skills of an instance's workspace, and those it manages, that are not in `dir` yet.
///
/// # Errors
/// When they cannot be read or written; those copied before stay.
pub(crate) fn copy_new(access: &Access<'_>, dir: &Path) -> Result<Copied, String> {
    let mut copied = Copied::default();
    for source in sources(access)? {
        let Some(files) = access.read_tree(&source, LIMITS)? else {
            continue;
        };
        for (name, files) in by_skill(files) {
            if !is_plain(&name) {
                copied.odd += 1;
            } else if dir.join(&name).symlink_metadata().is_ok() {
                copied.known += 1;
            } else {
                let written = write_skill(dir, &name, &files);
                written.map_err(|error| format!("cannot write {}: {error}", dir.display()))?;
                copied.new += 1;
            }
        }
    }
    Ok(copied)
}

/// The workspace's own come first: OpenClaw prefers them too.
fn sources(access: &Access<'_>) -> Result<Vec<PathBuf>, String> {
    let state = &access.instance.state_dir;
    let workspace = apply::settings(access)?.workspace();
    let workspace = workspace.map_or_else(
        || state.join("workspace"),
        |path| access.instance.expanded(&path),
    );
    Ok(vec![workspace.join("skills"), state.join("skills")])
}

/// Files by the directory that is a skill; others are no skill's.
fn by_skill(files: Vec<TreeFile>) -> BTreeMap<String, Vec<TreeFile>> {
    let mut skills: BTreeMap<String, Vec<TreeFile>> = BTreeMap::new();
    for file in files {
        let mut parts = file.path.components();
        let Some(Component::Normal(first)) = parts.next() else {
            continue;
        };
        let rest = parts.as_path().to_owned();
        let is_below = rest
            .components()
            .all(|it| matches!(it, Component::Normal(_)));
        if rest.as_os_str().is_empty() || !is_below || rest.components().count() > DEPTH_MAX {
            continue;
        }
        let name = first.to_string_lossy().into_owned();
        skills
            .entry(name)
            .or_default()
            .push(TreeFile { path: rest, ..file });
    }
    skills.retain(|_, files| files.iter().any(|it| it.path == Path::new(SKILL_FILE)));
    skills
}

fn is_plain(name: &str) -> bool {
    let is_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.starts_with('.')
        && name.chars().all(is_char)
}

/// A skill appears whole or not at all.
fn write_skill(dir: &Path, name: &str, files: &[TreeFile]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let aside = dir.join(format!(".{name}-{}", ids::random_hex::<6>()));
    let written = write_files(&aside, files).and_then(|()| fs::rename(&aside, dir.join(name)));
    if written.is_err() {
        // What is left has a name that nobody takes for a skill.
        let _ = fs::remove_dir_all(&aside);
    }
    written
}

fn write_files(dir: &Path, files: &[TreeFile]) -> io::Result<()> {
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        out.write_all(&file.bytes)?;
    }
    Ok(())
}

/// As [`crate::docker::Engine::read_tree`], of a directory of this machine.
pub(super) fn local_tree(dir: &Path, limits: TreeLimits) -> io::Result<Option<Vec<TreeFile>>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    let mut left = limits.bytes;
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() && path.components().count() <= DEPTH_MAX {
                open.push(path);
            } else if metadata.is_file() {
                if files.len() >= limits.files || metadata.len() > left {
                    return Err(io::Error::other("more files than can be skills"));
                }
                left -= metadata.len();
                let mut bytes = Vec::new();
                let file = fs::File::open(dir.join(&path))?;
                file.take(metadata.len()).read_to_end(&mut bytes)?;
                files.push(TreeFile {
                    path,
                    bytes,
                    is_executable: metadata.permissions().mode() & 0o111 != 0,
                });
            }
        }
    }
    Ok(Some(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeFile {
        TreeFile {
            path: path.into(),
            bytes: path.as_bytes().to_vec(),
            is_executable: path.ends_with(".sh"),
        }
    }

    #[test]
    fn only_directories_with_a_skill_file_are_skills() {
        let files = [
            "a/SKILL.md",
            "a/run.sh",
            "a/deep/x",
            "b/README",
            "SKILL.md",
            "../c/SKILL.md",
            "d/../SKILL.md",
        ];
        let skills = by_skill(files.map(file).into());
        let names: Vec<_> = skills.keys().map(String::as_str).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(skills["a"].len(), 3);
    }

    #[test]
    fn names_are_plain_or_left_out() {
        for (name, expect) in [
            ("a-b_c.1", true),
            ("", false),
            (".hidden", false),
            ("..", false),
            ("a$(touch x)", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(is_plain(name), expect, "{name}");
        }
        assert!(!is_plain(&"x".repeat(65)));
    }

    #[test]
    fn skill_appears_whole_with_its_modes() {
        let dir = std::env::temp_dir().join(format!("ccgw-skills-{}", std::process::id()));
        write_skill(&dir, "a", &[file("SKILL.md"), file("bin/run.sh")]).unwrap();
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode();
        assert_eq!(mode("a/SKILL.md") & 0o111, 0);
        assert_eq!(mode("a/bin/run.sh") & 0o111, 0o111);
        let twice = [file("SKILL.md"), file("SKILL.md")];
        assert!(write_skill(&dir, "b", &twice).is_err());
        let left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, ["a"]);
        let tree = local_tree(&dir, LIMITS).unwrap().unwrap();
        assert_eq!(tree.len(), 2);
        fs::remove_dir_all(dir).unwrap();
    }
}
