//! Edits as tables: a text, what is done to it, and the text that must come out.

use super::*;

fn tenant(name: &str, env: &[(&str, &str)]) -> Change {
    let owned =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
    Change::AddTenant(NewTenant {
        name: name.to_owned(),
        api_key: Secret::new("key-of-it".to_owned()),
        working_dir: None,
        env: env.iter().map(owned).collect(),
    })
}

fn env(tenant: &str, name: &str, value: &str) -> Change {
    Change::SetEnv {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        value: Secret::new(value.to_owned()),
    }
}

#[track_caller]
fn check(text: &str, change: Change, expect: &str) {
    assert_eq!(edited(text, &[change]).as_deref(), Ok(expect));
}

#[track_caller]
fn refuses(text: &str, change: Change, part: &str) {
    let error = edited(text, &[change]).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn tenants_are_added_where_there_are_none() {
    let added = "tenants:\n  - name: b\n    api_key: key-of-it\n";
    check("", tenant("b", &[]), added);
    check(
        "# only this",
        tenant("b", &[]),
        &format!("# only this\n\n{added}"),
    );
    check(
        "server:\n  port: 1\n",
        tenant("b", &[]),
        &format!("server:\n  port: 1\n\n{added}"),
    );
    for none in ["[]", "null", "~", "[ ]"] {
        check(
            &format!("tenants: {none}\n# end\n"),
            tenant("b", &[]),
            &format!("{added}# end\n"),
        );
    }
    check(
        "tenants:\n# end\n",
        tenant("b", &[]),
        &format!("{added}# end\n"),
    );
    check("tenants:", tenant("b", &[]), added);
    check(
        "tenants: []  # none yet\n# tenants:\n#   - name: alice\nserver:\n  port: 1\n",
        tenant("b", &[]),
        "tenants:  # none yet\n  - name: b\n    api_key: key-of-it\n# tenants:\n#   - name: alice\nserver:\n  port: 1\n",
    );
}

#[test]
fn tenants_are_added_behind_the_last_in_its_style() {
    check(
        "tenants:\n- name: a # first\n  api_key: 'x y z a b c'\n\n# about the server\nserver:\n  port: 1\n",
        tenant("b", &[("T", "1")]),
        "tenants:\n- name: a # first\n  api_key: 'x y z a b c'\n- name: b\n  api_key: key-of-it\n  env:\n    T: 1\n\n# about the server\nserver:\n  port: 1\n",
    );
    check(
        "tenants:\n    - name: a\n      api_key: 12345678\n      env:\n        K: |\n          one\n          two\n",
        tenant("b", &[]),
        "tenants:\n    - name: a\n      api_key: 12345678\n      env:\n        K: |\n          one\n          two\n    - name: b\n      api_key: key-of-it\n",
    );
    check(
        "tenants:\n  - {name: a, api_key: 12345678}",
        tenant("b", &[]),
        "tenants:\n  - {name: a, api_key: 12345678}\n  - name: b\n    api_key: key-of-it\n",
    );
    check(
        "tenants:\r\n  - name: é\r\n    api_key: 12345678\r\n",
        tenant("b", &[]),
        "tenants:\r\n  - name: é\r\n    api_key: 12345678\r\n  - name: b\r\n    api_key: key-of-it\r\n",
    );
    check(
        "\u{feff}tenants: []\n",
        tenant("b", &[]),
        "\u{feff}tenants:\n  - name: b\n    api_key: key-of-it\n",
    );
}

#[test]
fn variables_are_added_and_changed() {
    let start = "tenants:\n  - name: a\n    api_key: 12345678\n";
    check(
        start,
        env("a", "T", "x"),
        &format!("{start}    env:\n      T: x\n"),
    );
    let more = "  - name: z # last\n    api_key: 87654321\n";
    check(
        &format!("{start}    env: {{}}\n{more}"),
        env("a", "T", "x y"),
        &format!("{start}    env:\n      T: \"x y\"\n{more}"),
    );
    check(
        &format!("{start}    env:\n          # mine\n          K: v # kept\n{more}"),
        env("a", "T", "x"),
        &format!(
            "{start}    env:\n          # mine\n          K: v # kept\n          T: x\n{more}"
        ),
    );
    check(
        &format!("{start}    env:\n      K: 'old' # kept\n{more}"),
        env("a", "K", "new"),
        &format!("{start}    env:\n      K: new # kept\n{more}"),
    );
    check(
        &format!("{start}    env:\n      K:\n{more}"),
        env("a", "K", "new"),
        &format!("{start}    env:\n      K: new\n{more}"),
    );
}

#[test]
fn what_cannot_be_edited_alone_is_refused() {
    refuses(
        "tenants: [{name: a, api_key: 12345678}]\n",
        tenant("b", &[]),
        "config.yaml:1: the tenants are in brackets",
    );
    refuses(
        "{tenants: []}\n",
        tenant("b", &[]),
        "config.yaml cannot be edited",
    );
    refuses("tenants: 7\n", tenant("b", &[]), "expected a list");
    refuses("a: [\n", tenant("b", &[]), "not valid YAML");
    refuses("tenants: []\ntenants: []\n", tenant("b", &[]), "tenants");
    let one = |env: &str| format!("tenants:\n  - name: a\n    api_key: 12345678\n{env}");
    refuses(&one(""), env("b", "T", "x"), "no tenant is called `b`");
    refuses(
        &one("    env: {A: 1}\n"),
        env("a", "T", "x"),
        "config.yaml:4: env is in braces",
    );
    refuses(
        &one("    env:\n      T: |\n        x\n"),
        env("a", "T", "x"),
        "over several lines",
    );
    refuses(
        &one("    env: 3\n"),
        env("a", "T", "x"),
        "expected `NAME: value`",
    );
}

#[test]
fn any_value_reads_back_as_it_was() {
    for value in [
        "plain",
        "",
        " ",
        "null",
        "~",
        "true",
        "1e10",
        "a: b",
        "a #b",
        "#",
        "- x",
        "[x",
        "{",
        "'",
        "\"",
        "\\",
        "x\ny",
        "x\r\ny\t",
        "\u{2028}",
        "\u{85}",
        "\u{feff}",
        "é😀",
        "\u{1}",
        "%x",
        "@x",
        "`x`",
        "&a",
        "*a",
        "!x",
        "|",
        ">",
        "?",
        ": ",
        "trailing ",
        "...",
        "---",
        "=",
        "<<",
        "0x1F",
        "\u{7f}",
    ] {
        let text = edited("tenants: []\n", &[tenant("b", &[("V", value)])]).expect(value);
        let again = edited(&text, &[env("b", "W", value), env("b", "V", "x")]).expect(value);
        assert!(again.contains("V: x\n"), "{again}");
    }
}

#[test]
fn new_file_reads_back_and_can_be_edited() {
    let Change::AddTenant(one) = tenant("a", &[("T", "x: y")]) else {
        unreachable!();
    };
    let text = new_file(&[one]);
    let text = edited(&text, &[tenant("b", &[]), env("a", "U", "1")]).unwrap();
    assert!(text.ends_with(
        "  - name: a\n    api_key: key-of-it\n    env:\n      T: \"x: y\"\n      U: 1\n  - name: b\n    api_key: key-of-it\n"
    ), "{text}");
    let empty = new_file(&[]);
    assert!(edited(&empty, &[tenant("b", &[])]).is_ok());
}

/// The whole example can be edited, and only what was added differs.
#[test]
fn example_keeps_every_line() {
    let example = include_str!("../../../config.example.yaml");
    let text = edited(example, &[tenant("b", &[("T", "1")]), env("b", "U", "2")]).unwrap();
    let added: Vec<&str> = text
        .lines()
        .filter(|line| !example.lines().any(|it| it == *line))
        .collect();
    assert_eq!(
        added,
        [
            "tenants:",
            "  - name: b",
            "    api_key: key-of-it",
            "    env:",
            "      T: 1",
            "      U: 2"
        ]
    );
}
