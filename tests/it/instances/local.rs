//! Instances of this machine, without Docker.

mod refused;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    time::Duration,
};

use super::{Ended, Host, json};
use crate::{
    fake_cli::FakeCli,
    gateway::{Gateway, MARK, prompt},
    process::{DEAD_WITHIN, wait_until, wait_until_gone},
    temp::{TempDir, unique},
};

const COMMENTED: &str = "\u{feff}// mine\r\n{\r\n  models: { providers: {\r\n    first: { baseUrl: 'http://ollama', models: [] }, // stays\r\n    claude: { baseUrl: 'http://old', apiKey: 'old', api: 'anthropic-messages', models: [{id: 'claude-sonnet-4-6', name: 'x'}], },\r\n  }, },\r\n  agents: { defaults: { model: { primary: 'claude/claude-sonnet-4-6' } } },\r\n  env: { vars: { NOTION_TOKEN: 'a secret: value' , OPENAI_API_KEY: 'not this'} },\r\n}\r\n";

#[test]
fn instance_becomes_a_tenant_is_served_and_comes_back() {
    let host = Host::new();
    let file = host.openclaw("", COMMENTED);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&file, Some(1000), Some(1000)).unwrap();

    host.setup(&["--dry-run"])
        .good()
        .says("provider claude (anthropic-messages): http://old -> http://127.0.0.1:")
        .says("Nothing was changed");
    assert_eq!(fs::read_to_string(&file).unwrap(), COMMENTED);
    assert!(!host.config().exists());

    let said = host
        .setup(&["--yes"])
        .good()
        .says("new tenant, with variables NOTION_TOKEN")
        .says("a request of its own is answered");
    let key = host.key("local");
    assert!(!said.stdout.contains(&key) && !said.stdout.contains("a secret"));
    // Nothing else was touched.
    let expect = COMMENTED
        .replace("'http://old'", &format!("'http://127.0.0.1:{}'", host.port))
        .replace("'old'", &format!("'{key}'"));
    assert_eq!(
        unquoted(&fs::read_to_string(&file).unwrap()),
        unquoted(&expect)
    );
    let now = fs::metadata(&file).unwrap();
    assert_eq!((now.uid(), now.mode() & 0o777), (1000, 0o640));
    assert!(
        host.config_text()
            .contains("NOTION_TOKEN: \"a secret: value\"\n")
    );
    assert!(!host.config_text().contains("not this"));
    assert_eq!(fs::metadata(host.config()).unwrap().mode() & 0o777, 0o600);

    let (config, settings) = (host.config_text(), fs::read(&file).unwrap());
    host.setup(&[]).good().says("nothing to change");
    assert_eq!(host.config_text(), config);
    assert_eq!(fs::read(&file).unwrap(), settings);

    let reverted = host.manage(&["apply", "--revert", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&reverted.good().stdout).unwrap();
    // What comes before it is that there is no engine.
    let of_tenant = told.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&of_tenant["tenant"], &of_tenant["status"]),
        (&"local".into(), &"ok".into())
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), COMMENTED);
    host.manage(&["apply", "--revert"])
        .good()
        .says("nothing was changed");
}

/// The editor may choose its quotes.
fn unquoted(text: &str) -> String {
    text.replace(['\'', '"'], "")
}

#[test]
fn profiles_are_instances_of_their_own_and_operators_text_stays() {
    let host = Host::new();
    let built_in = r#"{"agents":{"defaults":{"model":"anthropic/claude-sonnet-4-6"}}}"#;
    let first = host.openclaw("", built_in);
    let second = host.openclaw("-work", built_in);
    host.dir.create_dir("home/.openclaw-junk");
    let before = "# by hand\ncli:\n  max_concurrent: 2 # small machine\ntenants:\n  - name: local\n    api_key: my-own-key-of-it\n";
    fs::write(host.config(), before).unwrap();
    host.setup(&[]).good().says("local-work").says("before: ");
    assert!(
        host.config_text().starts_with(before),
        "{}",
        host.config_text()
    );
    let key = |file| json(file)["models"]["providers"]["anthropic"]["apiKey"].clone();
    assert_eq!(key(&first), "my-own-key-of-it");
    assert_eq!(key(&second), host.key("local-work"));
    let backup = fs::read_dir(host.config().parent().unwrap())
        .unwrap()
        .flatten();
    let backup = backup
        .map(|it| it.path())
        .find(|it| it.to_string_lossy().contains(".bak-"));
    assert_eq!(
        fs::read_to_string(backup.expect("a backup")).unwrap(),
        before
    );
}

