//! A running HAProxy with the configuration that is shipped, before two gateways of a test.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustix::process::geteuid;

use crate::{
    client::Client,
    gateway::{Gateway, Log},
    process::say_skipped,
    setup::Setup,
    temp::TempDir,
};

const SHIPPED: &str = include_str!("../../../packaging/haproxy/haproxy.cfg");

/// Dropping it kills it.
pub(super) struct Proxy {
    addr: SocketAddr,
    child: Child,
    pub(super) log: Arc<Log>,
    _dir: TempDir,
}

/// What a gateway needs behind it, as README.md says.
pub(super) fn behind_proxy(setup: Setup) -> Gateway {
    setup
        .fixed_port()
        .set("server", "proxy_protocol_from: [127.0.0.2]")
        // A test ends it by a second signal when it has seen what happens meanwhile.
        .set("server", "drain_delay: 600000")
        .start()
}

/// As the file says it of a gateway on HAProxy's own host.
fn beside(gateway: &Gateway) -> String {
    format!("{} source 127.0.0.2", gateway.addr())
}

impl Proxy {
    /// None, said loudly, where there is no HAProxy.
    pub(super) fn start(one: &Gateway, two: &Gateway) -> Option<Proxy> {
        // Debian's is not on the path of everybody.
        let names = ["haproxy", "/usr/sbin/haproxy"];
        let has = |name: &&str| Command::new(name).arg("-v").output().is_ok();
        let Some(program) = names.into_iter().find(has) else {
            say_skipped(
                "SKIPPED: tests of the HAProxy recipe: `haproxy` is missing, `apt-get install haproxy`",
            );
            return None;
        };
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let mut text = SHIPPED.to_owned();
        for (shipped, here) in [
            ("bind :3456", format!("bind {addr}")),
            ("\"${CCGW_ONE-10.0.0.11:3456}\"", beside(one)),
            ("\"${CCGW_TWO-10.0.0.12:3456}\"", beside(two)),
        ] {
            assert_eq!(text.matches(shipped).count(), 1, "{shipped}");
            text = text.replace(shipped, &here);
        }
        let dir = TempDir::new();
        let file = dir.write("haproxy.cfg", text);
        let mut command = Command::new(program);
        if !geteuid().is_root() {
            command.env("CCGW_NOT_ROOT", "1");
        }
        let mut child = command
            .arg("-db")
            .arg("-f")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let proxy = Proxy {
            addr,
            child,
            log,
            _dir: dir,
        };
        crate::process::wait_until(super::PATIENCE, "HAProxy to listen", || {
            std::net::TcpStream::connect(addr).is_ok()
        });
        Some(proxy)
    }

    /// The user that serves.
    pub(super) fn uid(&self) -> u32 {
        let status = format!("/proc/{}", self.child.id());
        std::fs::metadata(status).unwrap().uid()
    }

    /// What it takes for its root directory.
    pub(super) fn root(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/root", self.child.id())).unwrap()
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.addr)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("HAProxy's log:\n{}", self.log.text());
        }
    }
}

/// Status and text of an answer, whole or streamed; `Err` with what came when it broke off.
pub(super) fn answered(
    client: &Client,
    key: &str,
    body: &serde_json::Value,
) -> Result<(u16, String), String> {
    let headers = [("x-api-key", key)];
    let connection = client.open("POST", "/v1/messages", &headers, Some(body));
    let mut answer = connection.answer();
    let mut bytes = Vec::new();
    let read = answer.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match read {
        Ok(_) => Ok((answer.status, text)),
        Err(error) => Err(format!("{error}: {text}")),
    }
}
