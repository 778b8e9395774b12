//! What a pull or push did and did not, and how it is told.

use std::path::Path;

use super::desk::OnMissing;
use crate::manage::say::{Say, plain};

/// By name.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) new: Vec<String>,
    pub(super) replaced: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) differ: Vec<String>,
    pub(super) missing: Vec<String>,
    /// What is in their place is no skill.
    pub(super) taken: Vec<String>,
    pub(super) same: usize,
}

/// So much of a list of names is shown.
const SHOWN_MAX: usize = 800;

impl Tally {
    /// `done` is a word for it, `backups` where what was there before is kept.
    pub(super) fn tell(&self, say: Say, done: &str, (on_missing, backups): (OnMissing, &Path)) {
        let (new, replaced) = (self.new.len(), self.replaced.len());
        say.ok(&format!(
            "{done}: {new} new, {replaced} replaced, {} removed; {} the same already",
            self.removed.len(),
            self.same
        ));
        for (what, names) in [
            ("new", &self.new),
            ("replaced", &self.replaced),
            ("removed", &self.removed),
        ] {
            if !names.is_empty() {
                say.detail(&plain(&format!("        {what}: {}", listed(names))));
            }
        }
        let warn = |names: &[String], text: &dyn Fn(&str) -> String| {
            if !names.is_empty() {
                say.warn(&text(&listed(names)));
            }
        };
        warn(&self.differ, &|names| {
            format!("left as they are, because they differ: {names}; --force replaces them")
        });
        if on_missing == OnMissing::Name {
            warn(&self.missing, &|names| {
                format!("not on the other side: {names}; --delete removes them")
            });
        }
        warn(&self.taken, &|names| {
            format!(
                "something that is no skill, a link perhaps, is in the place of: {names}; it stays"
            )
        });
        if backups.exists() {
            say.detail(&format!("        before: {}", backups.display()));
        }
    }
}

/// The names, or the first of them and how many more.
fn listed(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if text.len() + name.len() > SHOWN_MAX {
            return format!("{text} and {} more", names.len() - index);
        }
        let comma = if index > 0 { ", " } else { "" };
        text += &format!("{comma}{name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let names = |count: usize| vec!["name".to_owned(); count];
        assert_eq!(listed(&names(2)), "name, name");
        let long = listed(&names(500));
        assert!(
            long.len() < 900 && long.ends_with("name and 366 more"),
            "{long}"
        );
    }
}