#[test]
fn env_file_follows_openclaw_json_and_is_never_made() {
    let host = Host::new();
    host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let built_in = r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#;
    host.openclaw("-b", built_in);
    let env = host.dir.write(
        "home/.openclaw/.env",
        "# keys\nANTHROPIC_API_KEY=sk-real\nOTHER=1\n",
    );
    host.setup(&[]).good();
    let expect = format!(
        "# keys\nANTHROPIC_API_KEY={}\nOTHER=1\nANTHROPIC_BASE_URL=http://127.0.0.1:{}\n",
        host.key("local"),
        host.port
    );
    assert_eq!(fs::read_to_string(&env).unwrap(), expect);
    assert!(!host.home(".openclaw-b/.env").exists());
    host.manage(&["apply", "local", "--revert"]).good();
    assert!(fs::read_to_string(&env).unwrap().contains("sk-real"));
}

#[test]
fn two_setups_at_once_end_as_one_would() {
    let host = Host::new();
    host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let both: Vec<Ended> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| host.setup(&["--yes"]));
        [one(), one()].map(|it| it.join().unwrap()).into()
    });
    assert!(
        both.iter().any(|it| it.code == Some(0)) || host.setup(&["--yes"]).code == Some(0),
        "{both:?}"
    );
    // Whatever they did to each other, one tenant and its key are everywhere.
    host.setup(&["--yes"]).good();
    assert_eq!(host.config_text().matches("- name: local\n").count(), 1);
    let text = fs::read_to_string(host.home(".openclaw/openclaw.json")).unwrap();
    assert!(text.contains(&host.key("local")), "{text}");
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    let host = Host::new();
    let file = host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    host.setup(&[]).good();
    let report = host.manage(&["doctor", "--json"]).bad();
    let lines: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let status = |lines: &serde_json::Value, check: &str| {
        let all = lines.as_array().unwrap().clone();
        let found = all.iter().find(|it| it["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}"))["status"].clone()
    };
    assert_eq!(status(&lines, "gateway"), "fail");
    assert_eq!(status(&lines, "settings"), "ok");
    assert_eq!(status(&lines, "stream"), "ok");

    let gateway = host.serve();
    // An update of OpenClaw has written its own idea of it.
    fs::write(
        &file,
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    )
    .unwrap();
    let report = host.manage(&["doctor", "local", "--json", "--quick"]).bad();
    let lines: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(status(&lines, "gateway"), "ok");
    assert_eq!(status(&lines, "key"), "ok");
    assert_eq!(status(&lines, "model"), "ok");
    assert_eq!(status(&lines, "settings"), "fail");
    assert!(!report.stdout.contains(&host.key("local")));
    host.manage(&["apply", "local"])
        .good()
        .says("a request of its own is answered");
    gateway.stop();
    fs::write(
        &file,
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    )
    .unwrap();
    let gateway = host.serve();
    gateway.log_contains("an instance does not use the gateway");
    gateway.log_contains("provider anthropic points at nothing");
    host.manage(&["apply"]).good();
    host.manage(&["doctor", "--quick"]).good();
    host.manage(&["doctor", "nobody"])
        .bad()
        .says("no tenant is called `nobody`");
    gateway.stop();
}

