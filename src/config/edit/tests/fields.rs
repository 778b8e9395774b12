//! Changes of one thing of a tenant: its key, its variables.

use super::*;

#[test]
fn a_key_is_replaced_in_its_place() {
    #[track_caller]
    fn check_tail(tail: &str, expect: &str) {
        let head = "tenants:\n- name: a\n";
        check(
            &format!("{head}{tail}"),
            "a=n: w",
            &format!("{head}{expect}"),
        );
    }
    check_tail(
        "  api_key: old # c\n  x: 1\n",
        "  api_key: \"n: w\" # c\n  x: 1\n",
    );
    check_tail("  api_key:   'o''d'", "  api_key:   \"n: w\"");
    check_tail(
        "  \"api_key\" :\n  x: 1\n",
        "  \"api_key\" : \"n: w\"\n  x: 1\n",
    );
    check_tail("  api_key: ~ # c\n", "  api_key: \"n: w\" # c\n");
    check_tail("  api_key: # c\n", "  api_key: \"n: w\" # c\n");
    check_tail(
        "  api_key: # c\n    old\n",
        "  api_key: # c\n    \"n: w\"\n",
    );
    check_tail("  api_key: one\n    two\n", "  api_key: \"n: w\"\n");
    check_tail(
        "  api_key: |\n    old\n\n  x: 1\n",
        "  api_key: \"n: w\"\n\n  x: 1\n",
    );
    check_tail("  api_key: >-\n    old", "  api_key: \"n: w\"");
    check_tail(
        "  x: 1\n    # y\n# z\n",
        "  api_key: \"n: w\"\n  x: 1\n    # y\n# z\n",
    );
    check_tail("", "  api_key: \"n: w\"\n");
    check(
        "tenants: [{name: a, api_key: k}]",
        "a=m",
        "tenants: [{name: a, api_key: m}]",
    );
    check(
        "tenants: [{name: a}]",
        "a=m",
        "tenants: [{name: a, api_key: m}]",
    );
    check(
        "tenants: [{name: a, api_key: }]",
        "a=m",
        "tenants: [{name: a, api_key: m }]",
    );
    refuse(
        "tenants:\n- name: a\n  api_key: | # c\n    k\n",
        "a=m",
        "line 3: a comment stands",
    );
    refuse(
        "tenants:\n- name: a\n  api_key: [secret]\n",
        "a=m",
        "line 3: expected a single value",
    );
    refuse(
        "tenants:\n- name: a\n  api_key: x\n  api_key: y\n",
        "a=m",
        "config.yaml:4: `api_key` is",
    );
    refuse(
        "tenants:\n- name: a\n  api_key: *k\n",
        "a=m",
        "config.yaml:3: not valid YAML",
    );
}

fn set(field: Field, value: &str) -> Change {
    Change::Set {
        tenant: "a".to_owned(),
        field,
        value: Secret::new(value.to_owned()),
    }
}

fn unset(field: Field) -> Change {
    Change::Unset {
        tenant: "a".to_owned(),
        field,
    }
}

#[test]
fn previous_keys_come_behind_the_key_and_go_again() {
    let rotation = [
        set(Field::ApiKey, "new-key-of-a"),
        set(Field::PreviousKeySha256, "00ff"),
        set(Field::PreviousKeyUntil, "2026-12-31T23:59:59Z"),
    ];
    let back = [
        set(Field::ApiKey, "old-key-of-a"),
        unset(Field::PreviousKeyUntil),
        unset(Field::PreviousKeySha256),
        unset(Field::PreviousKeySha256),
    ];
    for (before, after) in [
        (
            "tenants:\r\n  - name: a\r\n    api_key: old-key-of-a # k\r\n    # of env\r\n    env:\r\n      A: 1\r\n# end",
            "tenants:\r\n  - name: a\r\n    api_key: new-key-of-a # k\r\n    previous_key_sha256: 00ff\r\n    previous_key_until: 2026-12-31T23:59:59Z\r\n    # of env\r\n    env:\r\n      A: 1\r\n# end",
        ),
        (
            "tenants: [{env: {A: 1}, api_key: old-key-of-a, name: a}]",
            "tenants: [{env: {A: 1}, api_key: new-key-of-a, name: a, previous_key_sha256: 00ff, previous_key_until: 2026-12-31T23:59:59Z}]",
        ),
        (
            "tenants:\n- api_key: old-key-of-a\n\n  # me\n  name: a\n\n\n",
            "tenants:\n- api_key: new-key-of-a\n\n  # me\n  name: a\n  previous_key_sha256: 00ff\n  previous_key_until: 2026-12-31T23:59:59Z\n\n\n",
        ),
    ] {
        let rotated = edited(before, &rotation).unwrap();
        assert_eq!(rotated, after);
        // Twice is the same.
        assert_eq!(edited(&rotated, &rotation).unwrap(), after);
        assert_eq!(edited(&rotated, &back).unwrap(), before);
    }
    // What is in the dash's line stays.
    let text = "tenants:\n- previous_key_until: x\n  name: a\n";
    let error = edited(text, &[unset(Field::PreviousKeyUntil)]).unwrap_err();
    assert!(
        error.to_string().contains("line 2: something else"),
        "{error}"
    );
    // An empty value has no place of its own, and takes nothing with it.
    let text = "tenants:\n- name: a\n  previous_key_until:\n\n  # of b\n- name: b\n";
    let without = edited(text, &[unset(Field::PreviousKeyUntil)]).unwrap();
    assert_eq!(without, "tenants:\n- name: a\n\n  # of b\n- name: b\n");
}

