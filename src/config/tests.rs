//! Whole files through [`load`](super::load): what is accepted, and how every problem reads.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::api::Effort;

use super::server::DockerHostIp;
use super::skills::SkillsSync;
use super::*;

mod cors;
mod example;
mod hostile;
mod tenants;

const ALICE: &str = "tenants:\n- name: alice\n  api_key: sk-alice-1234\n";

/// A folder of the test's own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ccgw-config-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Folder(dir)
    }

    /// `load` of a file with these bytes; problems as text with the folder cut off.
    fn load(&self, bytes: &[u8], env: &[(&str, &str)]) -> Result<Loaded, String> {
        let path = self.0.join("config.yaml");
        fs::write(&path, bytes).unwrap();
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let folder = format!("{}/", self.0.display());
        load(&path, &env).map_err(|problems| problems.to_string().replace(&folder, ""))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary directory is not the test's failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn accept(text: &str, env: &[(&str, &str)]) -> Config {
    Folder::new().load(text.as_bytes(), env).unwrap().config
}

/// The problems of a file, one a line.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    check_with(text, &[], expect);
}

#[track_caller]
fn check_with(text: &str, env: &[(&str, &str)], expect: &[&str]) {
    let problems = match Folder::new().load(text.as_bytes(), env) {
        Ok(_) => String::new(),
        Err(problems) => problems,
    };
    assert_eq!(problems.lines().collect::<Vec<_>>(), expect);
}

/// That the only problem has this in it.
#[track_caller]
fn check_one(text: &[u8], part: &str) {
    let problems = Folder::new().load(text, &[]).unwrap_err();
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(problems.contains(part), "{problems}");
}

#[test]
fn defaults_are_those_of_the_manual() {
    for text in [
        "",
        "# nothing\n",
        "tenants:\n",
        "server: {}\ntenants: []\n",
        "---\n...",
    ] {
        let config = accept(text, &[]);
        let Config {
            server,
            cli,
            session,
            skills,
            isolation,
            sandbox,
            relay,
            tenants,
        } = &config;
        assert!(tenants.is_empty(), "{text:?}");
        assert_eq!((server.port, server.host), (3456, None));
        assert_eq!(server.docker_host_ip, DockerHostIp::Auto);
        assert_eq!(server.max_body_bytes, 33_554_432);
        assert_eq!(
            (server.max_connections, server.max_connections_per_ip),
            (1024, 256)
        );
        let times = [
            server.head_timeout,
            server.body_timeout,
            server.write_timeout,
        ];
        assert_eq!(times, [10_000, 60_000, 30_000].map(Duration::from_millis));
        assert_eq!(cli.bin, PathBuf::from("claude"));
        let times = [
            cli.timeout,
            cli.idle_timeout,
            cli.queue_timeout,
            cli.drain_timeout,
        ];
        assert_eq!(
            times,
            [900_000, 300_000, 300_000, 30_000].map(Duration::from_millis)
        );
        let counts = [cli.max_concurrent, cli.max_per_tenant, cli.queue_depth];
        assert_eq!((counts, cli.effort), ([3, 1, 20], None));
        assert!(cli.skill_file.is_absolute() && cli.skill_file.ends_with("openclaw-skill.md"));
        assert_eq!(cli.stream, StreamPolicy::Final);
        assert_eq!(cli.permission_mode, PermissionMode::BypassPermissions);
        assert_eq!(cli.warm, Some(WARM_BY_DEFAULT));
        let times = [session.ttl, session.cleanup_interval];
        assert_eq!(times, [3600, 900].map(Duration::from_secs));
        assert_eq!(skills.sync, SkillsSync::Auto);
        assert!(skills.dir.is_absolute() && skills.dir.ends_with("skills"));
        assert_eq!(*isolation, Isolation::Auto);
        let limits = [sandbox.max_processes, sandbox.max_file_bytes];
        assert_eq!((limits, sandbox.read_only.len()), ([1024, 2 << 30], 0));
        assert_eq!((sandbox.network, sandbox.hosts.len()), (Reaches::Shared, 0));
        assert_eq!(
            (sandbox.memory_bytes, sandbox.cpu_weight),
            (Memory::Auto, 100)
        );
        let relay = relay.as_ref().unwrap();
        assert_eq!(
            (relay.allow.len(), relay.timeout),
            (14, Duration::from_secs(120))
        );
    }
}

#[test]
fn without_a_file_the_defaults_and_the_environment_count() {
    let port = |name: &str| (name == "PORT").then(|| "7".to_owned());
    let config = Config::default_in(Path::new("/srv"), &port).unwrap();
    assert_eq!(config.server.port, 7);
    assert_eq!(config.skills.dir, PathBuf::from("/srv/skills"));
    let open = |name: &str| (name == "HOST").then(|| "0.0.0.0".to_owned());
    let problems = Config::default_in(Path::new("/srv"), &open)
        .unwrap_err()
        .to_string();
    assert!(
        problems.starts_with("environment HOST: 0.0.0.0 with no tenants"),
        "{problems}"
    );
}

