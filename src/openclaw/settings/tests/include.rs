//! Included files.

use serde_json::{Value, json};

use super::{ROOT, files, read, refused};

#[track_caller]
fn check(all: &[(&str, &str)], expect: Value) {
    let settings = read(&files(all)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.value, expect, "{all:?}");
}

#[test]
fn included_files_merge_in_order() {
    check(
        &[
            (ROOT, "{$include: './a.json5', x: 1}"),
            ("/s/a.json5", "{x: 2, y: 3}"),
        ],
        json!({"x": 1, "y": 3}),
    );
    check(
        &[
            (ROOT, "{$include: ['a', 'd/b'], m: {k: 1}}"),
            ("/s/a", "{x: 1, m: {k: 2, l: 2, n: 2}, list: [1]}"),
            ("/s/d/b", "{x: 2, m: {$include: '../c', l: 3}, list: [2]}"),
            ("/s/c", "{l: 4, o: 4}"),
        ],
        json!({"x": 2, "m": {"k": 1, "l": 3, "n": 2, "o": 4}, "list": [1, 2]}),
    );
    check(
        &[
            (
                ROOT,
                "{list: {$include: '/s/./x/../l'}, items: [{$include: 'i'}, {$include: 'i'}], none: {$include: []}}",
            ),
            ("/s/l", "['a']"),
            ("/s/i", "{id: 1}"),
        ],
        json!({"list": ["a"], "items": [{"id": 1}, {"id": 1}], "none": {}}),
    );
}

#[track_caller]
fn check_refused(all: &[(&str, &str)], expect: &str) {
    let error = refused(&files(all));
    assert!(error.contains(expect), "{all:?}: {error}");
    assert!(error.starts_with("/s/"), "{error}");
}

#[test]
fn includes_stay_in_the_directory() {
    for path in [
        "../x",
        "/etc/passwd",
        "d/../../x",
        "/s/../x",
        "/sx",
        "..",
        "/../s/../x",
    ] {
        check_refused(&[(ROOT, &format!("{{$include: {path:?}}}"))], "leaves /s");
    }
    for path in ["", "a\\0b"] {
        check_refused(
            &[(ROOT, &format!("{{$include: '{path}'}}"))],
            "no usable path",
        );
    }
    check_refused(
        &[
            (ROOT, "{$include: 'd/a'}"),
            ("/s/d/a", "{$include: '../../x'}"),
        ],
        "/s/d/a: $include \"../../x\" leaves /s",
    );
}

#[test]
fn wrong_includes_are_refused() {
    check_refused(&[(ROOT, "{$include: 1}")], "must be a path or a list");
    check_refused(&[(ROOT, "{$include: [1]}")], "must be a path or a list");
    check_refused(&[(ROOT, "{$include: 'a'}")], "/s/a, which does not exist");
    check_refused(
        &[(ROOT, "{$include: 'a'}"), ("/s/a", "")],
        "/s/a: is included and empty",
    );
    check_refused(
        &[(ROOT, "{$include: 'a'}"), ("/s/a", "{\n'")],
        "/s/a, line 2: not JSON5",
    );
    check_refused(
        &[(ROOT, "{$include: 'a'}"), ("/s/a", "[]")],
        "must hold an object",
    );
    check_refused(
        &[(ROOT, "{$include: 'a', b: 1}"), ("/s/a", "[]")],
        "beside a $include",
    );
}

#[test]
fn circles_and_floods_are_refused() {
    check_refused(&[(ROOT, "{$include: 'openclaw.json'}")], "a circle");
    check_refused(
        &[
            (ROOT, "{$include: 'a'}"),
            ("/s/a", "{x: {$include: './b'}}"),
            ("/s/b", "{$include: 'a'}"),
        ],
        "/s/b: includes /s/a, which includes it",
    );
    let chain = |length: usize| {
        let mut all = files(&[(ROOT, "{$include: 'f1'}")]);
        for at in 1..=length {
            let text = match at == length {
                true => "{}".to_owned(),
                false => format!("{{$include: 'f{}'}}", at + 1),
            };
            all.insert(format!("/s/f{at}"), text.into_bytes());
        }
        all
    };
    assert!(read(&chain(10)).is_ok());
    assert!(refused(&chain(11)).contains("deeper than 10 files"));
    let twice = |to: &str| format!("{{$include: ['{to}', '{to}']}}");
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut all = files(&[(ROOT, &twice("a")), ("/s/g", "{}")]);
    for pair in names.windows(2) {
        all.insert(format!("/s/{}", pair[0]), twice(pair[1]).into_bytes());
    }
    assert!(refused(&all).contains("more than 64 files"));
    let many = format!("{{$include: [{}]}}", "'big',".repeat(10));
    let big = format!("{{a: '{}'}}", "x".repeat(3 << 20));
    check_refused(&[(ROOT, &many), ("/s/big", &big)], "more values");
}

#[test]
fn nesting_counts_through_files() {
    let deep = |levels: usize, inner: &str| {
        format!("{}{inner}{}", "{a:".repeat(levels), "}".repeat(levels))
    };
    let root = deep(100, "{$include: 'a'}");
    check_refused(&[(ROOT, &root), ("/s/a", &deep(100, "1"))], "nested deeper");
}

#[test]
fn cleverly_named_root_is_normalised() {
    use std::path::Path;
    let reading = |path: &str, expect: &'static str| {
        let read = move |asked: &Path| {
            assert_eq!(asked, Path::new(expect));
            Ok(None)
        };
        super::super::Settings::read(Path::new(path), &read, &|_| None).map(|_| ())
    };
    assert_eq!(reading("/s/d/.././openclaw.json", ROOT), Ok(()));
    assert_eq!(reading("openclaw.json", "openclaw.json"), Ok(()));
    assert!(reading("../openclaw.json", "").is_err());
}
