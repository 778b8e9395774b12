//! `ccgw --check` and the command line: every problem at once, with its line, never a secret.

use std::process::Command;

use serde_json::json;

use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, prompt, run_to_end},
    setup::ccgw,
    temp::TempDir,
};

/// What a run of the program said on both of its outputs, and its exit code.
struct Said {
    text: String,
    exit: Option<i32>,
}

impl Said {
    #[track_caller]
    fn by(command: &mut Command) -> Said {
        let output = run_to_end(command);
        let text = [output.stdout, output.stderr].concat();
        Said {
            text: String::from_utf8(text).unwrap(),
            exit: output.status.code(),
        }
    }
}

fn check_config(yaml: &str) -> Said {
    let dir = TempDir::new();
    let config = dir.write("config.yaml", yaml);
    Said::by(ccgw(&dir).arg("--check").arg(config))
}

#[track_caller]
fn assert_good(yaml: &str, part: &str) {
    let said = check_config(yaml);
    assert_eq!(said.exit, Some(0), "{}", said.text);
    assert!(said.text.contains(part), "{part:?} is not in {}", said.text);
}

/// Checks that the configuration is refused with all of these words and without any secret.
#[track_caller]
fn assert_bad(yaml: &str, parts: &[&str]) {
    let said = check_config(yaml);
    assert_eq!(said.exit, Some(2), "{}", said.text);
    for part in parts {
        assert!(said.text.contains(part), "{part:?} is not in {}", said.text);
    }
    assert!(
        !said.text.contains("SECRET"),
        "a secret is in {}",
        said.text
    );
    assert!(
        said.text.len() < 10_000,
        "{} bytes of problems",
        said.text.len()
    );
}

#[test]
fn good_configurations_pass() {
    assert_good("", "ok");
    assert_good("tenants: []\n", "ok");
    assert_good(
        "server:\n  port: 8080\ntenants:\n  - name: alpha\n    api_key: key-0123456789\n",
        "1 tenant",
    );
    assert_good("\u{feff}server:\r\n  port: 8080\r\n", "ok");
    assert_good(
        "tenants:\n  - {name: a, api_key: 1234567890}\n  - {name: b, api_key: 1e10000000}\n",
        "2 tenants",
    );
}

