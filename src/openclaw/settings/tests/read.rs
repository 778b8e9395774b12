//! What the settings say.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{PrimaryModel, Settings};
use super::{ROOT, env, files, read, refused, settings};

#[track_caller]
fn check(text: &str, expect: Value) {
    assert_eq!(settings(text).value, expect, "{text}");
}

#[test]
fn json5_is_read() {
    check("", json!({}));
    check(" \n", json!({}));
    check("// nothing yet", json!({}));
    check("{}", json!({}));
    check("{\"a\":1}", json!({"a": 1}));
    check(
        "{a: 'x', 'b': [1, 2,], /* c */ c: 0x10, } // end",
        json!({"a": "x", "b": [1, 2], "c": 16}),
    );
    check(
        "{a: .5, b: 5., c: +1, d: -0x1}",
        json!({"a": 0.5, "b": 5.0, "c": 1, "d": -1}),
    );
    check(
        "{a: Infinity, b: 'x\\\ny', c: '\\x41'}",
        json!({"a": "Infinity", "b": "xy", "c": "A"}),
    );
    check("\u{feff}{a: 1}", json!({"a": 1}));
    check("{\r\n  a: 1,\r\n}\r\n", json!({"a": 1}));
    check(
        "{ключ: '💬', \"\\ud83d\\ude00\": 1}",
        json!({"ключ": "💬", "😀": 1}),
    );
    check("{a: 1, a: 2}", json!({"a": 2}));
    check(
        "{$x: 1, _y: null, true: 2}",
        json!({"$x": 1, "_y": null, "true": 2}),
    );
}

#[test]
fn missing_root_is_empty() {
    let settings = read(&files(&[])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.value, json!({}));
    assert!(!settings.has_comments());
}

#[track_caller]
fn check_refused(text: impl Into<Vec<u8>>, expect: &str) {
    let bytes = text.into();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let error = refused(&[(ROOT.to_owned(), bytes)].into());
    assert!(error.contains(expect), "{start}: {error}");
    assert!(error.starts_with(ROOT) && error.len() < 200, "{error}");
    assert!(!error.contains("sk-secret"), "{error}");
}

