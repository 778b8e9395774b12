//! The scripts of `ccgw-manage completions`, in the shells themselves.

use std::{fs, process::Command};

use super::{Desk, ended};

const TEXT: &str =
    "tenants:\n- {name: alice, api_key: key-of-a}\n- {name: bob, api_key: key-of-b}\n";

/// Line, and what completes its last word.
const CASES: [(&str, &[&str]); 13] = [
    ("ccgw-manage rem", &["remove"]),
    ("ccgw-manage show ", &["alice", "bob"]),
    ("ccgw-manage show a", &["alice"]),
    ("ccgw-manage env bob ", &["list", "set", "unset"]),
    ("ccgw-manage --config other.yaml rotate ", &["carol"]),
    (
        "ccgw-manage --config=other.yaml rotate --grace 1h c",
        &["carol"],
    ),
    ("ccgw-manage completions ", &["bash", "fish", "zsh"]),
    ("ccgw-manage add dora --w", &["--working-dir"]),
    ("ccgw-manage add dora --key ", &[]),
    ("ccgw-manage --config missing.yaml show ", &[]),
    ("ccgw --ch", &["--check"]),
    ("ccgw --check oth", &["other.yaml"]),
    ("ccgw --setup --no-s", &["--no-skills"]),
];

fn desk(shell: &str) -> Desk {
    let desk = Desk::with(TEXT);
    let other = "tenants: [{name: carol, api_key: key-of-c}]\n";
    fs::write(desk.cwd().join("other.yaml"), other).unwrap();
    let script = desk.run(&["completions", shell]).good().stdout;
    fs::write(desk.cwd().join("script"), script).unwrap();
    desk
}

/// Every command of `--help`.
fn commands(desk: &Desk) -> Vec<String> {
    let help = desk.run(&["--help"]).good().stdout;
    let list = help.split("Commands:\n").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap();
    let lines = list
        .lines()
        .filter(|it| it.starts_with("  ") && !it.starts_with("   "));
    let names = lines.map(|it| it.split_whitespace().next().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

/// Whether the shell is here.
fn has(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").output().is_ok();
    if !found {
        crate::process::say_skipped(&format!("SKIPPED: {shell} is not installed"));
    }
    found
}

/// A shell's own program that prints what completes the words behind it, one a line.
#[track_caller]
fn check(desk: &Desk, shell: &[&str], program: &str) {
    let complete = |line: &str| {
        let like = desk.command(&[]);
        let mut own = Command::new(shell[0]);
        own.args(&shell[1..])
            .args([program, "complete", line])
            .current_dir(desk.cwd())
            .env_clear();
        for (name, value) in like.get_envs() {
            if let Some(value) = value {
                own.env(name, value);
            }
        }
        let said = ended(&own.output().unwrap());
        assert_eq!(said.stderr, "", "{line}");
        let mut found: Vec<String> = said.stdout.split_whitespace().map(str::to_owned).collect();
        found.sort();
        found
    };
    for (line, expect) in CASES {
        assert_eq!(complete(line), expect, "{line}");
    }
    let mut all = commands(desk);
    all.sort();
    assert_eq!(complete("ccgw-manage "), all);
}

/// As readline splits a line: at `=` too, which is a word of its own.
const IN_BASH: &str = r#"
source ./script
line=${2//=/ = }
read -ra COMP_WORDS <<< "$line"
[[ $line == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_ccgw_manage ccgw-manage
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_words_and_tenants() {
    if !has("bash") {
        return;
    }
    let desk = desk("bash");
    let program = desk.dir.write("cwd/complete.bash", IN_BASH);
    check(&desk, &["bash", "--norc"], program.to_str().unwrap());
    let said = ended(
        &Command::new("bash")
            .arg("-n")
            .arg(desk.cwd().join("script"))
            .output()
            .unwrap(),
    );
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
}

const IN_FISH: &str = r#"
source ./script
complete -C "$argv[2]" | string replace -r '\t.*' ''
"#;

#[test]
fn fish_completes_words_and_tenants() {
    if !has("fish") {
        return;
    }
    let desk = desk("fish");
    let program = desk.dir.write("cwd/complete.fish", IN_FISH);
    check(&desk, &["fish", "--no-config"], program.to_str().unwrap());
}

/// zsh completes on a terminal only: it gets one, in which `compadd` prints what it is given.
const IN_ZSH: &str = r#"
zmodload zsh/zpty
zpty -b z zsh -f -i
prepare() {
    PS1=; PS2=
    autoload -Uz compinit
    compinit -u -D
    source ./script
    bindkey '^I' complete-word
    zstyle ':completion:*' list-max 1000
    compadd() {
        [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]] && { builtin compadd "$@"; return }
        local -a hits
        builtin compadd -O hits "$@"
        local hit
        for hit in $hits; do print -r -- "<$hit>"; done
        builtin compadd "$@"
    }
    finish() { print -r -- "<END>" }
    comppostfuncs=(finish)
    print -r -- "<REA""DY>"
}
zpty -w z "${functions[prepare]}"
zpty -r -m z out '*<READY>*'
zpty -w -n z "$2"$'\t'
zpty -r -m z out '*<END>*'
zpty -d z
print -r -- "$out" | grep -o '<[^<>]*>' | grep -vE '<(END|READY)>' | tr -d '<>' | sort -u
"#;

#[test]
fn zsh_completes_words_and_tenants() {
    if !has("zsh") {
        return;
    }
    let desk = desk("zsh");
    let program = desk.dir.write("cwd/complete.zsh", IN_ZSH);
    check(&desk, &["zsh", "-f"], program.to_str().unwrap());
}
