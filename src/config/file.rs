//! The configuration file's bytes: read under a bound, checked to be text, with the file's mode.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::problems::{Place, Problems, Reported};

pub(super) struct Content {
    /// Without a byte order mark.
    pub(super) text: String,
    /// The permission bits.
    pub(super) mode: u32,
}

/// A thousand tenants with all keys take less than 1 MiB.
pub(crate) const BYTES_MAX: u64 = 4 << 20;

pub(super) fn read(path: &Path, problems: &mut Problems) -> Result<Content, Reported> {
    let (bytes, mode) = match read_bytes(path) {
        Ok(content) => content,
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => ", copy config.example.yaml to start with",
                io::ErrorKind::PermissionDenied => ", check its owner and its mode",
                io::ErrorKind::IsADirectory => ", write the path of a file",
                _ => "",
            };
            let text = format!("cannot be read ({error}){advice}");
            return Err(problems.add(Place::File, text));
        }
    };
    if bytes.len() as u64 > BYTES_MAX {
        let text = format!("larger than {BYTES_MAX} bytes, this cannot be the configuration");
        return Err(problems.add(Place::File, text));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        problems.add(Place::Line(line), "not UTF-8, save the file as UTF-8")
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    Ok(Content { text, mode })
}

fn read_bytes(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    // A pipe would hold up whoever opens it, until somebody writes to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let mut bytes = Vec::new();
    // One byte more tells a file of just this size from a larger one.
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}
