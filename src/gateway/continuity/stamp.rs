//! Which files a process of the CLI was started with, so that one of earlier files is not used.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Stands for the files that a process reads when it starts: the program, and the skills.
pub(super) fn stamp(program: &Path, skills: Option<&Path>) -> Vec<u8> {
    let mut stamp = Vec::new();
    let mut add = |name: &[u8], metadata: io::Result<Metadata>| {
        stamp.extend_from_slice(name);
        if let Ok(it) = metadata {
            let parts = [
                it.dev().cast_signed(),
                it.ino().cast_signed(),
                it.size().cast_signed(),
                it.mtime(),
                it.mtime_nsec(),
            ];
            parts.iter().for_each(|it| stamp.extend(it.to_le_bytes()));
        }
    };
    add(b"program", fs::metadata(program));
    let skills = skills.and_then(|it| fs::read_dir(it).ok());
    let mut names: Vec<PathBuf> = skills
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path())
        .collect();
    names.sort_unstable();
    for path in names {
        let name = path.as_os_str().as_encoded_bytes();
        add(name, fs::metadata(path.join("SKILL.md")));
    }
    stamp
}