/// What the reference's own setup writes.
const OLD: &str = "\
server:
  port: 3456
  host: 0.0.0.0
  docker_host_ip: 172.17.0.1
cli:
  bin: claude
  timeout: 900000
  max_concurrent: 3
  skill_file: openclaw-skill.md
  effort: ''
session:
  ttl: 3600
  cleanup_interval: 900
skills:
  sync: auto
  dir: ./skills
tenants:
  - name: dc
    api_key: 1234567890
    working_dir: ''
    env: &ref_0
      A: 1
      B: true
      C: null
      D: 1e10
  - name: second
    api_key: \"1e10-2345\"
    working_dir: ../work
    env: *ref_0
";

#[test]
fn old_files_are_accepted_as_they_are() {
    let folder = Folder::new();
    let Config {
        server,
        cli,
        tenants,
        ..
    } = folder.load(OLD.as_bytes(), &[]).unwrap().config;
    let docker: IpAddr = "172.17.0.1".parse().unwrap();
    assert_eq!(server.docker_host_ip, DockerHostIp::Ip(docker));
    assert_eq!(cli.effort, None);
    let keys: Vec<_> = tenants
        .iter()
        .map(|tenant| tenant.key.secret().unwrap().expose())
        .collect();
    assert_eq!(keys, ["1234567890", "1e10-2345"]);
    assert_eq!(tenants[0].working_dir, None);
    assert_eq!(tenants[1].working_dir, Some(folder.0.join("../work")));
    for tenant in &tenants {
        let env = tenant
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()));
        let expect = [("A", "1"), ("B", "true"), ("C", ""), ("D", "1e10")];
        assert_eq!(env.collect::<Vec<_>>(), expect);
    }
}

#[test]
fn byte_order_marks_and_crlf_are_accepted() {
    let text = format!("\u{feff}{}", OLD.replace('\n', "\r\n"));
    let config = accept(&text, &[]);
    assert_eq!(config.tenants[0].name, "dc");
    assert_eq!(
        config.cli.skill_file.file_name().unwrap(),
        "openclaw-skill.md"
    );
}

#[test]
fn scalars_that_look_like_something_else_stay_text() {
    for key in [
        "1234567890",
        "1e1000000",
        "0x12345678",
        "12:30:45.67",
        "truetrue",
        "-.infinity",
    ] {
        let config = accept(&format!("tenants: [{{name: 007, api_key: {key}}}]"), &[]);
        assert_eq!(config.tenants[0].key.secret().unwrap().expose(), key);
        assert_eq!(config.tenants[0].name, "007");
    }
    let config = accept(
        "tenants: [{name: null, api_key: !!str 12345678}]"
            .replace("null", "'null'")
            .as_str(),
        &[],
    );
    assert_eq!(config.tenants[0].name, "null");
}

#[test]
fn the_environment_overrides_the_file() {
    let text = format!("server: {{port: '1'}}\ncli: {{timeout: 1, bin: x}}\n{ALICE}");
    let env = [
        ("PORT", "0"),
        ("HOST", "192.0.2.1"),
        ("DOCKER_HOST_IP", "192.0.2.2"),
        ("CLAUDE_BIN", "~/bin/claude"),
        ("CLI_TIMEOUT", "5"),
        ("MAX_CONCURRENT", "9"),
        ("MAX_PER_TENANT", "9"),
        ("CLI_EFFORT", "xhigh"),
        ("HOME", "/home/user"),
    ];
    let Config { server, cli, .. } = accept(&text, &env);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!((server.port, server.host), (0, Some(ip("192.0.2.1"))));
    assert_eq!(server.docker_host_ip, DockerHostIp::Ip(ip("192.0.2.2")));
    assert_eq!(cli.bin, PathBuf::from("/home/user/bin/claude"));
    assert_eq!(cli.timeout, Duration::from_millis(5));
    assert_eq!((cli.max_concurrent, cli.max_per_tenant), (9, 9));
    assert_eq!(cli.effort, Some(Effort::Xhigh));
    let empty = env.map(|(name, _)| (name, ""));
    let Config { server, cli, .. } = accept(&text, &empty);
    assert_eq!((server.port, server.host, cli.max_concurrent), (1, None, 3));
}

