//! A CLI that misbehaves: the client always gets a clear answer and nothing is left behind.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::{
    client::{Answer, text_of},
    fake_cli::{FakeCli, turn},
    gateway::{Gateway, key_of, prompt, streaming},
    process::{DEAD_WITHIN, resident_kib, signal, wait_until, wait_until_gone},
    setup::Setup,
    sse::{Event, Format, SseReader},
    temp::TempDir,
};

/// Well above what the daemon needs with a few runs, well below what a flood would make of it.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

fn start(body: &str) -> (Gateway, FakeCli) {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, body);
    let gateway = Setup::with_cli(dir, fake.path()).start();
    (gateway, fake)
}

/// Checks that the run fails with this status, as a whole answer and as a stream, that the message
/// holds this text, and that the next request is answered.
#[track_caller]
fn check_failure(body: &str, status: u16, message_part: &str) {
    let (gateway, _fake) = start(&format!(
        "case $line in *again*) answer fine; idle; exit 0;; esac\n{body}"
    ));
    let whole = gateway.ask("alpha", &prompt("first"));
    assert_eq!(whole.status, status, "{}", whole.text());
    assert_names(
        whole.json()["error"]["message"]
            .as_str()
            .unwrap_or_default(),
        message_part,
    );
    assert_names(&stream_failure(&gateway), message_part);
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
    assert_eq!(gateway.ask("alpha", &prompt("again")).answer_text(), "fine");
    gateway.stop();
}

#[track_caller]
fn assert_names(message: &str, part: &str) {
    assert!(
        message.contains(part),
        "the message {message:?} does not hold {part:?}"
    );
}

/// The error message of a streamed request, which may come with the status or as the last event.
#[track_caller]
fn stream_failure(gateway: &Gateway) -> String {
    let answer = gateway.send("alpha", &streaming(&prompt("first"))).answer();
    if answer.status != 200 {
        let whole = answer.read_whole();
        return whole.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }
    let last = events(answer).pop().unwrap();
    assert_eq!(last.event, "error");
    last.data["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn events(answer: Answer) -> Vec<Event> {
    SseReader::new(answer, Format::Anthropic).events()
}

#[test]
fn answer_arrives_whole_and_streamed_in_both_formats() {
    let (gateway, _fake) = start("answer hello; idle");
    let body = prompt("hi");
    assert_eq!(gateway.ask("alpha", &body).answer_text(), "hello");
    assert_eq!(text_of(&gateway.stream("alpha", &body).events()), "hello");
    let bearer = format!("Bearer {}", key_of("alpha"));
    for path in ["/v1/chat/completions", "/chat/completions"] {
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(
            gateway.client().post(path, &headers, &body).answer_text(),
            "hello"
        );
        assert_eq!(
            text_of(
                &gateway
                    .client()
                    .stream(path, &headers, &streaming(&body))
                    .events()
            ),
            "hello"
        );
    }
    gateway.stop();
}

#[test]
fn lines_that_are_not_events_are_skipped() {
    #[track_caller]
    fn check(noise: &str) {
        let (gateway, _fake) = start(&format!("{noise}\nanswer hello\n{noise}\nidle"));
        assert_eq!(
            gateway.ask("alpha", &prompt("hi")).answer_text(),
            "hello",
            "{noise}"
        );
        assert_eq!(
            text_of(&gateway.stream("alpha", &prompt("hi")).events()),
            "hello",
            "{noise}"
        );
    }
    check("echo 'not json at all'");
    check("echo '{\"type\":\"stream_ev'");
    check("printf '\\377\\376\\000\\n'");
    check("echo; echo '[]'; echo '{}'; echo null; echo 42");
    check("echo '{\"type\":\"of a later version\",\"subtype\":\"x\"}'");
    check("echo '{\"type\":{\"not\":\"a string\"}}'");
    check("head -c 10000000 /dev/zero | tr '\\0' x; echo");
}

#[test]
fn line_of_10_mb_is_delivered() {
    let text = "y".repeat(10_000_000);
    let dir = TempDir::new();
    let fake = FakeCli::lines(&dir, &turn(&text), 0);
    let gateway = Setup::with_cli(dir, fake.path()).start();
    assert!(gateway.ask("alpha", &prompt("hi")).answer_text() == text);
    assert!(text_of(&gateway.stream("alpha", &prompt("hi")).events()) == text);
    gateway.stop();
}

#[test]
fn cli_that_ends_without_a_result_is_an_error() {
    check_failure("exit 0", 500, "status 0");
    check_failure("exit 3", 500, "status 3");
    check_failure("echo 'something broke' >&2; exit 1", 500, "something broke");
    check_failure("begin partial; exit 0", 500, "status 0");
    check_failure(
        "begin partial; printf '{\"type\":\"resu'; exit 7",
        500,
        "status 7",
    );
    check_failure("kill -KILL $$", 500, "SIGKILL");
}

#[test]
fn secrets_that_the_cli_says_aloud_reach_neither_client_nor_log() {
    let secret = "first-line-of-key\nsecond-line-of-key";
    let lines: Vec<&str> = secret.lines().collect();
    for body in [
        "printf 'bad: %s\n' \"$SPOKEN\" >&2; exit 1",
        "head -c 990 /dev/zero | tr '\\0' x >&2; printf '%s' \"$SPOKEN\" >&2; exit 1",
        "key=$(printf '%s' \"$SPOKEN\" | tr '\\n' '|' | sed 's/|/\\\\n/'); \
         printf '{\"type\":\"result\",\"is_error\":true,\"result\":\"key %s\"}\\n' \"$key\"; idle",
    ] {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, body);
        let setup = Setup::with_cli(dir, fake.path());
        let gateway = setup.tenant_env("alpha", "SPOKEN", secret).start();
        let failed = gateway.ask("alpha", &prompt("hi"));
        assert_eq!(failed.status, 500, "{}", failed.text());
        gateway.log_contains("outcome=failed");
        for line in &lines {
            for shown in [failed.text(), gateway.log()] {
                assert!(!shown.contains(&line[..11]), "{line} in {shown}");
            }
        }
    }
}

