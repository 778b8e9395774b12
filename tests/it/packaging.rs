//! What is installed beside the program: where, by whom, units, and a configuration of the gateway's predecessor.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::{gateway::run_to_end, process::say_skipped, setup::ccgw, temp::TempDir};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CCGW: &str = env!("CARGO_BIN_EXE_ccgw");

/// What `make install` makes, in a directory of the test's own.
pub(crate) fn installed() -> TempDir {
    let dir = TempDir::new();
    make(&dir, "install-files");
    dir
}

#[track_caller]
fn make(dir: &TempDir, target: &str) {
    let output = run_to_end(&mut make_command(dir, target));
    assert!(output.status.success(), "{}", text_of(&output));
}

/// As a package is made, into a directory.
fn make_command(dir: &TempDir, target: &str) -> Command {
    let mut command = Command::new("make");
    command
        .current_dir(ROOT)
        .args(["--no-print-directory", target, "PREFIX=/usr"])
        .arg(format!("BINARY={CCGW}"))
        .arg(format!("DESTDIR={}", dir.path().display()));
    command
}

pub(crate) fn text_of(output: &Output) -> String {
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
pub(crate) fn has(tool: &str, test: &str) -> bool {
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

/// What an ordinary user's `make install` does, by whomever this test is run.
#[test]
fn install_into_a_home_leaves_the_machines_parts_out() {
    let dir = TempDir::new();
    let local = dir.path().join(".local");
    let mut command = Command::new("make");
    command
        .current_dir(ROOT)
        .args(["--no-print-directory", "install", "CARGO=true", "SYSTEM="])
        .arg(format!("BINARY={CCGW}"))
        .arg(format!("PREFIX={}", local.display()))
        .arg(format!("SYSCONFDIR={}/etc", dir.path().display()));
    let output = run_to_end(&mut command);
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("not as root"), "{output:?}");
    let made = files(dir.path());
    let unit = ".local/share/systemd/user/ccgw.service";
    assert!(made.contains(unit), "{made:#?}");
    let text = fs::read_to_string(dir.path().join(unit)).unwrap();
    assert!(text.contains(&format!("ExecStart={}/bin/ccgw ", local.display())));
    for part in ["etc/", ".local/lib/"] {
        assert!(!made.iter().any(|it| it.starts_with(part)), "{made:#?}");
    }
}

/// Under `sudo`, whose `PATH` has not what rustup installs.
#[test]
fn install_without_cargo_takes_what_is_built() {
    let dir = TempDir::new();
    let mut command = make_command(&dir, "install");
    let output = run_to_end(command.arg("CARGO=no-such-cargo"));
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("no-such-cargo is not to be found here"));
    assert!(files(dir.path()).contains("usr/bin/ccgw"));
    let mut command = make_command(&dir, "install");
    let output = run_to_end(command.args(["CARGO=no-such-cargo", "BINARY=no-such-file"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text_of(&output).contains("`make build` as yourself"));
}

#[test]
fn completions_are_where_each_zsh_looks() {
    let dir = installed();
    assert!(files(dir.path()).contains("usr/share/zsh/vendor-completions/_ccgw-manage"));
    let dir = TempDir::new();
    let mut command = make_command(&dir, "install-files");
    run_to_end(command.arg("PREFIX=/usr/local"));
    assert!(files(dir.path()).contains("usr/local/share/zsh/site-functions/_ccgw-manage"));
}

#[test]
fn installed_readme_leads_to_what_is_installed() {
    let dir = installed();
    let doc = dir.path().join("usr/share/doc/ccgw");
    for page in ["README.md", "README_CN.md"] {
        let text = fs::read_to_string(doc.join(page)).unwrap();
        let links: Vec<_> = crate::readme::links(&text)
            .into_iter()
            .filter(|it| !it.starts_with('#') && !it.starts_with("https://"))
            .collect();
        assert!(links.len() > 5, "{links:?}");
        for link in links {
            assert!(doc.join(link).exists(), "{page}: {link}");
        }
    }
}

/// The image is made of what is installed, and of nothing else.
#[test]
fn installed_image_is_made_of_files_that_are_there() {
    let dir = TempDir::new();
    let mut command = make_command(&dir, "install-files");
    run_to_end(command.arg("NOTICES=LICENSE"));
    let usr = dir.path().join("usr");
    let compose = usr.join("share/doc/ccgw/packaging/compose/compose.yaml");
    let compose = fs::read_to_string(compose).unwrap();
    assert!(compose.contains("context: /usr\n"), "{compose}");
    let (_, rest) = compose.split_once("dockerfile: ").unwrap();
    let image = usr.join(rest.lines().next().unwrap());
    let ignored = fs::read_to_string(image.with_extension("dockerignore")).unwrap();
    let image = fs::read_to_string(image).unwrap();
    for name in ["PROGRAM", "NOTICES"] {
        let (_, rest) = image.split_once(&format!("\nARG {name}=")).unwrap();
        let file = rest.lines().next().unwrap();
        assert!(usr.join(file).is_file(), "{file}");
        assert!(ignored.contains(&format!("\n!{file}\n")), "{file}");
        assert!(image.contains(&format!("\nCOPY ${name} ")));
    }
}

#[test]
fn image_has_the_cli_that_the_tests_run() {
    let read = |file: &str| fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let tested: serde_json::Value =
        serde_json::from_str(&read("tests/real-cli/package.json")).unwrap();
    let version = &tested["dependencies"]["@anthropic-ai/claude-code"];
    let version = version.as_str().unwrap();
    let line = format!("\nARG CLAUDE_CODE={version}\n");
    assert!(read("packaging/Containerfile").contains(&line), "{line}");
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
        let path = std::env::var_os("PATH").unwrap();
        let mut places = std::env::split_paths(&path).map(|it| it.join(tool));
        let found = places.find(|it| it.exists()).unwrap();
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
