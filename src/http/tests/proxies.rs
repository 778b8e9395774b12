//! Connections of a proxy, which begin with whom they are for.

use rustix::net::{AddressFamily, SocketType, bind, connect as connect_fd, socket};

use super::*;

/// A client that connects from the proxy's address.
fn proxy(listener: &Listener) -> Client {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    connect_fd(&fd, &listener.local_addr()).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client(BufReader::new(stream))
}

const LINE: &str = "PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn requests_through_a_proxy_are_its_clients() {
    let server = start(Limits::default());
    let peer_of = |client: &mut Client| {
        let request = server.next_request();
        request.reply.send(Response::new(200));
        client.answer();
        request.peer.to_string()
    };
    let mut client = proxy(&server.listener);
    client.send(format!("{LINE}{}", get("/a")));
    assert_eq!(peer_of(&mut client), "10.1.2.3:4711");
    // The connection stays this client's.
    client.send(get("/b"));
    assert_eq!(peer_of(&mut client), "10.1.2.3:4711");
    let mut in_pieces = proxy(&server.listener);
    for byte in format!("{LINE}{}", get("/a")).bytes() {
        in_pieces.send([byte]);
    }
    assert_eq!(peer_of(&mut in_pieces), "10.1.2.3:4711");
    let mut check = proxy(&server.listener);
    check.send([LOCAL, get("/a").as_bytes()].concat());
    assert!(peer_of(&mut check).starts_with("127.0.0.2:"));
}

#[test]
fn proxy_that_does_not_say_for_whom_it_is_is_told_so() {
    let listener = start_echo(Limits::default());
    let mut client = proxy(&listener);
    client.send(get("/a"));
    let (status, body) = client.answer();
    assert_eq!(status, 400);
    assert!(
        body.contains("server.proxy_protocol_from holds 127.0.0.2"),
        "{body}"
    );
    client.expect_end();
}

#[test]
fn nobody_else_may_say_whom_it_is_for() {
    let listener = start_echo(Limits::default());
    for introduction in [LINE.as_bytes(), LOCAL] {
        let mut client = connect(&listener);
        client.send([introduction, get("/a").as_bytes()].concat());
        assert_eq!(client.answer().0, 400);
    }
}

#[test]
fn connections_through_a_proxy_are_limited_by_client() {
    let listener = start_echo(Limits {
        max_connections_per_ip: 1,
        ..Limits::default()
    });
    let ask = |line: &str| {
        let mut client = proxy(&listener);
        client.send(format!("{line}{}", get("/a")));
        (client.answer().0, client)
    };
    let first = ask(LINE);
    let other = ask(&LINE.replace("10.1.2.3", "10.1.2.4"));
    let second = ask(LINE);
    assert_eq!((first.0, other.0, second.0), (200, 200, 429));
}

#[test]
fn introduction_has_the_time_of_a_head() {
    let listener = start_echo(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = proxy(&listener);
    client.send("PROXY TCP4 ");
    client.expect_end();
}