#[test]
fn all_problems_come_at_once_with_line_and_advice() {
    let text = "\
server:
  prot: 1
  port: 99999
  host: example.org
  max_concurrent: 3
  body_timeout: 0
  max_body_bytes: 1_000
  port: 3
cli:
  - x
session: 5
skills:
  sync: atuo
  dir: [a]
  : x
  ttl: 3
colour: red
tenants:
  - name: Bob
    api_key: short
    env: {A-B: 1, C: [], D: 2}
  - api_key:
    nmae: x
  - just text
";
    check_with(
        text,
        &[("PORT", "http"), ("CLI_EFFORT", "hihg")],
        &[
            "config.yaml:2: server: unknown key `prot`, did you mean `port`?",
            "config.yaml:3: server.port: `99999` is out of range, write a whole number from 0 to 65535",
            "config.yaml:4: server.host: `example.org` is not an IP address, write one such as 127.0.0.1 or \"::1\" (names are not looked up, except localhost)",
            "config.yaml:5: server: unknown key `max_concurrent`, it belongs under `cli`",
            "config.yaml:6: server.body_timeout: `0` is no time at all (it does not switch the limit off), write at least 1, in milliseconds",
            "config.yaml:7: server.max_body_bytes: `1_000` is not a number in plain digits, write a whole number from 1024 to 1073741824",
            "config.yaml:8: `port` is here a second time, keep this one or the one in line 3",
            "config.yaml:10: cli: expected `key: value` pairs, found a list",
            "config.yaml:11: session: expected `key: value` pairs, found a single value",
            "config.yaml:13: skills.sync: `atuo` is not a valid choice, did you mean `auto`?",
            "config.yaml:14: skills.dir: expected a single value, found a list",
            "config.yaml:15: an empty key, write a name before the `:`",
            "config.yaml:16: skills: unknown key `ttl`, it belongs under `session`",
            "config.yaml:17: unknown key `colour`, valid keys are server, cli, session, skills, isolation, sandbox, relay, tenants",
            "config.yaml:19: tenants[0].name: `Bob` is not a tenant name, write 1 to 63 of a-z, 0-9, _ and -, starting with a letter or a digit",
            "config.yaml:20: tenants[0].api_key: the key has 5 characters, write 8 to 512",
            "config.yaml:21: tenants[0].env: `A-B` is not a variable name, write letters, digits and _, not starting with a digit",
            "config.yaml:21: tenants[0].env.C: expected a single value, found a list",
            "config.yaml:22: tenants[1].name: is missing or empty, write a name of a-z, 0-9, _ and -",
            "config.yaml:22: tenants[1].api_key: is missing or empty, write a long random text, for example from `openssl rand -hex 24`",
            "config.yaml:23: tenants[1]: unknown key `nmae`, did you mean `name`?",
            "config.yaml:24: tenants[2]: expected `name:` and `api_key:`, found a single value",
            "environment CLI_EFFORT: `hihg` is not a valid choice, did you mean `high`?",
            "environment PORT: `http` is not a number in plain digits, write a whole number from 0 to 65535",
        ],
    );
}

#[test]
fn environment_problems_come_with_a_syntax_error() {
    check_with(
        "server:\n  port: 1\n host: x\n",
        &[("PORT", "x"), ("HOST", "0.0.0.0")],
        &[
            "config.yaml:3: not valid YAML (while parsing a block mapping, did not find expected key), check the indentation and the quotes in this line and the ones above",
            "environment PORT: `x` is not a number in plain digits, write a whole number from 0 to 65535",
        ],
    );
}

/// Of `abc` and of `key-of-b`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const KEY_OF_B: &str = "caad66a34f6dbd2c56b4fceb13caf74761aba0720534d6e33185edd493ea0f63";

#[test]
fn every_key_is_read_and_refuses_a_map() {
    use super::keys::*;
    for keys in [&SERVER, &CLI, &SESSION, &SKILLS] {
        // The only one that is a map itself.
        for name in keys.names.iter().filter(|it| **it != "warm") {
            let text = format!("{}: {{{name}: {{a: b}}}}", keys.section);
            check_one(
                text.as_bytes(),
                &format!("{}.{name}: expected", keys.section),
            );
        }
    }
    for name in WARM.names {
        check_one(
            format!("cli: {{warm: {{{name}: {{a: b}}}}}}").as_bytes(),
            &format!("cli.warm.{name}: expected"),
        );
    }
    for name in TENANT.names {
        let problems = Folder::new().load(format!("tenants: [{{{name}: [a]}}]").as_bytes(), &[]);
        let text = format!("tenants[0].{name}: expected");
        assert!(problems.unwrap_err().contains(&text), "{name}");
    }
}

const WARM_BY_DEFAULT: Warm = Warm {
    max_processes: 4,
    idle_timeout: Duration::from_secs(600),
    memory_bytes: None,
};

#[test]
fn processes_that_wait_have_limits_or_are_switched_off() {
    let warm = |text: &str| accept(text, &[]).cli.warm;
    assert_eq!(warm("cli: {warm: off}"), None);
    assert_eq!(warm("cli: {warm: on}"), Some(WARM_BY_DEFAULT));
    assert_eq!(warm("cli: {warm: {}}"), Some(WARM_BY_DEFAULT));
    let limits = "cli: {warm: {max_processes: 9, idle_timeout: 5, memory_bytes: 7000}}";
    let expect = Warm {
        max_processes: 9,
        idle_timeout: Duration::from_millis(5),
        memory_bytes: Some(7000),
    };
    assert_eq!(warm(limits), Some(expect));
    assert_eq!(
        warm("cli: {warm: {memory_bytes: auto}}"),
        Some(WARM_BY_DEFAULT)
    );
    check(
        "cli: {warm: maybe}",
        &["config.yaml:1: cli.warm: expected `key: value` pairs, found a single value"],
    );
}
