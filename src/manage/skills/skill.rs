//! A skill as data: its files, what its front matter says, and whether two are the same. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

use crate::{config, docker::TreeFile};

/// A directory with a SKILL.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skill {
    /// Where it was found, below the directory of all: a skill can be in a group of others.
    pub(super) at: PathBuf,
    /// By path, below the skill's directory.
    pub(super) files: Vec<TreeFile>,
}

/// What a directory must hold to be a skill.
const SKILL_FILE: &str = "SKILL.md";

/// OpenClaw looks for skills in groups of groups, up to six deep.
const GROUPS_MAX: usize = 6;

const DEPTH_MAX: usize = 10;
const NAME_MAX: usize = 64;
/// The largest of OpenClaw's own has 40 KB in 6 files.
const FILES_MAX: usize = 500;
const BYTES_MAX: usize = 16 << 20;

/// What was found in a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) skills: BTreeMap<String, Skill>,
    /// What was left out, a sentence each; names in it are somebody else's text.
    pub(super) left_out: Vec<String>,
    /// Under which names: these are there, whatever they are.
    pub(super) odd: BTreeSet<String>,
}

/// Sorts files by the skill that they are of; others are no skill's. A skill is called like its directory.
pub(super) fn by_skill(files: Vec<TreeFile>) -> Found {
    let files: Vec<TreeFile> = files.into_iter().filter(|it| is_inside(&it.path)).collect();
    let with_file: BTreeSet<PathBuf> = files
        .iter()
        .filter(|it| it.path.file_name().is_some_and(|it| it == SKILL_FILE))
        .filter_map(|it| it.path.parent().map(Path::to_path_buf))
        .filter(|it| !it.as_os_str().is_empty())
        .collect();
    let is_root = |dir: &PathBuf| {
        let above = dir.ancestors().skip(1);
        dir.components().count() <= GROUPS_MAX + 1
            && !above.into_iter().any(|it| with_file.contains(it))
    };
    let mut found = Found::default();
    let mut of_root: BTreeMap<PathBuf, Vec<TreeFile>> = BTreeMap::new();
    for root in with_file.iter().filter(|it| is_root(it)) {
        of_root.insert(root.clone(), Vec::new());
    }
    for file in files {
        let root = file
            .path
            .ancestors()
            .skip(1)
            .find(|it| of_root.contains_key(*it));
        let Some(root) = root.map(Path::to_path_buf) else {
            continue;
        };
        let path = file
            .path
            .strip_prefix(&root)
            .unwrap_or(&file.path)
            .to_owned();
        of_root
            .entry(root)
            .or_default()
            .push(TreeFile { path, ..file });
    }
    for (root, files) in of_root {
        found.take(&root, files);
    }
    found
}

impl Found {
    /// Whether there is such a skill, if only one that is left out.
    pub(super) fn has(&self, name: &str) -> bool {
        self.skills.contains_key(name) || self.odd.contains(name)
    }

    fn take(&mut self, root: &Path, mut files: Vec<TreeFile>) {
        let name = root
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let shown = root.display();
        let bytes: usize = files.iter().map(|it| it.bytes.len()).sum();
        let clash = self.skills.keys().find(|it| it.eq_ignore_ascii_case(&name));
        let why = if !is_plain(&name) {
            "its name has more than letters, digits, `-`, `_` and `.`; rename its directory"
                .to_owned()
        } else if files.len() > FILES_MAX || bytes > BYTES_MAX {
            format!(
                "it has more than {FILES_MAX} files or {} MiB",
                BYTES_MAX >> 20
            )
        } else if let Some(other) = clash {
            format!("`{other}` has that name already; rename one of them")
        } else {
            files.sort_by(|a, b| a.path.cmp(&b.path));
            let at = root.to_owned();
            self.skills.insert(name, Skill { at, files });
            return;
        };
        self.odd.insert(name);
        self.left_out.push(format!("{shown}: {why}"));
    }
}

/// Nothing but names on the way, and not too many.
fn is_inside(path: &Path) -> bool {
    let mut parts = path.components();
    parts.all(|it| matches!(it, Component::Normal(_))) && path.components().count() <= DEPTH_MAX
}

pub(super) fn is_plain(name: &str) -> bool {
    let is_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.starts_with(['.', '-'])
        && name.chars().all(is_char)
}

/// What a skill says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) description: String,
    pub(super) bins: Vec<String>,
    pub(super) env: Vec<String>,
    /// Why the model would not be shown it.
    pub(super) unseen: Option<&'static str>,
}

