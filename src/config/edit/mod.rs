//! Edits of config.yaml that keep everything else as the operator wrote it: comments, order, quotes,
//! indentation, line ends. Pure.
//!
//! A change is spliced into the text where the parser says that its place is, and the result is read
//! again: when it is not exactly the old tree with the change, the edit is refused.

mod layout;
mod yaml;

use std::path::{Path, PathBuf};

use self::{
    layout::{Layout, Lines, Part, Shape},
    yaml::{entry, scalar},
};
use super::{
    problems::Problems,
    secret::Secret,
    tree::{self, Entry, Node, Value},
};

/// A tenant that is not in the file yet.
#[derive(Debug, Clone)]
pub(crate) struct NewTenant {
    pub(crate) name: String,
    pub(crate) api_key: Secret,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) env: Vec<(String, Secret)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    AddTenant(NewTenant),
    /// Adds a variable to a tenant, or changes its value.
    SetEnv {
        tenant: String,
        name: String,
        value: Secret,
    },
}

/// Why the text cannot be edited, with the way out; never with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EditError(String);

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EditError {}

/// The text with all the changes, one after the other.
///
/// # Errors
/// When the text is no YAML, or a place is written in a way that cannot be edited without touching
/// more than it.
pub(crate) fn edited(text: &str, changes: &[Change]) -> Result<String, EditError> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let mut body = body.to_owned();
    for change in changes {
        body = change.applied_to(&body)?;
    }
    Ok(format!("{mark}{body}"))
}

