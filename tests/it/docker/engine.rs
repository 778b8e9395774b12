//! A Docker Engine of this process's own, which ends with the process however that ends.

use std::{
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    api::{Body, Reply, request},
    image::Image,
    parts,
};
use crate::{process::look_until, temp::unique};

/// How long the engine may take to answer: half a second alone, more beside other tests.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running engine; dropping it ends it with all that it runs.
pub(crate) struct Engine {
    dir: PathBuf,
    tag: String,
    supervisor: Child,
    /// Open as long as the engine is wanted: the kernel closes it when this process is killed.
    wanted: Option<ChildStdin>,
    pub(super) images: [OnceLock<()>; Image::COUNT],
    networks: AtomicU32,
}

impl Engine {
    /// The engine that all tests of this process share, started on first use. `None`, and a line
    /// that says SKIPPED and why, where no engine can be had.
    pub(crate) fn shared() -> Option<&'static Engine> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        let engine = ENGINE.get_or_init(Engine::start).as_ref();
        engine.map_err(|problem| skipped(problem)).ok()
    }

    /// An engine for one test that must not see the containers of others.
    pub(crate) fn own() -> Option<Engine> {
        Engine::start().map_err(|problem| skipped(&problem)).ok()
    }

    fn start() -> Result<Engine, String> {
        static STARTED_SO_FAR: AtomicU32 = AtomicU32::new(0);
        parts::install()?;
        let number = STARTED_SO_FAR.fetch_add(1, Ordering::Relaxed);
        // It begins the names of network interfaces, which have 15 characters at most.
        let tag = format!("cg{}x{number}", std::process::id());
        let dir = std::env::temp_dir().join(format!("ccgw-it-{}", unique()));
        let addresses = Addresses::of_engine(number);
        let configuration = configuration(&dir, &tag, &addresses).to_string();
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("daemon.json"), configuration))
            .map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
        let mut supervisor =
            supervisor(&dir, &tag, &addresses).map_err(|error| error.to_string())?;
        let mut engine = Engine {
            wanted: supervisor.stdin.take(),
            dir,
            tag,
            supervisor,
            images: Default::default(),
            networks: AtomicU32::new(0),
        };
        engine.wait_until_ready()?;
        Ok(engine)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let dir = self.dir.clone();
        let ping = || request(&socket(&dir), ("GET", "/_ping"), Body::Nothing);
        let mut answer = || {
            if ping().is_ok_and(|reply| reply.is_ok()) {
                return Some(Ok(()));
            }
            let ended = !matches!(self.supervisor.try_wait(), Ok(None));
            ended.then(|| {
                let said = self.supervisor.stderr.take().map(io::read_to_string);
                let said = said.and_then(Result::ok).unwrap_or_default();
                Err(format!("dockerd does not run here:\n{said}"))
            })
        };
        look_until(READY_WITHIN, &mut answer)
            .unwrap_or_else(|| Err(format!("dockerd does not answer within {READY_WITHIN:?}")))
    }

    /// Where the engine listens, for `DOCKER_HOST=unix://…`.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// The supervisor's process, which is the last of the engine's.
    pub(crate) fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// What the names of its cgroup and its network interfaces begin with.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// What the Docker Engine API says, such as to `/containers/json`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.request(("GET", path), Body::Nothing).json()
    }

    /// A request that must succeed.
    #[track_caller]
    pub(super) fn request(&self, call: (&str, &str), body: Body) -> Reply {
        let reply = request(&self.socket(), call, body);
        let reply = reply.unwrap_or_else(|error| panic!("the engine on {call:?}: {error}"));
        assert!(reply.is_ok(), "the engine on {call:?}: {}", reply.text());
        reply
    }

    /// A request that may fail.
    pub(super) fn try_request(&self, call: (&str, &str), body: Body) -> Option<Reply> {
        request(&self.socket(), call, body).ok()
    }

    /// A name for a network's interface, by which the supervisor finds and removes it.
    pub(super) fn interface(&self) -> String {
        let number = self.networks.fetch_add(1, Ordering::Relaxed);
        format!("{}.{number}", self.tag)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.wanted = None;
        // Its exit code is that of a killed engine.
        let _ = self.supervisor.wait();
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("socket")
}

/// Nothing of the machine is touched but one bridge: no firewall rule and no sysctl, so that an
/// engine that runs here already is not disturbed. A container reaches the host all the same.
fn configuration(dir: &Path, tag: &str, addresses: &Addresses) -> Value {
    json!({
        "hosts": [format!("unix://{}", socket(dir).display())],
        "data-root": dir.join("data"), "exec-root": dir.join("exec"), "pidfile": dir.join("pid"),
        "default-address-pools": [{"base": addresses.networks, "size": 28}],
        "bridge": tag, "iptables": false, "ip-masq": false, "ip-forward": false,
        "cgroup-parent": format!("/{tag}"), "exec-opts": ["native.cgroupdriver=cgroupfs"],
    })
}

/// What an engine may use of the machine's addresses. Engines that choose for themselves take what
/// no route leads to: two that start at once take the same, and their containers lose their way.
struct Addresses {
    /// The bridge's own, with its prefix.
    bridge: String,
    /// Where the networks that tests make are cut from.
    networks: String,
}

impl Addresses {
    /// Eight of the 256 subnets of this process's block, for each of 32 engines.
    fn of_engine(number: u32) -> Addresses {
        static BLOCK: OnceLock<u32> = OnceLock::new();
        let block = BLOCK.get_or_init(|| free_block(std::process::id()));
        let subnet = number % 32 * 8;
        Addresses {
            bridge: format!("10.{block}.{subnet}.1/24"),
            networks: format!("10.{block}.{}.0/22", subnet + 4),
        }
    }
}

/// A number B, by preference another one for each process, so that no route leads to 10.B.
fn free_block(process: u32) -> u32 {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    // Addresses stand there backwards, in hexadecimal digits.
    let taken = |block: &u32| routes.contains(&format!("{block:02X}0A\t"));
    let mut blocks = (0..128).map(|next| 64 + (process + next) % 128);
    blocks.find(|block| !taken(block)).unwrap_or(64)
}

fn supervisor(dir: &Path, tag: &str, addresses: &Addresses) -> io::Result<Child> {
    Command::new("sh")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/docker/engine.sh"
        ))
        .args([dir.as_os_str(), tag.as_ref(), addresses.bridge.as_ref()])
        .current_dir("/")
        .env_clear()
        .env("PATH", parts::path())
        // Control-C is for this process; the supervisor ends after it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Past the capture of the test harness: CI looks for it.
fn skipped(problem: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let text = format!("SKIPPED: {test}: {problem}\n");
    io::stderr().write_all(text.as_bytes()).unwrap();
}
