//! Deadlines, numbers of connections, memory, file descriptors.

use super::*;

/// Sends a byte every few milliseconds until an answer comes, and gives that answer.
fn dribble(client: &mut Client, byte: u8) -> String {
    client
        .socket()
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        // A write may fail once the listener has closed; then the answer is there to be read.
        let _ = client.socket().write_all(&[byte]);
        match client.0.fill_buf() {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    client.socket().set_read_timeout(Some(PATIENCE)).unwrap();
    client.head()
}

#[test]
fn head_that_dribbles_in_is_cut_at_the_deadline() {
    let listener = start_echo(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = connect(&listener);
    client.send("GET /a HTTP/1.1\r\nHost: x\r\nA: ");
    assert_eq!(status(&dribble(&mut client, b'x')), 408);
}

#[test]
fn body_that_dribbles_in_is_cut_at_the_deadline() {
    let listener = start_echo(Limits {
        body_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = connect(&listener);
    client.send(post("Content-Length: 1000000\r\n", ""));
    assert_eq!(status(&dribble(&mut client, b'x')), 408);
    let mut client = connect(&listener);
    client.send(post("Transfer-Encoding: chunked\r\n", "fffff\r\n"));
    assert_eq!(status(&dribble(&mut client, b'x')), 408);
}

#[test]
fn new_connection_without_a_word_is_closed_without_one() {
    let listener = start_echo(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    connect(&listener).expect_end();
}

#[test]
fn idle_connection_is_closed_after_its_time() {
    let listener = start_echo(Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = connect(&listener);
    client.send(get("/a"));
    assert_eq!(client.answer().0, 200);
    client.expect_end();
}

/// A new connection until one is served, because the listener notices an end a moment later.
#[track_caller]
fn connect_until_served(listener: &Listener) -> Client {
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        let mut client = connect(listener);
        client.send(get("/a"));
        match status(&client.head()) {
            200 => return client,
            refused => assert!([429, 503].contains(&refused)),
        }
    }
    panic!("no connection was served again")
}

#[track_caller]
fn check_connection_limit(limits: Limits, expect: u16) {
    let listener = start_echo(limits);
    let mut guests: Vec<Client> = (0..2).map(|_| connect(&listener)).collect();
    for guest in &mut guests {
        guest.send(get("/a"));
        assert_eq!(guest.answer().0, 200);
    }
    let mut refused = connect(&listener);
    let head = refused.head();
    assert_eq!(status(&head), expect);
    assert!(head.contains("\r\nRetry-After: 1") && head.contains("\r\nConnection: close"));
    guests.pop();
    connect_until_served(&listener);
}

#[test]
fn connections_in_total_are_limited() {
    check_connection_limit(
        Limits {
            max_connections: 2,
            ..Limits::default()
        },
        503,
    );
}

#[test]
fn connections_of_one_address_are_limited() {
    check_connection_limit(
        Limits {
            max_connections_per_ip: 2,
            ..Limits::default()
        },
        429,
    );
}

#[test]
fn all_bodies_together_are_limited() {
    let listener = start_echo(Limits {
        max_body_bytes: 65_536,
        ..Limits::default()
    });
    let mut clients: Vec<Client> = (0..5).map(|_| connect(&listener)).collect();
    for client in &mut clients {
        client.send(post("Content-Length: 65536\r\n", &"x".repeat(65_535)));
    }
    let mut refused = clients.swap_remove(first_readable(&clients));
    assert_eq!(refused.answer().0, 503);
    for client in &mut clients {
        client.send("x");
        assert_eq!(client.answer(), (200, "POST /a 65536".to_owned()));
    }
}

#[test]
fn bodies_of_one_account_keep_no_other_from_being_served() {
    let Server { listener, requests } = start(Limits {
        max_body_bytes: 65_536,
        ..Limits::default()
    });
    // Unfinished ones, and ones that wait for a worker, count alike.
    let mut greedy: Vec<Client> = (0..4).map(|_| connect(&listener)).collect();
    for (n, client) in greedy.iter_mut().enumerate() {
        let body = "x".repeat(65_536 - n % 2);
        client.send(post("Content-Length: 65536\r\n", &body));
    }
    let waiting: Vec<Request> = (0..2)
        .map(|_| *requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    let mut other = connect(&listener);
    let whole = "x".repeat(65_536);
    other.send(post("X-Key: other\r\nContent-Length: 65536\r\n", &whole));
    let served = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(served.head.header("x-key"), Some("other"));
    let mut one_more = connect(&listener);
    one_more.send(post("Content-Length: 65536\r\n", &whole));
    assert_eq!(one_more.answer().0, 503);
    // Parsed is as good as gone.
    for Request { body, .. } in waiting {
        drop(body);
    }
    let mut after = connect(&listener);
    after.send(post("Content-Length: 65536\r\n", &whole));
    echo(*requests.recv_timeout(PATIENCE).unwrap());
    assert_eq!(after.answer().0, 200);
}

#[test]
fn reader_that_stalls_in_a_whole_answer_is_cut_off() {
    let listener = start_echo(Limits {
        write_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = connect(&listener);
    client.send(get("/big"));
    // Waits for the reset without reading, since that would be what keeps the answer going.
    wait_for(std::slice::from_ref(&client), PollFlags::empty());
    assert!(client.rest().is_err());
}

/// Runs in a process of its own, because the limit on file descriptors is the whole process's.
#[test]
fn listener_recovers_from_running_out_of_file_descriptors() {
    const MARK: &str = "CCGW_TEST_FEW_FDS";
    if std::env::var_os(MARK).is_some() {
        return run_out_of_file_descriptors();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "http::tests::limits::listener_recovers_from_running_out_of_file_descriptors",
        ])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn run_out_of_file_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    const FDS: u64 = 40;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(FDS),
            maximum: Some(FDS),
        },
    )
    .unwrap();
    let listener = start_echo(Limits::default());
    // Both ends are in this process, so the clients run into the limit as well.
    let mut clients = Vec::new();
    while let Ok(stream) = TcpStream::connect(listener.local_addr()) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        clients.push(Client(BufReader::new(stream)));
    }
    let count = clients.len() as u64;
    assert!(count > FDS / 4 && count < FDS, "{count} clients");
    // The last one waits in the kernel's queue until another one leaves.
    let mut last = clients.pop().unwrap();
    last.send(get("/a"));
    drop(clients);
    assert_eq!(last.answer().0, 200);
    connect_until_served(&listener);
}
