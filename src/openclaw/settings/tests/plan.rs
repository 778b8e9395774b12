//! What must change.

use serde_json::{Value, json};

use super::super::patch::patched;
use super::super::{ProviderChange, plan::Api};
use super::{gateway, planned, settings};

/// Checks the patch, and that it is all there is to do.
#[track_caller]
fn check(text: &str, expect: Value) {
    let before = settings(text);
    let plan = planned(&before);
    assert_eq!(plan.patch, expect, "{text}");
    assert_eq!(plan.is_empty(), expect == json!({}), "{text}");
    assert_eq!(plan.is_empty(), plan.providers.is_empty(), "{text}");
    let after = settings(&patched(&before.value, &plan.patch).to_string());
    let again = planned(&after);
    assert_eq!(again.patch, json!({}), "a second time: {text}");
}

fn providers(providers: Value) -> Value {
    json!({"models": {"providers": providers}})
}

fn pointed(url: &str) -> Value {
    json!({"baseUrl": url, "apiKey": "k1"})
}

const URL: &str = "http://gw:3456";
const URL_V1: &str = "http://gw:3456/v1";

#[test]
fn built_in_provider_gets_an_entry_of_two_keys() {
    let expect = || providers(json!({"anthropic": pointed(URL)}));
    check(
        "{agents: {defaults: {model: 'anthropic/claude-sonnet-4-6'}}}",
        expect(),
    );
    check(
        "{agents: {defaults: {model: {primary: '${MODEL}'}}}}",
        expect(),
    );
    check(
        "{agents: {entries: {a: {model: 'anthropic/opus'}}}, models: {providers: {ollama: {baseUrl: 'x'}}}}",
        expect(),
    );
    check(
        "{models: {providers: {anthropic: {apiKey: {source: 'env', id: 'K'}}}}, agents: {defaults: {model: 'anthropic/opus'}}}",
        expect(),
    );
}

/// The settings of an instance with this provider `x` and its model `x/claude-opus-4-6`.
fn with(provider: &str) -> String {
    format!(
        "{{models: {{providers: {{x: {provider}, y: {{baseUrl: 'z'}}}}}}, agents: {{defaults: {{model: 'x/claude-opus-4-6'}}}}}}"
    )
}

#[test]
fn own_provider_keeps_all_but_address_and_key() {
    for (provider, url) in [
        ("{baseUrl: 'a'}", URL_V1),
        (
            "{baseUrl: 'a', apiKey: '${K}', api: 'openai-completions'}",
            URL_V1,
        ),
        ("{api: 'openai-responses'}", URL_V1),
        ("{api: 'anthropic-messages', models: []}", URL),
        (
            "{api: 'ollama', models: [{id: 'claude-opus-4-6', api: 'anthropic-messages'}]}",
            URL,
        ),
        (
            "{api: 'anthropic-messages', models: [{id: 'other', api: 'ollama'}]}",
            URL,
        ),
        (
            "{api: 'anthropic-messages', models: [{id: 'claude-opus-4-6', api: 'openai-completions'}]}",
            URL_V1,
        ),
    ] {
        check(&with(provider), providers(json!({"x": pointed(url)})));
    }
    check(
        &with("{baseUrl: 'http://gw:3456/v1', apiKey: 'k1'}"),
        json!({}),
    );
    check(
        &with("{baseUrl: 'http://gw:3456/v1', apiKey: 'old'}"),
        providers(json!({"x": {"apiKey": "k1"}})),
    );
}

#[test]
fn models_with_a_url_of_their_own_follow() {
    check(
        &with(
            "{api: 'anthropic-messages', models: [{id: 'claude-opus-4-6', baseUrl: 'a', n: 1}, {id: 'gpt', baseUrl: 'b'}, {id: 'sonnet', api: 'openai-completions', baseUrl: 'c'}, {id: 'haiku'}, {id: 'opus', api: 'ollama', baseUrl: 'd'}, 1]}",
        ),
        providers(json!({"x": {"baseUrl": URL, "apiKey": "k1", "models": [
            {"id": "claude-opus-4-6", "baseUrl": URL, "n": 1},
            {"id": "gpt", "baseUrl": "b"},
            {"id": "sonnet", "api": "openai-completions", "baseUrl": URL_V1},
            {"id": "haiku"},
            {"id": "opus", "api": "ollama", "baseUrl": "d"},
            1,
        ]}})),
    );
}

