//! What a change does to the tree of the file, and whether two trees are the same: the proof that
//! an edited text means what was asked for.

use super::{Change, Field, NewTenant, tenants};
use crate::config::tree::{Entry, Node, Value};

/// The tree after the change; `None` when the change does not fit the tree.
pub(super) fn expected(tree: Option<Node>, change: &Change) -> Option<Node> {
    let mut root = tree.unwrap_or(node(Value::Null));
    match change {
        Change::AddTenant(tenant) => list(&mut root)?.push(added(tenant)),
        Change::RemoveTenant(name) => {
            let (index, _) = *indexes(Some(&root), name).first()?;
            list(&mut root)?.remove(index);
        }
        Change::Set {
            tenant,
            field,
            value,
        } => {
            let tenant = map(tenant_of(&mut root, tenant)?)?;
            put(tenant, *field, scalar(value.expose()));
        }
        Change::Unset { tenant, field } => {
            let tenant = map(tenant_of(&mut root, tenant)?)?;
            tenant.retain(|entry| entry.key != field.name());
        }
        Change::SetEnv {
            tenant,
            name,
            value,
        } => {
            let env = env(tenant_of(&mut root, tenant)?)?;
            set(env, name, scalar(value.expose()));
        }
        Change::UnsetEnv { tenant, name } => {
            let env = env(tenant_of(&mut root, tenant)?)?;
            env.retain(|entry| entry.key != *name);
        }
    }
    Some(root)
}

/// Whether the two say the same, wherever they say it.
pub(super) fn is_same(one: Option<&Node>, other: Option<&Node>) -> bool {
    match (one.map(|it| &it.value), other.map(|it| &it.value)) {
        (None | Some(Value::Null), None | Some(Value::Null)) => true,
        (Some(Value::Scalar(one)), Some(Value::Scalar(other))) => one == other,
        (Some(Value::List(one)), Some(Value::List(other))) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| is_same(Some(one), Some(other)))
        }
        (Some(Value::Map(one)), Some(Value::Map(other))) => {
            let is_same_entry = |(one, other): (&Entry, &Entry)| {
                one.key == other.key && is_same(Some(&one.node), Some(&other.node))
            };
            one.len() == other.len() && one.iter().zip(other).all(is_same_entry)
        }
        _ => false,
    }
}

/// The places of the tenants of this name in the list, and their lines.
pub(super) fn indexes(tree: Option<&Node>, name: &str) -> Vec<(usize, usize)> {
    let tenants = tree.and_then(|root| get(root, "tenants"));
    let Some(Value::List(items)) = tenants.map(|it| &it.value) else {
        return Vec::new();
    };
    let is_it = |item: &Node| {
        let found = get(item, "name").map(|it| &it.value);
        matches!(found, Some(Value::Scalar(text)) if text == name)
    };
    let numbered = items.iter().enumerate().filter(|(_, item)| is_it(item));
    numbered.map(|(index, item)| (index, item.line)).collect()
}

fn get<'t>(node: &'t Node, key: &str) -> Option<&'t Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let found = entries.iter().find(|entry| entry.key == key);
    found.map(|entry| &entry.node)
}

fn tenant_of<'t>(root: &'t mut Node, name: &str) -> Option<&'t mut Node> {
    let (index, _) = *indexes(Some(root), name).first()?;
    list(root)?.get_mut(index)
}

/// The tenants, made when there are none.
fn list(root: &mut Node) -> Option<&mut Vec<Node>> {
    let tenants = entry(map(root)?, "tenants");
    if matches!(tenants.value, Value::Null) {
        tenants.value = Value::List(Vec::new());
    }
    match &mut tenants.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

fn env(tenant: &mut Node) -> Option<&mut Vec<Entry>> {
    map(entry(map(tenant)?, "env"))
}

/// The entries of a map, made of nothing when there is nothing.
fn map(node: &mut Node) -> Option<&mut Vec<Entry>> {
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

/// The value of the key, null when it is new.
fn entry<'t>(entries: &'t mut Vec<Entry>, key: &str) -> &'t mut Node {
    let found = entries.iter().position(|entry| entry.key == key);
    let index = found.unwrap_or(entries.len());
    if index == entries.len() {
        entries.push(Entry {
            key: key.to_owned(),
            line: 0,
            node: node(Value::Null),
        });
    }
    &mut entries[index].node
}

fn set(entries: &mut Vec<Entry>, key: &str, value: Value) {
    entry(entries, key).value = value;
}

/// As [`set`], and a new one comes where its field belongs.
fn put(entries: &mut Vec<Entry>, field: Field, value: Value) {
    if entries.iter().any(|entry| entry.key == field.name()) {
        return set(entries, field.name(), value);
    }
    let before = |entry: &Entry| field.follows().contains(&entry.key.as_str());
    let index = entries.iter().rposition(before).map(|index| index + 1);
    let entry = Entry {
        key: field.name().to_owned(),
        line: 0,
        node: node(value),
    };
    entries.insert(index.unwrap_or(entries.len()), entry);
}

fn added(tenant: &NewTenant) -> Node {
    let mut entries = Vec::new();
    set(&mut entries, "name", scalar(&tenant.name));
    let (field, key) = tenants::key_entry(&tenant.key);
    set(&mut entries, field.name(), scalar(&key));
    if let Some(container) = &tenant.container {
        set(&mut entries, "container", scalar(container));
    }
    if let Some(dir) = tenant.working_dir.as_ref().and_then(|it| it.to_str()) {
        set(&mut entries, "working_dir", scalar(dir));
    }
    if !tenant.mounts.is_empty() {
        let mounts = tenant.mounts.iter();
        let texts = mounts.filter_map(|it| Some((it.inside.to_str()?, it.host.to_str()?)));
        let entry = |(inside, host): (&str, &str)| Entry {
            key: inside.to_owned(),
            line: 0,
            node: node(scalar(host)),
        };
        let mounts = Value::Map(texts.map(entry).collect());
        set(&mut entries, "mounts", mounts);
    }
    if !tenant.env.is_empty() {
        let variable = |(name, value): &(String, _)| Entry {
            key: name.clone(),
            line: 0,
            node: node(scalar(super::Secret::expose(value))),
        };
        let env = Value::Map(tenant.env.iter().map(variable).collect());
        set(&mut entries, "env", env);
    }
    node(Value::Map(entries))
}

fn scalar(text: &str) -> Value {
    Value::Scalar(text.to_owned())
}

/// Lines do not count where trees are compared.
fn node(value: Value) -> Node {
    Node { line: 0, value }
}
