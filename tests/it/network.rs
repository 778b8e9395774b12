//! Runs with a network of their own (`network: api`), by the real CLI in its sandbox: they reach their API and what
//! is named for them. Everything else is tried, and fails; where the network is shared the same attempts succeed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixListener},
    },
    thread,
};

use serde_json::{Value, json};

use crate::{
    api::ScriptedApi,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, prompt},
    sandbox::{Walls, bash},
    setup::{Setup, manage},
    temp::{TempDir, unique},
};

/// Listeners of this machine: each that is reached was reached by a run.
struct Machine {
    tcp: TcpListener,
    /// One that the configuration names.
    named: TcpListener,
    udp: SocketAddr,
    abstract_name: String,
    _abstract: UnixListener,
    /// An address that is not loopback, where there is one.
    own: Option<TcpListener>,
}

impl Machine {
    fn new() -> Machine {
        let listen = |ip: IpAddr| TcpListener::bind((ip, 0)).unwrap();
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = echo.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((count, from)) = echo.recv_from(&mut buffer) {
                // Who has left hears nothing.
                let _ = echo.send_to(&buffer[..count], from);
            }
        });
        let abstract_name = unique();
        let address = UnixAddr::from_abstract_name(abstract_name.as_bytes()).unwrap();
        // Nothing is sent: it only says from which address it would be.
        let route = UdpSocket::bind("0.0.0.0:0").unwrap();
        let own = route
            .connect("192.0.2.1:9")
            .and_then(|()| route.local_addr());
        let own = own.ok().filter(|it| !it.ip().is_loopback());
        Machine {
            tcp: listen(Ipv4Addr::LOCALHOST.into()),
            named: listen(Ipv4Addr::LOCALHOST.into()),
            udp,
            abstract_name,
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            own: own.map(|it| listen(it.ip())),
        }
    }
}

/// As the script wants an address.
fn words(listener: &TcpListener) -> String {
    let address = listener.local_addr().unwrap();
    format!("{} {}", address.ip(), address.port())
}

fn setup(api: &ScriptedApi, machine: &Machine, network: &str) -> Option<Setup> {
    let port = machine.named.local_addr().unwrap().port();
    let setup = Walls::Bwrap.setup(api)?;
    let work = setup.dir.create_dir("work");
    fs::write(work.join("reach.pl"), include_str!("../data/reach.pl")).unwrap();
    let setup = setup
        .working_dir("alpha", &work)
        .set("sandbox", format!("network: {network}"))
        .set("sandbox", format!("hosts: [\"localhost:{port}\"]"));
    Some(setup)
}

#[track_caller]
fn reach(gateway: &Gateway, attempt: &str) -> String {
    bash(gateway, "alpha", &format!("perl reach.pl {attempt}"))
}

#[test]
fn run_with_a_network_of_its_own_reaches_nothing_but_what_is_named() {
    let (api, machine) = (ScriptedApi::start(), Machine::new());
    let Some(own) = setup(&api, &machine, "api") else {
        return;
    };
    let (own, shared) = (
        own.start(),
        setup(&api, &machine, "shared").unwrap().start(),
    );
    let (udp, name) = (machine.udp, &machine.abstract_name);
    let (tcp, named) = (words(&machine.tcp), words(&machine.named));
    let other_port = machine.tcp.local_addr().unwrap().port();
    let gateways = |it: &Gateway| format!("tcp 127.0.0.1 {}", it.addr().port());
    let mut attempts = vec![
        (
            "the gateway's own port",
            gateways(&own),
            Some(gateways(&shared)),
        ),
        (
            "another port of loopback",
            format!("tcp {tcp}"),
            Some(format!("tcp {tcp}")),
        ),
        (
            "what is named, but not through the proxy",
            format!("tcp {named}"),
            Some(format!("tcp {named}")),
        ),
        (
            "where clouds keep credentials",
            "tcp 169.254.169.254 80".to_owned(),
            None,
        ),
        (
            "the same through the proxy",
            "connect 169.254.169.254 80".to_owned(),
            None,
        ),
        (
            "an abstract socket",
            format!("abstract {name}"),
            Some(format!("abstract {name}")),
        ),
        (
            "datagrams, DNS for one",
            format!("udp {} {}", udp.ip(), udp.port()),
            Some(format!("udp {} {}", udp.ip(), udp.port())),
        ),
        (
            "a host that is not named",
            "connect example.com 443".to_owned(),
            None,
        ),
        (
            "a port that is not named, through the proxy",
            format!("connect {tcp}"),
            Some(format!("tcp {tcp}")),
        ),
        (
            "another port of a name",
            format!("connect localhost {other_port}"),
            Some(format!("tcp localhost {other_port}")),
        ),
        (
            "the gateway through the proxy",
            format!("connect 127.0.0.1 {}", own.addr().port()),
            Some(gateways(&shared)),
        ),
        ("a head without end", "long".to_owned(), None),
    ];
    if let Some(own) = &machine.own {
        let own = words(own);
        attempts.push((
            "this machine's own address",
            format!("tcp {own}"),
            Some(format!("tcp {own}")),
        ));
        attempts.push((
            "the same, by the proxy",
            format!("connect {own}"),
            Some(format!("tcp {own}")),
        ));
    }
    for (what, attempt, control) in attempts {
        let said = reach(&own, &attempt);
        assert!(said.contains("no: "), "{what} was reached: {said}");
        if let Some(control) = control {
            let said = reach(&shared, &control);
            assert!(said.contains("REACHED"), "{what}, shared: {said}");
        }
    }
    let port = machine.named.local_addr().unwrap().port();
    let said = reach(&own, &format!("connect localhost {port}"));
    assert!(said.contains("REACHED"), "what is named: {said}");
    let line = own.log_contains("a run was not connected with a host");
    assert!(line.contains("tenant=alpha"), "{line}");
    let said = own.log();
    assert!(said.contains("example.com:443"), "{said}");
}