#[test]
fn instance_that_comes_later_is_served_without_a_restart() {
    const PLAIN: &str = r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#;
    let host = Host::new();
    host.openclaw("", PLAIN);
    host.setup(&[]).good();
    let gateway = host.serve();
    host.openclaw("-work", PLAIN);
    host.setup(&[])
        .good()
        .says("local-work")
        .says("a request of its own is answered");
    gateway.log_contains("tenant local-work added");
    gateway.stop();
}

#[test]
fn revert_gives_back_what_was_changed_of_the_file_itself() {
    let host = Host::new();
    let file = host.openclaw("", r#"{agents:{defaults:{model:"anthropic/opus"}}}"#);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&file, Some(1000), Some(1000)).unwrap();
    host.setup(&[]).good();
    // As OpenClaw's own writes leave it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(0), Some(0)).unwrap();
    host.manage(&["apply", "--revert"]).good();
    let now = fs::metadata(&file).unwrap();
    assert_eq!(
        (now.uid(), now.gid(), now.mode() & 0o777),
        (1000, 1000, 0o644)
    );
}

#[test]
fn instance_whose_model_another_runtime_answers_is_left_alone_and_told() {
    let text = r#"{agents:{defaults:{model:"anthropic/opus",models:{"anthropic/opus":{agentRuntime:{id:"claude-cli"}}}}}}"#;
    let host = Host::new();
    let file = host.openclaw("", text);
    host.setup(&[])
        .bad()
        .says("answered by the runtime \"claude-cli\"");
    assert_eq!(fs::read_to_string(file).unwrap(), text);
}

#[test]
fn first_start_without_a_configuration_sets_up_and_serves() {
    let host = Host::new();
    let file = host.openclaw(
        "",
        r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let mut command = host.command(Path::new(env!("CARGO_BIN_EXE_ccgw")), &[]);
    let mark = unique();
    command.env(MARK, &mark);
    let gateway = Gateway::start(command, TempDir::new(), mark);
    let key = host.key("local");
    assert!(fs::read_to_string(file).unwrap().contains(&key));
    let headers = [("x-api-key", key.as_str())];
    let answer = gateway
        .client()
        .post("/v1/messages", &headers, &prompt("hi"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.stop();
}

#[test]
fn revert_keeps_what_was_changed_since_and_asks_whose_backup_it_is() {
    let host = Host::new();
    let built_in = r#"{agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#;
    let file = host.openclaw("", built_in);
    host.setup(&[]).good();
    let later = fs::read_to_string(&file)
        .unwrap()
        .replace("{agents", "{ui:{},agents");
    fs::write(&file, &later).unwrap();
    host.manage(&["apply", "--revert"])
        .good()
        .says("what was there until now");
    assert_eq!(fs::read_to_string(&file).unwrap(), built_in);
    let backups = host.home(".local/state/ccgw/backups/local");
    let dirs = fs::read_dir(&backups).unwrap().flatten();
    let mut copies = dirs.flat_map(|dir| fs::read_dir(dir.path()).unwrap().flatten());
    assert!(copies.any(|it| fs::read_to_string(it.path()).unwrap() == later));

    host.setup(&[]).good();
    let manifest = fs::read_dir(&backups).unwrap().flatten();
    let manifest = manifest
        .map(|dir| dir.path().join("files.json"))
        .find(|it| it.exists())
        .expect("a backup");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("this machine:", "another:")).unwrap();
    host.manage(&["apply", "--revert"])
        .bad()
        .says("put it back by hand");
}

#[test]
fn terminal_is_not_driven_by_what_an_instance_says() {
    let host = Host::new();
    host.openclaw(
        "",
        r#"{models:{providers:{anthropic:{baseUrl:"\u001b]0;x\u0007\n  ok    all is well",models:[]}}},agents:{defaults:{model:"anthropic/claude-sonnet-4-6"}}}"#,
    );
    let said = host.setup(&["--dry-run"]).good();
    assert!(
        !said.stdout.contains('\u{1b}') && !said.stdout.contains('\u{7}'),
        "{:?}",
        said.stdout
    );
    assert!(
        !said.stdout.contains("\n  ok    all is well"),
        "{}",
        said.stdout
    );
}
