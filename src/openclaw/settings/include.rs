//! `$include`: which files make up the settings, and how they merge. Pure.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::ReadFile;
use super::source::{Source, TOO_HEAVY, WEIGHT_MAX};

/// The root file and all that it includes.
pub(super) struct Merged {
    /// Each file once, the root first.
    pub(super) sources: Vec<Source>,
    /// From the weakest to the root, which wins over all.
    pub(super) mounts: Vec<Mount>,
    /// An object.
    pub(super) value: Value,
}

/// Where a file's value stands in the merged one.
pub(super) struct Mount {
    /// An index of `sources`.
    pub(super) file: usize,
    pub(super) at: Vec<String>,
}

pub(super) const INCLUDE: &str = "$include";

/// OpenClaw's own limit.
const DEPTH_MAX: usize = 10;

/// Without it ten files that include each other twice are a thousand.
const INCLUDES_MAX: usize = 64;

/// Of all files together, counted as often as they are included.
const TOTAL_BYTES_MAX: usize = 16 << 20;

/// Every level is a stack frame here and in the editor; OpenClaw's schema has about ten.
const NESTING_MAX: usize = 128;

const PATH_BYTES_MAX: usize = 4096;

/// The place of a list's item in a mount, which no edit looks for.
const ITEM: &str = "[]";

pub(super) fn load(path: &Path, read: ReadFile<'_>) -> Result<Merged, String> {
    let shown = path.display();
    let root = normal(path).ok_or_else(|| format!("{shown}: write an absolute path"))?;
    let mut loader = Loader {
        dir: root.parent().unwrap_or(Path::new("")).to_path_buf(),
        read,
        sources: Vec::new(),
        mounts: Vec::new(),
        chain: vec![0],
        included: 0,
        bytes: 0,
        weight: 0,
    };
    let value = loader
        .open(&root)?
        .1
        .unwrap_or_else(|| Value::Object(Map::new()));
    let value = loader.resolve(value, &mut Vec::new())?;
    if !value.is_object() {
        return Err(loader.wrong("must hold an object in braces, correct it and run again"));
    }
    loader.mounts.push(Mount {
        file: 0,
        at: Vec::new(),
    });
    Ok(Merged {
        sources: loader.sources,
        mounts: loader.mounts,
        value,
    })
}

struct Loader<'a> {
    dir: PathBuf,
    read: ReadFile<'a>,
    sources: Vec<Source>,
    mounts: Vec<Mount>,
    /// The files that are being resolved, each included by the one before.
    chain: Vec<usize>,
    included: usize,
    bytes: usize,
    weight: usize,
}

