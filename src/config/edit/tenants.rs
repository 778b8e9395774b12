//! Edits of the `tenants` list: a tenant found, added or removed, and its variables.

use super::entries::{self, behind_colon, indented};
use super::lines::{
    Splice, column, follows_text, insert_lines, line_at, line_end, line_start, part_end,
};
use super::spots::{Kind, Mark, Page, Shape, Spot};
use super::{EditError, Field, Key, NewTenant, effect, scalar, shown};
use crate::config::tree::Node;

/// A tenant in the text.
pub(super) struct Found<'p> {
    index: usize,
    pub(super) spot: &'p Spot,
    pub(super) key: &'p Spot,
    items: &'p [Spot],
    shape: Shape,
}

/// Finds the only tenant of this name, if it can be edited.
pub(super) fn find<'p>(
    page: &'p Page<'_>,
    tree: Option<&Node>,
    name: &str,
) -> Result<Found<'p>, EditError> {
    let indexes = effect::indexes(tree, name);
    let [(index, line)] = indexes[..] else {
        return Err(match indexes[..] {
            [(_, first), (_, second), ..] => EditError::at(
                second,
                format!(
                    "tenant {} is here a second time, remove this one or the one in line {first}",
                    shown(name)
                ),
            ),
            _ => EditError::new(format!("there is no tenant {} in the file", shown(name))),
        });
    };
    let (key, list) = list(page).ok_or_else(|| unclear(line))?;
    let Kind::List(shape, items) = &list.kind else {
        return Err(unclear(list.line));
    };
    refuse_anchor(key, list)?;
    let spot = items.get(index).ok_or_else(|| unclear(list.line))?;
    if let Some(line) = spot.marked_line() {
        return Err(EditError::at(
            line,
            format!(
                "tenant {} has an anchor (`&`) or an alias (`*`), write the values out",
                shown(name)
            ),
        ));
    }
    Ok(Found {
        index,
        spot,
        key,
        items,
        shape: *shape,
    })
}

/// Adds a tenant at the end of the list, in the list's own style.
pub(super) fn add(
    page: &Page<'_>,
    tree: Option<&Node>,
    tenant: &NewTenant,
) -> Result<Vec<Splice>, EditError> {
    if let Some((_, line)) = effect::indexes(tree, &tenant.name).first() {
        let name = shown(&tenant.name);
        let text = format!("tenant {name} is here already, take another name");
        return Err(EditError::at(*line, text));
    }
    let mut hosts = tenant.mounts.iter().map(|it| &it.host);
    if tenant
        .working_dir
        .as_ref()
        .is_some_and(|it| it.to_str().is_none())
        || hosts.any(|it| it.to_str().is_none())
    {
        let text = "the working directory's name is not UTF-8, which YAML cannot hold, rename it";
        return Err(EditError::new(text));
    }
    let Some((key, list)) = list(page) else {
        return append_list(page, tenant);
    };
    refuse_anchor(key, list)?;
    match (&list.kind, root_shape(page)) {
        (Kind::List(Shape::Block, items), _) => add_to_block(page, (key, items), tenant),
        (Kind::List(_, items), Shape::Block) if items.is_empty() => {
            entries::fill(page, (key, list), &block_lines(tenant, 1, page.step()))
        }
        (Kind::Null, Shape::Block) => {
            entries::fill(page, (key, list), &block_lines(tenant, 1, page.step()))
        }
        (Kind::List(..), _) => Ok(vec![entries::add(page, list, &[flow_text(tenant)])?]),
        (Kind::Null, Shape::Flow) => {
            let value = format!("[{}]", flow_text(tenant));
            Ok(vec![entries::replace(page, (key, list), &value)?])
        }
        _ => Err(unclear(list.line)),
    }
}

/// Removes the tenant with its comments; `[]` stays behind the last one.
pub(super) fn remove(
    page: &Page<'_>,
    tree: Option<&Node>,
    name: &str,
) -> Result<Vec<Splice>, EditError> {
    let found = find(page, tree, name)?;
    if found.shape == Shape::Flow {
        let places = found.items.iter().map(|item| (item.start, item.end));
        return entries::remove_flow(page, &places.collect::<Vec<_>>(), found.index);
    }
    let dash = dash(page, found.key, (found.items, found.index))?;
    let mut lines = entries::whole_lines(page, (dash, found.spot.end))?;
    // The blank line that parted the last one from the others goes with it.
    if found.index > 0 && found.index + 1 == found.items.len() {
        lines.start = blank_before(page.text, lines.start);
    }
    match found.items {
        [_] => Ok(vec![
            Splice::insert(behind_colon(page, found.key)?, " []"),
            lines,
        ]),
        _ => Ok(vec![lines]),
    }
}

