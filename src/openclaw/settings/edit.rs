//! A plan written into the files so that comments, order, quotes and indents stay. Pure.

use std::path::{Path, PathBuf};

use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

use super::include::INCLUDE;
use super::plan::Plan;
use super::{Settings, patch, source};

pub(super) fn edited(settings: &Settings, plan: &Plan) -> Result<Vec<(PathBuf, String)>, String> {
    if let Some(path) = patch::in_the_way(&settings.value, &plan.patch) {
        let text = format!("{path} is not an object, correct it and run again");
        return Err(settings.sources[0].wrong(&text));
    }
    let editor = Editor::new(settings)?;
    editor.apply(&mut Vec::new(), Some(&settings.value), &plan.patch)?;
    let texts = editor.texts();
    check(settings, plan, &texts)?;
    Ok(texts)
}

/// Reads the new texts back, so that a wrong one never leaves.
fn check(settings: &Settings, plan: &Plan, texts: &[(PathBuf, String)]) -> Result<(), String> {
    let read = |path: &Path| {
        let new = texts.iter().find(|(changed, _)| changed == path);
        let old = || settings.sources.iter().find(|source| source.path == path);
        let text = match new {
            Some((_, text)) => Some(text.as_str()),
            None => old().map(|source| source.text.as_str()),
        };
        Ok(text.map(|text| text.as_bytes().to_vec()))
    };
    let root = &settings.sources[0];
    let fresh = Settings::read(&root.path, &read, &|_| None)?;
    match fresh.value == patch::patched(&settings.value, &plan.patch) {
        true => Ok(()),
        false => Err(root.wrong(
            "the change does not come out right in these files, let `openclaw config patch` make it",
        )),
    }
}

struct Editor<'a> {
    settings: &'a Settings,
    /// The syntax tree of each source.
    trees: Vec<CstRootNode>,
}

/// A place for a value: the object, and the keys from there on.
struct Place<'p> {
    object: CstObject,
    keys: &'p [String],
}

impl Editor<'_> {
    fn new(settings: &Settings) -> Result<Editor<'_>, String> {
        let trees = settings.sources.iter().map(|source| {
            CstRootNode::parse(&source.text, &source::options()).map_err(|error| {
                // The reader took the same text with the same options before.
                source.wrong(&format!("cannot be edited, line {}", error.line_display()))
            })
        });
        let trees = trees.collect::<Result<Vec<_>, _>>()?;
        Ok(Editor { settings, trees })
    }

    fn apply(
        &self,
        path: &mut Vec<String>,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), String> {
        match (old, new) {
            (Some(old), new) if old == new => Ok(()),
            (Some(Value::Object(old)), Value::Object(new)) => {
                for (key, new) in new {
                    path.push(key.clone());
                    self.apply(path, old.get(key), new)?;
                    path.pop();
                }
                Ok(())
            }
            _ => self.set(path, old, new),
        }
    }

    fn set(&self, path: &[String], old: Option<&Value>, new: &Value) -> Result<(), String> {
        let place = self.place(path)?;
        let Some((first, further)) = place.keys.split_first() else {
            return Err(self.wrong(path, "has no place of its own"));
        };
        match place.object.get(first) {
            Some(prop) if further.is_empty() => {
                replace(&prop, old, new).map_err(|text| self.wrong(path, &text))
            }
            Some(_) => Err(self.wrong(path, "has something in its way")),
            None => {
                let nested = further.iter().rev().fold(input(new), |value, key| {
                    CstInputValue::Object(vec![(key.clone(), value)])
                });
                place.object.append(first, nested);
                Ok(())
            }
        }
    }

    /// Where a value is to stand: where it stands now in the file that wins, else in the deepest
    /// object of its path that some file has.
    fn place<'p>(&self, path: &'p [String]) -> Result<Place<'p>, String> {
        let mut best: Option<(usize, Place<'p>)> = None;
        for mount in self.settings.mounts.iter().rev() {
            let Some(keys) = path.strip_prefix(mount.at.as_slice()) else {
                continue;
            };
            let Some(object) = self.trees[mount.file].object_value_or_create() else {
                continue;
            };
            let Some(place) = self.descend(object, keys, path)? else {
                continue;
            };
            if let [last] = place.keys
                && place.object.get(last).is_some()
            {
                return Ok(place);
            }
            let depth = path.len() - place.keys.len();
            if best.as_ref().is_none_or(|(most, _)| depth > *most) {
                best = Some((depth, place));
            }
        }
        best.map(|(_, place)| place)
            .ok_or_else(|| self.wrong(path, "has no place in any file"))
    }

    /// As deep as objects go; `None` when something else is in the way, which a stronger file hides.
    fn descend<'p>(
        &self,
        mut object: CstObject,
        mut keys: &'p [String],
        path: &[String],
    ) -> Result<Option<Place<'p>>, String> {
        while let [key, further @ ..] = keys {
            let prop = single(&object, key).map_err(|text| self.wrong(path, &text))?;
            if further.is_empty() {
                break;
            }
            match prop.map(|prop| prop.object_value()) {
                None => break,
                Some(None) => return Ok(None),
                Some(Some(next)) => object = next,
            }
            keys = further;
        }
        Ok((!keys.is_empty()).then_some(Place { object, keys }))
    }

    fn texts(&self) -> Vec<(PathBuf, String)> {
        let pairs = self.settings.sources.iter().zip(&self.trees);
        pairs
            .filter_map(|(source, tree)| {
                let mut text = tree.to_string();
                if text == source.text {
                    return None;
                }
                if source.text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                Some((source.path.clone(), source.with_text(&text)))
            })
            .collect()
    }

    fn wrong(&self, path: &[String], text: &str) -> String {
        let text = format!("{} {text}, change it by hand", path.join("."));
        self.settings.sources[0].wrong(&text)
    }
}