#[test]
fn bad_configurations_are_refused_with_their_line() {
    assert_bad(
        "server:\n  prot: 8080\n",
        &["config.yaml:2:", "prot", "port"],
    );
    assert_bad(
        "servers:\n  port: 8080\n",
        &["config.yaml:1:", "servers", "server"],
    );
    assert_bad("server:\n  port: 70000\n", &["config.yaml:2:", "70000"]);
    assert_bad("server:\n  port: soon\n", &["config.yaml:2:", "soon"]);
    assert_bad(
        "server:\n  port: 1\n  port: 2\n",
        &["config.yaml:3:", "port"],
    );
    assert_bad("server: [1, 2\n", &["config.yaml:"]);
    assert_bad("server:\n\tport: 1\n", &["config.yaml:2:"]);
    assert_bad(
        "cli:\n  max_concurrent: 0\n",
        &["config.yaml:2:", "max_concurrent"],
    );
    assert_bad(
        "cli:\n  stream: sometimes\n",
        &["config.yaml:2:", "sometimes", "final", "live"],
    );
    assert_bad(
        "cli:\n  effort: huge\n",
        &["config.yaml:2:", "huge", "high"],
    );
    assert_bad(
        "tenants:\n  - name: Alpha!\n    api_key: SECRET-0123456789\n",
        &["config.yaml:2:", "Alpha!"],
    );
    assert_bad(
        "tenants:\n  - name: alpha\n    api_key: ''\n",
        &["config.yaml:3:", "api_key"],
    );
    assert_bad(
        "tenants:\n  - name: alpha\n",
        &["config.yaml:2:", "api_key"],
    );
    assert_bad("server:\n  host: 0.0.0.0\n", &["0.0.0.0", "127.0.0.1"]);
    let twice = "tenants:\n  - {name: a, api_key: SECRET-0123456789}\n  - {name: a, api_key: SECRET-0123456789}\n";
    assert_bad(twice, &["config.yaml:3:", "name", "api_key"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let yaml = "server:\n  port: 70000\n  hots: x\ncli:\n  timeout: never\ntenants:\n  - name: A\n";
    assert_bad(
        yaml,
        &[
            "config.yaml:2:",
            "config.yaml:3:",
            "config.yaml:5:",
            "config.yaml:7:",
        ],
    );
}

#[test]
fn hostile_configurations_end_in_an_error() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_bad(&bomb, &["config.yaml"]);
    assert_bad(&"[".repeat(100_000), &["config.yaml"]);
    assert_bad(&"{a: ".repeat(100_000), &["config.yaml"]);
    assert_bad(&"- ".repeat(100_000), &["config.yaml"]);
    assert_bad(&"x".repeat(10_000_000), &["config.yaml"]);
}

#[test]
fn environment_overrides_are_checked_too() {
    #[track_caller]
    fn check(name: &str, value: &str, exit: i32) {
        let dir = TempDir::new();
        let config = dir.write("config.yaml", "server:\n  port: 8080\n");
        let said = Said::by(ccgw(&dir).env(name, value).arg("--check").arg(config));
        assert_eq!(said.exit, Some(exit), "{name}={value}: {}", said.text);
        assert!(
            exit == 0 || said.text.contains(name),
            "{name} is not in {}",
            said.text
        );
    }
    for (name, good, bad) in [
        ("PORT", "9000", "many"),
        ("HOST", "127.0.0.1", "somewhere"),
        ("CLI_TIMEOUT", "1000", "-1"),
        ("MAX_CONCURRENT", "2", "0"),
        ("MAX_PER_TENANT", "1", "one"),
        ("CLI_EFFORT", "low", "huge"),
    ] {
        check(name, good, 0);
        check(name, "", 0);
        check(name, bad, 2);
    }
}

#[test]
fn missing_and_unreadable_files_are_named() {
    let dir = TempDir::new();
    let missing = Said::by(ccgw(&dir).args(["--check", "no-such-file.yaml"]));
    assert_eq!(missing.exit, Some(2), "{}", missing.text);
    assert!(
        missing.text.contains("no-such-file.yaml"),
        "{}",
        missing.text
    );
    let directory = Said::by(ccgw(&dir).arg("--check").arg(dir.path()));
    assert_eq!(directory.exit, Some(2), "{}", directory.text);
}

#[test]
fn daemon_refuses_a_bad_configuration_as_the_check_does() {
    let dir = TempDir::new();
    let config = dir.write("config.yaml", "server:\n  prot: 8080\n");
    let said = Said::by(ccgw(&dir).arg(config));
    assert_eq!(said.exit, Some(2), "{}", said.text);
    assert!(said.text.contains("config.yaml:2:"), "{}", said.text);
}

#[test]
fn command_line_is_explained() {
    #[track_caller]
    fn check(arguments: &[&str], exit: i32, part: &str) {
        let dir = TempDir::new();
        let said = Said::by(ccgw(&dir).args(arguments));
        assert_eq!(said.exit, Some(exit), "{arguments:?}: {}", said.text);
        assert!(said.text.contains(part), "{part:?} is not in {}", said.text);
    }
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"));
    check(&["--help"], 0, "config.yaml");
    check(&["--no-such-option"], 2, "--no-such-option");
    check(&["one.yaml", "two.yaml"], 2, "two.yaml");
}

#[test]
fn example_configuration_is_valid() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml");
    let text = std::fs::read_to_string(example).expect("config.example.yaml is missing");
    assert_good(&text, "ok");
}

#[test]
fn keys_that_look_like_numbers_stay_what_was_written() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let keys = ["1234567890", "0x123456789", "1e10000000", "12345678.50"];
    let tenants: String = keys
        .iter()
        .enumerate()
        .map(|(at, key)| format!("  - {{name: t{at}, api_key: {key}}}\n"))
        .collect();
    let yaml = format!(
        "server: {{port: 0, host: 127.0.0.1}}\ncli: {{bin: {}}}\ntenants:\n{tenants}",
        json!(fake.path())
    );
    let mut command = ccgw(&dir);
    command.arg(dir.write("config.yaml", yaml));
    let gateway = Gateway::start(command, dir, "number keys".to_owned());
    for key in keys {
        let answer = gateway
            .client()
            .post("/v1/messages", &[("x-api-key", key)], &prompt("hi"));
        assert_eq!(answer.answer_text(), "hello", "{key}");
    }
}
