//! What openclaw-skill.md tells the model to run, and what runs may run, held against the help of the real OpenClaw.

use std::{collections::BTreeMap, process::Command, sync::Mutex, thread};

use super::{install, modules, node};

const TEXT: &str = include_str!("../../../openclaw-skill.md");

/// What runs may give their instance, with every flag, and whether a value follows it.
const LIST: &str = include_str!("../../../src/relay/commands.txt");

/// The text is part of every request.
const BYTES_MAX: usize = 4096;

/// Helps that are asked for at the same time.
const AT_ONCE: usize = 3;

/// By the words of a command, the flags that the text gives it.
type Commands = BTreeMap<Vec<String>, Vec<String>>;

#[test]
fn every_command_and_flag_of_the_skill_text_exists() {
    assert!(TEXT.len() < BYTES_MAX, "{}", TEXT.len());
    install();
    let commands = commands();
    assert!(commands.len() > 40, "{commands:?}");
    // A category's own help lists what it has; only flags take another look.
    let wanted: Vec<Vec<String>> = {
        let categories = commands.keys().map(|it| vec![it[0].clone()]);
        let with_flags = commands.iter().filter(|(_, flags)| !flags.is_empty());
        let deep = commands.keys().filter(|it| it.len() > 2);
        let parents = deep.map(|it| it[..it.len() - 1].to_vec());
        let mut all: Vec<_> = categories
            .chain(with_flags.map(|(words, _)| words.clone()))
            .chain(parents)
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let helps = helps(wanted);
    for (words, flags) in &commands {
        let own = helps.get(words);
        if let Some((last, parent)) = words.split_last()
            && !parent.is_empty()
        {
            let list = &helps[parent];
            let is_listed = |line: &str| {
                let mut names = line.trim_start().split([' ', '|']);
                line.starts_with("  ") && names.any(|it| it == last)
            };
            assert!(list.lines().any(is_listed), "{words:?} is not in:\n{list}");
        }
        for flag in flags {
            let help = own.unwrap_or_else(|| panic!("no help for {words:?}"));
            let has = help
                .split(|c: char| c.is_whitespace() || c == ',')
                .any(|it| it == flag);
            assert!(has, "{words:?} has no {flag}:\n{help}");
        }
    }
}

/// Whoever takes a word for a flag's value that OpenClaw takes for a flag lets that one through unseen.
#[test]
fn every_flag_that_runs_may_use_takes_a_value_where_the_list_says_so() {
    install();
    let lines = LIST.lines().filter(|it| !it.starts_with('#'));
    let list: BTreeMap<Vec<String>, &str> = lines
        .filter_map(|it| it.split_once(':'))
        .map(|(name, flags)| (name.split(' ').map(str::to_owned).collect(), flags))
        .collect();
    assert!(list.len() > 100, "{}", list.len());
    let helps = helps(list.keys().cloned().collect());
    for (words, flags) in &list {
        let help = &helps[words];
        let usage = help.split("Usage: ").nth(1).unwrap_or_default();
        // A command that is not there shows the help of what is above it.
        let name = words.last().unwrap();
        let line = usage.lines().next().unwrap_or_default();
        let mut names = line.split([' ', '|']);
        assert!(names.any(|it| it == name), "{words:?}: {line}");
        for flag in flags.split_whitespace() {
            let name = flag.trim_end_matches(['=', '@', '~']);
            let takes_one = name.len() < flag.len();
            assert_eq!(
                value_of(help, name),
                Some(takes_one),
                "{words:?} {flag}:\n{help}"
            );
        }
    }
}

/// Whether a value must follow a flag; `None` where there is no such flag, or a value may be left out.
fn value_of(help: &str, flag: &str) -> Option<bool> {
    let mut lines = help.lines().filter(|it| it.starts_with("  -"));
    lines.find_map(|line| {
        // `  -m, --message <text>  What it is`
        let declared = line.trim_start().split("  ").next()?;
        let mut words = declared.split(' ');
        words
            .any(|it| it.trim_end_matches(',') == flag)
            .then_some(())?;
        match declared.contains('[') && !declared.contains('<') {
            true => None,
            false => Some(declared.contains('<')),
        }
    })
}

/// Every command in the table. A piece of code that does not begin with `openclaw` is a flag of the command before
/// it, or another command of the same category.
fn commands() -> Commands {
    let mut commands = Commands::new();
    let rows = TEXT
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    for row in rows {
        let mut last: Vec<String> = Vec::new();
        for code in row.split('`').skip(1).step_by(2) {
            let is_flag = code.starts_with("--");
            let mut words = code
                .strip_prefix("openclaw ")
                .unwrap_or(code)
                .split(' ')
                .peekable();
            if !is_flag {
                let mut own: Vec<String> = match code.starts_with("openclaw ") {
                    true => Vec::new(),
                    false => last[..1].to_vec(),
                };
                // Values are written in capitals, in quotes or as times.
                let is_word = |it: &&str| {
                    it.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !it.starts_with('-')
                };
                while let Some(word) = words.next_if(is_word) {
                    own.push(word.to_owned());
                }
                last = own;
            }
            let flags = commands.entry(last.clone()).or_default();
            flags.extend(words.filter(|it| it.starts_with("--")).map(str::to_owned));
        }
    }
    commands
}

fn helps(wanted: Vec<Vec<String>>) -> BTreeMap<Vec<String>, String> {
    let wanted = Mutex::new(wanted);
    let helps = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(words) = wanted.lock().unwrap().pop() else {
                        return;
                    };
                    let help = help(&words);
                    helps.lock().unwrap().insert(words, help);
                }
            });
        }
    });
    helps.into_inner().unwrap()
}

#[track_caller]
fn help(words: &[String]) -> String {
    let dir = crate::temp::TempDir::new();
    let mut command = Command::new(node());
    command
        .arg(modules().join("openclaw/openclaw.mjs"))
        .args(words)
        .arg("--help")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir.path())
        .env("NO_COLOR", "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}");
    text
}