impl Loader<'_> {
    fn resolve(&mut self, value: Value, at: &mut Vec<String>) -> Result<Value, String> {
        if at.len() > NESTING_MAX {
            let text = format!("nested deeper than {NESTING_MAX} levels, correct it and run again");
            return Err(self.wrong(&text));
        }
        match value {
            Value::Array(items) => {
                let items = items.into_iter().map(|item| self.step(item, ITEM, at));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Value::Object(mut fields) => match fields.remove(INCLUDE) {
                None => self.object(fields, at),
                Some(paths) => {
                    let included = self.include(&paths, at)?;
                    self.over(included, fields, at)
                }
            },
            scalar => Ok(scalar),
        }
    }

    fn step(&mut self, value: Value, key: &str, at: &mut Vec<String>) -> Result<Value, String> {
        at.push(key.to_owned());
        let value = self.resolve(value, at);
        at.pop();
        value
    }

    fn object(
        &mut self,
        fields: Map<String, Value>,
        at: &mut Vec<String>,
    ) -> Result<Value, String> {
        let fields = fields.into_iter().map(|(key, value)| {
            let value = self.step(value, &key, at)?;
            Ok((key, value))
        });
        Ok(Value::Object(fields.collect::<Result<_, String>>()?))
    }

    /// What is included, under what stands beside the `$include`.
    fn over(
        &mut self,
        included: Value,
        beside: Map<String, Value>,
        at: &mut Vec<String>,
    ) -> Result<Value, String> {
        if beside.is_empty() {
            return Ok(included);
        }
        if !included.is_object() {
            let text = "has keys beside a $include of no object, take them away";
            return Err(self.wrong(text));
        }
        let beside = self.object(beside, at)?;
        Ok(merge(included, beside))
    }

    fn include(&mut self, paths: &Value, at: &mut Vec<String>) -> Result<Value, String> {
        let expected = "$include must be a path or a list of paths, correct it and run again";
        match paths {
            Value::String(path) => self.file(path, at),
            Value::Array(paths) => {
                let mut merged = Value::Object(Map::new());
                for path in paths {
                    let path = path.as_str().ok_or_else(|| self.wrong(expected))?;
                    merged = merge(merged, self.file(path, at)?);
                }
                Ok(merged)
            }
            _ => Err(self.wrong(expected)),
        }
    }

    fn file(&mut self, path: &str, at: &mut Vec<String>) -> Result<Value, String> {
        let path = self.place(path)?;
        self.included += 1;
        if self.included > INCLUDES_MAX {
            return Err(self.wrong(&format!(
                "more than {INCLUDES_MAX} files are included, join some"
            )));
        }
        if self.chain.len() > DEPTH_MAX {
            let text = format!("$include goes deeper than {DEPTH_MAX} files, join some");
            return Err(self.wrong(&text));
        }
        let (file, value) = self.open(&path)?;
        if self.chain.contains(&file) {
            let text = format!("includes {}, which includes it: a circle", path.display());
            return Err(self.wrong(&text));
        }
        let Some(value) = value else {
            return Err(self.sources[file].wrong("is included and empty, write {} into it"));
        };
        self.chain.push(file);
        let value = self.resolve(value, at)?;
        self.chain.pop();
        let at = at.clone();
        self.mounts.push(Mount { file, at });
        Ok(value)
    }

    /// The file and what it says. A file that was read before is not read again: it could differ.
    fn open(&mut self, path: &Path) -> Result<(usize, Option<Value>), String> {
        let known = self.sources.iter().position(|source| source.path == path);
        let file = match known {
            Some(file) => file,
            None => {
                let source = self.fetch(path)?;
                self.sources.push(source);
                self.sources.len() - 1
            }
        };
        let source = &mut self.sources[file];
        self.bytes += source.text.len();
        self.weight += source.weight;
        if self.bytes > TOTAL_BYTES_MAX || self.weight > WEIGHT_MAX {
            return Err(source.wrong(TOO_HEAVY));
        }
        Ok((file, source.parse()?))
    }

    fn fetch(&self, path: &Path) -> Result<Source, String> {
        let shown = path.display();
        match (self.read)(path) {
            Err(error) => Err(format!("{shown}: cannot be read ({error})")),
            Ok(Some(bytes)) => Source::new(path, bytes),
            Ok(None) if self.sources.is_empty() => Ok(Source::absent(path)),
            Ok(None) => Err(self.wrong(&format!(
                "includes {shown}, which does not exist: create it or take the $include away"
            ))),
        }
    }

    /// The path of a file that the current one includes, which stays beside or below the root file.
    fn place(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err(self.wrong("$include has no usable path, correct it and run again"));
        }
        let from = self.current().path.parent().unwrap_or(Path::new(""));
        normal(&from.join(path))
            .filter(|place| place.starts_with(&self.dir))
            .ok_or_else(|| {
                let dir = self.dir.display();
                let text = format!("$include {path:?} leaves {dir}, move the file into it");
                self.wrong(&text)
            })
    }

    fn wrong(&self, text: &str) -> String {
        self.current().wrong(text)
    }

    /// The file that is being resolved. The root is opened before anything can go wrong in it.
    fn current(&self) -> &Source {
        &self.sources[self.chain.last().copied().unwrap_or(0)]
    }
}

/// As OpenClaw merges included files: lists are joined, objects merge, else the later wins.
fn merge(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Array(mut under), Value::Array(over)) => {
            under.extend(over);
            Value::Array(under)
        }
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let value = match under.remove(&key) {
                    Some(old) => merge(old, value),
                    None => value,
                };
                under.insert(key, value);
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}

/// The path without `.` and `..`; `None` when it climbs out of what it names.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            other => out.push(other),
        }
    }
    Some(out)
}
