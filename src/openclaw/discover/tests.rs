//! Which containers and directories are instances, as tables.

use serde_json::{Value, json};

use super::*;

/// A running container; `more` is merged over its inspection.
fn inspected(name: &str, more: Value) -> Container {
    let mut whole = json!({
        "Id": "0", "Name": format!("/{name}"), "Path": "sleep", "Args": [],
        "State": {"Running": true}, "Config": {"Labels": {}, "Env": []}, "Mounts": [],
    });
    for (key, value) in more.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

#[track_caller]
fn check(name: &str, more: Value, expect: Option<&str>) {
    let found = container(inspected(name, more), &Claims::default());
    assert_eq!(found.map(|it| it.name).as_deref(), expect, "{name}");
}

fn labelled(labels: Value) -> Value {
    json!({"Config": {"Labels": labels}})
}

#[test]
fn containers_are_recognised_by_label_service_command_and_name() {
    check(
        "openclaw-cell-x",
        labelled(json!({"openclaw.fleet.tenant": "alice"})),
        Some("alice"),
    );
    let compose = |project: &str| {
        labelled(json!({
            "com.docker.compose.service": "openclaw-gateway", "com.docker.compose.project": project,
        }))
    };
    check("any", compose("bob"), Some("bob"));
    check("any", compose("openclaw"), Some("dc"));
    for (name, expect) in [
        ("carol-openclaw-gateway-1", Some("carol")),
        ("carol_openclaw-gateway_12", Some("carol")),
        ("openclaw-openclaw-gateway-1", Some("dc")),
        ("openclaw-gateway", Some("openclaw-gateway")),
        ("openclaw-gateway-x", Some("openclaw-gateway-x")),
        ("my.OpenClaw-gateway", None),
        ("Dave-openclaw-gateway-1", Some("dave")),
        ("postgres", None),
        ("a-openclaw-cli-1", None),
        ("openclaw-sbx-a-openclaw-gateway-1", None),
        (
            "openclaw-clients-openclaw-gateway-1",
            Some("openclaw-clients"),
        ),
    ] {
        check(name, json!({}), expect);
    }
}

#[test]
fn other_services_of_a_project_called_like_it_are_none() {
    let labels = json!({
        "com.docker.compose.service": "postgres", "com.docker.compose.project": "openclaw-gateway",
    });
    check("openclaw-gateway-postgres-1", labelled(labels), None);
}

#[test]
fn command_counts_only_with_openclaws_state() {
    let command = |args: &[&str], mount: &str| {
        json!({"Path": "node", "Args": args,
               "Mounts": [{"Type": "bind", "Source": "/x", "Destination": mount}]})
    };
    let real = ["dist/index.js", "gateway", "--bind", "lan"];
    check("eve", command(&real, "/home/node/.openclaw"), Some("eve"));
    check("eve", command(&real, "/home/node"), Some("eve"));
    check("eve", command(&real, "/data"), None);
    check(
        "eve",
        command(&["server.js", "gateway"], "/home/node/.openclaw"),
        None,
    );
    check(
        "eve",
        command(&["dist/index.js", "status"], "/home/node/.openclaw"),
        None,
    );
    let shell = ["-c", "exec openclaw gateway run"];
    check("eve", command(&shell, "/home/node/.openclaw"), Some("eve"));
}

#[test]
fn stopped_paused_cli_and_sandbox_containers_are_none() {
    let name = "a-openclaw-gateway-1";
    check(name, json!({"State": {"Running": false}}), None);
    check(
        name,
        json!({"State": {"Running": true, "Paused": true}}),
        None,
    );
    check(
        name,
        labelled(json!({"com.docker.compose.service": "openclaw-cli"})),
        None,
    );
    check(
        name,
        labelled(json!({"openclaw.sandboxBackend": "docker"})),
        None,
    );
}

#[test]
fn state_is_where_the_container_says() {
    for (env, mount, expect) in [
        (json!([]), "/x", "/home/node/.openclaw"),
        (json!(["HOME=/root"]), "/x", "/root/.openclaw"),
        (json!([]), "/srv/.openclaw", "/srv/.openclaw"),
        (
            json!(["OPENCLAW_HOME=/h", "HOME=/root"]),
            "/x",
            "/h/.openclaw",
        ),
        (
            json!(["OPENCLAW_STATE_DIR=/s", "OPENCLAW_HOME=/h"]),
            "/x",
            "/s",
        ),
    ] {
        let more = json!({"Config": {"Env": env},
                          "Mounts": [{"Type": "bind", "Source": "/y", "Destination": mount}]});
        let found = container(inspected("a-openclaw-gateway-1", more), &Claims::default()).unwrap();
        assert_eq!(found.state_dir, Path::new(expect));
        assert_eq!(found.config_path, Path::new(expect).join("openclaw.json"));
    }
    let more = json!({"Config": {"Env": ["OPENCLAW_CONFIG_PATH=/etc/oc.json"]}});
    let found = container(inspected("a-openclaw-gateway-1", more), &Claims::default()).unwrap();
    assert_eq!(found.config_path, Path::new("/etc/oc.json"));
}

#[test]
fn directories_with_a_config_are_local_instances() {
    let entries = [
        ".openclaw",
        ".openclaw-work",
        ".openclaw-junk",
        ".openclaw-",
        ".openclawx",
        "x",
    ]
    .map(str::to_owned);
    let has_config = |dir: &Path| !dir.ends_with(".openclaw-junk") && !dir.ends_with(".openclaw-");
    let found = local(
        Path::new("/h"),
        Some(Path::new("/srv/oc")),
        &entries,
        &has_config,
    );
    let names: Vec<_> = found.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["local", "local-work", "local-oc"]);
    let same = local(
        Path::new("/h"),
        Some(Path::new("/h/.openclaw")),
        &entries,
        &has_config,
    );
    assert_eq!(same.len(), 2);
}

