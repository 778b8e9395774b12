//! Instances in containers of a real Docker Engine.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{Host, json};
use crate::docker::{Container, Engine, Image, Network, Spec};

const BUILT_IN: &str =
    r#"{"agents":{"defaults":{"model":{"primary":"anthropic/claude-sonnet-4-6"}}}}"#;

/// What a container's node is.
const NODE: u32 = 1000;

/// A state directory on the host that belongs to the container's user.
pub(super) fn state(host: &Host, name: &str, text: &str) -> PathBuf {
    let dir = host.dir.create_dir(&format!("states/{name}"));
    let file = host
        .dir
        .write(&format!("states/{name}/openclaw.json"), text);
    host.dir.create_dir(&format!("states/{name}/workspace"));
    for path in [&dir, &file, &dir.join("workspace")] {
        chown(path, Some(NODE), Some(NODE)).unwrap();
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

fn instance(host: &Host, name: &str, text: &str) -> Spec {
    Spec::new(Image::OpenClaw, name).bind(&state(host, name, text), "/home/node/.openclaw")
}

#[track_caller]
fn points_at(file: &Path, address: &str, key: &str) {
    let provider = &json(file)["models"]["providers"]["anthropic"];
    assert_eq!(provider["baseUrl"], address);
    assert_eq!(provider["apiKey"], key);
}

#[test]
fn tenant_of_any_name_is_made_of_a_container_and_connected() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let _one = engine.container(
        instance(&host, "dave-openclaw-gateway-1", BUILT_IN).env("NOTION_TOKEN", "daves"),
    );
    host.manage(&["add", "first"]).good();
    let gateway = host.serve();
    host.manage(&[
        "add",
        "boss",
        "--docker",
        "dave-openclaw-gateway-1",
        "--apply",
    ])
    .good()
    .says("a request of its own is answered");
    gateway.log_contains("tenant boss added");
    let file = host
        .dir
        .path()
        .join("states/dave-openclaw-gateway-1/openclaw.json");
    assert_eq!(
        json(&file)["models"]["providers"]["anthropic"]["apiKey"],
        host.key("boss")
    );
    assert!(host.config_text().contains("NOTION_TOKEN: daves"));
    // It keeps that name, whatever its container is called.
    host.setup(&[]).good().says("boss: dave-openclaw-gateway-1");
    assert!(!host.config_text().contains("name: dave"));
    host.manage(&["rotate", "boss", "--apply"])
        .good()
        .says("a request of its own is answered");
    assert_eq!(
        json(&file)["models"]["providers"]["anthropic"]["apiKey"],
        host.key("boss")
    );
    host.manage(&["show", "boss"])
        .good()
        .says("dave-openclaw-gateway-1:");
    host.manage(&["add", "x", "--docker", "nothing"])
        .bad()
        .says("there are: dave-openclaw-gateway-1");
    gateway.stop();
}

#[test]
fn containers_of_every_kind_are_found_and_connected() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let net = |name: &str| Network::New(name.to_owned());
    let v2 = engine.container(
        instance(&host, "alice-openclaw-gateway-1", BUILT_IN)
            .network(net("alice_default"))
            .env("NOTION_TOKEN", "alices")
            .env("DATA", "/home/node/.openclaw/workspace")
            .env("ANTHROPIC_API_KEY", "sk-not-this"),
    );
    let v1 = engine.container(instance(&host, "bob_openclaw-gateway_1", BUILT_IN));
    let cell = engine.container(
        instance(&host, "openclaw-cell-x", BUILT_IN)
            .label("openclaw.fleet.tenant", "carol")
            .network(net("openclaw-cell-x-net")),
    );
    let on_host = engine.container(
        instance(&host, "openclaw-openclaw-gateway-1", BUILT_IN)
            .label("com.docker.compose.service", "openclaw-gateway")
            .label("com.docker.compose.project", "openclaw")
            .network(Network::Host),
    );
    // None of these is an instance.
    let cli = engine.container(instance(&host, "alice-openclaw-cli-1", BUILT_IN));
    let other = engine.container(Spec::new(Image::Busybox, "postgres"));
    let stopped = engine.container(Spec::new(Image::Busybox, "z-openclaw-gateway-1"));
    stopped.stop();

    host.setup(&["--yes"])
        .good()
        .says("alice: alice-openclaw-gateway-1")
        .says("(found by label openclaw.fleet.tenant=carol)");
    assert_eq!(host.config_text().matches("- name: ").count(), 4);
    let file = |name: &str| {
        host.dir
            .path()
            .join("states")
            .join(name)
            .join("openclaw.json")
    };
    let at = |container: &Container| format!("http://{}:{}", container.gateway(), host.port);
    points_at(
        &file("alice-openclaw-gateway-1"),
        &at(&v2),
        &host.key("alice"),
    );
    points_at(&file("bob_openclaw-gateway_1"), &at(&v1), &host.key("bob"));
    points_at(&file("openclaw-cell-x"), &at(&cell), &host.key("carol"));
    let local = format!("http://127.0.0.1:{}", host.port);
    points_at(
        &file("openclaw-openclaw-gateway-1"),
        &local,
        &host.key("dc"),
    );
    assert_ne!(v2.gateway(), v1.gateway());
    let kept = fs::metadata(file("alice-openclaw-gateway-1")).unwrap();
    assert_eq!((kept.uid(), kept.mode() & 0o777), (NODE, 0o600));
    assert_eq!(
        fs::read_to_string(file("alice-openclaw-cli-1")).unwrap(),
        BUILT_IN
    );

    let config = host.config_text();
    assert!(config.contains("NOTION_TOKEN: alices\n"), "{config}");
    let workspace = host
        .dir
        .path()
        .join("states/alice-openclaw-gateway-1/workspace");
    assert!(
        config.contains(&format!("DATA: {}\n", workspace.display())),
        "{config}"
    );
    assert!(
        config.contains(&format!("working_dir: {}\n", workspace.display())),
        "{config}"
    );
    assert!(!config.contains("sk-not-this"));

    host.setup(&["--yes"]).good().says("nothing to change");
    assert_eq!(host.config_text(), config);
    // The engine lists containers in an order of its own; the report keeps ours.
    let gateway = host.serve();
    host.manage(&["doctor"])
        .good()
        .says("a stream that is silent for 15 s survives");
    host.manage(&["apply", "--revert"]).good();
    assert_eq!(
        fs::read_to_string(file("bob_openclaw-gateway_1")).unwrap(),
        BUILT_IN
    );
    gateway.stop();
    drop((cli, other, stopped, on_host));
}