impl Skill {
    /// Equal for equal files with equal paths and execute bits, whenever they were written.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = hmac_sha256::Hash::new();
        for file in &self.files {
            let path = file.path.as_os_str().as_encoded_bytes();
            for number in [
                path.len(),
                usize::from(file.is_executable),
                file.bytes.len(),
            ] {
                hash.update((number as u64).to_le_bytes());
            }
            hash.update(path);
            hash.update(&file.bytes);
        }
        hash.finalize()
    }

    /// When the newest of its files was written, in seconds since 1970.
    pub(super) fn written(&self) -> u64 {
        self.files.iter().map(|it| it.mtime).max().unwrap_or(0)
    }

    pub(super) fn about(&self) -> About {
        let own = self
            .files
            .iter()
            .find(|it| it.path == Path::new(SKILL_FILE));
        let text = String::from_utf8_lossy(own.map_or(&[][..], |it| &it.bytes)).into_owned();
        let unseen = |why| About {
            unseen: Some(why),
            ..About::default()
        };
        let Some(front) = front_matter(&text) else {
            return unseen("SKILL.md has no front matter");
        };
        let Some(front) = config::yaml_value(&front) else {
            return unseen("its front matter is no valid YAML");
        };
        let description = front["description"].as_str().unwrap_or_default().trim();
        let needs = &front["metadata"]["openclaw"]["requires"];
        let texts = |value: &Value| {
            let texts = value.as_array().into_iter().flatten();
            texts
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect()
        };
        About {
            description: description.to_owned(),
            bins: texts(&needs["bins"]),
            env: texts(&needs["env"]),
            unseen: description
                .is_empty()
                .then_some("its front matter has no description"),
        }
    }
}

/// What is between the first two lines of dashes.
fn front_matter(text: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let mut front = String::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Some(front);
        }
        front += line;
        front.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeFile {
        with(path, path)
    }

    fn with(path: &str, text: &str) -> TreeFile {
        TreeFile {
            path: path.into(),
            bytes: text.into(),
            is_executable: path.ends_with(".sh"),
            mtime: 7,
        }
    }

    #[test]
    fn directories_with_a_skill_file_are_skills_in_groups_too() {
        let files = [
            "a/SKILL.md",
            "a/run.sh",
            "a/deep/x",
            "a/deep/SKILL.md",
            "b/README",
            "SKILL.md",
            "../c/SKILL.md",
            "d/../SKILL.md",
            "/e/SKILL.md",
            "group/of/f/SKILL.md",
            "group/of/f/more",
            "1/2/3/4/5/6/7/g/SKILL.md",
        ];
        let found = by_skill(files.map(file).into());
        let names: Vec<_> = found.skills.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "f"]);
        let paths = |name: &str| -> Vec<String> {
            let files = found.skills[name].files.iter();
            files.map(|it| it.path.display().to_string()).collect()
        };
        assert_eq!(
            paths("a"),
            ["SKILL.md", "deep/SKILL.md", "deep/x", "run.sh"]
        );
        assert_eq!(paths("f"), ["SKILL.md", "more"]);
    }

    #[test]
    fn odd_names_sizes_and_clashes_are_left_out_and_told() {
        let odd = ["a$(touch x)", "a b", "é", "-rf", ".hidden", "a\nb", "x;y"];
        let mut files: Vec<TreeFile> = odd
            .iter()
            .map(|it| file(&format!("{it}/SKILL.md")))
            .collect();
        files.extend(["Good/SKILL.md", "group/good/SKILL.md", "big/SKILL.md"].map(file));
        files.push(with("big/x", &"x".repeat(BYTES_MAX + 1)));
        let found = by_skill(files);
        let names: Vec<_> = found.skills.keys().map(String::as_str).collect();
        assert_eq!(names, ["Good"]);
        assert_eq!(found.left_out.len(), odd.len() + 2, "{:?}", found.left_out);
        assert!(found.has("Good") && found.has("good") && found.has("big") && !found.has("x"));
    }

    #[test]
    fn content_is_compared_and_not_its_time() {
        let skill = |files: &[TreeFile]| Skill {
            at: "x".into(),
            files: files.to_vec(),
        };
        let one = skill(&[with("SKILL.md", "x")]);
        let mut later = one.clone();
        later.files[0].mtime = 99;
        later.at = "group/x".into();
        assert_eq!(one.hash(), later.hash());
        assert_eq!((one.written(), later.written()), (7, 99));
        for other in [
            skill(&[with("SKILL.md", "y")]),
            skill(&[with("SKILL.mdx", "")]),
            skill(&[with("SKILL.md", "x"), with("a", "")]),
            skill(&[with("SKILL.md", "x"), with("a.sh", "")]),
        ] {
            assert_ne!(one.hash(), other.hash());
        }
    }

    #[test]
    fn front_matter_is_read_as_yaml() {
        let about = |text: &str| {
            Skill {
                at: "x".into(),
                files: vec![with("SKILL.md", text)],
            }
            .about()
        };
        let whole = about(
            "---\r\nname: x\r\ndescription: >\r\n  folded\r\n  text\r\nmetadata: {\"openclaw\": {emoji: \"x\", requires: {bins: [\"git\", 'gh',], env: [TOKEN],},}}\r\n---\r\nBody",
        );
        assert_eq!(whole.description, "folded text");
        assert_eq!(
            (whole.bins, whole.env),
            (
                vec!["git".to_owned(), "gh".to_owned()],
                vec!["TOKEN".to_owned()]
            )
        );
        assert_eq!(whole.unseen, None);
        for (text, why) in [
            ("Body", "no front matter"),
            ("---\nname: x\n", "no front matter"),
            ("---\nname: x\n---\n", "no description"),
            ("---\n- x: [\n---\n", "no valid YAML"),
            ("---\ndescription: \"  \"\n---\n", "no description"),
        ] {
            let unseen = about(text).unseen.unwrap_or_default();
            assert!(unseen.contains(why), "{text:?}: {unseen}");
        }
    }
}