#[test]
fn equal_names_get_numbers_and_a_notice() {
    let one = |name: &str| {
        let labels = labelled(json!({"openclaw.fleet.tenant": "a"}));
        container(inspected(name, labels), &Claims::default()).unwrap()
    };
    let mut all = [one("first"), one("second"), one("third")];
    let notices = make_unique(&mut all, &Claims::default());
    assert_eq!(all.map(|it| it.name), ["a", "a-2", "a-3"]);
    assert_eq!(notices[0], "second would be `a` too; it is called `a-2`");
}

#[test]
fn container_that_is_named_is_its_tenants_alone() {
    let claims = [("database", "a"), ("0123456789ab", "b"), ("0", "c")];
    let claims = claims.map(|(container, tenant)| (container.to_owned(), tenant.to_owned()));
    let claims = Claims::new(claims.into_iter());
    let one = |name: &str, more| container(inspected(name, more), &claims);
    let id = json!({"Id": "0123456789abcdef"});
    assert_eq!(one("any", id).unwrap().name, "b");
    // A short beginning of an id says nothing.
    assert!(one("other", json!({})).is_none());
    assert!(
        one(
            "database",
            json!({"State": {"Running": true, "Paused": true}})
        )
        .is_none()
    );
    let labels = labelled(json!({"openclaw.fleet.tenant": "a"}));
    let mut all = [
        one("first", labels).unwrap(),
        one("database", json!({})).unwrap(),
        one("database", json!({})).unwrap(),
    ];
    let notices = make_unique(&mut all, &claims);
    assert_eq!(all.map(|it| it.name), ["a-2", "a", "a-3"]);
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn hostile_names_become_plain_ones() {
    for (name, expect) in [
        ("../../etc", "etc"),
        ("A b$(x)", "a-b--x-"),
        ("", "instance"),
        ("--", "instance"),
        ("é", "instance"),
        ("_x", "x"),
    ] {
        assert_eq!(tenant_name(name), expect);
    }
    assert_eq!(tenant_name(&"x".repeat(200)).len(), NAME_MAX);
    assert_eq!(numbered(&"x".repeat(NAME_MAX), 2).len(), NAME_MAX);
}
