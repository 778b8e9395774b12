//! The commands about tenants: what they say, what becomes of config.yaml, and what the gateway makes of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, key_of, prompt},
    setup::{Setup, manage, manage_command},
    temp::TempDir,
};

const FILE: &str = "# mine\r\nserver:\r\n  port: 1 # theirs\r\ntenants:\r\n  # the first\r\n  - name: a\r\n    api_key: 'key-of-a-0123456789'   # old\r\n    env: {X: secret-value}\r\n";

fn dir_with(text: &str) -> TempDir {
    let dir = TempDir::new();
    dir.write("config.yaml", text);
    dir
}

fn config(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("config.yaml")).unwrap()
}

#[track_caller]
fn good(dir: &TempDir, words: &[&str]) -> String {
    text_of(&manage(dir, words), words)
}

#[track_caller]
fn text_of(output: &Output, words: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {text} {errors}");
    text
}

#[track_caller]
fn fails(dir: &TempDir, words: &[&str], status: i32, expect: &str) {
    let before = fs::read(dir.path().join("config.yaml")).ok();
    let output = manage(dir, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {errors}");
    assert!(errors.contains(expect), "{words:?}: {errors}");
    assert_eq!(
        fs::read(dir.path().join("config.yaml")).ok(),
        before,
        "{words:?}"
    );
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn tenants_come_and_go_and_all_else_stays_as_it_was_written() {
    let dir = dir_with(FILE);
    let said = good(&dir, &["add", "b", "--working-dir", "/srv/b"]);
    let key = said.lines().last().unwrap();
    assert_eq!(key.len(), 64, "{said}");
    assert_eq!(
        config(&dir),
        format!("{FILE}  - name: b\r\n    api_key: {key}\r\n    working_dir: /srv/b\r\n")
    );
    let mode = fs::metadata(dir.path().join("config.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);

    assert_eq!(good(&dir, &["list", "--names"]), "a\nb\n");
    let listed = json(&good(&dir, &["list", "--json"]));
    assert_eq!(listed[1]["key_ends"], key[60..]);
    assert_eq!(listed[0]["env"][0], "X");
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["show", "a"],
        &["show", "b", "--json"],
    ] {
        let said = good(&dir, words);
        assert!(
            !said.contains(key) && !said.contains("secret-value"),
            "{said}"
        );
        assert!(!said.contains("key-of-a"), "{said}");
    }
    good(&dir, &["remove", "b", "--yes"]);
    assert_eq!(config(&dir), FILE);
    good(&dir, &["remove", "a", "-y"]);
    assert_eq!(
        json(&good(&dir, &["list", "--json"])),
        Value::Array(Vec::new())
    );
    assert!(config(&dir).starts_with("# mine\r\nserver:\r\n  port: 1 # theirs\r\n"));
}

#[test]
fn file_that_is_not_there_yet_is_made() {
    let dir = TempDir::new();
    let said = json(&good(&dir, &["add", "a", "--json"]));
    let key = said["api_key"].as_str().unwrap();
    assert!(config(&dir).contains(key));
    let mode = fs::metadata(dir.path().join("config.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let new = json(&good(&dir, &["gen-key", "--json"]));
    assert_eq!(new["api_key_sha256"].as_str().unwrap().len(), 64);
    assert_ne!(good(&dir, &["gen-key"]), good(&dir, &["gen-key"]));
}

#[test]
fn variables_are_set_without_a_trace_and_listed_by_name() {
    let dir = dir_with(FILE);
    good(&dir, &["env", "a", "set", "Y=1", "Z=a=b: c"]);
    let mut command = manage_command(&dir, &["env", "a", "set", "TOKEN"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from stdin\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(good(&dir, &["env", "a", "list"]), "X\nY\nZ\nTOKEN\n");
    let values = json(&good(
        &dir,
        &["env", "a", "list", "--show-values", "--json"],
    ));
    assert_eq!(
        values,
        serde_json::json!({"X": "secret-value", "Y": "1", "Z": "a=b: c", "TOKEN": "from stdin"})
    );
    good(&dir, &["env", "a", "unset", "Y", "Z", "TOKEN"]);
    assert_eq!(config(&dir), FILE);
    fails(&dir, &["env", "a", "unset", "Y"], 1, "no variable `Y`");
    fails(&dir, &["env", "a", "set", "1X=y"], 1, "not a variable name");
    fails(&dir, &["env", "a", "set"], 1, "at least one");
}

#[test]
fn wrong_words_change_nothing_and_are_named() {
    let dir = dir_with(FILE);
    fails(&dir, &["add", "a"], 1, "is here already");
    fails(&dir, &["add", "../x"], 1, "is not a tenant name");
    fails(&dir, &["add", "\u{1b}[31m"], 1, "is not a tenant name");
    fails(&dir, &["add", "c", "--key", "short"], 1, "5 characters");
    fails(
        &dir,
        &["add", "c", "--key", "key-of-a-0123456789"],
        1,
        "the same key as",
    );
    fails(&dir, &["remove", "nobody", "-y"], 1, "there are: a");
    fails(&dir, &["remove", "a"], 1, "add --yes");
    fails(
        &dir,
        &["rotate", "a", "--grace", "1w"],
        1,
        "is not a grace time",
    );
    fails(&dir, &["show"], 2, "NAME");
    fails(&dir, &["env", "a"], 2, "help");
    fails(
        &dir,
        &["--config", "/none/x.yaml", "list"],
        1,
        "/none/x.yaml",
    );
    dir.write(
        "config.yaml",
        "tenants: &x [{name: a, api_key: key-of-a-0123456789}]\n",
    );
    fails(&dir, &["add", "b"], 1, "anchor");
}

fn ask(gateway: &Gateway, key: &str) -> Response {
    gateway
        .client()
        .post("/v1/messages", &[("x-api-key", key)], &prompt("x"))
}

#[test]
fn running_gateway_takes_new_keys_and_old_ones_for_their_time() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer fine; idle");
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let dir = &gateway.dir;
    let before = key_of("alpha");
    let said = json(&good(dir, &["rotate", "alpha", "--json"]));
    let key = said["api_key"].as_str().unwrap();
    assert!(said["previous_key_until"].as_str().unwrap().ends_with('Z'));
    gateway.log_contains("tenant alpha changed");
    assert_eq!(ask(&gateway, key).answer_text(), "fine");
    assert_eq!(ask(&gateway, &before).answer_text(), "fine");
    assert!(!config(dir).contains(&before));
    assert!(good(dir, &["show", "alpha"]).contains("previous key until  20"));

    // Its time is over.
    let text = config(dir);
    let at = text.find("previous_key_until: ").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let over = text.replace(&text[at..end], "previous_key_until: 2020-01-01T00:00:00Z");
    dir.write("config.yaml", over);
    good(dir, &["reload"]);
    let refused = ask(&gateway, &before);
    refused.assert_error(401, "authentication_error");
    assert!(
        refused.text().contains("was replaced"),
        "{}",
        refused.text()
    );
    assert_eq!(ask(&gateway, key).answer_text(), "fine");

    // At once, and by the hash alone.
    let last = json(&good(dir, &["rotate", "alpha", "--grace", "0", "--json"]));
    let last = last["api_key"].as_str().unwrap();
    assert!(!config(dir).contains("previous_key"));
    let mut hash = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut hash.stdin.take().unwrap(), last.as_bytes()).unwrap();
    let hash = hash.wait_with_output().unwrap().stdout;
    let hash = String::from_utf8(hash).unwrap()[..64].to_owned();
    let text = config(dir).replace(
        &format!("api_key: {last}"),
        &format!("api_key_sha256: {hash}"),
    );
    assert!(!text.contains(last), "{text}");
    dir.write("config.yaml", text);
    good(dir, &["reload"]);
    assert_eq!(ask(&gateway, last).answer_text(), "fine");
    assert_eq!(ask(&gateway, key).status, 401);
    assert!(good(dir, &["show", "alpha"]).contains("by its hash"));
    good(dir, &["rotate", "alpha", "--key", "a-key-of-my-own-0123"]);
    assert!(!config(dir).contains("a-key-of-my-own"));
    good(dir, &["reload"]);
    assert_eq!(ask(&gateway, "a-key-of-my-own-0123").answer_text(), "fine");
    assert_eq!(ask(&gateway, last).answer_text(), "fine");
    let log = gateway.log();
    for secret in [key, last, &before, "a-key-of-my-own"] {
        assert!(!log.contains(secret), "{log}");
    }
    gateway.stop();
}

#[test]
fn twenty_at_once_all_land() {
    let dir = dir_with(FILE);
    good(&dir, &["list"]);
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| good(&dir, &["add", name]));
        }
    });
    let listed = good(&dir, &["list", "--names"]);
    assert_eq!(listed.lines().count(), 21);
    assert!(config(&dir).starts_with(FILE));
}

#[test]
fn command_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let dir = dir_with(FILE);
    let mut expect = vec!["a".to_owned()];
    for number in 0..200u64 {
        let name = format!("t{number}");
        let mut child: Child = manage_command(&dir, &["add", &name])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere in its life, which is a few milliseconds long.
        let wait = Duration::from_micros(number % 67 * 97);
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        assert!(receiver.recv_timeout(wait).is_err());
        drop(sender);
        let _ = child.kill();
        child.wait().unwrap();
        let text = config(&dir);
        assert!(text.starts_with(FILE), "{text}");
        let listed: Vec<String> = good(&dir, &["list", "--names"])
            .lines()
            .map(str::to_owned)
            .collect();
        if listed.last() == Some(&name) {
            expect.push(name);
        }
        assert_eq!(listed, expect);
    }
    good(&dir, &["add", "last"]);
    let left = fs::read_dir(dir.path())
        .unwrap()
        .map(|it| it.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|it| it.to_string_lossy().contains(".ccgw-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What bash offers behind these words.
fn offered(dir: &TempDir, words: &[&str]) -> String {
    let script = format!(
        "eval \"$(./ccgw-manage completions bash)\"; COMP_WORDS=(./ccgw-manage {}); COMP_CWORD={}; _ccgw_manage; echo \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len()
    );
    good(dir, &["list"]);
    let mut command = manage_command(dir, &[]);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(dir.path())
        .env_clear()
        .envs(environment);
    text_of(&command.output().unwrap(), words)
}

#[test]
fn bash_completes_commands_tenants_and_options() {
    let dir = dir_with(FILE);
    good(&dir, &["add", "alice"]);
    assert_eq!(offered(&dir, &["re"]), "remove reload\n");
    assert_eq!(offered(&dir, &["show", "al"]), "alice\n");
    assert_eq!(offered(&dir, &["rotate", "alice", "--g"]), "--grace\n");
    assert_eq!(offered(&dir, &["env", "alice", "''"]), "list set unset\n");
    assert_eq!(offered(&dir, &["completions", "z"]), "zsh\n");
    fails(&dir, &["completions", "csh"], 2, "there are: bash zsh fish");
}
