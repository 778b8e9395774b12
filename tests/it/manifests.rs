//! The manifests for Kubernetes and Docker Swarm, checked by the tools that know their schemas.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::{
    cli::installed,
    gateway::run_to_end,
    process::say_skipped,
    sdk::{has_python, pip_install},
    setup::ccgw,
    temp::TempDir,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const KUBERNETES: &str = include_str!("../../packaging/kubernetes/ccgw.yaml");
const SWARM: &str = include_str!("../../packaging/swarm/stack.yaml");

#[track_caller]
fn good(output: &Output) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{out}{err}");
}

/// Whether the schema's own validator takes a manifest.
fn validated(manifest: &Path) -> Output {
    let dir = Path::new(ROOT).join("tests/manifests");
    installed(&dir, "requirements.txt", ".venv", pip_install).unwrap();
    // 1.33 is the first with `hostUsers` on for everybody, and `appArmorProfile` came before.
    let mut command = Command::new(dir.join(".venv/bin/kubernetes-validate"));
    run_to_end(command.args(["--strict", "-k", "1.33"]).arg(manifest))
}

#[test]
fn kubernetes_manifest_is_valid() {
    if !has_python() {
        say_skipped(
            "SKIPPED: the Kubernetes manifest: python3 with venv is not installed (python3-venv)",
        );
        return;
    }
    let dir = TempDir::new();
    good(&validated(&dir.write("good.yaml", KUBERNETES)));
    let misspelt = KUBERNETES.replace("terminationGracePeriodSeconds", "terminationGraceSeconds");
    let output = validated(&dir.write("bad.yaml", misspelt));
    assert!(!output.status.success(), "the validator takes anything");
}

/// Docker's client where it can, else Compose: both check a stack without a swarm.
fn stack_checker() -> Option<Command> {
    let works = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output();
        output.is_ok_and(|it| it.status.success())
    };
    if works("docker", &["stack", "config", "--help"]) {
        let mut command = Command::new("docker");
        command.args(["stack", "config", "--compose-file", "stack.yaml"]);
        return Some(command);
    }
    works("docker-compose", &["version"]).then(|| {
        let mut command = Command::new("docker-compose");
        command.args(["--file", "stack.yaml", "config"]);
        command
    })
}

#[test]
fn swarm_stack_is_valid() {
    let Some(mut checker) = stack_checker() else {
        say_skipped(
            "SKIPPED: the Swarm stack: no `docker stack config`, and no `docker-compose` (apt-get install docker-compose)",
        );
        return;
    };
    let dir = TempDir::new();
    let swarm = dir.create_dir("swarm");
    dir.write("haproxy/haproxy.cfg", "");
    dir.write("swarm/config.yaml", "");
    dir.write("swarm/stack.yaml", SWARM);
    good(&run_to_end(checker.current_dir(&swarm)));
    dir.write(
        "swarm/stack.yaml",
        SWARM.replace("stop_grace_period", "stop_grace"),
    );
    let output = run_to_end(&mut checker);
    assert!(!output.status.success(), "the checker takes anything");
}

/// The configuration within the manifest's Secret.
fn config_in_secret() -> String {
    let (_, rest) = KUBERNETES.split_once("  config.yaml: |\n").unwrap();
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn configuration_in_the_manifest_is_valid() {
    let dir = TempDir::new();
    let check = |text: String| {
        let config = dir.write("config.yaml", text);
        run_to_end(ccgw(&dir).arg("--check").arg(config))
    };
    let given = config_in_secret();
    good(&check(given.replace(
        "change-me-to-a-long-random-text",
        "0123456789abcdef0123456789abcdef",
    )));
    // Everybody knows the key that is there before that.
    let refused = check(given);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("tenant alice") && said.contains("gen-key"),
        "{said}"
    );
}

#[track_caller]
fn number_after(text: &str, key: &str) -> u64 {
    let (_, rest) = text.split_once(key).unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn pods_have_the_time_that_their_configuration_gives() {
    let config = config_in_secret();
    let needed = number_after(&config, "drain_delay: ") + number_after(&config, "drain_timeout: ");
    let given = number_after(KUBERNETES, "terminationGracePeriodSeconds: ");
    assert!(given * 1000 > needed, "{given} s for {needed} ms");
}

#[test]
fn manifests_name_the_gateways_as_the_proxys_file_reads_them() {
    let file = fs::read_to_string(Path::new(ROOT).join("packaging/haproxy/haproxy.cfg")).unwrap();
    for name in ["CCGW_ONE", "CCGW_TWO"] {
        assert!(file.contains(&format!("\"${{{name}-")), "{name}");
        assert!(KUBERNETES.contains(&format!("{{name: {name}, ")), "{name}");
        assert!(SWARM.contains(&format!("{name}: ")), "{name}");
    }
    // What only root can do is left out there.
    assert!(file.contains(".if !defined(CCGW_NOT_ROOT)\n"));
    assert!(KUBERNETES.contains("{name: CCGW_NOT_ROOT, "));
    assert!(SWARM.contains("CCGW_NOT_ROOT: "));
}
