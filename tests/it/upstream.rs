//! Credentials that do not work and usage limits: answered from memory, without a CLI, until one
//! request finds out that they are over.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    api::ScriptedApi,
    cli::real_cli,
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, key_of, prompt, streaming},
    process::wait_until,
    setup::Setup,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Shell functions for the ends that last.
const ENDS: &str = r#"
lost() { printf '{"type":"result","is_error":true,"result":"Not logged in. Please run /login"}\n'; idle; exit 1; }
limited() {
  printf '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%s,"rateLimitType":"%s"}}\n' "$1" "$2"
  printf '{"type":"result","is_error":true,"api_error_status":429,"result":"You have hit your limit"}\n'; idle; exit 1
}
"#;

fn start(body: &str, setup: impl FnOnce(Setup) -> Setup) -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, &format!("{ENDS}{body}"));
    let gateway = setup(Setup::with_cli(dir, fake.path())).start();
    (gateway, fake)
}

/// A body of the fake CLI that is signed in once the test has made the file.
const UNTIL_SIGNED_IN: &str = "[ -e \"$here/signed-in\" ] || lost; answer hello; idle";

fn sign_in(fake: &FakeCli) {
    let here = fake.path().parent().unwrap().join("fake-cli");
    fs::write(here.join("signed-in"), "").unwrap();
}

fn message(answer: &Response) -> String {
    let body = answer.json();
    body["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn retry_after(answer: &Response) -> u64 {
    let value = answer.header("retry-after").expect("no retry-after");
    value.parse().unwrap()
}

/// Checks that this is an answer from memory, of this status, with a time to come back.
#[track_caller]
fn assert_from_memory(answer: &Response, status: u16, seconds_max: u64) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(
        message(answer).contains("known from an earlier request"),
        "{}",
        message(answer)
    );
    let seconds = retry_after(answer);
    assert!(
        (1..=seconds_max).contains(&seconds),
        "retry-after: {seconds}"
    );
}

#[track_caller]
fn wait_for_answer(gateway: &Gateway, tenant: &str) {
    wait_until(PATIENCE, "an answer", || {
        gateway.ask(tenant, &prompt("again")).status == 200
    });
}

#[test]
fn lost_login_starts_one_cli_and_comes_back_by_itself() {
    let (gateway, fake) = start(UNTIL_SIGNED_IN, |setup| setup);
    let first = gateway.ask("alpha", &prompt("first"));
    first.assert_error(503, "api_error");
    assert_eq!(retry_after(&first), 5);
    gateway.log_contains("the Claude login does not work");
    // The login is the same one for both tenants, both formats, and streams.
    for tenant in ["alpha", "beta"] {
        let whole = gateway.ask(tenant, &prompt("more"));
        assert_from_memory(&whole, 503, 5);
        assert!(message(&whole).contains("sign in"), "{}", message(&whole));
        let streamed = gateway.send(tenant, &streaming(&prompt("more"))).response();
        assert_from_memory(&streamed, 503, 5);
        let bearer = format!("Bearer {}", key_of(tenant));
        let headers = [("authorization", bearer.as_str())];
        let path = "/v1/chat/completions";
        let openai = gateway.client().post(path, &headers, &prompt("more"));
        assert_from_memory(&openai, 503, 5);
        assert_eq!(openai.json()["error"]["code"], "unavailable");
    }
    assert_eq!(fake.prompts().len(), 1);
    sign_in(&fake);
    wait_for_answer(&gateway, "beta");
    assert_eq!(
        fake.prompts().len(),
        2,
        "only the request that was answered had a CLI"
    );
    gateway.log_contains("the Claude login works again");
    assert_eq!(gateway.ask("alpha", &prompt("again")).status, 200);
    gateway.stop();
}

#[test]
fn tenant_with_a_credential_of_its_own_is_not_concerned() {
    let body = "[ -z \"$ANTHROPIC_API_KEY\" ] || lost; answer hello; idle";
    let (gateway, fake) = start(body, |setup| {
        setup.tenant_env("alpha", "ANTHROPIC_API_KEY", "a-key-that-is-revoked")
    });
    assert_eq!(gateway.ask("alpha", &prompt("first")).status, 503);
    assert_from_memory(&gateway.ask("alpha", &prompt("second")), 503, 5);
    for _ in 0..2 {
        assert_eq!(gateway.ask("beta", &prompt("hi")).status, 200);
    }
    assert_from_memory(&gateway.ask("alpha", &prompt("third")), 503, 5);
    assert_eq!(fake.prompts().len(), 3);
    gateway.stop();
}