/// The text of a file that does not exist yet.
pub(crate) fn new_file(tenants: &[NewTenant]) -> String {
    let mut text = "# Configuration of ccgw, written by `ccgw --setup`. It holds keys: keep it to yourself (chmod 600).\n\
                    # What is left out has its default; config.example.yaml explains every key.\n\n"
        .to_owned();
    if tenants.is_empty() {
        text.push_str("tenants: []\n");
        return text;
    }
    text.push_str("tenants:\n");
    for tenant in tenants {
        for line in tenant.lines(2) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

impl NewTenant {
    /// Its lines as an item of a list whose dashes are at `indent`.
    fn lines(&self, indent: usize) -> Vec<String> {
        let dash = " ".repeat(indent);
        let inner = " ".repeat(indent + 2);
        let mut lines = vec![
            format!("{dash}- {}", entry("name", &self.name)),
            format!("{inner}{}", entry("api_key", self.api_key.expose())),
        ];
        if let Some(dir) = &self.working_dir {
            lines.push(format!(
                "{inner}{}",
                entry("working_dir", &dir.to_string_lossy())
            ));
        }
        if !self.env.is_empty() {
            lines.push(format!("{inner}env:"));
            for (name, value) in &self.env {
                lines.push(format!("{inner}  {}", entry(name, value.expose())));
            }
        }
        lines
    }

    fn node(&self) -> Node {
        let mut entries = vec![
            leaf("name", &self.name),
            leaf("api_key", self.api_key.expose()),
        ];
        if let Some(dir) = &self.working_dir {
            entries.push(leaf("working_dir", &dir.to_string_lossy()));
        }
        if !self.env.is_empty() {
            let env = self
                .env
                .iter()
                .map(|(name, value)| leaf(name, value.expose()));
            entries.push(branch("env", Value::Map(env.collect())));
        }
        Node {
            line: 0,
            value: Value::Map(entries),
        }
    }
}

impl Change {
    fn applied_to(&self, text: &str) -> Result<String, EditError> {
        let before = tree_of(text)?;
        let lines = Lines::of(text);
        let layout = Layout::of(text).ok_or_else(|| refused("it cannot be understood"))?;
        let new = match self {
            Change::AddTenant(tenant) => add_tenant(&lines, &layout, tenant)?,
            Change::SetEnv {
                tenant,
                name,
                value,
            } => set_env(&lines, &layout, tenant, (name, value.expose()))?,
        };
        let after = tree_of(&new).map_err(|_| refused("the result would not be readable"))?;
        match same(&self.done_to(before), &after) {
            true => Ok(new),
            false => Err(refused("the result would not be what was meant")),
        }
    }

    /// The tree that the edited text must have.
    fn done_to(&self, before: Option<Node>) -> Node {
        let mut root = before.map_or_else(Vec::new, |it| match it.value {
            Value::Map(entries) => entries,
            _ => Vec::new(),
        });
        if !root.iter().any(|it| it.key == "tenants") {
            root.push(branch("tenants", Value::Null));
        }
        for entry in root.iter_mut().filter(|it| it.key == "tenants") {
            let mut items = match std::mem::replace(&mut entry.node.value, Value::Null) {
                Value::List(items) => items,
                _ => Vec::new(),
            };
            match self {
                Change::AddTenant(tenant) => items.push(tenant.node()),
                Change::SetEnv {
                    tenant,
                    name,
                    value,
                } => {
                    let own = items.iter_mut().filter(|it| is_called(it, tenant));
                    own.for_each(|it| put_env(it, name, value.expose()));
                }
            }
            entry.node.value = Value::List(items);
        }
        Node {
            line: 0,
            value: Value::Map(root),
        }
    }
}

fn add_tenant(lines: &Lines<'_>, layout: &Layout, tenant: &NewTenant) -> Result<String, EditError> {
    let Some(tenants) = layout.root_entry("tenants") else {
        if !layout.is_block_or_empty() {
            return Err(at(
                1,
                "the whole file is in braces; write `tenants:` on a line of its own",
            ));
        }
        let mut new = vec![String::new(), "tenants:".to_owned()];
        new.extend(tenant.lines(2));
        return Ok(lines.with_inserted(lines.count(), &new));
    };
    match &tenants.shape {
        Shape::List(items) if !items.is_empty() => {
            if lines.is_flow(tenants) {
                let text = "the tenants are in brackets; write each on lines of its own, beginning with `- name:`";
                return Err(at(tenants.line(), text));
            }
            let last = lines.last_line(tenants);
            Ok(lines.with_inserted(last, &tenant.lines(lines.dashes(tenants))))
        }
        Shape::List(_) | Shape::Null => {
            let (without, line) = lines.without(tenants);
            Ok(Lines::of(&without).with_inserted(line, &tenant.lines(2)))
        }
        Shape::Alias | Shape::Scalar | Shape::Map(_) => {
            Err(at(tenants.line(), "tenants: expected a list of tenants"))
        }
    }
}

fn set_env(
    lines: &Lines<'_>,
    layout: &Layout,
    tenant: &str,
    (name, value): (&str, &str),
) -> Result<String, EditError> {
    let items = layout.root_entry("tenants").map(|it| &it.shape);
    let Some(Shape::List(items)) = items else {
        return Err(refused("it has no tenants"));
    };
    let item = items.iter().find(|it| it.text_of("name") == Some(tenant));
    let item = item.ok_or_else(|| EditError(format!("no tenant is called `{tenant}`")))?;
    if lines.is_flow(item) {
        return Err(at(
            item.line(),
            "the tenant is in braces; write its keys on lines of their own",
        ));
    }
    let Some(env) = item.entry("env") else {
        let column = item.column();
        let new = [
            format!("{}env:", " ".repeat(column)),
            format!("{}{}", " ".repeat(column + 2), entry(name, value)),
        ];
        return Ok(lines.with_inserted(lines.last_line(item), &new));
    };
    if let Some(known) = env.entry(name) {
        return match known.shape {
            Shape::Scalar | Shape::Null if !lines.is_block_scalar(known) => {
                Ok(lines.with_replaced(known, &scalar(value)))
            }
            _ => Err(at(
                known.line(),
                "the value is written over several lines; change it by hand",
            )),
        };
    }
    match &env.shape {
        Shape::Map(entries) if !entries.is_empty() => {
            if lines.is_flow(env) {
                return Err(at(
                    env.line(),
                    "env is in braces; write its variables on lines of their own",
                ));
            }
            let new = format!("{}{}", " ".repeat(env.column()), entry(name, value));
            Ok(lines.with_inserted(lines.last_line(env), &[new]))
        }
        Shape::Map(_) | Shape::Null => {
            let (without, line) = lines.without(env);
            let new = format!("{}{}", " ".repeat(item.column() + 2), entry(name, value));
            Ok(Lines::of(&without).with_inserted(line, &[new]))
        }
        Shape::Alias | Shape::Scalar | Shape::List(_) => {
            Err(at(env.line(), "env: expected `NAME: value` pairs"))
        }
    }
}

fn tree_of(text: &str) -> Result<Option<Node>, EditError> {
    let mut problems = Problems::new(Path::new("config.yaml"));
    let tree = tree::parse(text, &mut problems);
    match tree {
        Ok(tree) if problems.is_empty() => Ok(tree),
        _ => Err(EditError(problems.sorted().to_string())),
    }
}

fn put_env(item: &mut Node, name: &str, value: &str) {
    let Value::Map(entries) = &mut item.value else {
        return;
    };
    if !entries.iter().any(|it| it.key == "env") {
        entries.push(branch("env", Value::Map(Vec::new())));
    }
    for entry in entries.iter_mut().filter(|it| it.key == "env") {
        if let Value::Null = entry.node.value {
            entry.node.value = Value::Map(Vec::new());
        }
        let Value::Map(variables) = &mut entry.node.value else {
            continue;
        };
        match variables.iter_mut().find(|it| it.key == name) {
            Some(known) => known.node.value = Value::Scalar(value.to_owned()),
            None => variables.push(leaf(name, value)),
        }
    }
}

fn is_called(item: &Node, name: &str) -> bool {
    let Value::Map(entries) = &item.value else {
        return false;
    };
    let is_name = |it: &Entry| {
        it.key == "name" && matches!(&it.node.value, Value::Scalar(text) if text == name)
    };
    entries.iter().any(is_name)
}

fn leaf(key: &str, text: &str) -> Entry {
    branch(key, Value::Scalar(text.to_owned()))
}

fn branch(key: &str, value: Value) -> Entry {
    Entry {
        key: key.to_owned(),
        line: 0,
        node: Node { line: 0, value },
    }
}

/// Equal but for the lines. An empty list and nothing are the same to the tenants.
fn same(a: &Node, b: &Option<Node>) -> bool {
    fn nodes(a: &Node, b: &Node) -> bool {
        match (&a.value, &b.value) {
            (Value::Null, Value::Null) => true,
            (Value::Scalar(a), Value::Scalar(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| nodes(a, b))
            }
            (Value::Map(a), Value::Map(b)) => {
                let entries = |(a, b): (&Entry, &Entry)| a.key == b.key && nodes(&a.node, &b.node);
                a.len() == b.len() && a.iter().zip(b).all(entries)
            }
            _ => false,
        }
    }
    b.as_ref().is_some_and(|b| nodes(a, b))
}

fn refused(why: &str) -> EditError {
    EditError(format!(
        "config.yaml cannot be edited here: {why}; add it by hand"
    ))
}

fn at(line: usize, text: &str) -> EditError {
    EditError(format!("config.yaml:{line}: {text}"))
}

impl Part {
    fn line(&self) -> usize {
        self.start.line
    }

    fn column(&self) -> usize {
        self.start.column
    }
}

#[cfg(test)]
mod tests;
