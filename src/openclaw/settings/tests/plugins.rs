//! Which plugins are on.

use super::super::Plugin;
use super::{ROOT, files, read};

const OFF: &str = r#"{"id": "x"}"#;
const ON: &str = r#"{"id": "x", "enabledByDefault": true}"#;

#[test]
fn a_plugin_is_on_as_openclaw_has_it() {
    #[track_caller]
    fn check(manifest: &str, settings: &str, expect: bool) {
        let plugin = Plugin::of_manifest(manifest.as_bytes()).unwrap();
        let text = format!("{{plugins: {settings}}}");
        let settings = read(&files(&[(ROOT, &text)])).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.is_on(&plugin), expect, "{manifest} {text}");
    }
    for (settings, default_off, default_on) in [
        ("{}", false, true),
        ("{entries: {x: {config: {}}}}", false, true),
        ("{entries: {x: {enabled: true}}}", true, true),
        ("{entries: {x: {enabled: false}}}", false, false),
        (
            "{enabled: false, entries: {x: {enabled: true}}}",
            false,
            false,
        ),
        ("{deny: ['x'], entries: {x: {enabled: true}}}", false, false),
        (
            "{allow: ['y'], entries: {x: {enabled: true}}}",
            false,
            false,
        ),
        ("{allow: ['x']}", false, true),
        ("{allow: []}", false, true),
        ("{slots: {memory: 'x'}, allow: ['y']}", true, true),
        ("{slots: {memory: 'x'}, deny: ['x']}", false, false),
        (
            "{slots: {contextEngine: 'x'}, entries: {x: {enabled: false}}}",
            false,
            false,
        ),
    ] {
        check(OFF, settings, default_off);
        check(ON, settings, default_on);
    }
    check(
        r#"{"id": "x", "enabledByDefaultOnPlatforms": ["linux"]}"#,
        "{}",
        true,
    );
    check(
        r#"{"id": "x", "enabledByDefaultOnPlatforms": ["darwin"]}"#,
        "{}",
        false,
    );
    for broken in ["", "[]", "{}", r#"{"id": 1}"#] {
        assert_eq!(Plugin::of_manifest(broken.as_bytes()), None);
    }
}
