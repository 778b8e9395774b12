//! What packages say: manual pages of every option and key, and the changelog.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{
    gateway::run_to_end,
    packaging::{has, installed, text_of},
    setup::{ccgw, manage},
    temp::TempDir,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn newest_release_in_the_changelog_is_this_one() {
    let text = fs::read_to_string(Path::new(ROOT).join("CHANGELOG.md")).unwrap();
    let mut headings = text.lines().filter_map(|it| it.strip_prefix("## ["));
    let version = env!("CARGO_PKG_VERSION");
    let newest = headings.find(|it| !it.starts_with("Unreleased")).unwrap();
    assert!(newest.starts_with(&format!("{version}] - 20")), "{newest}");
}

/// Nothing of it is left out, and no sentence ends in its middle.
#[test]
fn changelog_of_the_package_says_all_of_it() {
    let mut command = Command::new(Path::new(ROOT).join("packaging/deb/changelog.sh"));
    let output = run_to_end(command.args([env!("CARGO_PKG_VERSION"), "1796000000"]));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(&text_of(&output));
    let text = fs::read_to_string(Path::new(ROOT).join("CHANGELOG.md")).unwrap();
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    let (_, release) = text.split_once(&heading).unwrap();
    let release = release.split("\n## ").next().unwrap().replace('`', "");
    let points: Vec<_> = release.split("\n- ").skip(1).collect();
    assert!(points.len() > 20, "{points:?}");
    for point in points {
        let point = words(point.split("\n\n").next().unwrap());
        assert!(said.contains(&format!("* {point}")), "{point}");
    }
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

/// Those that override config.yaml, as its example says.
#[test]
fn help_and_manual_name_every_variable() {
    let read = |file: &str| fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let example = read("config.example.yaml");
    let help = text_of(&run_to_end(ccgw(&TempDir::new()).arg("--help")));
    let page = read("packaging/man/ccgw.1");
    let named = example.split("Overridden by ").skip(1);
    let named: Vec<_> = named
        .filter_map(|it| it.split(['.', ' ', '\n']).next())
        .filter(|it| it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_'))
        .collect();
    assert!(named.len() > 7, "{named:?}");
    for name in named {
        assert!(help.contains(name), "{name} is not in ccgw --help");
        assert!(page.contains(name), "{name} is not in ccgw(1)");
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
    // Of a page nobody makes a copy, and it has no comments.
    for words in ["Copy it", "behind `# `", "Mdocdate"] {
        assert!(!page.contains(words), "{words}: {page}");
    }
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