#[test]
fn result_line_of_odd_shape_ends_the_answer() {
    for odd in [
        r#""num_turns":null,"total_cost_usd":null,"is_error":null"#,
        r#""errors":[{"a":1}],"api_error_status":"429""#,
        r#""result":"half \ud83d""#,
    ] {
        let (gateway, _fake) = start(&format!(
            "begin hello; printf '%s\n' '{{\"type\":\"result\",{odd}}}'; idle"
        ));
        assert_eq!(gateway.ask("alpha", &prompt("hi")).status, 200, "{odd}");
    }
    let (gateway, _fake) =
        start("printf '{\"type\":\"result\",\"result\":\"\\377 bytes\"}\\n'; idle");
    assert!(
        gateway
            .ask("alpha", &prompt("hi"))
            .answer_text()
            .contains("bytes")
    );
}

#[test]
fn half_closed_client_is_not_told_of_a_bug() {
    let (gateway, _fake) = start("sleep 1000");
    let mut connection = gateway.send("alpha", &prompt("hi"));
    connection.finish_sending();
    let text = connection.response().text();
    assert!(
        text.contains("closed its side") && !text.contains("bug"),
        "{text}"
    );
}

#[test]
fn cli_that_never_ends_is_stopped_at_the_timeout() {
    #[track_caller]
    fn check(setting: &str, body: &str) {
        let dir = TempDir::new();
        let fake = FakeCli::script(
            &dir,
            &format!("case $line in *again*) answer fine; idle; exit 0;; esac\n{body}"),
        );
        let gateway = Setup::with_cli(dir, fake.path())
            .set("cli", setting)
            .start();
        let failed = gateway.ask("alpha", &prompt("first"));
        failed.assert_error(504, "timeout_error");
        assert!(!stream_failure(&gateway).is_empty());
        wait_until_gone(DEAD_WITHIN, &gateway.mark());
        assert_eq!(gateway.ask("alpha", &prompt("again")).answer_text(), "fine");
    }
    check("timeout: 700", "exec sleep 1000");
    check("timeout: 700", "while :; do begin more; sleep 0.1; done");
    // Without a pause there is nothing to wait for, and the time is up all the same.
    check(
        "timeout: 700",
        "while :; do echo '{\"type\":\"system\"}'; done",
    );
    check(
        "timeout: 700",
        "trap '' TERM INT HUP; while :; do sleep 1; done",
    );
    check("idle_timeout: 700", "begin partial; exec sleep 1000");
    check(
        "idle_timeout: 700",
        "begin partial; setsid sleep 1000; wait",
    );
}

#[test]
fn stderr_flood_neither_blocks_the_run_nor_fills_memory_or_log() {
    let (gateway, _fake) = start("head -c 30000000 /dev/zero | tr '\\0' e >&2; answer calm; idle");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "calm");
    let resident = resident_kib(gateway.pid());
    assert!(resident < MEMORY_LIMIT_KIB, "{resident} KiB");
    assert!(
        gateway.log().len() < 1_000_000,
        "{} bytes of log",
        gateway.log().len()
    );
}

#[test]
fn cli_killed_from_outside_is_an_error_that_says_so() {
    let (gateway, fake) = start("begin partial; echo $$ > \"$here/pid\"; exec sleep 1000");
    let connection = gateway.send("alpha", &prompt("hi"));
    wait_until(Duration::from_secs(30), "the fake CLI's start", || {
        fake.note("pid").ends_with('\n')
    });
    signal(fake.note("pid").trim().parse().unwrap(), "KILL");
    let failed = connection.response();
    failed.assert_error(500, "api_error");
    assert_names(&failed.text(), "SIGKILL");
}

#[test]
fn cli_that_may_not_be_run_any_more_is_the_gateways_error() {
    let (gateway, fake) = start("answer hello; idle");
    fs::set_permissions(fake.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let failed = gateway.ask("alpha", &prompt("hi"));
    // 401, 402 and 403 would make OpenClaw disable the tenant's key.
    assert!(failed.status == 500 || failed.status == 503, "{failed:#?}");
    assert!(
        !failed.json()["error"]["message"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    fs::set_permissions(fake.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
}

#[test]
fn process_that_outlives_the_result_does_not_hold_the_answer() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "setsid sleep 1000 & answer done; wait");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "warm: off")
        .start();
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "done");
    assert_eq!(
        text_of(&gateway.stream("alpha", &prompt("hi")).events()),
        "done"
    );
    wait_until_gone(DEAD_WITHIN, &gateway.mark());
}