/// The start of the line before `at`, if that is blank; else `at`, the start of a line.
fn blank_before(text: &str, at: usize) -> usize {
    let before = &text[..at];
    let before = before.strip_suffix('\n').unwrap_or(before);
    let before = before.strip_suffix('\r').unwrap_or(before);
    match before.len() < at && line_at(text, before.len()).1.is_empty() {
        true => line_start(text, before.len()),
        false => at,
    }
}

/// Sets a variable: its name, and how the name and the value are written.
pub(super) fn set_variable(
    page: &Page<'_>,
    tenant: &Spot,
    (name, written, value): (&str, &str, &str),
) -> Result<Vec<Splice>, EditError> {
    let entry = format!("{written}: {value}");
    let Some((key, env)) = tenant.entry("env") else {
        let lines = match tenant.kind {
            Kind::Map(Shape::Flow, _) => vec![format!("env: {{{entry}}}")],
            _ => vec!["env:".to_owned(), format!("{:1$}{entry}", "", page.step())],
        };
        return Ok(vec![entries::add(page, tenant, &lines)?]);
    };
    let is_block = matches!(tenant.kind, Kind::Map(Shape::Block, _));
    match &env.kind {
        Kind::Null if is_block => entries::fill(page, (key, env), &[entry]),
        Kind::Null => {
            let value = format!("{{{entry}}}");
            Ok(vec![entries::replace(page, (key, env), &value)?])
        }
        Kind::Map(_, list) if list.is_empty() && is_block => {
            entries::fill(page, (key, env), &[entry])
        }
        Kind::Map(..) => match env.entry(name) {
            Some(old) => Ok(vec![entries::replace(page, old, value)?]),
            None => Ok(vec![entries::add(page, env, &[entry])?]),
        },
        _ => {
            let text = "expected `key: value` pairs, write the variables as `NAME: value`";
            Err(EditError::at(env.line, text))
        }
    }
}

pub(super) fn unset_variable(
    page: &Page<'_>,
    tenant: &Spot,
    name: &str,
) -> Result<Vec<Splice>, EditError> {
    let entry = tenant.entry("env");
    let Some(env) = entry.filter(|(_, env)| env.entry(name).is_some()) else {
        let name = shown(name);
        let text = format!("this tenant's env has no variable {name}");
        return Err(EditError::at(tenant.line, text));
    };
    entries::remove(page, env, name)
}

fn list<'p>(page: &'p Page<'_>) -> Option<(&'p Spot, &'p Spot)> {
    page.root.as_ref()?.entry("tenants")
}

fn root_shape(page: &Page<'_>) -> Shape {
    match page.root.as_ref().map(|root| &root.kind) {
        Some(Kind::Map(shape, _)) => *shape,
        _ => Shape::Block,
    }
}

fn refuse_anchor(key: &Spot, list: &Spot) -> Result<(), EditError> {
    if key.mark == Mark::Anchor || list.mark == Mark::Anchor || matches!(list.kind, Kind::Alias) {
        let text = "`tenants` has an anchor (`&`) or is an alias (`*`), write the list out";
        return Err(EditError::at(key.line, text));
    }
    Ok(())
}

fn unclear(line: usize) -> EditError {
    let text = "expected the list of tenants, begin each with `- name: ...`";
    EditError::at(line, text)
}

fn append_list(page: &Page<'_>, tenant: &NewTenant) -> Result<Vec<Splice>, EditError> {
    let root_column = match &page.root {
        None => 0,
        Some(root) if matches!(root.kind, Kind::Map(Shape::Block, _)) => {
            column(page.text, root.start)
        }
        Some(root) => {
            let text = "expected `key: value` lines, write one a line without brackets";
            return Err(EditError::at(root.line, text));
        }
    };
    let mut lines = vec!["tenants:".to_owned()];
    let items = block_lines(tenant, 1, page.step());
    lines.extend(indented(&items, page.step()));
    let mut lines = indented(&lines, root_column);
    if follows_text(page.text, page.end) {
        lines.insert(0, String::new());
    }
    Ok(vec![insert_lines(page.text, page.end, &lines)])
}

