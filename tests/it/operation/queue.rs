//! The queue: its bounds, and the share of each tenant.

use super::*;

#[test]
fn full_queue_is_429_with_retry_after() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_depth: 1"));
    let mut gate = fake.gate();
    let (sender, answers) = mpsc::channel::<Response>();
    thread::scope(|scope| {
        for _ in 0..3 {
            let connection = gateway.send("alpha", &prompt("hi"));
            let sender = sender.clone();
            scope.spawn(move || sender.send(connection.response()).unwrap());
            wait_for_runs(&fake, 1);
        }
        // One runs and one waits; only the third can have its answer while the gate is closed.
        let refused = answers.recv_timeout(PATIENCE).unwrap();
        refused.assert_error(429, "rate_limit_error");
        let seconds: u64 = refused
            .header("retry-after")
            .expect("no Retry-After")
            .parse()
            .unwrap();
        assert!(seconds >= 1);
        gate.let_through(2);
        for _ in 0..2 {
            assert_eq!(
                answers.recv_timeout(PATIENCE).unwrap().answer_text(),
                "hello"
            );
        }
    });
}

#[test]
fn queue_is_bounded_in_bytes_too() {
    let (gateway, fake) = gated(|setup| setup.set("server", "max_body_bytes: 100000"));
    let mut gate = fake.gate();
    let large = prompt(&"x".repeat(90_000));
    thread::scope(|scope| {
        let runs = gateway.send("alpha", &prompt("hi"));
        wait_for_runs(&fake, 1);
        let waiting: Vec<_> = (0..3).map(|_| gateway.send("alpha", &large)).collect();
        let answers = waiting
            .into_iter()
            .map(|it| scope.spawn(move || it.response()));
        let answers: Vec<_> = answers.collect();
        // Two of them fit in the room of two bodies; the third is refused while they wait.
        wait_until(PATIENCE, "a refusal", || {
            answers.iter().any(|it| it.is_finished())
        });
        gate.let_through(3);
        let answers: Vec<Response> = answers.into_iter().map(|it| it.join().unwrap()).collect();
        let refused: Vec<&Response> = answers.iter().filter(|it| it.status != 200).collect();
        assert_eq!(refused.len(), 1);
        refused[0].assert_error(429, "rate_limit_error");
        assert_eq!(runs.response().answer_text(), "hello");
    });
}

#[test]
fn queued_request_gives_up_at_the_queue_timeout() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_timeout: 300"));
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("running"));
    wait_for_runs(&fake, 1);
    let refused = gateway.ask("beta", &prompt("waiting"));
    assert!(
        [429, 503, 504, 529].contains(&refused.status),
        "{refused:#?}"
    );
    gate.let_through(1);
    assert_eq!(running.response().answer_text(), "hello");
    assert_eq!(fake.prompts().len(), 1);
}

#[test]
fn flood_of_one_tenant_delays_anothers_next_request_by_one_run_at_most() {
    let (gateway, fake) = gated(|setup| setup.set("cli", "queue_depth: 30"));
    let mut gate = fake.gate();
    let flood: Vec<_> = (0..20)
        .map(|_| gateway.send("alpha", &prompt("from-alpha")))
        .collect();
    wait_for_runs(&fake, 1);
    let mut beta = gateway.stream("beta", &prompt("from-beta"));
    beta.read_until("a ping", |event| event.event == "ping");
    gate.let_through(21);
    beta.read_until("the end", |event| event.event == "message_stop");
    for connection in flood {
        assert_eq!(connection.response().answer_text(), "hello");
    }
    let order = fake.note("order");
    let place = order
        .lines()
        .position(|line| line.contains("from-beta"))
        .unwrap();
    assert!(place <= 2, "beta was number {place} of\n{order}");
}

#[test]
fn tenant_with_all_its_places_taken_leaves_the_rest_to_others() {
    let dir = TempDir::new();
    let body = "case $line in *wait*) read -r _ < \"$here/gate\";; esac; answer hello; idle";
    let fake = FakeCli::script(&dir, body);
    let mut gate = fake.gate();
    let gateway = Setup::with_cli(dir, fake.path())
        .set("cli", "max_concurrent: 2")
        .start();
    let flood: Vec<_> = (0..3)
        .map(|_| gateway.send("alpha", &prompt("wait")))
        .collect();
    wait_for_runs(&fake, 1);
    // The gate is still closed: only a place that alpha could not take answers this.
    assert_eq!(gateway.ask("beta", &prompt("quick")).answer_text(), "hello");
    let waiting = fake
        .prompts()
        .iter()
        .filter(|line| line.contains("wait"))
        .count();
    assert_eq!(waiting, 1, "max_per_tenant is 1");
    gate.let_through(3);
    for connection in flood {
        assert_eq!(connection.response().answer_text(), "hello");
    }
}
