//! Streamed answers, and clients that leave.

use super::*;

/// A channel that the callback of a hang-up notice writes to.
fn notice(request: &Request) -> Receiver<()> {
    let (told, notice) = bounded(1);
    request
        .reply
        .hangup()
        .on_gone(Box::new(move || told.send(()).unwrap()));
    notice
}

#[test]
fn chunks_leave_at_once_and_the_connection_is_used_again() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let mut stream = request
        .reply
        .stream(200, &[("Content-Type", "text/event-stream")]);
    stream.write(b"", Limit::default()).unwrap();
    assert!(client.head().ends_with("\r\nTransfer-Encoding: chunked"));
    for data in ["data: 1\n\n", "data: 2\n\n"] {
        stream.write(data.as_bytes(), Limit::default()).unwrap();
        assert_eq!(client.chunk(), data);
        stream.write_now(data.as_bytes()).unwrap();
        assert_eq!(client.chunk(), data);
    }
    stream.finish();
    assert_eq!(client.chunk(), "");
    client.send(get("/b"));
    server.next_request().reply.send(Response::new(204));
    assert_eq!(status(&client.head()), 204);
}

#[test]
fn head_leaves_with_the_end_if_nothing_was_written() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    request.reply.stream(200, &[]).finish();
    assert_eq!(
        client.head(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    );
    assert_eq!(client.chunk(), "");
}

#[test]
fn http_1_0_stream_ends_with_the_connection() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut stream = request.reply.stream(200, &[]);
    stream.write(b"data", Limit::default()).unwrap();
    stream.finish();
    assert_eq!(client.head(), "HTTP/1.1 200 OK\r\nConnection: close");
    assert_eq!(client.rest().unwrap(), "data");
}

#[test]
fn stream_for_a_head_request_is_its_head() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = request.reply.stream(200, &[]);
    stream.write(b"data", Limit::default()).unwrap();
    stream.finish();
    assert_eq!(
        client.head(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    );
    client.send(get("/b"));
    server.next_request().reply.send(Response::new(204));
    assert_eq!(status(&client.head()), 204);
}

#[test]
fn unfinished_stream_is_seen_as_truncated() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let mut stream = request.reply.stream(200, &[]);
    stream.write(b"data", Limit::default()).unwrap();
    drop(stream);
    client.head();
    assert_eq!(client.chunk(), "data");
    client.expect_end();
}

