//! Holds the invariants that ARCHITECTURE.md states, by reading the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every Rust source below `src/`, with its path relative to `src/`, tests cut off.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                open.push(path);
            } else if is_product(&path) {
                let name = path
                    .strip_prefix(&root)
                    .expect("below src")
                    .to_string_lossy()
                    .into_owned();
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let product = text
                    .split("#[cfg(test)]\nmod tests")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                found.push((name, product));
            }
        }
    }
    assert!(found.len() > 20, "found only {} sources", found.len());
    found
}

/// Tests that are long stand in files of their own: `tests.rs` or below `tests/`.
fn is_product(path: &Path) -> bool {
    let test = |part: &str| part == "tests" || part == "tests.rs";
    let in_tests = path
        .components()
        .any(|it| it.as_os_str().to_str().is_some_and(test));
    path.extension().is_some_and(|it| it == "rs") && !in_tests
}

/// Code lines of a source that contain `needle`; comments do not count.
fn uses<'a>(text: &'a str, needle: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//") && line.contains(needle))
        .collect()
}

#[track_caller]
fn only_in(needle: &str, allowed: &[&str]) {
    for (name, text) in sources() {
        if !allowed.iter().any(|it| name.starts_with(it)) {
            assert_eq!(
                uses(&text, needle),
                Vec::<&str>::new(),
                "`{needle}` in src/{name}"
            );
        }
    }
}

#[track_caller]
fn never_in(places: &[&str], needles: &[&str]) {
    for (name, text) in sources() {
        if places.iter().any(|it| name.starts_with(it)) {
            for needle in needles {
                assert_eq!(
                    uses(&text, needle),
                    Vec::<&str>::new(),
                    "`{needle}` in src/{name}"
                );
            }
        }
    }
}

#[test]
fn architecture_every_source_says_what_it_owns() {
    for (name, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "src/{name} does not begin with a `//!` line"
        );
    }
}

#[test]
fn architecture_layers_do_not_know_each_other() {
    never_in(
        &["http/"],
        &[
            "crate::api",
            "crate::gateway",
            "crate::claude",
            "crate::config",
            "/v1/",
        ],
    );
    never_in(
        &["api/"],
        &[
            "crate::http",
            "crate::gateway",
            "crate::claude",
            "std::net",
            "std::process",
        ],
    );
    never_in(&["config/"], &["crate::gateway", "crate::claude"]);
}

#[test]
fn architecture_pure_cores_have_no_clock_and_touch_nothing() {
    let outside = [
        "Instant::now",
        "SystemTime::now",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
    ];
    never_in(
        &[
            "api/",
            "turn.rs",
            "claude/event.rs",
            "claude/failure.rs",
            "claude/input.rs",
            "scheduler/queue.rs",
            "gateway/upstream/credential.rs",
            "openclaw/settings/",
            "openclaw/env_file.rs",
        ],
        &outside,
    );
}

#[test]
fn architecture_flags_and_shells() {
    only_in("\"--permission-mode\"", &["claude/command.rs"]);
    only_in("\"--include-partial-messages\"", &["claude/command.rs"]);
    for shell in ["\"sh\"", "\"bash\"", "\"/bin/sh\""] {
        only_in(shell, &[]);
    }
}

#[test]
fn architecture_one_way_to_stderr_and_no_unsafe() {
    only_in(
        "io::stderr()",
        &[
            "log.rs",
            "main.rs",
            "claude/stand_in",
            "claude/sandbox/enter.rs",
            "relay/client.rs",
            "claude/keeper",
            "manage/progress.rs",
            "manage/say.rs",
        ],
    );
    only_in(
        "unsafe {",
        &["claude/keeper/inherited.rs", "memory.rs", "systemd.rs"],
    );
    only_in("allow(dead_code", &[]);
}

#[test]
fn architecture_no_drawer_for_odds_and_ends() {
    for (name, _) in sources() {
        for drawer in ["util", "common", "types", "helper", "misc"] {
            assert!(
                !name.contains(drawer),
                "src/{name}: name a module after what it owns"
            );
        }
    }
}
