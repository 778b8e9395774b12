//! The files' new texts.

use serde_json::{Value, json};

use super::super::Plan;
use super::{ROOT, files, planned, read, settings};

/// Points an instance with this file at the gateway.
#[track_caller]
fn check(text: &str, expect: &str) {
    check_files(&[(ROOT, text)], &[(ROOT, expect)]);
}

#[track_caller]
fn check_files(all: &[(&str, &str)], expect: &[(&str, &str)]) {
    let mut files = files(all);
    let settings = read(&files).unwrap_or_else(|error| panic!("{error}"));
    let edited = settings.edited(&planned(&settings));
    let edited = edited.unwrap_or_else(|error| panic!("{all:?}: {error}"));
    let pairs = edited
        .iter()
        .map(|(path, text)| (path.to_str().unwrap(), text.as_str()));
    assert_eq!(pairs.collect::<Vec<_>>(), expect, "{all:?}");
    for (path, text) in edited {
        files.insert(path.to_str().unwrap().to_owned(), text.into_bytes());
    }
    let after = read(&files).unwrap_or_else(|error| panic!("{error}"));
    let again = planned(&after);
    assert!(again.is_empty(), "a second time: {}", again.patch);
    assert_eq!(after.edited(&again).map(|it| it.len()), Ok(0));
}

#[test]
fn everything_but_the_values_stays() {
    check(
        "// mine\n{\n  agents: { defaults: { model: 'x/opus', }, },  // inline\n  \"models\": {\n    // providers go here\n    providers: {\n      \"x\": {\n        apiKey: '${OLD}', /* key */ n: 0x1F,\n        baseUrl: 'http://old:1', // old url\n        inf: Infinity, s: 'it\\'s \\\n multi',\n      },\n    },\n  },\n  /* tail */\n}\n",
        "// mine\n{\n  agents: { defaults: { model: 'x/opus', }, },  // inline\n  \"models\": {\n    // providers go here\n    providers: {\n      \"x\": {\n        apiKey: 'k1', /* key */ n: 0x1F,\n        baseUrl: 'http://gw:3456/v1', // old url\n        inf: Infinity, s: 'it\\'s \\\n multi',\n      },\n    },\n  },\n  /* tail */\n}\n",
    );
}

#[test]
fn missing_objects_are_made() {
    check(
        "{\n\t// m\n\tagents: {defaults: {model: \"anthropic/opus\"}} // no comma\n}\n",
        "{\n\t// m\n\tagents: {defaults: {model: \"anthropic/opus\"}}, // no comma\n\t\"models\": {\n\t\t\"providers\": {\n\t\t\t\"anthropic\": {\n\t\t\t\t\"apiKey\": \"k1\",\n\t\t\t\t\"baseUrl\": \"http://gw:3456\"\n\t\t\t}\n\t\t}\n\t}\n}\n",
    );
    check(
        "{\n  \"models\": {\n    \"providers\": {},\n  },\n  \"agents\": {\"defaults\": {\"model\": \"anthropic/opus\"}},\n}",
        "{\n  \"models\": {\n    \"providers\": {\n      \"anthropic\": {\n        \"apiKey\": \"k1\",\n        \"baseUrl\": \"http://gw:3456\"\n      }\n    },\n  },\n  \"agents\": {\"defaults\": {\"model\": \"anthropic/opus\"}},\n}",
    );
    check(
        "{agents:{defaults:{model:'x/opus'}},models:{providers:{x:{apiKey:{source:'env',id:'K'}}}}}",
        "{agents:{defaults:{model:'x/opus'}},models:{providers:{x:{\n        apiKey:\"k1\",\n        \"baseUrl\": \"http://gw:3456/v1\"\n      }}}}",
    );
}

#[test]
fn line_ends_and_byte_order_mark_stay() {
    check(
        "\u{feff}{\r\n  agents: {defaults: {model: 'anthropic/opus'}},\r\n  models: {\r\n    providers: {\r\n      é: {}\r\n    }\r\n  }\r\n}\r\n",
        "\u{feff}{\r\n  agents: {defaults: {model: 'anthropic/opus'}},\r\n  models: {\r\n    providers: {\r\n      é: {},\r\n      \"anthropic\": {\r\n        \"apiKey\": \"k1\",\r\n        \"baseUrl\": \"http://gw:3456\"\r\n      }\r\n    }\r\n  }\r\n}\r\n",
    );
}

const VIRGIN: &str = r#"{
  "agents": {
    "defaults": {
      "model": {
        "primary": "ccgw/claude-sonnet-4-6"
      }
    }
  },
  "models": {
    "providers": {
      "ccgw": {
        "api": "anthropic-messages",
        "apiKey": "k1",
        "baseUrl": "http://gw:3456",
        "models": [
          {
            "contextWindow": 200000,
            "cost": {
              "cacheRead": 0,
              "cacheWrite": 0,
              "input": 0,
              "output": 0
            },
            "id": "claude-sonnet-4-6",
            "input": ["text", "image"],
            "maxTokens": 32000,
            "name": "Claude Sonnet (ccgw)",
            "reasoning": true
          }
        ]
      }
    }
  }
}
"#;

#[test]
fn missing_and_empty_files_are_written() {
    check_files(&[], &[(ROOT, VIRGIN)]);
    check("", VIRGIN);
    check("{}\n", VIRGIN);
    check("\n", VIRGIN);
    check("// c\n", &format!("// c\n{VIRGIN}"));
}

