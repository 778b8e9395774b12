//! Tenants that are added, rotated and removed while the gateway runs, with the instances they are of.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Host, containers, json};
use crate::{
    docker::{Engine, Image, Spec},
    gateway::{Gateway, prompt},
};

const BUILT_IN: &str = r#"{"agents":{"defaults":{"model":"anthropic/claude-sonnet-4-6"}}}"#;

/// A gateway that serves somebody else so far.
fn with_gateway(host: &Host) -> Gateway {
    fs::write(
        host.config(),
        "# mine\ntenants:\n  - name: other\n    api_key: key-of-other\n",
    )
    .unwrap();
    host.serve()
}

fn key_in(file: &Path) -> String {
    let key = json(file)["models"]["providers"]["anthropic"]["apiKey"].clone();
    key.as_str().unwrap_or_default().to_owned()
}

/// The status that a request with this key gets.
fn status(gateway: &Gateway, key: &str) -> u16 {
    let headers = [("x-api-key", key)];
    gateway
        .client()
        .post("/v1/messages", &headers, &prompt("x"))
        .status
}

#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn tenant_is_added_rotated_and_removed_while_the_gateway_runs() {
    let host = Host::new();
    let file = host.openclaw("", BUILT_IN);
    let gateway = with_gateway(&host);
    let added = host.manage(&["add", "local", "--apply", "--json"]).good();
    let added = parsed(&added.stdout);
    let first = added["api_key"].as_str().unwrap();
    assert_eq!(added["applied"]["ok"], true, "{added}");
    assert_eq!(key_in(&file), first);
    host.manage(&["show", "local"])
        .good()
        .says("points here   yes");
    let shown = parsed(&host.manage(&["show", "local", "--json"]).good().stdout);
    assert_eq!(shown["instance"]["points_here"], true, "{shown}");
    assert!(
        shown["set_up_for"]
            .as_str()
            .unwrap()
            .contains("openclaw.json")
    );

    // Whoever rotates alone is told what is missing, and everything goes on.
    host.manage(&["rotate", "local"])
        .good()
        .says("ccgw-manage apply local");
    host.manage(&["show", "local"])
        .good()
        .says("previous key, which is taken until");
    host.manage(&["apply", "local"]).good().says("is answered");
    assert_eq!(status(&gateway, first), 200);
    let second = key_in(&file);
    assert_ne!(second, first);

    host.manage(&["rotate", "local", "--grace", "0s", "--apply"])
        .good()
        .says("a request of its own is answered");
    let third = key_in(&file);
    assert_eq!(
        [first, &second, &third].map(|key| status(&gateway, key)),
        [401, 401, 200]
    );

    host.manage(&["remove", "local", "--yes"])
        .good()
        .says("still points here")
        .says("ccgw-manage apply local --revert");
    gateway.log_contains("tenant local removed");
    assert_eq!(status(&gateway, &third), 401);
    // As often as it was changed.
    while !key_in(&file).is_empty() {
        host.manage(&["apply", "local", "--revert"])
            .good()
            .says("as before");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), BUILT_IN);

    host.manage(&["add", "local", "--apply"]).good();
    host.manage(&["remove", "local", "--yes", "--revert"])
        .good()
        .says("as before")
        .says("removed");
    assert_eq!(fs::read_to_string(&file).unwrap(), BUILT_IN);
    assert!(!host.config_text().contains("local") && host.config_text().starts_with("# mine\n"));
    gateway.stop();
}

#[test]
fn without_a_gateway_or_an_instance_the_tenant_stays_and_it_is_said() {
    let host = Host::new();
    host.openclaw("", BUILT_IN);
    host.manage(&["add", "local", "--apply"])
        .bad()
        .says("the gateway does not run")
        .says("the tenant stays");
    assert!(host.config_text().contains("name: local"));
    let added = host.manage(&["add", "ghost", "--apply", "--json"]).bad();
    let added = parsed(&added.stdout);
    assert_eq!(added["applied"]["ok"], false);
    assert_eq!(added["api_key"].as_str().unwrap().len(), 64);
    host.manage(&["rotate", "ghost", "--apply"])
        .bad()
        .says("ghost");
    host.manage(&["remove", "ghost", "--yes", "--revert"])
        .bad()
        .says("nothing was put back or removed");
    assert!(host.config_text().contains("name: ghost"));
}