#[test]
fn variables_are_set_where_they_are_or_at_the_end() {
    #[track_caller]
    fn check_tail(tail: &str, expect: &str) {
        let head = "tenants:\n- name: a\n";
        check(
            &format!("{head}{tail}"),
            "a.X=1",
            &format!("{head}{expect}"),
        );
    }
    check_tail("", "  env:\n    X: 1\n");
    check_tail("  env:\n", "  env:\n    X: 1\n");
    check_tail(
        "  env: # c\n    # d\n  x: 1\n",
        "  env: # c\n    # d\n    X: 1\n  x: 1\n",
    );
    check_tail("  env: {} # c\n", "  env: # c\n    X: 1\n");
    check_tail("  env: ~", "  env:\n    X: 1");
    check_tail("  env: {Y: é, }\n", "  env: {Y: é, X: 1, }\n");
    check_tail("  env: {X: 0, Y: 2}\n", "  env: {X: 1, Y: 2}\n");
    check_tail(
        "  env:\n      Y: é\n  # c\n",
        "  env:\n      Y: é\n      X: 1\n  # c\n",
    );
    check_tail(
        "  env:\n   X: 'a # b' # c\n   Y: 2\n",
        "  env:\n   X: 1 # c\n   Y: 2\n",
    );
    check_tail("  env:\n    X:\n", "  env:\n    X: 1\n");
    check(
        "tenants: [{name: a}]",
        "a.X=1",
        "tenants: [{name: a, env: {X: 1}}]",
    );
    check(
        "tenants: [{name: a, env: {}}]",
        "a.X=1",
        "tenants: [{name: a, env: {X: 1}}]",
    );
    check(
        "tenants: [{name: a, env: }]",
        "a.X=1",
        "tenants: [{name: a, env: {X: 1} }]",
    );
    refuse(
        "tenants:\n- name: a\n  env: []\n",
        "a.X=1",
        "line 3: expected `key: value` pairs",
    );
    refuse(
        "tenants:\n- name: a\n  env: {Y}\n",
        "a.X=1",
        "line 3: nothing can be added behind",
    );
    refuse(
        "tenants:\n- name: a\n  env: {\n    }\n",
        "a.X=1",
        "line 3: an empty value over several",
    );
}

#[test]
fn variables_are_removed_alone() {
    #[track_caller]
    fn check_tail(tail: &str, expect: &str) {
        let head = "tenants:\n- name: a\n  env:";
        check(&format!("{head}{tail}"), "a.X", &format!("{head}{expect}"));
    }
    check_tail(
        "\n    # x\n    X: 1 # c\n    Y: 2\n",
        "\n    # x\n    Y: 2\n",
    );
    check_tail(
        " # c\n    X: |\n      a\n      # b\n    # d\n",
        " {} # c\n    # d\n",
    );
    check_tail("\n    Y: 2\n    X: 1", "\n    Y: 2\n");
    check_tail(" {X: 1, Y: 2}\n", " {Y: 2}\n");
    check_tail(" {Y: 2, X: 1}\n", " {Y: 2}\n");
    check_tail(" {X: 1}\n", " {}\n");
    check_tail(" {Y: 2, X: \"a # b\"} # c\n", " {Y: 2} # c\n");
    refuse(
        "tenants:\n- name: a\n  env: {}\n",
        "a.X",
        "line 2: this tenant's env has no variable `X`",
    );
    refuse(
        "tenants:\n- name: a\n",
        "a.X",
        "line 2: this tenant's env has no variable `X`",
    );
}
