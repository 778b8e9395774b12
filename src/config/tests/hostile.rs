//! Files that are broken, secret or meant to harm: an error, soon, that tells no key.

use super::example::EXAMPLE;
use super::*;

#[test]
fn no_message_repeats_a_key_or_an_environment_value() {
    let secret = "Zq-Secret";
    for text in [
        "tenants: [{name: a, api_key: 'Zq-Secret 1'}]",
        "tenants: [{name: a, api_key: Zq-Secreté}]",
        "tenants: [{name: a, api_key: !Zq-Secret}]",
        "tenants: [{name: a, api_key: !Zq-Secret x}]",
        "tenants: [{name: a, api_key:Zq-Secret}]",
        "tenants: [{name: a, api_key=Zq-Secret}]",
        "tenants: [{name: a, api_key: [Zq-Secret]}]",
        "tenants: [{name: a, api_key: {Zq-Secret: Zq-Secret}}]",
        "tenants: Zq-Secret",
        "tenants: [Zq-Secret]",
        "tenants: {a: Zq-Secret}",
        "tenants:\n- name: a\n  api_key:Zq-Secret\n  env: {}",
        "tenants:\n- name: a\n  api_key: \"Zq-Secret",
        "tenants:\n- name: a\n  api_key: *Zq-Secret",
        "tenants:\n- name: a\n  api_key: %Zq-Secret",
        "tenants:\n- name: a\n  api_key: Zq-Secret: x",
        "tenants:\n- name: a\n  api_key: x\n  env: [A=Zq-Secret]",
        "tenants:\n- name: a\n  api_key: x\n  env: {A=Zq-Secret}",
        "tenants:\n- name: a\n  api_key: x\n  env: {A=Zq-Secret: 1, A=Zq-Secret: 1}",
        "tenants:\n- name: a\n  api_key: x\n  env: Zq-Secret",
        "tenants:\n- name: a\n  api_key: x\n  env: {A: [Zq-Secret]}",
        "tenants:\n- name: a\n  api_key: x\n  env: {A: \"Zq-Secret\\0\"}",
        "tenants:\n- {name: a, api_key: Zq-Secret}\n- {name: b, api_key: Zq-Secret}",
    ] {
        let problems = Folder::new().load(text.as_bytes(), &[]).unwrap_err();
        assert!(!problems.contains(secret), "{text}\n{problems}");
    }
    let text = "tenants: [{name: a, api_key: Zq-Secret, env: {A: Zq-Secret}}]";
    let loaded = Folder::new().load(text.as_bytes(), &[]).unwrap();
    assert!(!format!("{loaded:?} {loaded:#?}").contains(secret));
}

#[test]
fn files_that_are_no_text_are_refused() {
    check_one(b"a\nb\n\xff\xfe\n", "config.yaml:3: not UTF-8, save");
    check_one(
        &vec![b'#'; (4 << 20) + 1],
        "config.yaml: larger than 4194304 bytes",
    );
    let none = load(Path::new("/nowhere/config.yaml"), &|_| None)
        .unwrap_err()
        .to_string();
    assert!(
        none.starts_with("/nowhere/config.yaml: cannot be read ("),
        "{none}"
    );
    let folder = load(Path::new("/"), &|_| None).unwrap_err().to_string();
    assert!(folder.starts_with("/: cannot be read ("), "{folder}");
}

/// Each ends with one problem, and with bounded work: in time, memory and stack.
#[test]
fn bombs_end_with_an_error() {
    const DEEP: usize = 100_000;
    let levels = "more than 32 levels of nesting";
    let values = "the file has more than 100000 values by this line";
    check_one("[".repeat(DEEP).as_bytes(), levels);
    check_one("{a: ".repeat(DEEP).as_bytes(), levels);
    check_one(format!("a: {}", "[{b: ".repeat(DEEP)).as_bytes(), levels);
    check_one("- ".repeat(DEEP).as_bytes(), levels);
    check_one("? ".repeat(DEEP).as_bytes(), "a key must be plain text");
    check_one("[\n".repeat(DEEP).as_bytes(), levels);
    let indented = |level| format!("{}a:\n", " ".repeat(level));
    check_one(
        (0..2000).map(indented).collect::<String>().as_bytes(),
        levels,
    );
    check_one("- x\n".repeat(DEEP).as_bytes(), values);

    let laughs = |level| match level {
        0 => "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned(),
        _ => format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 10].join(", ")
        ),
    };
    check_one((0..20).map(laughs).collect::<String>().as_bytes(), values);
    // Twenty levels in two steps are forty.
    let half = format!("{}x{}", "[".repeat(20), "]".repeat(20));
    let nested = format!("a: &a {half}\nb: {}*a{}\n", "[".repeat(20), "]".repeat(20));
    check_one(nested.as_bytes(), levels);
    // One long text, repeated.
    let long = format!("- &a {}\n{}", "x".repeat(1 << 20), "- *a\n".repeat(50_000));
    check_one(long.as_bytes(), values);
}

#[test]
fn a_hundred_thousand_wrong_keys_are_a_hundred_problems() {
    let text: String = (0..40_000)
        .map(|number| format!("key{number}: 1\n"))
        .collect();
    let problems = Folder::new().load(text.as_bytes(), &[]).unwrap_err();
    assert_eq!(problems.lines().count(), 100, "{problems}");
}

/// The steps of Marsaglia's xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits are the better ones; a remainder is even enough here.
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn no_mutation_of_the_example_panics() {
    const PIECES: [&str; 24] = [
        "\n", "\t", " ", "  ", ":", ": ", "- ", "? ", "[", "]", "{", "}", ",", "&a ", "*a", "!x ",
        "|", ">", "'", "\"", "#", "---\n", "\r", "\0",
    ];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let folder = Folder::new();
    let start = format!("{EXAMPLE}{OLD}");
    let mut accepted = 0;
    for _ in 0..3000 {
        let mut bytes = start.as_bytes().to_vec();
        for _ in 0..=numbers.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = numbers.below(bytes.len());
            match numbers.below(4) {
                0 => bytes[at] = numbers.below(256) as u8,
                1 => drop(bytes.drain(at..(at + numbers.below(200)).min(bytes.len()))),
                2 => bytes.truncate(at + 1),
                _ => {
                    let piece = PIECES[numbers.below(PIECES.len())];
                    drop(bytes.splice(at..at, piece.bytes()));
                }
            }
        }
        match folder.load(&bytes, &[]) {
            Ok(_) => accepted += 1,
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
    assert!(accepted < 3000);
}
