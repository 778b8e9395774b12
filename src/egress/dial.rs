//! Makes the connection that a run asked for: looks its name up, looks at the addresses, and connects with one of just these.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::{
    address::{Class, Trust},
    host::{Name, Target},
};

/// Why there is no connection, as the end of a sentence.
pub(super) enum Failure {
    /// It must not be.
    Refused(String),
    Failed(String),
}

/// For one address.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name with more has some that answer.
const ADDRESSES_MAX: usize = 4;

/// What a proxy may say before it connects.
const ANSWER_MAX: usize = 8 << 10;

/// A connection with the target, through a proxy if there is one.
pub(super) fn dial(
    target: &Target,
    trust: Trust,
    proxy: Option<&Target>,
) -> Result<TcpStream, Failure> {
    if let Some(proxy) = proxy {
        let addresses = resolved(proxy)?;
        let stream = connected(&addresses)?;
        through(stream, target)
            .map_err(|it| Failure::Failed(format!("cannot be reached through {proxy}: {it}")))
    } else {
        let found = resolved(target)?;
        let open: Vec<SocketAddr> = found
            .iter()
            .copied()
            .filter(|it| Class::of(it.ip()).is_open_to(trust))
            .collect();
        match (found.first(), open.is_empty()) {
            (Some(first), true) => return Err(is_closed(first.ip())),
            _ => connected(&open),
        }
        .and_then(|stream| not_ourselves(stream, trust))
    }
    .inspect(|stream| {
        // Without it an answer comes later, and no harm is done.
        let _ = stream.set_nodelay(true);
    })
}

fn is_closed(address: IpAddr) -> Failure {
    let class = Class::of(address).name();
    Failure::Refused(format!(
        "leads to {address}, which is {class}; if that is meant, write the host into sandbox.hosts"
    ))
}

fn resolved(target: &Target) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = match &target.name {
        Name::Address(it) => return Ok(vec![(*it, target.port).into()]),
        Name::Dns(name) => (name.as_str(), target.port).to_socket_addrs(),
    };
    let addresses = addresses.map_err(|it| Failure::Failed(format!("is not found: {it}")))?;
    Ok(addresses.collect())
}

fn connected(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut why = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(Failure::Failed(format!("does not answer: {why}")))
}

/// An address of this machine's own that looks like any other is one that it calls itself from.
fn not_ourselves(stream: TcpStream, trust: Trust) -> Result<TcpStream, Failure> {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) if trust == Trust::Public && own.ip() == peer.ip() => {
            Err(Failure::Refused(format!(
                "leads to {}, which is this machine's own",
                peer.ip()
            )))
        }
        _ => Ok(stream),
    }
}

/// Has a proxy connect with the target.
fn through(mut stream: TcpStream, target: &Target) -> io::Result<TcpStream> {
    let until = Instant::now() + PATIENCE;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    // By the byte, since what follows is the target's.
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend(byte);
        if answer.len() > ANSWER_MAX || Instant::now() > until {
            return Err(io::Error::other("its answer has no end"));
        }
    }
    let status = answer.split(|it| *it == b' ').nth(1);
    match status {
        Some([b'2', _, _]) => {}
        _ => {
            let line = answer.split(|it| *it == b'\r').next().unwrap_or_default();
            let line: String = String::from_utf8_lossy(line).chars().take(80).collect();
            return Err(io::Error::other(format!("it says {line}")));
        }
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A listener on this machine, and what became of a connection with it.
    fn dialled(host: &str, trust: Trust) -> Result<TcpStream, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        dial(
            &Target::parse(&format!("{host}:{port}"), None).unwrap(),
            trust,
            None,
        )
    }

    #[test]
    fn name_that_leads_to_this_machine_is_refused_unless_it_was_written() {
        for host in ["localhost", "127.0.0.1"] {
            assert!(dialled(host, Trust::Named).is_ok(), "{host}");
            match dialled(host, Trust::Public) {
                Err(Failure::Refused(why)) => assert!(why.contains("this machine's own"), "{why}"),
                _ => panic!("{host} was reached"),
            }
        }
    }

    /// What comes of a proxy's answer, and what it was asked.
    fn dialled_through(answer: &'static str) -> (Result<TcpStream, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Target::parse(&listener.local_addr().unwrap().to_string(), None).unwrap();
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|it| !it.is_empty())
                .collect();
            stream.write_all(answer.as_bytes()).unwrap();
            head.join("|")
        });
        let target = Target::parse("api.example:443", None).unwrap();
        let dialled = dial(&target, Trust::Public, Some(&proxy));
        (dialled, serve.join().unwrap())
    }

    #[test]
    fn proxy_of_this_machine_connects_and_what_follows_its_answer_is_the_hosts() {
        let (dialled, asked) = dialled_through("HTTP/1.1 200 OK\r\nX: y\r\n\r\nfrom the host");
        assert_eq!(
            asked,
            "CONNECT api.example:443 HTTP/1.1|Host: api.example:443"
        );
        let mut said = String::new();
        dialled.ok().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "from the host");
    }

    #[test]
    fn proxy_that_does_not_connect_is_told_of() {
        for (answer, expect) in [
            (
                "HTTP/1.1 407 Who are you\r\n\r\n",
                "it says HTTP/1.1 407 Who are you",
            ),
            ("", "cannot be reached through"),
            ("no http\r\n\r\n", "it says no http"),
        ] {
            match dialled_through(answer).0 {
                Err(Failure::Failed(why)) => assert!(why.contains(expect), "{why}"),
                _ => panic!("{answer:?} was taken for a connection"),
            }
        }
    }
}
