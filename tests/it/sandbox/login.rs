//! A login that tenants share: what a sandbox shows of it, and whose turn it is while it may be renewed.

use super::*;

#[test]
fn login_that_is_shared_is_there_and_nothing_else_of_its_owner() {
    let api = ScriptedApi::start();
    let Some(setup) = sharing(&api, &["alpha"], SystemTime::now()) else {
        return;
    };
    setup
        .dir
        .write("home/.claude/history.jsonl", "HISTORY-OF-THE-OWNER");
    setup
        .dir
        .write("home/.claude/projects/x/y.jsonl", "HISTORY-OF-THE-OWNER");
    setup
        .dir
        .write("home/.claude.json", "{\"x\":\"HISTORY-OF-THE-OWNER\"}");
    let gateway = setup.start();
    let plant = "echo '{\\\"hooks\\\":{}}' > $CLAUDE_CONFIG_DIR/settings.json; ls -a $CLAUDE_CONFIG_DIR; grep -rs HISTORY-OF / --include=*.json* --exclude-dir=proc --exclude-dir=usr -l";
    let said = bash(&gateway, "alpha", plant);
    assert!(
        said.contains(".credentials.json") && said.contains("settings.json"),
        "{said}"
    );
    assert!(
        !said.contains("history.jsonl") && !said.contains("y.jsonl"),
        "{said}"
    );
    let authorization = api.last_prompt().header("authorization").map(str::to_owned);
    assert_eq!(authorization.as_deref(), Some("Bearer sk-ant-oat01-shared"));
    // Another conversation, and so another process: what the last one planted is gone.
    let said = bash(&gateway, "alpha", "ls -a $CLAUDE_CONFIG_DIR");
    assert!(
        said.contains(".credentials.json") && !said.contains("settings.json"),
        "{said}"
    );
    // Nor is it there for whoever signs in in a directory of the tenant's own.
    let own = gateway.dir.path().join("claude-config-beta");
    bash(&gateway, "beta", plant);
    assert!(own.join("projects").is_dir() && !own.join("settings.json").exists());
    // Who has a key of its own sees no login.
    let said = bash(&gateway, "beta", "ls -a $CLAUDE_CONFIG_DIR");
    assert!(!said.contains(".credentials.json"), "{said}");
    let kept =
        fs::read_to_string(gateway.dir.path().join("home/.claude/.credentials.json")).unwrap();
    assert!(kept.contains("sk-ant-ort01-x"), "{kept}");
}

/// A set-up in which these tenants share the login of the gateway's user, which was renewed at this time.
fn sharing(api: &ScriptedApi, tenants: &[&str], renewed: SystemTime) -> Option<Setup> {
    let mut setup = setup(api)?;
    for tenant in tenants {
        setup = setup
            .without_tenant_env(tenant, "CLAUDE_CONFIG_DIR")
            .without_tenant_env(tenant, "ANTHROPIC_API_KEY");
    }
    let login = json!({"claudeAiOauth": {
        "accessToken": "sk-ant-oat01-shared", "refreshToken": "sk-ant-ort01-x", "expiresAt": 4_102_444_800_000_u64,
        "scopes": ["user:inference", "user:profile"], "subscriptionType": "max"
    }});
    let path = setup
        .dir
        .write("home/.claude/.credentials.json", login.to_string());
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(renewed).unwrap();
    Some(setup)
}

/// Alpha and beta with one login, so old that it may be renewed.
fn sharing_old_login(api: &ScriptedApi) -> Option<Setup> {
    let old = SystemTime::now() - Duration::from_secs(7200);
    sharing(api, &["alpha", "beta"], old)
}

#[test]
fn login_that_may_be_renewed_is_used_by_one_run_until_the_model_answers() {
    let api = ScriptedApi::start();
    let Some(setup) = sharing_old_login(&api) else {
        return;
    };
    let gateway = setup.set("cli", "warm: off").start();
    gateway.log_contains("several tenants use one login");
    let first = gateway.send("alpha", &prompt("[[hang]]"));
    api.wait_for_prompts(1);
    let second = gateway.send("beta", &prompt("hi"));
    wait_until(PATIENCE, "both", || gateway.health()["running"] == 2);
    assert_eq!(gateway.processes_of("beta"), Vec::<u32>::new());
    drop(first);
    assert_eq!(second.response().answer_text(), "OK: hi");
    assert_eq!(api.prompts().len(), 2);
    // What was renewed just now is not renewed again so soon.
    let login = gateway.dir.path().join("home/.claude/.credentials.json");
    let file = fs::File::options().write(true).open(login).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    let _first = gateway.send("alpha", &prompt("[[hang]]"));
    api.wait_for_prompts(3);
    assert_eq!(gateway.ask("beta", &prompt("hi")).answer_text(), "OK: hi");
}

#[test]
fn waiting_for_the_login_is_not_the_runs_own_time() {
    let api = ScriptedApi::start();
    let Some(setup) = sharing_old_login(&api) else {
        return;
    };
    let gateway = setup
        .set("cli", "warm: off")
        .set("cli", "max_per_tenant: 2")
        .set("cli", "idle_timeout: 5000")
        .start();
    // Two in front of it, each as long as a run may say nothing.
    let first = gateway.send("alpha", &prompt("[[hang]]"));
    api.wait_for_prompts(1);
    let second = gateway.send("beta", &prompt("[[hang]]"));
    wait_until(PATIENCE, "both", || gateway.health()["running"] == 2);
    let third = gateway.send("alpha", &prompt("hi"));
    assert_eq!(third.response().answer_text(), "OK: hi");
    for hung in [first, second] {
        hung.response().assert_error(504, "timeout_error");
    }
}

#[test]
fn who_waits_for_the_login_is_told_no_in_time_and_costs_nothing_once_gone() {
    let api = ScriptedApi::start();
    let Some(setup) = sharing_old_login(&api) else {
        return;
    };
    let gateway = setup
        .set("cli", "warm: off")
        .set("cli", "queue_timeout: 3000")
        .start();
    let first = gateway.send("alpha", &prompt("[[hang]]"));
    api.wait_for_prompts(1);
    let refused = gateway.ask("beta", &prompt("hi"));
    refused.assert_error(529, "overloaded_error");
    assert!(refused.text().contains("renew the login"), "{refused:?}");
    // A count asks the API as well, so it waits with them.
    let key = key_of("beta");
    let client = gateway.client();
    let count = |text: &str| {
        let headers = [("x-api-key", key.as_str())];
        let path = "/v1/messages/count_tokens";
        client.open("POST", path, &headers, Some(&prompt(text)))
    };
    count("hi").response().assert_error(529, "overloaded_error");
    // Who might come back for its answer has not begun, and is not waited for.
    let headers = [("x-api-key", key.as_str()), ("idempotency-key", "one")];
    let leaving = client.open("POST", "/v1/messages", &headers, Some(&prompt("hi")));
    wait_until(PATIENCE, "both", || gateway.health()["running"] == 2);
    drop(leaving);
    wait_until(PATIENCE, "one", || gateway.health()["running"] == 1);
    assert_eq!(api.prompts().len(), 1);
    drop(first);
    let counted = count("hi").response();
    assert_eq!(counted.status, 200, "{}", counted.text());
}