#[test]
fn run_ends_when_its_client_leaves() {
    #[track_caller]
    fn check(body: &str) {
        let (gateway, fake) = start(body);
        let connection = gateway.send("alpha", &streaming(&prompt("hi")));
        wait_until(Duration::from_secs(30), "the run's processes", || {
            fake.note("up").ends_with('\n')
        });
        assert!(!gateway.processes_of("alpha").is_empty());
        drop(connection);
        wait_until_gone(DEAD_WITHIN, &gateway.mark());
        gateway.stop();
    }
    check("echo 1 > \"$here/up\"; exec sleep 1000");
    check("begin partial; echo 1 > \"$here/up\"; exec sleep 1000");
    check("setsid sleep 1000 & setsid nohup sleep 1000 & echo 1 > \"$here/up\"; wait");
    check(
        "(setsid sh -c 'sleep 1000' &); trap '' TERM INT HUP; echo 1 > \"$here/up\"; while :; do sleep 1; done",
    );
}

#[test]
fn queued_request_is_dropped_when_its_client_leaves() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "read -r _ < \"$here/gate\"; answer hello; idle");
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "max_concurrent: 1")
        .start();
    let running = gateway.send("alpha", &prompt("running"));
    wait_until(Duration::from_secs(30), "the first run", || {
        fake.prompts().len() == 1
    });
    let mut leaving = gateway.stream("beta", &prompt("leaving"));
    // The ping says that the request is in the queue.
    leaving.read_until("a ping", |event| event.event == "ping");
    drop(leaving);
    let last = gateway.send("beta", &prompt("staying"));
    gate.let_through(2);
    assert_eq!(running.response().answer_text(), "hello");
    assert_eq!(last.response().answer_text(), "hello");
    assert!(
        !fake.prompts().concat().contains("leaving"),
        "{:#?}",
        fake.prompts()
    );
}

#[test]
fn silent_stream_begins_with_a_ping() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "read -r _ < \"$here/gate\"; answer hello; idle");
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path()).start();
    let mut stream = gateway.stream("alpha", &prompt("hi"));
    assert_eq!(
        stream.next().map(|event| event.event).as_deref(),
        Some("ping")
    );
    gate.let_through(1);
    assert_eq!(text_of(&stream.events()), "hello");
}

#[test]
fn first_piece_of_text_leaves_before_the_answer_is_whole() {
    let dir = TempDir::new();
    let fake = FakeCli::script(
        &dir,
        "begin hello; read -r _ < \"$here/gate\"; end hello; idle",
    );
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "stream: live")
        .start();
    let mut stream = gateway.stream("alpha", &prompt("hi"));
    assert_eq!(stream.read_until_text().data["delta"]["text"], "hello");
    gate.let_through(1);
    stream.read_until("the end", |event| event.event == "message_stop");
}

#[test]
fn run_sees_its_own_secrets_only_and_none_in_its_arguments() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let gateway = Setup::with_cli(dir, fake.path())
        .daemon_env("DAEMON_SECRET", "secret-of-the-daemon")
        .tenant_env("alpha", "ALPHA_SECRET", "secret-of-alpha")
        .tenant_env("beta", "BETA_SECRET", "secret-of-beta")
        .start();
    let mut body = prompt("prompt-text-of-alpha");
    body["system"] = "system-text-of-alpha".into();
    assert_eq!(gateway.ask("alpha", &body).answer_text(), "hello");
    let environment = fake.environments().concat();
    assert!(
        environment.contains("ALPHA_SECRET=secret-of-alpha\n"),
        "{environment}"
    );
    for foreign in [
        "secret-of-the-daemon",
        "secret-of-beta",
        &key_of("alpha"),
        &key_of("beta"),
    ] {
        assert!(!environment.contains(foreign), "{foreign} in {environment}");
    }
    let arguments = fake.arguments().concat();
    for private in ["secret", "prompt-text", "system-text"] {
        assert!(!arguments.contains(private), "{private} in {arguments}");
        assert!(
            !gateway.log().contains(private),
            "{private} in {}",
            gateway.log()
        );
    }
}

#[test]
fn run_starts_in_the_tenants_directory() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    let work = dir.create_dir("work of alpha");
    let gateway = Setup::with_cli(dir, fake.path())
        .working_dir("alpha", &work)
        .start();
    gateway.ask("alpha", &prompt("hi")).answer_text();
    assert_eq!(fake.directories(), [format!("{}\n", work.display())]);
    gateway.ask("beta", &prompt("hi")).answer_text();
    let other = fake
        .directories()
        .into_iter()
        .find(|it| !it.contains("work of alpha"))
        .unwrap();
    assert!(
        other.contains("beta"),
        "a tenant without working_dir has a directory of its own, not {other}"
    );
}
