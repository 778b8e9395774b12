//! What the `openclaw` command of a run adds to the program that it calls, on this machine and in a container.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{CCGW, Gateway, KEY, new_dir, post, quantile, row};

const ROUNDS: usize = 220;

/// Caches and page tables warm up.
const WARM_UP: usize = 20;

const ENGINE: &str = "/var/run/docker.sock";

pub(crate) fn relay() {
    here();
    contained();
}

fn here() {
    let dir = new_dir();
    let (programs, home) = (dir.join("programs"), dir.join(".openclaw"));
    fs::create_dir(&programs).unwrap();
    fs::create_dir(&home).unwrap();
    fs::write(home.join("openclaw.json"), "{}").unwrap();
    symlink("/bin/true", programs.join("openclaw")).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let direct = programs.join("openclaw");
    let run = Run::start(
        dir,
        "local",
        [("PATH", &path), ("DOCKER_HOST", "unix:///x")],
    );
    compare("openclaw here", &run, || {
        let status = Command::new(&direct).arg("status").status();
        assert!(status.unwrap().success());
    });
}

/// In a container that is made of a static busybox, on the engine that is there.
fn contained() {
    let socket = std::env::var("DOCKER_HOST").ok();
    let socket = socket.as_deref().and_then(|it| it.strip_prefix("unix://"));
    let socket = socket.unwrap_or(ENGINE).to_owned();
    let busybox = Path::new("/bin/busybox");
    if UnixStream::connect(&socket).is_err() || !busybox.exists() {
        println!(
            "{:48} SKIPPED: no Docker Engine at {socket}, or no busybox",
            "openclaw in a container"
        );
        return;
    }
    let dir = new_dir();
    let Some(container) = Container::start(&socket, &dir) else {
        println!(
            "{:48} SKIPPED: the engine starts no container",
            "openclaw in a container"
        );
        return;
    };
    let host = format!("unix://{socket}");
    let run = Run::start(
        dir,
        "bench",
        [("PATH", "/usr/bin:/bin"), ("DOCKER_HOST", &host)],
    );
    compare("openclaw in a container", &run, || container.exec());
}

/// Both by turns, so that a drifting machine moves both.
fn compare(what: &str, run: &Run, direct: impl Fn()) {
    let (mut bare, mut through) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        direct();
        let between = Instant::now();
        run.call();
        if round >= WARM_UP {
            bare.push(between - started);
            through.push(between.elapsed());
        }
    }
    row(&format!("{what}: by itself"), &mut bare, "");
    row(&format!("{what}: from a run"), &mut through, "");
    let added = |at| {
        let (through, bare) = (quantile(&through, at), quantile(&bare, at));
        (through.as_secs_f64() - bare.as_secs_f64()) * 1e3
    };
    println!(
        "{:48} {:>9.3} ms {:>9.3} ms   p50 <= 5 ms",
        format!("{what}: added"),
        added(0.5),
        added(0.99)
    );
}

/// A gateway with a run that goes on, and what that run has.
struct Run {
    _gateway: Gateway,
    _request: TcpStream,
    command: PathBuf,
    socket: PathBuf,
}

impl Run {
    fn start(dir: PathBuf, tenant: &str, env: [(&str, &str); 2]) -> Run {
        let cli = dir.join("claude");
        let script = "#!/bin/sh\n[ \"$1\" = --version ] && { echo '2.1.330 (Claude Code)'; exit 0; }\nexec sleep 3600\n";
        fs::write(&cli, script).unwrap();
        fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!(
            "server:\n  port: 0\n  host: 127.0.0.1\nisolation: none\ncli:\n  bin: {}\ntenants:\n  - name: {tenant}\n    api_key: {KEY}\n",
            cli.display()
        );
        let config = dir.join("config.yaml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(CCGW);
        command.arg(&config).env_clear().envs(env);
        let relay = dir.join("state/relay");
        let gateway = Gateway::listening(dir, command);
        let mut request = TcpStream::connect(gateway.address).unwrap();
        let body =
            r#"{"model":"sonnet","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        request.write_all(post(body).as_bytes()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        let socket = loop {
            let entries = fs::read_dir(&relay).into_iter().flatten().flatten();
            let mut sockets = entries.filter(|it| it.file_type().unwrap().is_socket());
            if let Some(socket) = sockets.next() {
                break socket.path();
            }
            assert!(Instant::now() < until, "no run");
            thread::sleep(Duration::from_millis(10));
        };
        Run {
            _gateway: gateway,
            _request: request,
            command: relay.join("bin/openclaw"),
            socket,
        }
    }

    fn call(&self) {
        let mut command = Command::new(&self.command);
        let output = command
            .arg("status")
            .env("CCGW_RELAY", &self.socket)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

struct Container {
    socket: String,
    id: String,
}

impl Container {
    fn start(socket: &str, dir: &Path) -> Option<Container> {
        let root = dir.join("root");
        for name in ["bin", "usr/local/bin", "home/node/.openclaw"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        symlink("/bin/busybox", root.join("bin/sleep")).unwrap();
        let openclaw = root.join("usr/local/bin/openclaw");
        fs::write(&openclaw, "#!/bin/busybox true\n").unwrap();
        fs::set_permissions(&openclaw, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("home/node/.openclaw/openclaw.json"), "{}").unwrap();
        let host = format!("unix://{socket}");
        let docker = |args: &[&str]| {
            let output = Command::new("docker")
                .args(["-H", &host])
                .args(args)
                .stderr(Stdio::null())
                .output();
            let output = output.ok().filter(|it| it.status.success())?;
            Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        };
        let archive = dir.join("root.tar");
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        docker(&["import", archive.to_str()?, "ccgw-bench"])?;
        let run = [
            "run",
            "-d",
            "--rm",
            "--network",
            "none",
            "--name",
            "bench-openclaw-gateway-1",
            "ccgw-bench",
            "/bin/sleep",
            "3600",
        ];
        let id = docker(&run)?;
        let socket = socket.to_owned();
        Some(Container { socket, id })
    }

    /// As the relay does it: a command is made, taken over, and asked for how it ended.
    fn exec(&self) {
        let create = format!("/containers/{}/exec", self.id);
        let made = self.ask("POST", &create, r#"{"AttachStdout":true,"AttachStderr":true,"Cmd":["/usr/local/bin/openclaw","status"]}"#);
        let id = made
            .split("\"Id\":\"")
            .nth(1)
            .and_then(|it| it.split('"').next());
        let id = id.unwrap();
        self.ask(
            "POST",
            &format!("/exec/{id}/start"),
            r#"{"Detach":false,"Tty":false}"#,
        );
        let ended = self.ask("GET", &format!("/exec/{id}/json"), "");
        assert!(ended.contains("\"ExitCode\":0"), "{ended}");
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: docker\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let host = format!("unix://{}", self.socket);
        for args in [["rm", "-f", &self.id], ["rmi", "-f", "ccgw-bench"]] {
            let _ = Command::new("docker")
                .args(["-H", &host])
                .args(args)
                .output();
        }
    }
}
