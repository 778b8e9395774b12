//! Each command: what it does, says and leaves.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use super::Desk;

const TEXT: &str = "# mine\r\ncli: {max_concurrent: 2} # small\r\ntenants:\r\n  # first\r\n  - name: alice\r\n    api_key: 'key-of-alice' # here\r\n    env: {A: 1}\r\n\r\n  - &b\r\n    name: bob\r\n    api_key: key-of-bob\r\n# end";

/// SHA-256 of `key-of-alice`.
const HASH_OF_ALICE: &str = "d16a80956c32f3f5fb979bea408abac8c3eef6c54ecb234279e337146cf87b47";

#[test]
fn first_tenant_makes_the_file_and_its_key_is_shown_once() {
    let desk = Desk::new();
    let said = desk
        .run(&["add", "alice"])
        .good()
        .says("ANTHROPIC_BASE_URL=http://127.0.0.1:3456")
        .says("takes it over by itself");
    let key = said.stdout.split("ANTHROPIC_API_KEY=").nth(1).unwrap();
    let key = &key[..64];
    assert!(key.bytes().all(|it| it.is_ascii_hexdigit()), "{key}");
    assert_eq!(said.stdout.matches(key).count(), 1);
    assert!(
        desk.text()
            .ends_with(&format!("tenants:\n  - name: alice\n    api_key: {key}\n"))
    );
    assert_eq!(fs::metadata(desk.config()).unwrap().mode() & 0o7777, 0o600);
    assert!(desk.beside().is_empty(), "{:?}", desk.beside());
    for words in [
        &["list"][..],
        &["show", "alice"],
        &["list", "--json"],
        &["show", "alice", "--json"],
    ] {
        desk.run(words).good().says(&key[60..]).hides(key);
    }
    // The daemon takes what was written.
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_ccgw"))
        .arg("--check")
        .arg(desk.config())
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0));
}