fn add_to_block(
    page: &Page<'_>,
    (key, items): (&Spot, &[Spot]),
    tenant: &NewTenant,
) -> Result<Vec<Splice>, EditError> {
    let Some(last) = items.last() else {
        return Err(unclear(key.line));
    };
    let dash = dash(page, key, (items, items.len() - 1))?;
    let own = column(page.text, dash);
    // The keys start where those of the last tenant do, unless that one has them in other lines.
    let gap = match line_start(page.text, last.start) == line_start(page.text, dash) {
        true => last.start - dash - 1,
        false => 1,
    };
    let mut lines = indented(&block_lines(tenant, gap, page.step()), own);
    let line = line_start(page.text, dash);
    if items.len() > 1 && !follows_text(page.text, line) {
        lines.insert(0, String::new());
    }
    let at = part_end(page.text, last.end, own);
    Ok(vec![insert_lines(page.text, at, &lines)])
}

/// The place of an item's `-`: the first thing behind the item before, comments aside.
fn dash(page: &Page<'_>, key: &Spot, (items, index): (&[Spot], usize)) -> Result<usize, EditError> {
    let item = &items[index];
    let before = index.checked_sub(1).map_or(key, |before| &items[before]);
    let mut at = line_end(page.text, before.end);
    while at < item.start {
        match line_at(page.text, at) {
            (indent, content) if content.starts_with('-') => return Ok(at + indent),
            (_, content) if content.is_empty() || content.starts_with('#') => {}
            _ => break,
        }
        at = line_end(page.text, at);
    }
    Err(unclear(item.line))
}

/// An item of a block list, its `-` in the first column.
fn block_lines(tenant: &NewTenant, gap: usize, step: usize) -> Vec<String> {
    let mut lines = scalars(tenant);
    if !tenant.mounts.is_empty() {
        lines.push("mounts:".to_owned());
        lines.extend(indented(&mounts(tenant), step));
    }
    if !tenant.env.is_empty() {
        lines.push("env:".to_owned());
        lines.extend(indented(&variables(tenant), step));
    }
    let mut lines = indented(&lines, gap + 1);
    if let Some(first) = lines.first_mut() {
        first.replace_range(..1, "-");
    }
    lines
}

fn flow_text(tenant: &NewTenant) -> String {
    let mut parts = scalars(tenant);
    if !tenant.mounts.is_empty() {
        parts.push(format!("mounts: {{{}}}", mounts(tenant).join(", ")));
    }
    if !tenant.env.is_empty() {
        parts.push(format!("env: {{{}}}", variables(tenant).join(", ")));
    }
    format!("{{{}}}", parts.join(", "))
}

/// How a key stands in the file.
pub(super) fn key_entry(key: &Key) -> (Field, String) {
    match key {
        Key::Plain(secret) => (Field::ApiKey, secret.expose().to_owned()),
        Key::Hashed(hash) => (Field::ApiKeySha256, hash.hex()),
    }
}

fn scalars(tenant: &NewTenant) -> Vec<String> {
    let written = |key: &str, value: &str| format!("{key}: {}", scalar::written(value));
    let (field, key) = key_entry(&tenant.key);
    let mut lines = vec![written("name", &tenant.name), written(field.name(), &key)];
    lines.extend(tenant.container.iter().map(|it| written("container", it)));
    // What is not UTF-8 was refused before.
    let dir = tenant.working_dir.as_ref().and_then(|it| it.to_str());
    lines.extend(dir.map(|dir| written("working_dir", dir)));
    lines
}

fn mounts(tenant: &NewTenant) -> Vec<String> {
    // What is not UTF-8 was refused before.
    let mounts = tenant.mounts.iter();
    let texts = mounts.filter_map(|it| Some((it.inside.to_str()?, it.host.to_str()?)));
    texts
        .map(|(inside, host)| format!("{}: {}", scalar::written(inside), scalar::written(host)))
        .collect()
}

fn variables(tenant: &NewTenant) -> Vec<String> {
    let written = |name: &str, value: &str| {
        let (name, value) = (scalar::written(name), scalar::written(value));
        format!("{name}: {value}")
    };
    let variables = tenant.env.iter();
    variables
        .map(|(name, value)| written(name, value.expose()))
        .collect()
}