#[test]
fn hostile_files_are_refused() {
    check_refused("[]", "must hold an object");
    check_refused("null", "must hold an object");
    check_refused("'sk-secret'", "must hold an object");
    check_refused("{\n  a: 'sk-secret\n", "line 2: not JSON5");
    check_refused("{\n\n  a: sk-secret }", "line 3: not JSON5");
    check_refused("{a: 1 b: 2}", "line 1: not JSON5");
    check_refused("{} {}", "line 1: not JSON5");
    check_refused(
        "{a: '\\ud83dsk-secret'}",
        "not JSON5 (Invalid unicode escape sequence)",
    );
    check_refused(b"{\n a: '\xff'}".to_vec(), "line 2: not UTF-8");
    check_refused(vec![b' '; 50 << 20], "larger than 4194304 bytes");
    check_refused("\0", "not JSON5");
    check_refused(format!("[{}]", "1,".repeat(1_000_000)), "more values");
    for open in ["[", "{a:", "{a:[", "[{'a' : "] {
        check_refused(open.repeat(50_000), "not JSON5");
        check_refused(open.repeat(200_000), "");
    }
    let nested = |levels: usize| format!("{{a:{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    check_refused(nested(500), "nested deeper than 128");
    check_refused(nested(128), "nested deeper than 128");
    let objects = format!("{}1{}", "{a:".repeat(250), "}".repeat(250));
    check_refused(objects, "nested deeper than 128");
    assert!(settings(&nested(127)).value.is_object());
}

#[test]
fn trouble_of_reading_is_told_with_the_path() {
    let read = |_: &Path| Err("permission denied".to_owned());
    let error = Settings::read(Path::new(ROOT), &read, &env).err();
    assert_eq!(
        error.as_deref(),
        Some("/s/openclaw.json: cannot be read (permission denied)")
    );
}

#[test]
fn comments_are_noticed() {
    assert!(settings("{a: 1 /* x */}").has_comments());
    assert!(settings("{} // x").has_comments());
    assert!(!settings("{a: '// x'}").has_comments());
}

#[test]
fn environment_comes_from_both_places() {
    #[track_caller]
    fn check(text: &str, expect: &[(&str, &str)]) {
        let vars = settings(text).env_vars();
        let vars: Vec<_> = vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(vars, expect, "{text}");
    }
    check("{}", &[]);
    check("{env: 1}", &[]);
    check("{env: {vars: {A: 'x'}}}", &[("A", "x")]);
    check(
        "{env: {vars: {A: 'x'}, A: 'y', B: 'z'}}",
        &[("A", "x"), ("B", "z")],
    );
    check("{env: {vars: 'x', shellEnv: 'y'}}", &[]);
    check(
        "{env: {vars: {A: 1, '': 'x', '1A': 'x', 'A=B': 'x', a_1: 'x'}}}",
        &[("a_1", "x")],
    );
    check(
        "{env: {vars: {A: '${PLACE}/x', B: '${NONE}'}}}",
        &[("A", "/data/x"), ("B", "${NONE}")],
    );
}

#[test]
fn workspace_and_port_are_read() {
    let of = |text: &str| {
        let settings = settings(text);
        (settings.workspace(), settings.gateway_port())
    };
    assert_eq!(of("{}"), (None, None));
    assert_eq!(
        of("{agents: {defaults: {workspace: '${PLACE}/w'}}, gateway: {port: 18789}}"),
        (Some("/data/w".to_owned()), Some(18789))
    );
    assert_eq!(of("{gateway: {port: 0x10}}").1, Some(16));
    for port in ["0", "-1", "65536", "1.5", "'1'", "Infinity", "1e99"] {
        assert_eq!(
            of(&format!("{{gateway: {{port: {port}}}}}")).1,
            None,
            "{port}"
        );
    }
}

#[test]
fn variables_come_from_the_environment_then_from_the_settings() {
    let place = |text: &str| settings(text).workspace().unwrap();
    let file = |workspace: &str| {
        format!(
            "{{env: {{vars: {{PLACE: 'mine', OWN: 'own', EMPTY: 'e'}}}}, agents: {{defaults: {{workspace: '{workspace}'}}}}}}"
        )
    };
    for (text, expect) in [
        ("${PLACE}", "/data"),
        ("${OWN}", "own"),
        ("${EMPTY}", "e"),
        ("${NONE}", "${NONE}"),
        ("$${PLACE}", "${PLACE}"),
    ] {
        assert_eq!(place(&file(text)), expect, "{text}");
    }
}

#[test]
fn primary_models_come_in_order() {
    #[track_caller]
    fn check(text: &str, expect: &[(Option<&str>, &str)]) {
        let expect = expect.iter().map(|(agent, model)| PrimaryModel {
            agent: agent.map(str::to_owned),
            model: (*model).to_owned(),
        });
        assert_eq!(
            settings(text).primary_models(),
            expect.collect::<Vec<_>>(),
            "{text}"
        );
    }
    check("{}", &[]);
    check("{agents: {defaults: {model: 'a/b'}}}", &[(None, "a/b")]);
    check(
        "{agents: {defaults: {model: {primary: ' a/b '}}}}",
        &[(None, "a/b")],
    );
    check("{agents: {defaults: {model: {fallbacks: ['a/b']}}}}", &[]);
    check("{agents: {defaults: {model: ''}}}", &[]);
    check("{agents: {defaults: {model: [1]}}}", &[]);
    check(
        "{agents: {defaults: {model: '${MODEL}'}}}",
        &[(None, "anthropic/claude-opus-4-6")],
    );
    check(
        "{agents: {list: [{id: 'z', model: 'a/b'}, {id: 'y'}, {model: {primary: 'e/f'}}, 7], entries: {x: {model: {primary: 'c/d'}}, y: {}, w: 1}, defaults: {model: 'a/b'}}}",
        &[
            (None, "a/b"),
            (Some("x"), "c/d"),
            (Some("z"), "a/b"),
            (Some(""), "e/f"),
        ],
    );
}