#[test]
fn every_agent_s_provider_is_pointed() {
    check(
        "{models: {providers: {x: {}, y: {api: 'anthropic-messages'}, z: {}}}, agents: {defaults: {model: 'x/opus'}, entries: {a: {model: 'y/opus'}, b: {model: 'x/sonnet'}}, list: [{id: 'c', model: 'anthropic/opus'}]}}",
        providers(json!({"anthropic": pointed(URL), "x": pointed(URL_V1), "y": pointed(URL)})),
    );
}

fn virgin_patch(model: Value) -> Value {
    json!({
        "models": {"providers": {"ccgw": {
            "baseUrl": URL,
            "apiKey": "k1",
            "api": "anthropic-messages",
            "models": [{
                "id": "claude-sonnet-4-6",
                "name": "Claude Sonnet (ccgw)",
                "reasoning": true,
                "input": ["text", "image"],
                "contextWindow": 200_000,
                "maxTokens": 32_000,
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
            }],
        }}},
        "agents": {"defaults": {"model": model}},
    })
}

#[test]
fn instance_without_a_model_gets_one() {
    let primary = || json!({"primary": "ccgw/claude-sonnet-4-6"});
    check("", virgin_patch(primary()));
    check(
        "{agents: {defaults: {model: {fallbacks: ['a/b']}}}}",
        virgin_patch(primary()),
    );
    check(
        "{agents: {defaults: {model: ''}}}",
        virgin_patch(json!("ccgw/claude-sonnet-4-6")),
    );
    check(
        "{models: {providers: {ccgw: {api: 'anthropic-messages', headers: {a: 'b'}}}}}",
        json!({
            "models": {"providers": {"ccgw": pointed(URL)}},
            "agents": {"defaults": {"model": primary()}},
        }),
    );
    check(
        "{models: {providers: {ccgw: {models: [{id: 'gpt'}, {id: 'haiku'}]}}}}",
        json!({
            "models": {"providers": {"ccgw": pointed(URL_V1)}},
            "agents": {"defaults": {"model": {"primary": "ccgw/haiku"}}},
        }),
    );
}

#[track_caller]
fn check_refused(text: &str, expect: &str) {
    match settings(text).plan(&gateway(), "k1") {
        Ok(_) => panic!("planned: {text}"),
        Err(refusal) => assert!(refusal.0.contains(expect), "{text}: {refusal}"),
    }
}

#[test]
fn foreign_primary_model_is_refused_with_the_way_out() {
    let refusal = settings("{agents: {defaults: {model: 'openai/gpt-5'}}}")
        .plan(&gateway(), "k1")
        .err();
    assert_eq!(
        refusal.map(|it| it.to_string()).as_deref(),
        Some(
            "its primary model \"openai/gpt-5\" is not one that the gateway can serve: set agents.defaults.model.primary to e.g. \"anthropic/claude-sonnet-4-6\" and run again"
        )
    );
    for model in [
        "x/opus",
        "opus",
        "anthropic/gpt-5",
        "anthropic/",
        "/opus",
        "${NONE}",
    ] {
        check_refused(
            &format!("{{agents: {{defaults: {{model: '{model}'}}}}}}"),
            &format!("{model:?}"),
        );
    }
    check_refused(&with("{api: 'ollama'}"), "x/claude-opus-4-6");
    check_refused(&with("{api: 1}"), "x/claude-opus-4-6");
    check_refused(
        &with("{api: 'anthropic-messages', models: [{id: 'claude-opus-4-6', api: 'ollama'}]}"),
        "x/claude-opus-4-6",
    );
    check_refused(
        "{models: {providers: {ccgw: {api: 'ollama'}}}}",
        "ccgw/claude-sonnet-4-6",
    );
}

#[test]
fn values_in_the_way_are_refused() {
    check_refused("{models: 1}", "models in its settings is not an object");
    check_refused(
        "{models: {providers: []}}",
        "models.providers in its settings",
    );
    check_refused(
        "{agents: {defaults: {model: [1]}}}",
        "agents.defaults.model in its settings",
    );
    check_refused(
        "{models: {providers: {x: 'a'}}, agents: {defaults: {model: 'x/opus'}}}",
        "models.providers.x in its settings",
    );
}

