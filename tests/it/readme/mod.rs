//! README.md: what it says to type works, and README_CN.md says the same.

mod clone;
mod page;

pub(crate) use page::links;

use std::{collections::BTreeSet, path::Path, process::Command};

use self::{
    clone::Clone,
    page::{anchors, blocks, commands, headings, rows, words},
};
use crate::{gateway::run_to_end, process::say_skipped, setup::ccgw, temp::TempDir};

const ENGLISH: &str = include_str!("../../../README.md");
const CHINESE: &str = include_str!("../../../README_CN.md");

/// What a command does that does not just end well.
enum How {
    Serves,
    /// It fails here, and says this.
    Says(&'static str),
    /// It cannot be run by a test, for this reason.
    Not(#[allow(dead_code, reason = "for who reads the list")] &'static str),
}

use How::{Not, Says, Serves};

const NO_INSTANCE: &str = "none found: start your OpenClaw containers";
const SERVICE: &str = "is the machine's; packaging/test.sh tries the service";
const RELEASE: &str = "is of a release's files; packaging/test.sh makes and installs some";
const CLUSTER: &str = "needs a cluster; the manifest is checked against its schema";

/// Every command that is not here is run, and must end with success.
const SPECIAL: [(&str, How); 33] = [
    ("make run", Serves),
    ("ccgw config.yaml", Serves),
    // Real instances are set up by tests of their own.
    ("ccgw --setup --dry-run", Says(NO_INSTANCE)),
    ("ccgw --setup", Says(NO_INSTANCE)),
    (
        "npm install -g @anthropic-ai/claude-code",
        Not("installs for the whole machine"),
    ),
    ("claude", Not("asks a person to sign in")),
    (
        "sha256sum --check --ignore-missing SHA256SUMS",
        Not(RELEASE),
    ),
    ("sudo apt install ./ccgw_*.deb", Not(RELEASE)),
    ("tar -xzf ccgw-*-linux.tar.gz", Not(RELEASE)),
    ("sudo make -C ccgw-*-linux install", Not(RELEASE)),
    ("sudo apt install ./ccgw_0.1.0_amd64.deb", Not(SERVICE)),
    (
        "sudo npm install -g @anthropic-ai/claude-code",
        Not("installs for the whole machine"),
    ),
    ("sudo ccgw --setup --service", Not(SERVICE)),
    ("sudo -u ccgw -H ccgw-manage doctor --quick", Not(SERVICE)),
    (
        "sudo install -o ccgw -g ccgw -m 600 config.yaml /etc/ccgw/config.yaml",
        Not(SERVICE),
    ),
    ("sudo cp -r skills /etc/ccgw/", Not(SERVICE)),
    ("sudo chown -R ccgw:ccgw /etc/ccgw/skills", Not(SERVICE)),
    ("sudo ccgw --check /etc/ccgw/config.yaml", Not(SERVICE)),
    (
        "pm2 delete openclaw-cc-gateway && pm2 save",
        Not("needs the gateway before this one"),
    ),
    ("sudo usermod -aG docker ccgw", Not(SERVICE)),
    (
        "sudo -u ccgw -H ccgw --setup /etc/ccgw/config.yaml",
        Not(SERVICE),
    ),
    ("sudo -u ccgw -H claude", Not("asks a person to sign in")),
    ("sudo systemctl enable --now ccgw", Not(SERVICE)),
    (
        "apt-get install haproxy",
        Not("installs for the whole machine"),
    ),
    (
        "cp packaging/haproxy/haproxy.cfg /etc/haproxy/haproxy.cfg",
        Not("is the machine's; tests of HAProxy serve with this file"),
    ),
    ("systemctl reload haproxy", Not("is the machine's")),
    (
        "rsync -pog --chown=ccgw:ccgw --chmod=F600 config.yaml root@host-two:/etc/ccgw/config.yaml",
        Not("needs a second host"),
    ),
    (
        "ssh root@host-two ccgw-manage reload",
        Not("needs a second host"),
    ),
    ("kubectl create namespace ccgw", Not(CLUSTER)),
    (
        "kubectl -n ccgw create configmap haproxy --from-file=packaging/haproxy/haproxy.cfg",
        Not(CLUSTER),
    ),
    (
        "kubectl -n ccgw apply -f packaging/kubernetes/ccgw.yaml",
        Not(CLUSTER),
    ),
    (
        "docker stack deploy -c packaging/swarm/stack.yaml ccgw",
        Not(CLUSTER),
    ),
    ("ccgw --check config.yaml", Says("config.yaml: ok")),
];

#[test]
fn every_command_in_the_readme_works() {
    let mut clone = Clone::new();
    let commands = commands(ENGLISH);
    for (special, _) in &SPECIAL {
        assert!(
            commands.iter().any(|it| it == special),
            "not in README.md: {special}"
        );
    }
    for line in &commands {
        match SPECIAL.iter().find(|(it, _)| it == line) {
            Some((_, Not(_))) => {}
            Some((_, Serves)) => clone.serve(line),
            Some((_, Says(text))) => {
                let (said, _) = ran(&clone, line);
                assert!(said.contains(text), "{line}: {said}");
            }
            None if !is_here(line) => say_skipped(&format!(
                "SKIPPED: `{line}` of README.md: its program is missing"
            )),
            None => {
                let (said, ended_well) = ran(&clone, line);
                assert!(ended_well, "{line}: {said}");
                assert!(!said.contains("\"error\""), "{line}: {said}");
            }
        }
    }
}

fn ran(clone: &Clone, line: &str) -> (String, bool) {
    let output = clone.run(line);
    let said = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&said).into_owned(),
        output.status.success(),
    )
}