#[test]
fn hundreds_of_idle_connections_keep_nobody_from_the_api() {
    let (api, machine) = (ScriptedApi::start(), Machine::new());
    let Some(setup) = setup(&api, &machine, "api") else {
        return;
    };
    let gateway = setup.start();
    let port = machine.named.local_addr().unwrap().port();
    for idle in ["idle tcp 200", "idle unix 400"] {
        // They are held while the result goes to the API, and while others ask.
        let held = format!(
            "perl reach.pl {idle} >held & until grep -q HOLDS held; do sleep 0.05; done; rm held; perl reach.pl connect localhost {port}"
        );
        let said = bash(&gateway, "alpha", &held);
        assert!(said.contains("REACHED"), "{idle}: {said}");
        let said = gateway
            .ask("beta", &prompt("hello from beta"))
            .answer_text();
        assert!(said.contains("hello from beta"), "{said}");
    }
}

/// A client with its whole history.
fn ask(gateway: &Gateway, messages: &mut Vec<Value>, text: &str) -> String {
    messages.push(json!({"role": "user", "content": text}));
    let body = json!({"model": MODEL, "max_tokens": 1000, "messages": messages});
    let answer = gateway.ask("alpha", &body);
    let said = answer.answer_text();
    messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": said}]}));
    answer.header("x-ccgw-session").unwrap_or("none").to_owned()
}

#[test]
fn conversations_go_on_in_a_network_of_their_own() {
    let (api, machine) = (ScriptedApi::start(), Machine::new());
    let Some(setup) = setup(&api, &machine, "api") else {
        return;
    };
    let mut gateway = setup.fixed_port().start();
    let mut messages = Vec::new();
    assert_eq!(ask(&gateway, &mut messages, "one"), "fresh");
    assert_eq!(ask(&gateway, &mut messages, "two [[bash:echo 2]]"), "warm");
    gateway.restart_after("TERM");
    assert_eq!(ask(&gateway, &mut messages, "three"), "resumed");
    assert_eq!(ask(&gateway, &mut messages, "four"), "warm");
    let seen = api.last_prompt();
    for text in ["one", "two", "three", "four"] {
        assert!(seen.mentions(text), "{text} did not reach the API");
    }
    let mut streamed = gateway.stream("alpha", &prompt("streamed"));
    streamed.read_until_text();
    let tenant = &gateway.health()["tenants"][0];
    assert_eq!(
        (&tenant["isolation"], &tenant["network"]),
        (&json!("bwrap"), &json!("api"))
    );
}

#[test]
fn network_is_refused_where_it_cannot_be_had() {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello");
    let gateway = Setup::with_cli(dir, fake.path())
        .set("sandbox", "network: api")
        .tenant_line("beta", "network: shared")
        .start();
    let refused = gateway.ask("alpha", &prompt("x"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(
        refused
            .text()
            .contains("network is api, which only a sandbox"),
        "{}",
        refused.text()
    );
    assert_eq!(gateway.ask("beta", &prompt("x")).answer_text(), "hello");
    let said = manage(&gateway.dir, &["doctor"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("network is api"), "{said}");
}

#[test]
fn hosts_of_a_new_configuration_are_in_force_at_once() {
    let (api, machine) = (ScriptedApi::start(), Machine::new());
    let Some(setup) = setup(&api, &machine, "api") else {
        return;
    };
    let gateway = setup.start();
    let port = |it: &TcpListener| it.local_addr().unwrap().port();
    let (old, new) = (port(&machine.named), port(&machine.tcp));
    let said = reach(&gateway, &format!("connect localhost {old}"));
    assert!(said.contains("REACHED"), "{said}");
    let file = gateway.dir.path().join("config.yaml");
    let text = fs::read_to_string(file).unwrap();
    let text = text.replace(&format!("localhost:{old}"), &format!("localhost:{new}"));
    gateway.dir.write("config.yaml", text);
    gateway.log_contains("changes=sandbox.hosts");
    for (port, expect) in [(old, "no: "), (new, "REACHED")] {
        let said = reach(&gateway, &format!("connect localhost {port}"));
        assert!(said.contains(expect), "{port}: {said}");
    }
}