#[test]
fn lists_are_changed_in_place() {
    check(
        "{agents: {defaults: {model: 'x/opus'}}, models: {providers: {x: {baseUrl: 'a', apiKey: 'b', models: [\n  // first\n  {id: 'opus', baseUrl: 'c'}, // c\n  {id: 'gpt', baseUrl: 'd'},\n]}}}}",
        "{agents: {defaults: {model: 'x/opus'}}, models: {providers: {x: {baseUrl: 'http://gw:3456/v1', apiKey: 'k1', models: [\n  // first\n  {id: 'opus', baseUrl: 'http://gw:3456/v1'}, // c\n  {id: 'gpt', baseUrl: 'd'},\n]}}}}",
    );
}

const AGENTS: &str = "agents: {defaults: {model: 'x/opus'}}";

#[test]
fn values_are_edited_in_the_file_that_has_them() {
    let at = |path: &str| format!("{{{AGENTS}, {path}}}");
    // As a whole, by a path in the middle, and beside what is included.
    check_files(
        &[
            (ROOT, &at("$include: ['a', 'b']")),
            ("/s/a", "{models: {providers: {x: {apiKey: 'a'}}}}"),
            ("/s/b", "{models: {providers: {x: {baseUrl: 'b'}}}}"),
        ],
        &[
            ("/s/a", "{models: {providers: {x: {apiKey: 'k1'}}}}"),
            (
                "/s/b",
                "{models: {providers: {x: {baseUrl: 'http://gw:3456/v1'}}}}",
            ),
        ],
    );
    check_files(
        &[
            (ROOT, &at("models: {providers: {x: {$include: './d/x'}}}")),
            ("/s/d/x", "{apiKey: 'a', baseUrl: 'b'}"),
        ],
        &[("/s/d/x", "{apiKey: 'k1', baseUrl: 'http://gw:3456/v1'}")],
    );
    check_files(
        &[
            (
                ROOT,
                &at("models: {$include: 'm', providers: {x: {apiKey: 'c'}}}"),
            ),
            ("/s/m", "{providers: {x: {apiKey: 'a', baseUrl: 'b'}}}"),
        ],
        &[
            (
                ROOT,
                &at("models: {$include: 'm', providers: {x: {apiKey: 'k1'}}}"),
            ),
            (
                "/s/m",
                "{providers: {x: {apiKey: 'a', baseUrl: 'http://gw:3456/v1'}}}",
            ),
        ],
    );
    // A new key goes to the deepest object.
    check_files(
        &[
            (
                ROOT,
                "{agents: {defaults: {model: 'anthropic/opus'}}, $include: 'm', models: {}}",
            ),
            (
                "/s/m",
                "{\n  models: {\n    providers: {\n      y: 1\n    }\n  }\n}",
            ),
        ],
        &[(
            "/s/m",
            "{\n  models: {\n    providers: {\n      y: 1,\n      \"anthropic\": {\n        \"apiKey\": \"k1\",\n        \"baseUrl\": \"http://gw:3456\"\n      }\n    }\n  }\n}",
        )],
    );
}

#[track_caller]
fn check_refused(all: &[(&str, &str)], expect: &str) {
    let settings = read(&files(all)).unwrap_or_else(|error| panic!("{error}"));
    let error = settings.edited(&planned(&settings)).unwrap_err();
    assert!(error.contains(expect), "{all:?}: {error}");
    assert!(error.starts_with(ROOT) && !error.contains("k1"), "{error}");
}

#[test]
fn duplicate_keys_on_the_path_are_refused() {
    let models = |text: &str| format!("{{{AGENTS}, {text}}}");
    for text in [
        "models: 1, models: {providers: {x: {}}}",
        "models: {providers: {x: {}}, \"providers\": {x: {}}}",
        "models: {providers: {x: {}, \"\\x78\": {}}}",
        "models: {providers: {x: {apiKey: 'a', apiKey: 'b'}}}",
        "models: {providers: {x: {models: [{id: 'opus', baseUrl: 1, baseUrl: 'b'}]}}}",
    ] {
        check_refused(&[(ROOT, &models(text))], "twice");
    }
    check(
        "{z: 1, z: 2, agents: {defaults: {model: 'x/opus'}}, models: {providers: {x: {apiKey: '', baseUrl: ''}}}}",
        "{z: 1, z: 2, agents: {defaults: {model: 'x/opus'}}, models: {providers: {x: {apiKey: 'k1', baseUrl: 'http://gw:3456/v1'}}}}",
    );
}

#[test]
fn what_would_come_out_wrong_is_refused() {
    let root = format!(
        "{{{AGENTS}, models: {{providers: {{x: {{$include: 'x'}}, y: {{$include: 'x'}}}}}}}}"
    );
    check_refused(
        &[(ROOT, &root), ("/s/x", "{baseUrl: 'a'}")],
        "does not come out right",
    );
    let root = format!("{{{AGENTS}, models: {{providers: {{x: {{models: {{$include: 'x'}}}}}}}}}}");
    check_refused(
        &[(ROOT, &root), ("/s/x", "[{id: 'opus', baseUrl: 'a'}]")],
        "from an included file",
    );
}

#[test]
fn scalar_in_the_way_is_named() {
    let plan = |patch: Value| Plan {
        patch,
        providers: Vec::new(),
        notices: Vec::new(),
    };
    let settings = settings("{a: {b: 1}}");
    let error = settings
        .edited(&plan(json!({"a": {"b": {"c": 1}}})))
        .unwrap_err();
    assert!(error.contains("a.b is not an object"), "{error}");
    let edited = settings.edited(&plan(
        json!({"a": {"b": [true, null, 1.5, "\"'\\\u{2028}\n"]}}),
    ));
    assert_eq!(settings.edited(&plan(json!({}))), Ok(Vec::new()));
    assert!(edited.is_ok(), "{edited:?}");
}
