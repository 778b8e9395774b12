//! Real OpenClaws that setup has connected, with the real CLI: a turn of theirs goes through the gateway.

use std::{fs, process::Command, time::Duration};

use serde_json::json;

use super::Host;
use crate::{
    api::ScriptedApi,
    cli::real_cli,
    docker::{Engine, Image, Network, Spec},
    gateway::run_to_end,
    openclaw::{install, modules, node},
    process::wait_until,
    temp::TempDir,
};

/// A machine with the real CLI, whose model is scripted.
pub(super) fn host(api: &ScriptedApi) -> Host {
    let dir = TempDir::new();
    // What a tenant's `env` would hold; here one script gives it to all.
    let script = format!(
        "#!/bin/sh\nexport ANTHROPIC_BASE_URL={} ANTHROPIC_API_KEY=sk-scripted\nexec {} \"$@\"\n",
        api.url(),
        real_cli().display()
    );
    let cli = dir.write("claude", script);
    Command::new("chmod").arg("755").arg(&cli).status().unwrap();
    Host::with_cli(dir, cli)
}

/// No heartbeat, no first conversation, no search: only what the test asks.
fn quiet(mut settings: serde_json::Value) -> String {
    settings["gateway"] = json!({"mode": "local", "auth": {"mode": "token", "token": "t"}});
    settings["memory"] = json!({"search": {"enabled": false}});
    settings["update"] = json!({"checkOnStart": false});
    let defaults = &mut settings["agents"]["defaults"];
    defaults["skipBootstrap"] = true.into();
    defaults["heartbeat"] = json!({"every": "0m"});
    settings.to_string()
}

#[test]
fn local_openclaw_without_any_model_talks_through_the_gateway() {
    install();
    let api = ScriptedApi::start();
    let host = host(&api);
    let bin = host.dir.path().join("bin");
    let launcher = format!(
        "#!/bin/sh\nexec {} {} \"$@\"\n",
        node().display(),
        modules().join("openclaw/openclaw.mjs").display()
    );
    fs::write(bin.join("openclaw"), launcher).unwrap();
    Command::new("chmod")
        .arg("755")
        .arg(bin.join("openclaw"))
        .status()
        .unwrap();
    let file = host.openclaw("", &quiet(json!({})));
    host.setup(&["--yes"])
        .good()
        .says("a request of its own is answered");
    // OpenClaw itself has written it: validated, and marked as its own.
    assert_eq!(
        super::json(&file)["models"]["providers"]["ccgw"]["apiKey"],
        host.key("local")
    );
    let gateway = host.serve();
    let mut turn = host.command(
        &bin.join("openclaw"),
        &[
            "agent",
            "--local",
            "--agent",
            "main",
            "--message",
            "[[text:through the gateway]]",
            "--json",
        ],
    );
    let output = run_to_end(&mut turn);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("through the gateway"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    gateway.log_contains("tenant=local");
    gateway.stop();
}

#[test]
fn openclaw_in_a_container_takes_the_change_while_it_runs() {
    let Some(engine) = Engine::own() else { return };
    let api = ScriptedApi::start();
    let host = host(&api).engine(&engine);
    let before = quiet(json!({
        // Another provider stands first, and stays as it is.
        "models": {"providers": {
            "ollama": {"baseUrl": "http://127.0.0.1:9", "api": "ollama", "models": []},
            "claude": {"baseUrl": "http://127.0.0.1:9", "apiKey": "old", "api": "openai-completions", "models": [
                {"id": "claude-sonnet-4-6", "name": "Claude", "input": ["text"], "contextWindow": 200_000, "maxTokens": 32_000},
            ]},
        }},
        "agents": {"defaults": {"model": {"primary": "claude/claude-sonnet-4-6"}}},
    }));
    let container = engine.container(
        Spec::new(Image::OpenClaw, "real-openclaw-gateway-1")
            .volume("real-home", "/home/node")
            .network(Network::New("real_default".to_owned()))
            .command(&["sh", "-c", "while [ ! -e /home/node/.openclaw/openclaw.json ]; do sleep 0.1; done; exec openclaw gateway run"]),
    );
    let state = "/home/node/.openclaw/openclaw.json";
    let put = format!(
        "umask 077; mkdir -p /home/node/.openclaw; cat > {state}.new <<'E'\n{before}\nE\nmv {state}.new {state}"
    );
    assert_eq!(container.exec(&["sh", "-c", &put]).code, 0);
    let ready = || container.log().contains("[gateway] ready");
    wait_until(Duration::from_secs(120), "OpenClaw", ready);

    host.setup(&["--yes", "--no-skills"])
        .good()
        .says("a request of its own is answered");
    let now: serde_json::Value =
        serde_json::from_str(&container.exec(&["cat", state]).stdout).unwrap();
    let providers = &now["models"]["providers"];
    assert_eq!(providers["ollama"]["baseUrl"], "http://127.0.0.1:9");
    assert_eq!(
        providers["claude"]["baseUrl"],
        format!("http://{}:{}/v1", container.gateway(), host.port)
    );
    wait_until(Duration::from_secs(180), "the hot reload", || {
        container.log().contains("config hot reload applied")
    });
    let gateway = host.serve();
    let turn = container.exec(&[
        "openclaw",
        "agent",
        "--agent",
        "main",
        "--message",
        "[[text:from the container]]",
        "--json",
    ]);
    assert!(turn.stdout.contains("from the container"), "{turn:?}");
    gateway.log_contains("tenant=real");
    gateway.stop();

    host.manage(&["apply", "--revert"]).good();
    assert_eq!(container.exec(&["cat", state]).stdout.trim_end(), before);
}
