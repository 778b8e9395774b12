//! The daemon under systemd, whose part the test plays: what it is told, and the socket that it keeps.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{
    client::Client,
    gateway::{Gateway, key_of, prompt, run_to_end_on, streaming},
    process::{signal, wait_until},
    setup::Setup,
    temp::TempDir,
};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name that the daemon gives the socket it wants kept.
const KEPT: &str = "ccgw-listener";

/// What systemd is told.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: TempDir,
}

/// One message, with the descriptor that came with it.
struct Told {
    text: String,
    fd: Option<OwnedFd>,
}

impl Systemd {
    fn start() -> Systemd {
        let dir = TempDir::new();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Systemd {
            socket,
            path,
            _dir: dir,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The next message; signs of life only where they are waited for.
    #[track_caller]
    fn told(&self, part: &str) -> Told {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let got = recvmsg(
            &self.socket,
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap_or_else(|error| panic!("nothing with {part:?} is told: {error}"));
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let text = String::from_utf8(text[..got.bytes].to_vec()).unwrap();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
        Told { text, fd }
    }

    /// The socket that is to be kept, of a daemon that has come up.
    #[track_caller]
    fn kept(&self) -> OwnedFd {
        let told = self.told("FDSTORE=1\n");
        assert!(
            told.text.contains(&format!("FDNAME={KEPT}\n")),
            "{}",
            told.text
        );
        told.fd.expect("no descriptor came with it")
    }
}

fn demo() -> Setup {
    Setup::with_cli(TempDir::new(), std::path::Path::new("/bin/true"))
        .argument("--demo")
        // A run holds its place until its process has ended: who asks at once again must not wait in the queue.
        .set("cli", "max_concurrent: 64")
        .set("cli", "max_per_tenant: 64")
}

/// A whole answer on a connection of its own.
fn ask(client: &Client) -> u16 {
    let key = key_of("alpha");
    client
        .post(
            "/v1/messages",
            &[("x-api-key", key.as_str())],
            &prompt("hi"),
        )
        .status
}

#[test]
fn systemd_is_told_of_readiness_reloads_and_the_end() {
    let systemd = Systemd::start();
    let mut gateway = demo().daemon_env("NOTIFY_SOCKET", systemd.path()).start();
    systemd.kept();
    let ready = systemd.told("READY=1\n").text;
    let status = format!("STATUS=serving 2 tenants on http://{}\n", gateway.addr());
    assert!(ready.contains(&status), "{ready}");

    signal(gateway.pid(), "HUP");
    let reloading = systemd.told("RELOADING=1\n").text;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    systemd.told(&status);

    gateway.dir.write("config.yaml", "server:\n  port: many\n");
    // That it has changed is seen without a signal, too.
    systemd.told("RELOADING=1\n");
    let ready = systemd.told("READY=1\n").text;
    assert!(ready.contains("is not valid"), "{ready}");
    assert_eq!(ready.trim_end().lines().count(), 2, "{ready}");

    signal(gateway.pid(), "TERM");
    let stopping = systemd.told("STOPPING=1\n").text;
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn signs_of_life_are_given_again_and_again() {
    let systemd = Systemd::start();
    let gateway = demo()
        .daemon_env("NOTIFY_SOCKET", systemd.path())
        .daemon_env("WATCHDOG_USEC", "200000")
        .start();
    systemd.kept();
    // The first may come before the word that it is up.
    let mut signs = 0;
    for _ in 0..4 {
        signs += usize::from(systemd.told("=1\n").text == "WATCHDOG=1\n");
    }
    assert!(signs >= 3, "{signs}");
    gateway.stop();
}

/// Clients that connect for each request, before, while and after one daemon takes the other's place. Answers that
/// are under way are finished, and nobody is refused.
#[test]
fn restart_loses_no_request() {
    let systemd = Systemd::start();
    let mut first = demo().daemon_env("NOTIFY_SOCKET", systemd.path()).start();
    let kept = systemd.kept();
    let client = first.client();
    let mut long = streaming(&prompt("[[deltas:40]][[delay:20]]"));
    long["tool_choice"] = serde_json::json!({"type": "none"});
    let mut under_way = first.stream("beta", &long);
    under_way.read_until("its begin", |event| event.event == "message_start");
    let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let more = |count: usize| {
        let goal = answered.load(Ordering::SeqCst) + count;
        wait_until(PATIENCE, "more answers", || {
            answered.load(Ordering::SeqCst) >= goal
        });
    };
    // It outlives the clients, who end with `over`, also where this test fails.
    let mut second = None;
    thread::scope(|scope| {
        let _end = SetAtEnd(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(ask(&client), 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        more(8);
        signal(first.pid(), "TERM");
        under_way.read_until("its end", |event| event.event == "message_stop");
        assert_eq!(first.wait().code(), Some(0));
        let gateway = second.insert(demo().start_on(kept, KEPT));
        assert_eq!(gateway.addr(), first.addr());
        more(8);
    });
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn socket_of_a_socket_unit_is_listened_on() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let systemd = Systemd::start();
    let gateway = demo()
        .fixed_port()
        .daemon_env("NOTIFY_SOCKET", systemd.path())
        .start_on(socket.into(), "ccgw.socket");
    assert_eq!(gateway.addr(), address);
    assert_eq!(ask(&gateway.client()), 200);
    gateway.log_contains("the socket unit listens elsewhere");
    // It is systemd's own already.
    systemd.told("READY=1\n");
    gateway.stop();
}

#[test]
fn kept_socket_of_another_address_is_given_up() {
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let systemd = Systemd::start();
    let gateway = demo()
        .fixed_port()
        .daemon_env("NOTIFY_SOCKET", systemd.path())
        .start_on(old.as_fd().try_clone_to_owned().unwrap(), KEPT);
    assert_ne!(gateway.addr(), old.local_addr().unwrap());
    assert_eq!(ask(&gateway.client()), 200);
    systemd.told(&format!("FDSTOREREMOVE=1\nFDNAME={KEPT}\n"));
    systemd.kept();
    gateway.stop();
}

#[test]
fn sockets_that_cannot_be_listened_on_are_named() {
    #[track_caller]
    fn check(socket: OwnedFd, names: &str, part: &str) {
        let setup = demo();
        let mut command = setup.listening_on(names);
        let output = run_to_end_on(Stdio::from(socket), &mut command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(part), "{text}");
    }
    let dir = TempDir::new();
    let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
    check(unix.into(), "ccgw.socket", "no listening TCP socket");
    let file = std::fs::File::open("/dev/null").unwrap();
    check(file.into(), "ccgw.socket", "no listening TCP socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    check(tcp.into(), "a:b", "LISTEN_FDS");
}

#[test]
fn address_that_others_reach_is_not_served_without_tenants() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let gateway: Gateway = demo().without_tenants().start_on(socket.into(), "x");
    let refused = gateway.client().post("/v1/messages", &[], &prompt("hi"));
    assert_eq!(refused.status, 401, "{}", refused.text());
    gateway.stop();
}