/// The property of this name. JSON5 takes the last of several, the syntax tree edits the first.
fn single(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, String> {
    let mut props = object
        .properties()
        .into_iter()
        .filter(|prop| prop.decoded_name().as_deref() == Some(name));
    let prop = props.next();
    match props.next() {
        None => Ok(prop),
        Some(_) => Err(format!("has the key {name:?} twice")),
    }
}

fn replace(prop: &CstObjectProp, old: Option<&Value>, new: &Value) -> Result<(), String> {
    let node = prop.value();
    match (node, old, new) {
        (Some(CstNode::Leaf(node)), _, Value::String(text)) => {
            match CstNode::from(node).as_string_lit() {
                Some(literal) => literal.set_raw_value(quoted(text, &literal.raw_value())),
                None => prop.set_value(input(new)),
            }
            Ok(())
        }
        (Some(node), Some(Value::Array(old)), Value::Array(new)) if node.as_array().is_some() => {
            match node
                .as_array()
                .filter(|it| it.elements().len() == old.len())
            {
                Some(array) if old.len() == new.len() => replace_items(&array, old, new),
                _ => {
                    prop.set_value(input(&Value::Array(new.clone())));
                    Ok(())
                }
            }
        }
        (Some(node), ..) if node.as_object().is_some_and(|it| it.get(INCLUDE).is_some()) => {
            Err("comes from an included file as a whole".to_owned())
        }
        _ => {
            prop.set_value(input(new));
            Ok(())
        }
    }
}

/// Changes what differs in a list of the same length, so that comments in it stay.
fn replace_items(array: &CstArray, old: &[Value], new: &[Value]) -> Result<(), String> {
    for (element, (old, new)) in array.elements().into_iter().zip(old.iter().zip(new)) {
        if old == new {
            continue;
        }
        match (element.as_object(), old, new) {
            (Some(object), Value::Object(old), Value::Object(new)) => {
                for (key, new) in new {
                    let old = old.get(key);
                    if old == Some(new) {
                        continue;
                    }
                    match single(&object, key)? {
                        Some(prop) => replace(&prop, old, new)?,
                        None => {
                            object.append(key, input(new));
                        }
                    }
                }
            }
            _ => return Err("has an entry that is no object".to_owned()),
        }
    }
    Ok(())
}

/// The text as a literal, in the quotes that were there where that needs no escapes.
fn quoted(text: &str, before: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, '\'' | '\\' | '\u{2028}' | '\u{2029}');
    match before.starts_with('\'') && text.chars().all(plain) {
        true => format!("'{text}'"),
        false => Value::from(text).to_string(),
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(it) => CstInputValue::Bool(*it),
        Value::Number(it) => CstInputValue::Number(it.to_string()),
        Value::String(it) => CstInputValue::String(it.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), input(value)));
            CstInputValue::Object(fields.collect())
        }
    }
}
