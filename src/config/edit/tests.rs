//! Edits of whole texts: what changes, what stays, and what is refused.

use super::*;

mod fields;
mod random;

fn tenant(name: &str) -> NewTenant {
    NewTenant {
        name: name.to_owned(),
        key: Key::Plain(Secret::new(format!("{name}-key"))),
        container: None,
        working_dir: None,
        mounts: Vec::new(),
        env: Vec::new(),
    }
}

/// `+n` adds, `-n` removes, `n=k` sets the key, `n>h` the previous key, `n>` removes that, `n.V=x` sets and `n.V` unsets a variable.
fn change(word: &str) -> Change {
    let secret = |text: &str| Secret::new(text.to_owned());
    if let Some(name) = word.strip_prefix('+') {
        return Change::AddTenant(tenant(name));
    }
    if let Some(name) = word.strip_prefix('-') {
        return Change::RemoveTenant(name.to_owned());
    }
    if let Some((name, hash)) = word.split_once('>') {
        let (tenant, field) = (name.to_owned(), Field::PreviousKeySha256);
        return match hash {
            "" => Change::Unset { tenant, field },
            hash => Change::Set {
                tenant,
                field,
                value: secret(hash),
            },
        };
    }
    let (place, value) = match word.split_once('=') {
        Some((place, value)) => (place, Some(value)),
        None => (word, None),
    };
    match (place.split_once('.'), value) {
        (Some((tenant, name)), Some(value)) => Change::SetEnv {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            value: secret(value),
        },
        (Some((tenant, name)), None) => Change::UnsetEnv {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
        },
        (None, value) => Change::Set {
            tenant: place.to_owned(),
            field: Field::ApiKey,
            value: secret(value.unwrap_or_default()),
        },
    }
}