#[test]
fn hashed_key_is_taken_from_the_instance_or_asked_for() {
    let host = Host::new();
    let file = host.openclaw("", BUILT_IN);
    let gateway = with_gateway(&host);
    let added = host.manage(&["add", "local", "--hashed", "--apply", "--json"]);
    let added = parsed(&added.good().stdout);
    let key = added["api_key"].as_str().unwrap().to_owned();
    assert_eq!((key_in(&file), status(&gateway, &key)), (key.clone(), 200));
    assert!(!host.config_text().contains(&key));
    // The instance has it, so nothing is missing.
    host.manage(&["apply", "local"]).good().says("already");
    host.manage(&["doctor", "--quick"]).good();
    host.manage(&["show", "local"])
        .good()
        .says("points here   yes");
    host.setup(&["--yes"]).good().says("nothing to change");

    fs::write(&file, BUILT_IN).unwrap();
    for words in [&["apply", "local"][..], &["doctor", "local", "--quick"]] {
        host.manage(words).bad().says("apply local --key -");
    }
    host.setup(&["--yes"]).bad().says("apply local --key -");
    host.manage(&["show", "local"])
        .good()
        .says("points here   no");
    assert_eq!(fs::read_to_string(&file).unwrap(), BUILT_IN);
    host.manage(&["apply", "local", "--key", "not-the-key-of-it"])
        .bad()
        .says("is not the one of tenant local");
    let fed = host.manage_with(&["apply", "local", "--key", "-"], &key);
    fed.good().says("a request of its own is answered");
    assert_eq!(key_in(&file), key);
    gateway.stop();
}

#[test]
fn container_of_any_name_is_a_tenants_when_it_is_named() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let state = containers::state(&host, "postgres-main", BUILT_IN);
    let spec = Spec::new(Image::OpenClaw, "postgres-main");
    let _container = engine.container(spec.bind(&state, "/home/node/.openclaw"));
    let gateway = with_gateway(&host);
    host.manage(&["apply", "other"])
        .bad()
        .says("no running OpenClaw");
    host.manage(&["add", "alice", "--docker", "postgres-main", "--apply"])
        .good()
        .says("a request of its own is answered");
    let file = state.join("openclaw.json");
    assert_eq!(key_in(&file), host.key("alice"));
    host.manage(&["doctor", "alice", "--quick"]).good();
    host.manage(&["show", "alice"])
        .good()
        .says("postgres-main")
        .says("points here   yes");
    host.manage(&["rotate", "alice", "--apply"]).good();
    assert_eq!(key_in(&file), host.key("alice"));
    host.manage(&["remove", "alice", "--yes"])
        .good()
        .says("still points here");
    // Nothing says any more whose the container is, but what was kept of it.
    host.manage(&["apply", "alice", "--revert"]).good();
    host.manage(&["apply", "alice", "--revert"]).good();
    assert_eq!(fs::read_to_string(&file).unwrap(), BUILT_IN);
    gateway.stop();
}

#[test]
fn removal_goes_back_to_before_the_gateway_over_every_rotation() {
    let host = Host::new();
    let file = host.openclaw("", BUILT_IN);
    host.setup(&["--yes"]).good();
    let _gateway = host.serve();
    for _ in 0..2 {
        host.manage(&["rotate", "local", "--apply"]).good();
    }
    assert!(fs::read_to_string(&file).unwrap().contains("baseUrl"));
    host.manage(&["remove", "local", "--revert", "--yes"])
        .good()
        .says("that was the last tenant");
    assert_eq!(fs::read_to_string(&file).unwrap(), BUILT_IN);
}
