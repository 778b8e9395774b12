//! What is installed beside the program: manual pages, units, and a configuration of the gateway's predecessor.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::{
    gateway::run_to_end,
    process::say_skipped,
    setup::{ccgw, manage},
    temp::TempDir,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CCGW: &str = env!("CARGO_BIN_EXE_ccgw");

/// What `make install` makes, in a directory of the test's own.
fn installed() -> TempDir {
    let dir = TempDir::new();
    make(&dir, "install-files");
    dir
}

#[track_caller]
fn make(dir: &TempDir, target: &str) {
    let mut command = Command::new("make");
    command
        .current_dir(ROOT)
        .args(["--no-print-directory", target, "PREFIX=/usr"])
        .arg(format!("BINARY={CCGW}"))
        .arg(format!("DESTDIR={}", dir.path().display()));
    let output = run_to_end(&mut command);
    assert!(output.status.success(), "{}", text_of(&output));
}

fn text_of(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// All files below `dir`, as paths from there.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    found
}

/// A tool that only developers and CI have.
fn has(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        say_skipped(&format!("SKIPPED: {test}: {tool} is not installed"));
    }
    found
}

#[test]
fn uninstall_removes_what_install_made_but_the_operators_own() {
    let dir = installed();
    let made = files(dir.path());
    for part in [
        "usr/bin/ccgw",
        "usr/bin/ccgw-manage",
        "usr/share/man/man5/config.yaml.5",
        "usr/lib/systemd/system/ccgw.service",
        "usr/lib/systemd/system/ccgw.socket",
        "usr/lib/systemd/user/ccgw.service",
        "usr/lib/sysusers.d/ccgw.conf",
        "usr/lib/tmpfiles.d/ccgw.conf",
        "usr/share/fish/vendor_completions.d/ccgw-manage.fish",
    ] {
        assert!(made.contains(part), "{part} is not in {made:#?}");
    }
    dir.write("etc/default/ccgw", "MINE=1\n");
    dir.write("etc/ccgw/config.yaml", "tenants: []\n");
    make(&dir, "install-files");
    make(&dir, "uninstall");
    let left: Vec<_> = files(dir.path()).into_iter().collect();
    assert_eq!(left, ["etc/ccgw/config.yaml", "etc/default/ccgw"]);
    let kept = fs::read_to_string(dir.path().join("etc/default/ccgw")).unwrap();
    assert_eq!(kept, "MINE=1\n");
}

/// Words that begin with `--` in what the program says of itself.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.split(|it: char| !(it.is_alphanumeric() || it == '-'));
    words
        .filter_map(|it| it.strip_prefix("--"))
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn assert_all_in(page: &str, options: &BTreeSet<String>) {
    let text = fs::read_to_string(Path::new(ROOT).join("packaging/man").join(page)).unwrap();
    for option in options {
        assert!(
            text.contains(&format!("Fl Fl {option}")),
            "--{option} is not in {page}"
        );
    }
}

#[test]
fn manual_pages_have_every_option_and_command() {
    let dir = TempDir::new();
    assert_all_in(
        "ccgw.1",
        &options(&text_of(&run_to_end(ccgw(&dir).arg("--help")))),
    );
    let page = fs::read_to_string(Path::new(ROOT).join("packaging/man/ccgw-manage.1")).unwrap();
    for command in commands(&dir, &[]) {
        let words: Vec<&str> = command.split(' ').collect();
        let help = text_of(&manage(&dir, &[&words[..], &["--help"]].concat()));
        let nested = commands(&dir, &words);
        let all = if nested.is_empty() {
            vec![(command.clone(), help)]
        } else {
            let of = |sub: String| {
                let full = format!("{command} {sub}");
                let words: Vec<&str> = full.split(' ').chain(["--help"]).collect();
                let help = text_of(&manage(&dir, &words));
                (full, help)
            };
            nested.into_iter().map(of).collect()
        };
        for (name, help) in all {
            // To the next command's heading.
            let section = page.split(&format!(".Ss {name}\n")).nth(1);
            let section = section.unwrap_or_else(|| panic!("{name} is not in ccgw-manage.1"));
            let section = section.split("\n.S").next().unwrap();
            for option in options(&help).iter().filter(|it| *it != "help") {
                assert!(
                    section.contains(&format!("Fl Fl {option}")),
                    "{name} --{option}"
                );
            }
        }
    }
}

