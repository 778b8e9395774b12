//! The settings, read from, planned for and edited in files that exist only here.

mod edit;
mod include;
mod plan;
mod plugins;
mod random;
mod read;

use std::collections::BTreeMap;
use std::path::Path;

use super::{GatewayUrl, Plan, Settings};

pub(super) const ROOT: &str = "/s/openclaw.json";

/// The files of an instance by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn files(files: &[(&str, &str)]) -> Files {
    let pairs = files.iter();
    pairs
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

pub(super) fn env(name: &str) -> Option<String> {
    match name {
        "MODEL" => Some("anthropic/claude-opus-4-6".to_owned()),
        "PLACE" => Some("/data".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

pub(super) fn read(files: &Files) -> Result<Settings, String> {
    let read = |path: &Path| Ok(files.get(path.to_str().unwrap()).cloned());
    Settings::read(Path::new(ROOT), &read, &env)
}

/// The settings of an instance with only this file.
#[track_caller]
pub(super) fn settings(root: &str) -> Settings {
    read(&files(&[(ROOT, root)])).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
pub(super) fn refused(files: &Files) -> String {
    match read(files) {
        Ok(_) => panic!("these files were read"),
        Err(error) => error,
    }
}

pub(super) fn gateway() -> GatewayUrl {
    GatewayUrl {
        origin: "http://gw:3456".to_owned(),
    }
}

#[track_caller]
pub(super) fn planned(settings: &Settings) -> Plan {
    settings
        .plan(&gateway(), "k1")
        .unwrap_or_else(|refusal| panic!("{refusal}"))
}
