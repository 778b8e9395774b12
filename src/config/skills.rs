//! The `skills` section: where the tenants' skills lie and who brings them there.

use std::path::PathBuf;

use super::keys;
use super::problems::Reported;
use super::section::Reader;
use super::tree::Node;
use super::value::choice;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skills {
    pub(crate) sync: SkillsSync,
    /// Absolute; a tenant's skills are in the folder of its name.
    pub(crate) dir: PathBuf,
}

/// When skills are copied between the instances and the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SkillsSync {
    /// The gateway copies them by itself.
    Auto,
    /// Only when the operator asks.
    Manual,
    /// Never.
    Disabled,
}

const SYNCS: [(&str, SkillsSync); 3] = [
    ("auto", SkillsSync::Auto),
    ("manual", SkillsSync::Manual),
    ("disabled", SkillsSync::Disabled),
];

pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Skills, Reported> {
    let mut s = reader.section(node, &keys::SKILLS, "skills".to_owned());
    let origin = s.origin();
    let sync = s.get("sync", SkillsSync::Auto, |text| choice(text, &SYNCS));
    let dir = s.get("dir", origin.dir.join("skills"), |text| origin.path(text));
    Ok(Skills {
        sync: sync?,
        dir: dir?,
    })
}