/// The commands that the help of these words lists.
fn commands(dir: &TempDir, words: &[&str]) -> Vec<String> {
    let help = text_of(&manage(dir, &[words, &["--help"]].concat()));
    let Some(list) = help.split("\nCommands:\n").nth(1) else {
        return Vec::new();
    };
    let lines = list.lines().take_while(|it| it.starts_with(' '));
    lines
        .filter(|it| !it.starts_with("   "))
        .filter_map(|it| it.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn manual_of_the_configuration_has_every_key() {
    let dir = installed();
    let page = dir.path().join("usr/share/man/man5/config.yaml.5");
    let page = fs::read_to_string(page).unwrap();
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let table = readme.split("| key | default | meaning |").nth(1).unwrap();
    let mut section = "";
    let mut count = 0;
    for row in table.split("\n\n").next().unwrap().lines().skip(2) {
        for key in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            // `server.head_timeout`, `body_timeout`: the section stands with the first of a row.
            let key = match key.rsplit_once('.') {
                Some((of, _)) => {
                    section = of;
                    key.to_owned()
                }
                None if row.contains(&format!("| `{key}`")) => key.to_owned(),
                None => format!("{section}.{key}"),
            };
            assert!(
                page.contains(&format!(".It Sy {key}")),
                "{key} is not in config.yaml(5)"
            );
            count += 1;
        }
    }
    assert!(count > 40, "only {count} keys in README.md");
}

#[test]
fn manual_pages_are_well_formed() {
    if !has("mandoc", "manual_pages_are_well_formed") {
        return;
    }
    let dir = installed();
    let man = dir.path().join("usr/share/man");
    for page in ["man1/ccgw.1", "man1/ccgw-manage.1", "man5/config.yaml.5"] {
        let output = run_to_end(
            Command::new("mandoc")
                .args(["-T", "lint"])
                .arg(man.join(page)),
        );
        let said = text_of(&output);
        // Whether other pages are installed here is not the page's business.
        let bad: Vec<_> = said
            .lines()
            .filter(|it| {
                !it.contains("referenced manual not found") && !it.contains("outdated mandoc.db")
            })
            .collect();
        assert_eq!(bad, Vec::<&str>::new());
    }
}

#[test]
fn units_are_valid_and_narrow() {
    if !has("systemd-analyze", "units_are_valid_and_narrow") {
        return;
    }
    let dir = installed();
    // The program that the unit names has to be there; elsewhere than in a directory of a test it is.
    let unit = |name: &str| {
        let path = dir.path().join("usr/lib/systemd").join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("/usr/bin/", &format!("{}/usr/bin/", dir.path().display())),
        )
        .unwrap();
        path
    };
    let (service, socket) = (unit("system/ccgw.service"), unit("system/ccgw.socket"));
    let mut verify = Command::new("systemd-analyze");
    let output = run_to_end(
        verify
            .args(["verify", "--man=no"])
            .args([&service, &socket]),
    );
    assert_eq!(
        (text_of(&output).as_str(), output.status.code()),
        ("", Some(0))
    );
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold=29"]);
    let output = run_to_end(security.arg(&service));
    let said = text_of(&output);
    assert!(
        output.status.success(),
        "{}",
        said.lines().last().unwrap_or_default()
    );
}

/// Which kinds of namespaces the service may make, with one of the examples beside it.
fn namespaces(dir: &TempDir, example: Option<&str>) -> Vec<String> {
    let units = dir.path().join("usr/lib/systemd/system");
    if let Some(name) = example {
        let beside = units.join("ccgw.service.d");
        fs::create_dir(&beside).unwrap();
        let from = dir.path().join("usr/share/doc/ccgw/examples").join(name);
        fs::copy(from, beside.join(name)).unwrap();
    }
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager"]);
    let said = text_of(&run_to_end(security.arg(units.join("ccgw.service"))));
    let open = said.lines().filter(|it| it.starts_with('✗'));
    let kinds = open.filter_map(|it| it.split("RestrictNamespaces=~").nth(1));
    let kinds = kinds.filter_map(|it| it.split_whitespace().next());
    let mut kinds: Vec<_> = kinds.map(str::to_owned).collect();
    kinds.sort();
    kinds
}

#[test]
fn examples_let_the_service_make_networks() {
    if !has("systemd-analyze", "examples_let_the_service_make_networks") {
        return;
    }
    let plain = ["cgroup", "ipc", "mnt", "pid", "user", "uts"];
    assert_eq!(namespaces(&installed(), None), plain);
    let with = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    assert_eq!(namespaces(&installed(), Some("network.conf")), with);
    let of_root = ["cgroup", "ipc", "mnt", "pid", "uts"];
    assert_eq!(namespaces(&installed(), Some("root.conf")), of_root);
}

#[test]
fn release_without_jq_says_so_before_it_builds() {
    let dir = TempDir::new();
    let tools = dir.create_dir("tools");
    for tool in ["make", "sh"] {
        let found = std::env::var_os("PATH").unwrap();
        let mut found = std::env::split_paths(&found).map(|it| it.join(tool));
        let found = found.find(|it| it.exists()).unwrap();
        std::os::unix::fs::symlink(found, tools.join(tool)).unwrap();
    }
    let mut dist = Command::new(tools.join("make"));
    dist.current_dir(ROOT).env("PATH", &tools).arg("dist");
    let output = run_to_end(&mut dist);
    let said = text_of(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("apt install jq"), "{said}");
}

#[test]
fn compose_example_is_valid() {
    if !has("docker-compose", "compose_example_is_valid") {
        return;
    }
    let mut compose = Command::new("docker-compose");
    compose.args(["-f", "packaging/compose/compose.yaml", "config", "--quiet"]);
    let output = run_to_end(compose.current_dir(ROOT));
    assert!(output.status.success(), "{}", text_of(&output));
}

/// A configuration as the gateway's predecessor wrote it.
#[test]
fn configuration_of_the_typescript_gateway_is_taken_over_as_it_is() {
    let dir = TempDir::new();
    let text = fs::read(Path::new(ROOT).join("tests/data/typescript-gateway/config.yaml")).unwrap();
    let config = dir.write("config.yaml", text);
    let output = run_to_end(ccgw(&dir).arg("--check").arg(&config));
    let said = text_of(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("ok (2 tenants)"), "{said}");
}