#[test]
fn one_request_at_a_time_finds_out_while_others_are_refused() {
    let body = "case $line in *first*) lost;; esac; read -r _ < \"$here/gate\"; answer hello; idle";
    let (gateway, fake) = start(body, |setup| setup);
    let mut gate = fake.gate();
    assert_eq!(gateway.ask("alpha", &prompt("first")).status, 503);
    let due = Instant::now() + Duration::from_secs(5);
    wait_until(PATIENCE, "the time to ask again", || Instant::now() >= due);
    let asking = gateway.send("alpha", &prompt("asking"));
    wait_until(PATIENCE, "a second run", || fake.prompts().len() == 2);
    assert_from_memory(&gateway.ask("beta", &prompt("meanwhile")), 503, 2);
    assert_eq!(fake.prompts().len(), 2);
    gate.let_through(10);
    assert_eq!(asking.response().answer_text(), "hello");
    assert_eq!(gateway.ask("beta", &prompt("after")).status, 200);
    gateway.stop();
}

#[test]
fn request_that_queued_before_the_login_was_lost_gets_no_cli_either() {
    let (gateway, fake) = start("read -r _ < \"$here/gate\"; lost", |setup| setup);
    let mut gate = fake.gate();
    let first = gateway.send("alpha", &prompt("first"));
    wait_until(PATIENCE, "the first run", || fake.prompts().len() == 1);
    let queued = gateway.send("alpha", &prompt("queued"));
    wait_until(PATIENCE, "a request in the queue", || {
        gateway.health()["queued"] == 1
    });
    gate.let_through(10);
    assert_eq!(first.response().status, 503);
    assert_from_memory(&queued.response(), 503, 5);
    assert_eq!(fake.prompts().len(), 1);
    gateway.stop();
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn usage_limit_is_answered_from_memory_until_it_ends() {
    let ends = unix_now() + 8;
    let body =
        format!("[ $(date +%s) -ge {ends} ] || limited {ends} five_hour; answer hello; idle");
    let (gateway, fake) = start(&body, |setup| setup);
    let first = gateway.ask("alpha", &prompt("first"));
    first.assert_error(429, "rate_limit_error");
    assert!(retry_after(&first) <= 8);
    assert_eq!(
        first.header("anthropic-ratelimit-unified-status"),
        Some("rejected")
    );
    let reset = first.header("anthropic-ratelimit-unified-reset");
    assert_eq!(reset, Some(ends.to_string().as_str()));
    gateway.log_contains("a usage limit is reached");
    let second = gateway.ask("beta", &prompt("second"));
    second.assert_error(429, "rate_limit_error");
    assert_from_memory(&second, 429, 8);
    assert!(message(&second).contains("You have hit your limit"));
    assert_eq!(fake.prompts().len(), 1);
    wait_for_answer(&gateway, "beta");
    assert_eq!(fake.prompts().len(), 2);
    assert!(unix_now() >= ends);
    gateway.log_contains("the usage limit is over");
    gateway.stop();
}

#[test]
fn limit_of_one_model_leaves_the_others() {
    let body = "case $(tr '\\n' ' ' < \"$here/$$.argv\") in *opus*) limited 9999999999 x;; esac; answer hello; idle";
    let body = body.replace("9999999999", &(unix_now() + 600).to_string());
    let (gateway, fake) = start(&body, |setup| setup);
    let mut opus = prompt("hi");
    opus["model"] = "opus".into();
    assert_eq!(gateway.ask("alpha", &opus).status, 429);
    assert_from_memory(&gateway.ask("alpha", &opus), 429, 600);
    assert_eq!(gateway.ask("alpha", &prompt("hi")).status, 200);
    assert_eq!(fake.prompts().len(), 2);
    gateway.stop();
}

/// The real CLI behind a script that writes down every start that is a run.
fn counted_cli(dir: &TempDir) -> (PathBuf, PathBuf) {
    let starts = dir.path().join("starts");
    let script = dir.write(
        "counted-claude",
        format!(
            "#!/bin/sh\n[ \"$1\" = --version ] || echo run >> '{}'\nexec '{}' \"$@\"\n",
            starts.display(),
            real_cli().display()
        ),
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (script, starts)
}

fn lines(path: &PathBuf) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn real_cli_that_is_not_signed_in_is_started_once() {
    let dir = TempDir::new();
    let (cli, starts) = counted_cli(&dir);
    let gateway = Setup::with_cli(dir, &cli).start();
    let first = gateway.ask("alpha", &prompt("hi"));
    first.assert_error(503, "api_error");
    assert!(
        !message(&first).contains("known from"),
        "{}",
        message(&first)
    );
    assert_eq!((lines(&starts), retry_after(&first)), (1, 5));
    for tenant in ["alpha", "beta"] {
        assert_from_memory(&gateway.ask(tenant, &prompt("hi")), 503, 5);
    }
    assert_eq!(lines(&starts), 1);
    gateway.stop();
}

#[test]
fn real_cli_whose_key_is_rejected_asks_the_api_once() {
    let api = ScriptedApi::start();
    let gateway = Setup::with_real_cli(&api).start();
    assert_eq!(gateway.ask("alpha", &prompt("[[status:401]]")).status, 503);
    let asked = api.prompts().len();
    assert_from_memory(&gateway.ask("alpha", &prompt("[[text:hi]]")), 503, 5);
    assert_eq!(api.prompts().len(), asked);
    // The other tenant has its own key, and the rejected one is tried again after a while.
    assert_eq!(
        gateway.ask("beta", &prompt("[[text:hi]]")).answer_text(),
        "hi"
    );
    wait_until(PATIENCE, "an answer", || {
        gateway.ask("alpha", &prompt("[[text:hi]]")).status == 200
    });
    assert_eq!(api.prompts().len(), asked + 2);
    gateway.stop();
}

/// A gateway whose real CLI is signed in to a subscription, as far as it can tell.
fn with_subscription(api: &ScriptedApi) -> Gateway {
    let dir = TempDir::new();
    let mut setup = Setup::with_cli(dir, real_cli());
    for name in ["alpha", "beta"] {
        let config_dir = setup.dir.create_dir(&format!("claude-config-{name}"));
        setup = setup
            .tenant_env(name, "ANTHROPIC_BASE_URL", &api.url())
            .tenant_env(
                name,
                "CLAUDE_CODE_OAUTH_TOKEN",
                "sk-ant-oat01-not-a-real-token",
            )
            .tenant_env(name, "CLAUDE_CONFIG_DIR", config_dir.to_str().unwrap());
    }
    setup.start()
}

/// Markers that make the API tell of its limits.
fn unified(fields: &[(&str, &str)]) -> String {
    let marker = |(name, value): &(&str, &str)| {
        format!("[[header:anthropic-ratelimit-unified-{name}={value}]]")
    };
    fields.iter().map(marker).collect()
}

#[test]
fn real_cli_tells_when_a_usage_limit_ends() {
    let api = ScriptedApi::start();
    let gateway = with_subscription(&api);
    let ends = (unix_now() + 7200).to_string();
    let limits = unified(&[
        ("status", "rejected"),
        ("reset", &ends),
        ("representative-claim", "five_hour"),
        ("5h-status", "rejected"),
        ("5h-utilization", "1.02"),
        ("5h-reset", &ends),
    ]);
    let failed = gateway.ask("alpha", &prompt(&format!("{limits}[[status:429]]")));
    failed.assert_error(429, "rate_limit_error");
    assert!((7100..=7200).contains(&retry_after(&failed)), "{failed:#?}");
    assert_eq!(
        failed.header("anthropic-ratelimit-unified-status"),
        Some("rejected")
    );
    assert_eq!(
        failed.header("anthropic-ratelimit-unified-reset"),
        Some(ends.as_str())
    );
    let asked = api.prompts().len();
    assert_from_memory(&gateway.ask("alpha", &prompt("[[text:hi]]")), 429, 7200);
    assert_eq!(api.prompts().len(), asked);
    assert_eq!(
        gateway.ask("beta", &prompt("[[text:hi]]")).answer_text(),
        "hi"
    );
    gateway.stop();
}

#[test]
fn real_clis_limits_are_headers_of_a_good_answer() {
    let api = ScriptedApi::start();
    let gateway = with_subscription(&api);
    let ends = (unix_now() + 7200).to_string();
    let limits = [
        ("status", "allowed_warning"),
        ("reset", ends.as_str()),
        ("representative-claim", "five_hour"),
        ("5h-status", "allowed_warning"),
        ("5h-utilization", "0.93"),
        ("5h-reset", ends.as_str()),
    ];
    let body = prompt(&format!("{}[[text:hi]]", unified(&limits)));
    let whole = gateway.ask("alpha", &body);
    assert_eq!(whole.answer_text(), "hi");
    for (name, value) in limits {
        let name = format!("anthropic-ratelimit-unified-{name}");
        assert_eq!(whole.header(&name), Some(value), "{name}");
    }
    // The CLI tells at the end of each turn: before the head of a stream when there was a tool round.
    let rounds = prompt(&format!("{}[[rounds:1]]", unified(&limits)));
    let streamed = gateway.send("alpha", &streaming(&rounds)).response();
    let used = streamed.header("anthropic-ratelimit-unified-5h-utilization");
    assert_eq!((streamed.status, used), (200, Some("0.93")));
    let bearer = format!("Bearer {}", key_of("alpha"));
    let headers = [("authorization", bearer.as_str())];
    let openai = gateway
        .client()
        .post("/v1/chat/completions", &headers, &body);
    assert_eq!(openai.answer_text(), "hi");
    assert_eq!(openai.header("anthropic-ratelimit-unified-status"), None);
    gateway.stop();
}