#[test]
fn unfinished_http_1_0_stream_is_reset() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask("GET /a HTTP/1.0\r\n\r\n");
    let mut stream = request.reply.stream(200, &[]);
    stream.write(b"data", Limit::default()).unwrap();
    drop(stream);
    assert_eq!(
        client.rest().unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[test]
fn client_that_leaves_the_queue_is_noticed() {
    let server = start(Limits::default());
    for leave in [drop::<Client>, Client::reset] {
        let (client, request) = server.ask(&get("/a"));
        let notice = notice(&request);
        assert!(!request.reply.hangup().is_gone());
        leave(client);
        notice.recv_timeout(PATIENCE).unwrap();
        assert!(request.reply.hangup().is_gone());
    }
}

#[test]
fn client_that_leaves_a_stream_is_noticed() {
    let server = start(Limits::default());
    for leave in [drop::<Client>, Client::reset] {
        let (mut client, request) = server.ask(&get("/a"));
        let notice = notice(&request);
        let mut stream = request.reply.stream(200, &[]);
        stream.write(b"data", Limit::default()).unwrap();
        client.head();
        leave(client);
        notice.recv_timeout(PATIENCE).unwrap();
        assert!(stream.hangup().is_gone());
    }
}

#[test]
fn client_that_leaves_is_noticed_behind_pipelined_requests() {
    let server = start(Limits::default());
    for leave in [drop::<Client>, Client::reset] {
        let (mut client, request) = server.ask(&get("/a"));
        let notice = notice(&request);
        for _ in 0..100 {
            client.send(get("/next"));
        }
        leave(client);
        notice.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn half_closed_client_counts_as_gone_and_still_gets_its_answer() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let notice = notice(&request);
    client.socket().shutdown(std::net::Shutdown::Write).unwrap();
    notice.recv_timeout(PATIENCE).unwrap();
    request
        .reply
        .send(Response::new(200).body(b"hi".as_slice()));
    assert_eq!(client.answer(), (200, "hi".to_owned()));
    client.expect_end();
}

#[test]
fn notice_is_not_given_after_the_answer() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let notice = notice(&request);
    let hang_up = request.reply.hangup().clone();
    request.reply.send(Response::new(204));
    client.head();
    drop(client);
    // Dropped unused: nobody can send any more.
    assert!(
        notice
            .recv_timeout(PATIENCE)
            .is_err_and(|error| error.is_disconnected())
    );
    assert!(!hang_up.is_gone());
}

#[test]
fn pipelining_client_is_held_back() {
    const MORE_THAN_THE_KERNEL_HOLDS: usize = 64 << 20;
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    client.socket().set_nonblocking(true).unwrap();
    let block = get("/next").repeat(1000);
    let mut sent = 0;
    while sent < MORE_THAN_THE_KERNEL_HOLDS {
        match client.socket().write(block.as_bytes()) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(sent < MORE_THAN_THE_KERNEL_HOLDS);
    client.socket().set_nonblocking(false).unwrap();
    request.reply.send(Response::new(204));
    assert_eq!(status(&client.head()), 204);
    server.next_request().reply.send(Response::new(204));
    assert_eq!(status(&client.head()), 204);
}

#[test]
fn stalled_reader_runs_into_the_write_timeout() {
    let server = start(Limits {
        write_timeout: SHORT,
        ..Limits::default()
    });
    let (mut client, request) = server.ask(&get("/a"));
    let mut stream = request.reply.stream(200, &[]);
    let block = vec![b'x'; 64 << 10];
    let error = (0..10_000)
        .find_map(|_| stream.write(&block, Limit::default()).err())
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(
        stream.write(b"more", Limit::default()).unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    assert!(client.rest().is_err());
}

#[test]
fn write_now_never_waits_for_a_stalled_reader() {
    let server = start(Limits::default());
    let (mut client, request) = server.ask(&get("/a"));
    let mut stream = request.reply.stream(200, &[]);
    let block = vec![b'x'; 64 << 10];
    let error = (0..10_000)
        .find_map(|_| stream.write_now(&block).err())
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(
        stream.write_now(b"more").unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    stream.finish();
    assert!(client.rest().is_err());
}

#[test]
fn headers_of_every_answer_are_on_streams_and_on_whole_and_refused_answers() {
    let server = start(Limits {
        max_body_bytes: 10,
        ..Limits::default()
    });
    let request = |more: &str| format!("POST /a HTTP/1.1\r\nHost: x\r\nX-Mark: 7\r\n{more}\r\n");
    let (mut client, streamed) = server.ask(&request(""));
    let mut stream = streamed.reply.stream(200, &[]);
    stream.write(b"data", Limit::default()).unwrap();
    stream.finish();
    let mut heads = vec![client.head()];
    let (mut client, whole) = server.ask(&request(""));
    whole.reply.send(Response::new(204));
    heads.push(client.head());
    let (mut client, dropped) = server.ask(&request(""));
    drop(dropped);
    heads.push(client.head());
    for refused in ["X-Key: bad\r\n", "Content-Length: 11\r\n"] {
        let mut client = server.connect();
        client.send(request(refused));
        heads.push(client.head());
    }
    let statuses: Vec<u16> = heads.iter().map(|head| status(head)).collect();
    assert_eq!(statuses, [200, 204, 500, 401, 413]);
    for head in heads {
        assert!(head.contains("\r\nx-mark: 7"), "{head}");
    }
}