#[test]
fn tenant_is_added_and_removed_and_nothing_else_changes() {
    let desk = Desk::with(TEXT);
    fs::set_permissions(desk.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let added = desk
        .feed(
            &[
                "add",
                "carol",
                "--key",
                "-",
                "--docker",
                "c.1",
                "--working-dir",
                "w",
                "--json",
            ],
            b"key-of-carol\n",
        )
        .good();
    let json = added.json();
    assert_eq!(json["api_key"], serde_json::Value::Null);
    assert_eq!(json["key_last4"], "arol");
    assert_eq!(json["base_url"], "http://172.17.0.1:3456");
    let dir = desk.cwd().join("w");
    let own = format!(
        "\r\n  - name: carol\r\n    api_key: key-of-carol\r\n    container: c.1\r\n    working_dir: {}\r\n",
        dir.display()
    );
    let expect = TEXT.replace("# end", &format!("{}# end", &own[2..]));
    let found = desk.text();
    assert_eq!(
        found.replace("\r\n\r\n  - name: carol", "\r\n  - name: carol"),
        expect
    );
    assert_eq!(fs::metadata(desk.config()).unwrap().mode() & 0o7777, 0o600);
    let backup = desk.cwd().join(&desk.beside()[0]);
    assert_eq!(fs::read_to_string(&backup).unwrap(), TEXT);
    assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(json["backup"], backup.to_str().unwrap());

    desk.run(&["add", "carol"])
        .exits(1)
        .says("is there already");
    assert_eq!(desk.text(), found);
    desk.run(&["remove", "carol", "--yes"])
        .good()
        .says("removed");
    assert_eq!(desk.text(), TEXT);
    desk.run(&["remove", "carol", "--yes"])
        .exits(1)
        .says("no tenant is called `carol`; there are: alice, bob");
}

#[test]
fn removal_asks_and_says_what_stays() {
    let desk = Desk::with(TEXT);
    fs::create_dir_all(desk.cwd().join("skills/alice")).unwrap();
    desk.run(&["remove", "alice"])
        .exits(1)
        .says("--yes")
        .says("skills/alice");
    assert_eq!(desk.text(), TEXT);
    let removed = desk
        .run(&["remove", "alice", "--yes", "--json"])
        .good()
        .json();
    assert!(
        removed["left"][0]
            .as_str()
            .unwrap()
            .contains("skills/alice"),
        "{removed}"
    );
    assert!(!desk.text().contains("alice") && desk.text().contains("# first"));
    assert!(desk.cwd().join("skills/alice").is_dir());
    // An anchor may be meant by something else in the file.
    desk.run(&["remove", "bob", "--yes"])
        .exits(1)
        .says("anchor");
}

#[test]
fn last_tenant_stays_where_everybody_could_use_the_gateway_without() {
    let text = "server:\n  host: 0.0.0.0\ntenants:\n- name: a\n  api_key: key-of-a\n";
    let desk = Desk::with(text);
    desk.run(&["remove", "a", "--yes"])
        .exits(1)
        .says("with no tenants");
    assert_eq!(desk.text(), text);
    assert!(desk.beside().is_empty());
}

#[test]
fn rotation_keeps_the_old_key_for_a_while() {
    let desk = Desk::with(TEXT);
    let said = desk
        .run(&["rotate", "alice", "--grace", "2h", "--json"])
        .good()
        .json();
    let key = said["api_key"].as_str().unwrap();
    let until = said["previous_key_until"].as_str().unwrap();
    let expect = TEXT.replace(
        "'key-of-alice' # here\r\n",
        &format!("{key} # here\r\n    previous_key_sha256: {HASH_OF_ALICE}\r\n    previous_key_until: {until}\r\n"),
    );
    assert_eq!(desk.text(), expect);
    desk.run(&["list"]).good().says(&format!("until {until}"));
    desk.feed(&["rotate", "alice", "--key", "-"], key.as_bytes())
        .exits(1)
        .says("has already");
    desk.feed(
        &["rotate", "alice", "--key", "-", "--grace", "0s"],
        b"another-key\n",
    )
    .good()
    .says("is not any more")
    .hides("another-key");
    assert_eq!(desk.text(), TEXT.replace("'key-of-alice'", "another-key"));
}

#[test]
fn key_whose_time_is_over_is_named_and_cleaned_up() {
    let past = format!(
        "    previous_key_sha256: {HASH_OF_ALICE}\n    previous_key_until: 2026-01-01T00:00:00Z\n"
    );
    let text = format!(
        "tenants:\n  - name: a\n    api_key: key-of-a\n{past}  - name: b\n    api_key: key-of-b\n"
    );
    let desk = Desk::with(&text);
    desk.run(&["list"]).good().says("over");
    desk.run(&["show", "a"])
        .good()
        .says("not taken any more since 2026-01-01T00:00:00Z");
    desk.run(&["doctor", "--quick"])
        .exits(1)
        .says("not taken any more since 2026");
    desk.run(&["env", "b", "set", "X=1"])
        .good()
        .says("removed the previous key of a");
    assert_eq!(
        desk.text(),
        text.replace(&past, "") + "    env:\n      X: 1\n"
    );
}

#[test]
fn hashed_keys_stay_hashed() {
    let desk = Desk::new();
    let added = desk
        .run(&["add", "alice", "--hashed", "--json"])
        .good()
        .json();
    let key = added["api_key"].as_str().unwrap();
    assert!(!desk.text().contains(key));
    let before = desk.text();
    desk.run(&["list"]).good().says("sha256");
    desk.run(&["show", "alice"]).good().says("only its SHA-256");
    let rotated = desk.run(&["rotate", "alice", "--json"]).good().json();
    assert!(!desk.text().contains(rotated["api_key"].as_str().unwrap()));
    let hash = before.split("api_key_sha256: ").nth(1).unwrap().trim();
    assert!(
        desk.text()
            .contains(&format!("previous_key_sha256: {hash}\n"))
    );
    // The same key under another name is no key.
    desk.feed(&["add", "bob", "--key", "-"], key.as_bytes())
        .exits(1)
        .says("the same key")
        .hides(key);
    let made = desk.run(&["gen-key", "--json"]).good().json();
    let plain = desk.run(&["gen-key"]).good();
    assert_ne!(made["api_key"], plain.stdout.trim());
    assert_eq!((plain.stdout.len(), plain.stderr.as_str()), (65, ""));
}

#[test]
fn variables_come_and_go_and_their_values_are_shown_on_request_only() {
    let desk = Desk::with(TEXT);
    let value = "two\nlines \u{1b}[31m: #\n";
    desk.feed(&["env", "alice", "set", "B=x=y", "C"], value.as_bytes())
        .good()
        .hides("x=y")
        .hides("lines");
    desk.run(&["env", "alice", "list"])
        .good()
        .hides("x=y")
        .says("A\nB\nC\n");
    desk.run(&["env", "alice", "list", "--show-values"])
        .good()
        .says("A=1\nB=x=y\nC=two\\nlines \\u{1b}[31m: #\n")
        .hides("\u{1b}");
    let listed = desk
        .run(&["env", "alice", "list", "--show-values", "--json"])
        .good()
        .json();
    assert_eq!(listed[2]["value"], value.trim_end_matches('\n'));
    let listed = desk.run(&["env", "alice", "list", "--json"]).good().json();
    assert_eq!(listed[2], serde_json::json!({"name": "C", "value": null}));
    desk.run(&["env", "alice", "unset", "B", "C"]).good();
    assert_eq!(desk.text(), TEXT);
    desk.run(&["env", "alice", "unset", "A", "B"])
        .exits(1)
        .says("no variable `B`");
    assert_eq!(desk.text(), TEXT);
    desk.run(&["env", "bob", "set", "X=1"])
        .exits(1)
        .says("anchor");
    desk.run(&["env", "nobody", "list"])
        .exits(1)
        .says("no tenant is called");
}

#[test]
fn wrong_command_lines_end_with_2_and_change_nothing() {
    let desk = Desk::with(TEXT);
    for words in [
        &["ad"][..],
        &["add"],
        &["add", "A"],
        &["add", "../../etc"],
        &["add", "a\u{1b}[2J"],
        &["add", "x", "--key", "short"],
        &["add", "x", "--docker", "$(id)"],
        &["add", "x", "--docker", "a/b"],
        &["rotate", "alice", "--grace", "24"],
        &["rotate", "alice", "--grace", "-1h"],
        &["env", "alice", "set", "1=2"],
        &["env", "alice", "get", "A"],
        &["apply", "--key", "-"],
        &["apply", "../../x", "--revert"],
        &["remove", "alice", "--json"],
        &["completions", "csh"],
    ] {
        let ended = desk.run(words).exits(2).hides("\u{1b}");
        assert_eq!(ended.stdout, "", "{words:?}");
    }
    // Names that are none are looked for and not found.
    for name in ["a\u{1b}[2J", "../x", "", "é", "alice\n"] {
        desk.run(&["show", name]).exits(1).hides("\u{1b}");
        desk.run(&["remove", name, "--yes"]).exits(1);
    }
    assert_eq!(desk.text(), TEXT);
    assert!(desk.beside().is_empty());
    desk.run(&["--config", "elsewhere.yaml", "rotate", "alice"])
        .exits(1)
        .says("no such file");
    desk.run(&["--config", "elsewhere.yaml", "list"])
        .exits(1)
        .says("cannot be read");
}

#[test]
fn key_on_the_command_line_is_warned_of_and_not_repeated() {
    let desk = Desk::new();
    desk.run(&["add", "a", "--key=a-key-of-mine"])
        .good()
        .says("--key -")
        .hides("a-key-of-mine");
    let json = desk
        .run(&["add", "b", "--key", "b-key-of-mine", "--json"])
        .good()
        .json();
    assert!(
        json["warnings"][0].as_str().unwrap().contains("--key -"),
        "{json}"
    );
    for odd in [
        &b""[..],
        b"x\ny-and-more",
        b"\xff\xfe-not-text",
        &[b'k'; 600],
    ] {
        desk.feed(&["add", "c", "--key", "-"], odd).exits(1);
    }
    assert!(!desk.text().contains("name: c"));
}

#[test]
fn mistakes_elsewhere_in_the_file_are_told_and_nothing_is_changed() {
    for (text, part) in [
        ("tenants: 7\n", "config.yaml:1: tenants: expected a list"),
        ("prot: 1\ntenants: []\n", "config.yaml:1: unknown key"),
        ("tenants: [\n", "not valid YAML"),
        ("{cli: {}}\n", "expected `key: value` lines"),
    ] {
        let desk = Desk::with(text);
        desk.run(&["add", "a"]).exits(1).says(part);
        assert_eq!(desk.text(), text);
        assert!(desk.beside().is_empty());
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let desk = Desk::with(TEXT);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = desk.command(&["list"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
