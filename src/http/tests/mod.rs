//! The listener over real sockets: a server on a free port, and a client that speaks bytes.

mod close;
mod limits;
mod proxies;
mod requests;
mod streams;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// Far longer than anything takes; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// A deadline short enough to wait for.
const SHORT: Duration = Duration::from_millis(150);

/// A listener whose complete requests the test itself takes from `requests`.
struct Server {
    listener: Listener,
    requests: Receiver<Box<Request>>,
}

/// Starts a listener that rejects every head with `x-key: bad`, and panics at `x-key: panic`.
/// Other keys are accounts by their length. Every answer repeats the request's `x-mark`.
fn start_with(limits: Limits, queue: usize) -> Server {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ListenerConfig {
        socket: TcpListener::bind(addr).unwrap(),
        limits,
        error_body: plain_error,
        answer_headers: Box::new(|head| match head.header("x-mark") {
            Some(mark) => vec![("x-mark", mark.to_owned().into())],
            None => Vec::new(),
        }),
        // Nobody connects from there without being told to.
        is_proxy: Box::new(|address| address == IpAddr::from([127, 0, 0, 2])),
        reserved_fds: 0,
        needed_fds: 0,
    };
    let (sender, requests) = bounded(queue);
    let admit = |head: &Head, _peer: SocketAddr| match head.header("x-key") {
        Some("bad") => Err(Response::new(401).body(b"no".as_slice())),
        Some("panic") => panic!("on purpose"),
        Some(other) => Ok(Account(other.len())),
        None => Ok(Account(0)),
    };
    Server {
        listener: Listener::start(config, admit, sender).unwrap(),
        requests,
    }
}

fn plain_error(refused: &Refused<'_>) -> Response {
    Response::new(refused.status).body(refused.message.to_owned().into_bytes())
}

fn start(limits: Limits) -> Server {
    start_with(limits, 16)
}

/// Starts a listener and a worker that answers with method, path and body (a long body: its
/// length). `/drop` and `/panic` do what they say; `/big` is 8 MiB.
fn start_echo(limits: Limits) -> Listener {
    let Server { listener, requests } = start(limits);
    thread::spawn(move || {
        for request in requests {
            // The panic of one request must not end the worker.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| echo(*request)));
        }
    });
    listener
}

fn echo(request: Request) {
    let Request {
        head, body, reply, ..
    } = request;
    match head.path() {
        "/drop" => drop(reply),
        "/panic" => panic!("on purpose"),
        "/big" => reply.send(Response::new(200).body(vec![b'x'; 8 << 20])),
        path => {
            let body = if body.len() < 100 {
                format!("{}", body.escape_ascii())
            } else {
                format!("{}", body.len())
            };
            let text = format!("{} {path} {body}", head.method());
            reply.send(Response::new(200).body(text.into_bytes()));
        }
    }
}

impl Server {
    fn connect(&self) -> Client {
        connect(&self.listener)
    }

    #[track_caller]
    fn next_request(&self) -> Request {
        self.requests
            .recv_timeout(PATIENCE)
            .map(|request| *request)
            .expect("a request reaches the workers")
    }

    /// A client whose request is with the test.
    #[track_caller]
    fn ask(&self, request: &str) -> (Client, Request) {
        let mut client = self.connect();
        client.send(request);
        let request = self.next_request();
        (client, request)
    }
}

struct Client(BufReader<TcpStream>);

fn connect(listener: &Listener) -> Client {
    let stream = TcpStream::connect(listener.local_addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Client(BufReader::new(stream))
}

impl Client {
    fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket().write_all(bytes.as_ref()).unwrap();
    }

    /// The next head, without its empty line.
    #[track_caller]
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.0.read_line(&mut head).unwrap();
            assert_ne!(count, 0, "the connection ended after {head:?}");
        }
        head.truncate(head.len() - 4);
        head
    }

    #[track_caller]
    fn exactly(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The next whole answer: its status and body.
    #[track_caller]
    fn answer(&mut self) -> (u16, String) {
        let head = self.head();
        let length = head.split_once("Content-Length: ").expect("a length").1;
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        (status(&head), self.exactly(length))
    }

    /// What one chunk holds.
    #[track_caller]
    fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.0.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let data = self.exactly(size);
        assert_eq!(self.exactly(2), "\r\n");
        data
    }

    /// Everything until the end of the connection.
    fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).map(|_| rest)
    }

    /// The connection ends here, without another byte.
    #[track_caller]
    fn expect_end(&mut self) {
        assert_eq!(self.rest().unwrap(), "");
    }

    /// Closes with a reset instead of a regular end.
    fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.socket(), Some(Duration::ZERO)).unwrap();
    }
}

/// Waits until something is to be read from one of them, and says which.
#[track_caller]
fn first_readable(clients: &[Client]) -> usize {
    wait_for(clients, PollFlags::IN)
}

/// Waits for one of these events, or a reset, on one of them, and says on which.
#[track_caller]
fn wait_for(clients: &[Client], events: PollFlags) -> usize {
    let mut fds: Vec<_> = clients
        .iter()
        .map(|c| PollFd::new(c.socket(), events))
        .collect();
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap();
    fds.iter()
        .position(|fd| !fd.revents().is_empty())
        .expect("an event in time")
}

fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}