#[test]
fn single_agents_with_foreign_models_are_left_alone() {
    let notices = |text: &str| {
        check_notices(
            &planned(&settings(text))
                .notices
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    };
    fn check_notices(notices: &[&str]) -> Vec<String> {
        notices.iter().map(|it| (*it).to_owned()).collect()
    }
    assert_eq!(
        notices(
            "{agents: {defaults: {model: 'anthropic/opus'}, entries: {a: {model: 'openai/gpt'}}}}"
        ),
        [
            "agent \"a\": its model \"openai/gpt\" is not one that the gateway can serve, it is left alone"
        ]
    );
    assert_eq!(
        notices(
            "{agents: {defaults: {model: 'anthropic/opus'}, entries: {a: {model: 'anthropic/gpt'}}}}"
        ),
        [
            "agent \"a\": its model \"anthropic/gpt\" is not one that the gateway can serve, but its provider now points at the gateway: give the agent another model"
        ]
    );
    assert_eq!(
        notices("{agents: {entries: {a: {model: 'anthropic/opus'}}}}"),
        [
            "agents.defaults.model.primary is not set: agents without a model of their own are left alone"
        ]
    );
    check("{agents: {entries: {a: {model: 'openai/gpt'}}}}", json!({}));
}

#[test]
fn models_that_another_runtime_answers_are_told() {
    let model = "anthropic/opus";
    let cli = "{agentRuntime: {id: 'claude-cli'}}";
    let own = "{agentRuntime: {id: 'openclaw'}}";
    let with = |models: &str, provider: &str| {
        format!(
            "{{agents: {{defaults: {{model: '{model}', models: {{{models}}}}}}}, models: {{providers: {{anthropic: {provider}}}}}}}"
        )
    };
    let listed =
        |runtime| format!("{{models: [{{id: 'opus', name: 'O', agentRuntime: {runtime}}}]}}");
    for text in [
        with(&format!("'{model}': {cli}"), "{}"),
        with(&format!("'anthropic/*': {cli}"), "{}"),
        with("", cli),
        with("", &listed("{id: 'claude-cli'}")),
        // The exact model's own comes before its provider's.
        with(&format!("'{model}': {cli}"), own),
    ] {
        check_refused(&text, "answered by the runtime \"claude-cli\"");
    }
    for text in [
        with(&format!("'{model}': {own}"), cli),
        with(
            &format!("'{model}': {{agentRuntime: {{id: 'auto'}}}}"),
            "{}",
        ),
        with(&format!("'anthropic/haiku': {cli}"), "{}"),
        with(
            &format!("'anthropic/*': {cli}"),
            &listed("{id: 'openclaw'}"),
        ),
    ] {
        assert_eq!(planned(&settings(&text)).notices, [""; 0], "{text}");
    }
    let of_one = format!(
        "{{agents: {{defaults: {{model: '{model}'}}, entries: {{a: {{model: '{model}', models: {{'{model}': {cli}}}}}}}}}}}"
    );
    let notices = planned(&settings(&of_one)).notices;
    assert!(
        notices[0].starts_with("agent \"a\": its model"),
        "{notices:?}"
    );
}

#[test]
fn changes_name_what_was_there() {
    let plan = planned(&settings(&with(
        "{baseUrl: '${OLD}', api: 'anthropic-messages'}",
    )));
    assert_eq!(
        plan.providers,
        [ProviderChange {
            id: "x".to_owned(),
            api: Api::AnthropicMessages,
            base_url: URL.to_owned(),
            previous_base_url: Some("${OLD}".to_owned()),
        }]
    );
    let plan = planned(&settings(&with(
        "{baseUrl: 'https://me:secret@old:99/v1', api: 'anthropic-messages'}",
    )));
    let shown = plan.providers[0].previous_base_url.as_deref();
    assert_eq!(shown, Some("https://[login]@old:99/v1"));
}

#[test]
fn key_that_looks_like_a_variable_is_escaped() {
    let settings = settings("{agents: {defaults: {model: 'anthropic/opus'}}}");
    let plan = settings.plan(&gateway(), "a${PLACE}").ok().unwrap();
    let key = plan.patch.pointer("/models/providers/anthropic/apiKey");
    assert_eq!(key, Some(&json!("a$${PLACE}")));
}