/// Whether a command's program is on this machine, or is ours.
fn is_here(line: &str) -> bool {
    let program = line.split(' ').next().unwrap_or_default();
    let found = |it: std::path::PathBuf| it.join(program).is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The clone has one that does as if.
    program.starts_with("ccgw")
        || program == "sudo"
        || found("/usr/sbin".into())
        || std::env::split_paths(&path).any(found)
}

#[test]
fn configurations_in_the_readme_are_valid() {
    for block in blocks(ENGLISH) {
        match block.language {
            "yaml" => {
                let dir = TempDir::new();
                let text = block.text.replace('…', "0123456789");
                let config = dir.write("config.yaml", text);
                let output = run_to_end(ccgw(&dir).arg("--check").arg(config));
                assert!(output.status.success(), "{}: {output:?}", block.text);
            }
            "json" => drop(serde_json::from_str::<serde_json::Value>(&block.text).unwrap()),
            "sh" => {}
            other => panic!("nobody checks blocks of {other:?}: {}", block.text),
        }
    }
}

/// The scripts of commands are legal shell, also those that are not run.
#[test]
fn commands_are_legal_shell() {
    for line in commands(ENGLISH) {
        let output = Command::new("sh").args(["-n", "-c", &line]).output();
        assert!(output.unwrap().status.success(), "{line}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in [ENGLISH, CHINESE] {
        let anchors = anchors(page);
        for link in links(page) {
            let leads = match link.strip_prefix('#') {
                Some(name) => anchors.iter().any(|it| it == name),
                None if link.starts_with("https://") => true,
                None => Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(),
            };
            assert!(leads, "{link}; headings: {anchors:?}");
        }
    }
}

#[test]
fn both_languages_say_the_same() {
    let text = |page| -> Vec<String> { blocks(page).into_iter().map(|it| it.text).collect() };
    let (english, chinese) = (text(ENGLISH), text(CHINESE));
    for (one, other) in english.iter().zip(&chinese) {
        assert_eq!(one, other);
    }
    assert_eq!(english.len(), chinese.len());
    let (english, chinese) = (rows(ENGLISH), rows(CHINESE));
    for (one, other) in english.iter().zip(&chinese) {
        assert_eq!(one, other);
    }
    assert_eq!(english.len(), chinese.len());
    assert_eq!(headings(ENGLISH), headings(CHINESE));
    for (one, other) in words(ENGLISH).iter().zip(&words(CHINESE)) {
        assert_eq!(one.1, other.1, "{} is not {}", one.0, other.0);
    }
}

/// Every key that the example has is in the table, by its last name.
#[test]
fn every_key_is_in_the_table() {
    let named: BTreeSet<&str> = rows(ENGLISH).into_iter().flat_map(|(_, all)| all).collect();
    let is_named = |key: &str| {
        let ends = |it: &&str| it.rsplit(['.', ' ']).next() == Some(key);
        named.iter().any(ends)
    };
    let example = include_str!("../../../config.example.yaml");
    let keys = example.lines().filter_map(|line| {
        let line = line.trim_start_matches([' ', '#', '-']);
        let (key, _) = line.split_once(':')?;
        let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
        (!key.is_empty() && key.bytes().all(plain)).then_some(key)
    });
    let sections = ["server", "cli", "session", "skills", "sandbox", "tenants"];
    let missing: Vec<&str> = keys
        .filter(|it| !sections.contains(it) && !is_named(it))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