#[track_caller]
fn check(text: &str, word: &str, expect: &str) {
    match edited(text, &[change(word)]) {
        Ok(found) => assert_eq!(found, expect, "{found}"),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn refuse(text: &str, word: &str, part: &str) {
    match edited(text, &[change(word)]) {
        Ok(text) => panic!("accepted: {text}"),
        Err(error) => assert!(error.to_string().contains(part), "{error}"),
    }
}

/// The text of a fresh config.yaml with these tenants.
fn new_file(tenants: &[NewTenant]) -> Result<String, EditError> {
    let add = |tenant: &NewTenant| Change::AddTenant(tenant.clone());
    let changes: Vec<_> = tenants.iter().map(add).collect();
    edited(NEW_FILE, &changes)
}

const B: &str = "name: b\n    api_key: b-key\n";

#[test]
fn a_first_tenant_finds_its_place() {
    check("", "+b", &format!("tenants:\n  - {B}"));
    check(
        "# c",
        "+b",
        "# c\n\ntenants:\n  - name: b\n    api_key: b-key",
    );
    check("# c\n\n", "+b", &format!("# c\n\ntenants:\n  - {B}"));
    check("---\n", "+b", &format!("---\n\ntenants:\n  - {B}"));
    check(
        "s: {}\n...\n",
        "+b",
        &format!("s: {{}}\n\ntenants:\n  - {B}...\n"),
    );
    check(
        "\u{feff}s:\r\n",
        "+b",
        "\u{feff}s:\r\n\r\ntenants:\r\n  - name: b\r\n    api_key: b-key\r\n",
    );
    check(
        "s:\n    p: é\n",
        "+b",
        "s:\n    p: é\n\ntenants:\n    - name: b\n      api_key: b-key\n",
    );
    check(
        " s: 1\n",
        "+b",
        " s: 1\n\n tenants:\n   - name: b\n     api_key: b-key\n",
    );
    for empty in [
        "tenants:",
        "tenants: []",
        "tenants: ~",
        "tenants: null",
        "tenants: [ ]",
    ] {
        check(empty, "+b", "tenants:\n  - name: b\n    api_key: b-key");
        check(
            &format!("# é\n{empty} # c\n# - name: x\ns: {{}}\n"),
            "+b",
            &format!("# é\ntenants: # c\n  - {B}# - name: x\ns: {{}}\n"),
        );
    }
    check(
        "tenants:\n  # each has a key\n\n# end\n",
        "+b",
        &format!("tenants:\n  # each has a key\n  - {B}\n# end\n"),
    );
    check(
        "{tenants: [], s: }\n",
        "+b",
        "{tenants: [{name: b, api_key: b-key}], s: }\n",
    );
    check(
        "{tenants: , s: }\n",
        "+b",
        "{tenants: [{name: b, api_key: b-key}] , s: }\n",
    );
    refuse("{s: 1}\n", "+b", "line 1: expected `key: value` lines");
    refuse("[]\n", "+b", "line 1: expected `key: value` lines");
    refuse("tenants: x\n", "+b", "line 1: expected the list of tenants");
    refuse(
        "tenants: [ # c\n ]\n",
        "+b",
        "line 1: an empty value over several lines",
    );
    refuse("tenants: &x []\n", "+b", "line 1: `tenants` has an anchor");
}

#[test]
fn another_tenant_looks_like_the_last_one() {
    check(
        "tenants:\n- name: a\n  api_key: k # c\n  # more of a\n# end",
        "+b",
        "tenants:\n- name: a\n  api_key: k # c\n  # more of a\n- name: b\n  api_key: b-key\n# end",
    );
    check(
        "tenants:\n    -   name: a\n\n    -   name: c\n\ns: 1\n",
        "+b",
        "tenants:\n    -   name: a\n\n    -   name: c\n\n    -   name: b\n        api_key: b-key\n\ns: 1\n",
    );
    check(
        "tenants:\r\n  -\r\n    name: a\r\n    env:\r\n      X: 'y'",
        "+b",
        "tenants:\r\n  -\r\n    name: a\r\n    env:\r\n      X: 'y'\r\n  - name: b\r\n    api_key: b-key",
    );
    check(
        "tenants:\n  - {name: a, env: {X: 1,}} # c\n",
        "+b",
        &format!("tenants:\n  - {{name: a, env: {{X: 1,}}}} # c\n  - {B}"),
    );
    check(
        "tenants: [{name: a}] # c\n",
        "+b",
        "tenants: [{name: a}, {name: b, api_key: b-key}] # c\n",
    );
    check(
        "tenants: [\n  {name: a}, # c\n]\n",
        "+b",
        "tenants: [\n  {name: a}, {name: b, api_key: b-key}, # c\n]\n",
    );
    check(
        "tenants:\n  - name: a\n    env:\n      X: |+\n        one\n\n\n  # c\n",
        "+b",
        &format!("tenants:\n  - name: a\n    env:\n      X: |+\n        one\n\n\n  - {B}  # c\n"),
    );
    refuse(
        "tenants:\n- name: b\n",
        "+b",
        "line 2: tenant `b` is here already",
    );
    refuse(
        "tenants: [{name: a}, ]\nx: 1\nx: 2\n",
        "+b",
        "config.yaml:3: `x` is here a second",
    );
    refuse("tenants: *x\n", "+b", "config.yaml:1: not valid YAML");
    refuse(
        "y: &x []\ntenants: *x\n",
        "+b",
        "line 2: `tenants` has an anchor",
    );
}

#[test]
fn new_tenants_are_written_with_everything() {
    let mut new = tenant("b");
    new.working_dir = Some(PathBuf::from("/srv/b b"));
    new.container = Some("b-1".to_owned());
    new.mounts = vec![crate::config::Mount {
        inside: "/home/node/.openclaw/media".into(),
        host: "/srv/b b/media".into(),
    }];
    new.env = vec![("X".to_owned(), Secret::new("a: b".to_owned()))];
    let text = new_file(&[new.clone(), tenant("c")]).unwrap();
    let expect = "
tenants:
  - name: b
    api_key: b-key
    container: b-1
    working_dir: \"/srv/b b\"
    mounts:
      /home/node/.openclaw/media: \"/srv/b b/media\"
    env:
      X: \"a: b\"
  - name: c
    api_key: c-key
";
    assert_eq!(text, format!("{NEW_FILE}{expect}"));
    let text = edited("tenants: [{name: a}]", &[Change::AddTenant(new.clone())]).unwrap();
    assert_eq!(
        text,
        "tenants: [{name: a}, {name: b, api_key: b-key, container: b-1, working_dir: \"/srv/b b\", mounts: {/home/node/.openclaw/media: \"/srv/b b/media\"}, env: {X: \"a: b\"}}]"
    );
    assert_eq!(new_file(&[]).unwrap(), NEW_FILE);
    assert!(new_file(&[new.clone(), new.clone()]).is_err());
    // What would not read back as meant is found by the proof.
    new.env.push(new.env[0].clone());
    let error = new_file(std::slice::from_ref(&new))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be edited safely"), "{error}");
    new.working_dir = Some(std::os::unix::ffi::OsStringExt::from_vec(vec![b'/', 0xff]))
        .map(|name: std::ffi::OsString| PathBuf::from(name));
    let error = new_file(&[new]).unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_tenant_is_removed_with_its_own_comments_only() {
    let text = "tenants: # t\n  # first\n  - name: a\n    # of a\n    api_key: k\n    # of a too\n  # next\n  - name: b\n\n    # of b\n\n# end\n";
    check(
        text,
        "-a",
        "tenants: # t\n  # first\n  # next\n  - name: b\n\n    # of b\n\n# end\n",
    );
    check(
        text,
        "-b",
        "tenants: # t\n  # first\n  - name: a\n    # of a\n    api_key: k\n    # of a too\n  # next\n\n# end\n",
    );
    // The blank line that came with the last one goes with it.
    check(
        "tenants:\r\n- name: a\r\n\r\n- name: b\r\n\r\n# end",
        "-b",
        "tenants:\r\n- name: a\r\n\r\n# end",
    );
    check("s: 1\ntenants:\n- name: a", "-a", "s: 1\ntenants: []\n");
    check(
        "tenants: # t\r\n- name: a\r\n  k: |\r\n    x\r\ns: 1\r\n",
        "-a",
        "tenants: [] # t\r\ns: 1\r\n",
    );
    check(
        "tenants: [{name: a}, {name: b}]",
        "-a",
        "tenants: [{name: b}]",
    );
    check(
        "tenants: [{name: a}, {name: b}, ]",
        "-b",
        "tenants: [{name: a}, ]",
    );
    check("tenants: [{name: a}]", "-a", "tenants: []");
    refuse(
        "tenants: [{name: a},\n {name: b}]",
        "-a",
        "line 1: a `[]` or `{}` over several lines",
    );
    refuse("tenants: []", "-a", "there is no tenant `a`");
    refuse("", "-a", "there is no tenant `a`");
    refuse(
        "tenants:\n- name: a\n- name: a\n",
        "-a",
        "line 3: tenant `a` is here a second time",
    );
    refuse(
        "x: &x {name: a}\ntenants:\n- *x\n",
        "-a",
        "line 3: tenant `a` has an anchor",
    );
    refuse(
        "tenants:\n- name: a\n  env: &e {}\n",
        "-a",
        "line 3: tenant `a` has an anchor",
    );
}

#[test]
fn example_keeps_every_line() {
    let example = include_str!("../../../config.example.yaml");
    let text = edited(example, &[change("+b"), change("b.U=2")]).unwrap();
    let added = text
        .lines()
        .filter(|line| !example.lines().any(|it| it == *line));
    let expect = [
        "tenants:",
        "  - name: b",
        "    api_key: b-key",
        "    env:",
        "      U: 2",
    ];
    assert_eq!(added.collect::<Vec<_>>(), expect);
}

#[test]
fn every_value_reads_back_verbatim() {
    let block = "tenants:\n- name: a\n  env:\n    X: 0\n";
    let flow = "tenants: [{name: a, env: {X: 0}}]\n";
    for value in [
        "",
        "~",
        "null",
        "true",
        "1e10",
        "- a",
        "? a",
        "a: b",
        "a:",
        "a #b",
        "#",
        " a",
        "a ",
        "\t",
        "'",
        "\"",
        "\\",
        "\\n",
        "a\nb\n",
        "\r\n",
        "\u{1b}[0m",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
        "\u{fffe}",
        "\u{e000}",
        "e\u{301}",
        "\u{301}",
        "日本",
        "😀",
        "\u{10ffff}",
        "[a]",
        "{a}",
        "a, b",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "@a",
        "`a",
        "%a",
        "---",
        "...",
        "=",
        "<<",
        "\u{200d}",
    ] {
        let set = Change::SetEnv {
            tenant: "a".to_owned(),
            name: "X".to_owned(),
            value: Secret::new(value.to_owned()),
        };
        for text in [block, flow] {
            // The proof inside `edited` compares the trees.
            let found = edited(text, std::slice::from_ref(&set));
            assert!(found.is_ok(), "{value:?}: {found:?}");
            assert_eq!(found.unwrap().lines().count(), text.lines().count());
        }
        let mut new = tenant(if value.is_empty() { "n" } else { value });
        new.key = Key::Plain(Secret::new(value.to_owned()));
        assert!(new_file(&[new]).is_ok(), "{value:?}");
    }
}

#[test]
fn no_message_holds_a_secret() {
    let texts = [
        "tenants:\n- name: a\n  api_key: [SECRET]\n",
        "tenants:\n- name: a\n  api_key: SECRET\n  api_key: SECRET\n",
        "tenants:\n- name: a\n  api_key: | # SECRET\n    SECRET\n",
        "tenants:\n- name: a\n  api_key: !SECRET\n",
        "tenants:\n- name: a\n  api_key: SECRET: SECRET\n",
        "tenants: SECRET\n",
    ];
    for text in texts {
        for word in ["a=SECRET", "a.X=SECRET"] {
            let error = edited(text, &[change(word)]).map_err(|error| error.to_string());
            if let Err(error) = error {
                assert!(!error.contains("SECRET"), "{error}");
            }
        }
    }
    assert!(!format!("{:?}", change("a=SECRET")).contains("SECRET"));
}
