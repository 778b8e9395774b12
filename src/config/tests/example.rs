//! config.example.yaml: valid, complete and true about the defaults.

use std::os::unix::fs::PermissionsExt;

use super::super::keys::*;
use super::*;

pub(super) const EXAMPLE: &str = include_str!("../../../config.example.yaml");

/// The example with everything optional switched on.
fn uncommented() -> String {
    let is_optional = |line: &str| {
        let line = line.trim_start_matches([' ', '-']);
        let name = line.split(':').next().unwrap_or("");
        line.contains(':')
            && name
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let uncomment = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_optional(rest) => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let text = EXAMPLE.replace("tenants: []\n", "");
    text.lines().map(uncomment).collect()
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let folder = Folder::new();
    let example = folder.load(EXAMPLE.as_bytes(), &[]).unwrap();
    let default = folder.load(b"", &[]).unwrap();
    assert_eq!(
        format!("{:?}", example.config),
        format!("{:?}", default.config)
    );
}

#[test]
fn the_uncommented_example_is_valid_and_has_every_key() {
    let text = uncommented();
    let config = accept(&text, &[]);
    assert_eq!((config.tenants.len(), config.tenants[0].env.len()), (1, 1));
    for keys in [
        &TOP, &SERVER, &CLI, &SESSION, &SKILLS, &SANDBOX, &RELAY, &TENANT,
    ] {
        for name in keys.names {
            let is_here = |line: &str| {
                line.trim_start_matches([' ', '-'])
                    .starts_with(&format!("{name}:"))
            };
            assert!(text.lines().any(is_here), "{} {name}", keys.section);
        }
    }
    for (_, variable) in OVERRIDES {
        assert!(
            EXAMPLE.contains(&format!("Overridden by {variable}.")),
            "{variable}"
        );
    }
}

#[test]
fn key_of_the_example_is_refused_beyond_loopback() {
    let tenants = format!("tenants:\n  - name: alice\n    api_key: {EXAMPLE_KEY}\n");
    for (host, refused) in [
        ("", true),
        ("server: {host: 0.0.0.0}\n", true),
        ("server: {host: 10.0.0.1}\n", true),
        ("server: {host: localhost}\n", false),
        ("server: {host: '::1'}\n", false),
    ] {
        let folder = Folder::new();
        let loaded = folder.load(format!("{host}{tenants}").as_bytes(), &[]);
        match loaded {
            Ok(_) => assert!(!refused, "{host}"),
            Err(problems) => {
                let why = problems.to_string();
                assert!(refused, "{host} {why}");
                assert!(
                    why.contains("tenant alice") && why.contains("gen-key"),
                    "{why}"
                );
                assert!(!why.contains(EXAMPLE_KEY), "{why}");
            }
        }
    }
    // By its hash too.
    let hash = KeyHash::of(EXAMPLE_KEY).hex();
    let folder = Folder::new();
    let text = format!("tenants: [{{name: a, api_key_sha256: {hash}}}]\n");
    assert!(folder.load(text.as_bytes(), &[]).is_err());
}

#[test]
fn notices_tell_of_an_open_file_and_of_the_key_of_the_example() {
    let folder = Folder::new();
    let count = |text: &str, mode: u32| {
        folder.load(b"", &[]).unwrap();
        let path = folder.0.join("config.yaml");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        folder.load(text.as_bytes(), &[]).unwrap().notices
    };
    assert!(count(ALICE, 0o600).is_empty());
    assert!(count("", 0o644).is_empty());
    let notices = count(&uncommented(), 0o640);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(
        notices[0].contains("(mode 0640), run: chmod 600 "),
        "{notices:?}"
    );
    assert!(notices[1].contains("tenant alice") && !notices[1].contains("change-me"));
}
