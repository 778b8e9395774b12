//! Skills that were pulled, in runs of the real CLI: those of its own tenant, and of nobody else.

use std::fs;

use super::{Host, served, skills::text};
use crate::{
    api::{Received, ScriptedApi},
    docker::{Container, Engine, Image, Spec},
    gateway::{Gateway, prompt},
};

/// Some of OpenClaw's own: one that is always there, one for its keeper, one of a plugin.
const SHIPPED: [&str; 3] = ["weather", "configure-channel", "canvas"];

/// Puts a skill into a container, as its agent would.
fn put(container: &Container<'_>, name: &str, text: &str) {
    let script = "mkdir -p \"$1\" && printf %s \"$2\" > \"$1/SKILL.md\"";
    let dir = format!("/home/node/.openclaw/workspace/skills/{name}");
    let ran = container.exec(&["sh", "-c", script, "sh", &dir, text]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A machine, its gateway and its model.
type At<'a> = (&'a Host, &'a Gateway, &'a ScriptedApi);

/// What the model is shown last in a run of this tenant.
#[track_caller]
fn run(tenant: &str, text: &str, (host, gateway, api): &At<'_>) -> Received {
    let (key, body) = (host.key(tenant), prompt(text));
    let headers = [("x-api-key", key.as_str())];
    let answer = gateway.client().post("/v1/messages", &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    api.last_prompt()
}

#[test]
fn pulled_skills_are_seen_by_runs_of_their_tenant_only() {
    let Some(engine) = Engine::own() else { return };
    let api = ScriptedApi::start();
    let host = served::host(&api).engine(&engine);
    let container = engine.container(
        Spec::new(Image::OpenClaw, "eve-openclaw-gateway-1").volume("eve-home", "/home/node"),
    );
    let settings = "mkdir -p ~/.openclaw/workspace && echo '{}' > ~/.openclaw/openclaw.json";
    assert_eq!(container.exec(&["sh", "-c", settings]).code, 0);
    put(
        &container,
        "lighthouse",
        &text("LIGHTHOUSE-MARK keeps watch"),
    );
    for tenant in ["eve", "zoe"] {
        host.manage(&["add", tenant]).good();
    }
    let of_zoe = host.config().with_file_name("skills/zoe/ferry");
    fs::create_dir_all(&of_zoe).unwrap();
    fs::write(of_zoe.join("SKILL.md"), text("FERRY-MARK crosses")).unwrap();

    let gateway = host.serve();
    let at = (&host, &gateway, &api);
    let seen = |tenant: &str| run(tenant, "hello", &at);
    assert!(!seen("eve").mentions("LIGHTHOUSE-MARK"));
    // While the gateway runs; with all that OpenClaw ships.
    host.manage(&["skills", "pull", "eve", "--all"]).good();
    let (eve, zoe) = (seen("eve"), seen("zoe"));
    assert!(eve.mentions("LIGHTHOUSE-MARK") && !eve.mentions("FERRY-MARK"));
    assert!(zoe.mentions("FERRY-MARK") && !zoe.mentions("LIGHTHOUSE-MARK"));
    for name in SHIPPED {
        let file = host.config().with_file_name("skills/eve").join(name);
        assert!(file.join("SKILL.md").is_file(), "{name} was not pulled");
        let name = format!("openclaw:{name}");
        assert!(eve.mentions(&name) && !zoe.mentions(&name), "{name}");
    }
    // The model calls one, and gets what the instance's agent has made of it since.
    let edited = text("keeps watch") + "SECOND-EDITION";
    put(&container, "lighthouse", &edited);
    let pull = ["skills", "pull", "eve", "--force"];
    host.manage(&pull).good().says("1 replaced");
    let read = run("eve", "[[skill:openclaw:lighthouse]]", &at);
    assert!(read.mentions("SECOND-EDITION"), "{:#}", read.body);
    gateway.stop();
}
