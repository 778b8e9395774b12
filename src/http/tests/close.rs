//! How the listener ends.

use crossbeam_channel::RecvTimeoutError;

use super::*;

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[test]
fn request_under_way_is_answered_before_the_listener_ends() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let Server { listener, .. } = server;
    let closing = thread::spawn(move || listener.close(soon()));
    request
        .reply
        .send(Response::new(200).body(b"hi".as_slice()));
    assert_eq!(client.answer(), (200, "hi".to_owned()));
    client.expect_end();
    drop(client);
    closing.join().unwrap().unwrap();
}

#[test]
fn no_connection_is_taken_and_idle_ones_end_after_stop_accepting() {
    let server = start(Limits::default());
    let addr = server.listener.local_addr();
    let mut fresh = server.connect();
    let (mut idle, request) = server.ask(&get("/a"));
    request.reply.send(Response::new(204));
    idle.head();
    let (mut busy, request) = server.ask(&get("/b"));
    let _arrived = server.listener.stop_accepting();
    fresh.expect_end();
    idle.expect_end();
    assert!(TcpStream::connect(addr).is_err());
    request.reply.send(Response::new(204));
    assert!(busy.head().contains("\r\nConnection: close"));
    busy.expect_end();
}

#[test]
fn request_of_a_connection_that_was_taken_is_served_after_stop_accepting() {
    let server = start(Limits::default());
    let mut fresh = server.connect();
    // An answer on another connection proves that this one was taken before.
    let (_other, request) = server.ask(&get("/a"));
    answer(request);
    let arrived = server.listener.stop_accepting();
    fresh.send(get("/b"));
    let request = server.next_request();
    // It is not passed on yet, however long that takes.
    assert_eq!(arrived.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    answer(request);
    assert_eq!(
        arrived.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Disconnected)
    );
    assert!(fresh.head().contains("\r\nConnection: close"));
}

/// As a worker that is done with it.
fn answer(request: Request) {
    request.reply.send(Response::new(204));
}

#[test]
fn loop_that_works_has_a_pulse_and_one_that_has_ended_has_none() {
    let server = start(Limits::default());
    let pulse = server.listener.pulse();
    assert!(pulse.beats_within(PATIENCE));
    drop(server);
    assert!(!pulse.beats_within(SHORT));
}

#[test]
fn who_is_not_answered_by_the_deadline_is_told() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let (told, notice) = bounded(1);
    request
        .reply
        .hangup()
        .on_gone(Box::new(move || told.send(()).unwrap()));
    let Server { listener, requests } = server;
    listener.close(Instant::now() + SHORT).unwrap();
    notice.recv_timeout(PATIENCE).unwrap();
    assert!(
        requests.recv().is_err(),
        "the loop has let go of the workers"
    );
    // An answer that comes too late harms nobody.
    request.reply.send(Response::new(204));
    assert_eq!(status(&client.head()), 204);
}

#[test]
fn dropped_listener_cuts_everybody_off() {
    let server = start(Limits::default());
    let mut fresh = server.connect();
    drop(server);
    assert!(fresh.rest().is_ok_and(|rest| rest.is_empty()));
}