#[test]
fn volume_comments_and_includes_are_kept_through_the_engine() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let container = engine.container(
        Spec::new(Image::OpenClaw, "v-openclaw-gateway-1").volume("v-state", "/home/node"),
    );
    let put = |name: &str, text: &str| {
        let script = format!(
            "umask 077; mkdir -p /home/node/.openclaw; cat > /home/node/.openclaw/{name} <<'E'\n{text}\nE"
        );
        assert_eq!(container.exec(&["sh", "-c", &script]).code, 0);
    };
    let get = |name: &str| {
        container
            .exec(&["cat", &format!("/home/node/.openclaw/{name}")])
            .stdout
    };
    put(
        "openclaw.json",
        "{ // mine\n  models: { $include: './models.json5' },\n  agents: { defaults: { model: 'anthropic/claude-sonnet-4-6' } },\n}",
    );
    put(
        "models.json5",
        "{\n  // the one\n  providers: { anthropic: { baseUrl: 'https://old', apiKey: 'k', models: [] } },\n}",
    );
    let before = (get("openclaw.json"), get("models.json5"));
    host.setup(&["--yes"]).good();
    let (root, models) = (get("openclaw.json"), get("models.json5"));
    assert_eq!(root, before.0);
    assert!(
        models.contains("// the one") && models.contains(&host.key("v")),
        "{models}"
    );
    let owner = container.exec(&["stat", "-c", "%u %a", "/home/node/.openclaw/models.json5"]);
    assert_eq!(owner.stdout, "1000 600\n");
    host.manage(&["apply", "v", "--revert"]).good();
    assert_eq!((get("openclaw.json"), get("models.json5")), before);
}

#[test]
fn hostile_container_stays_inside_of_itself() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let secret = host.dir.write("secret", "of the host");
    let dir = state(&host, "evil", BUILT_IN);
    fs::remove_file(dir.join("openclaw.json")).unwrap();
    std::os::unix::fs::symlink(&secret, dir.join("openclaw.json")).unwrap();
    let evil = engine.container(
        Spec::new(Image::OpenClaw, "evil")
            .label("openclaw.fleet.tenant", "../../$(touch pwned)\n- name: x")
            .bind(&dir, "/home/node/.openclaw")
            .env("BAD", "x\n    OTHER: y"),
    );
    let good = engine.container(instance(&host, "good-openclaw-gateway-1", BUILT_IN));
    host.setup(&["--yes"])
        .bad()
        .says("not connected")
        .says("no regular file");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host");
    let text = host.config_text();
    assert!(
        !text.contains("touch pwned)\n") && !text.contains("\n    OTHER:"),
        "{text}"
    );
    points_at(
        &host
            .dir
            .path()
            .join("states/good-openclaw-gateway-1/openclaw.json"),
        &format!("http://{}:{}", good.gateway(), host.port),
        &host.key("good"),
    );
    drop(evil);
}

#[test]
fn unreachable_gateway_is_told_before_anything_is_changed() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let _container = engine.container(instance(&host, "a-openclaw-gateway-1", BUILT_IN));
    let dir = host.config();
    fs::write(&dir, "server:\n  host: 127.0.0.1\n").unwrap();
    host.setup(&["--yes"])
        .bad()
        .says("server.host is 127.0.0.1, which no container reaches");
    let file = host
        .dir
        .path()
        .join("states/a-openclaw-gateway-1/openclaw.json");
    assert_eq!(fs::read_to_string(file).unwrap(), BUILT_IN);
}

#[test]
fn container_without_a_program_that_can_ask_is_told() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let dir = state(&host, "bare-openclaw-gateway-1", BUILT_IN);
    let _container = engine.container(
        Spec::new(Image::Busybox, "bare-openclaw-gateway-1").bind(&dir, "/home/node/.openclaw"),
    );
    host.setup(&["--yes"])
        .good()
        .says("no program to ask with (node or curl)");
    let text = fs::read_to_string(dir.join("openclaw.json")).unwrap();
    assert!(text.contains(&host.key("bare")), "{text}");
}

#[test]
fn container_that_has_this_users_own_files_counts_once() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let file = host.openclaw("", BUILT_IN);
    let _container = engine.container(
        Spec::new(Image::OpenClaw, "own-openclaw-gateway-1")
            .user("0")
            .bind(file.parent().unwrap(), "/home/node/.openclaw"),
    );
    host.setup(&["--yes"]).good().says("it counts once");
    assert_eq!(host.config_text().matches("- name: ").count(), 1);
    let now = fs::read(&file).unwrap();
    host.setup(&["--yes"]).good();
    assert_eq!(fs::read(&file).unwrap(), now);
    assert!(String::from_utf8(now).unwrap().contains(&host.key("own")));
}

#[test]
fn container_that_takes_anothers_name_gets_nothing_of_its() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let first = engine.container(instance(&host, "alice-openclaw-gateway-1", BUILT_IN));
    host.setup(&["--yes"]).good();
    let key = host.key("alice");
    drop(first);
    let second = engine.container(
        instance(&host, "openclaw-cell-alice", BUILT_IN)
            .label("openclaw.fleet.tenant", "alice")
            .env("ITS_OWN", "secret"),
    );
    let config = host.config_text();
    host.setup(&["--yes"])
        .bad()
        .says("tenant alice is of alice-openclaw-gateway-1")
        .says("to hand it over");
    assert_eq!(host.config_text(), config);
    let file = host
        .dir
        .path()
        .join("states/openclaw-cell-alice/openclaw.json");
    assert_eq!(fs::read_to_string(file).unwrap(), BUILT_IN);
    // The same container, made anew, is the same instance.
    drop(second);
    let _again = engine.container(instance(&host, "alice-openclaw-gateway-1", BUILT_IN));
    host.setup(&["--yes"]).good();
    assert_eq!(host.key("alice"), key);
}

#[test]
fn newcomer_under_a_tenants_name_hears_no_key_and_gives_no_skill() {
    let Some(engine) = Engine::own() else { return };
    let host = Host::new().engine(&engine);
    let first = engine.container(instance(&host, "alice-openclaw-gateway-1", BUILT_IN));
    host.setup(&["--yes"]).good();
    let key = host.key("alice");
    let newcomer = || {
        let skill = host.dir.create_dir("states/aaa/workspace/skills/evil");
        fs::write(
            skill.join("SKILL.md"),
            "---\nname: evil\ndescription: d\n---\n",
        )
        .unwrap();
        let spec = instance(&host, "aaa", BUILT_IN).label("openclaw.fleet.tenant", "alice");
        engine.container(spec)
    };
    // Beside the one that is known, that one keeps its name.
    let stranger = newcomer();
    host.manage(&["doctor", "--quick", "alice"])
        .says("alice-openclaw-gateway-1");
    host.setup(&["--yes"]).good().says("alice-2");
    assert_eq!(host.key("alice"), key);
    drop(stranger);
    drop(first);
    // Alone, it is a stranger under that name.
    host.manage(&["remove", "alice-2", "--yes"]).good();
    let _stranger = newcomer();
    host.manage(&["doctor", "--quick", "alice"])
        .bad()
        .says("tenant alice is of alice-openclaw-gateway-1");
    host.manage(&["skills", "pull", "alice"])
        .bad()
        .says("tenant alice is of alice-openclaw-gateway-1");
    host.setup(&["--yes"]).bad();
    assert!(!host.dir.path().join("skills/alice/evil").exists());
}
