//! Proves the kit: what the other tests build on containers is true of this machine's engine.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use super::{Container, Engine, Image, Network, Ran, Spec};
use crate::{
    process::{is_alive, processes_with_cmdline},
    temp::{TempDir, unique},
};

fn ran(code: i64, stdout: &str, stderr: &str) -> Ran {
    let (stdout, stderr) = (stdout.to_owned(), stderr.to_owned());
    Ran {
        code,
        stdout,
        stderr,
    }
}

#[test]
fn a_program_in_a_container_has_its_exit_code_and_both_streams() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let spec = Spec::new(Image::Busybox, unique()).env("GREETING", "hello");
    let container = engine.container(spec);
    let script = "echo $GREETING; echo no >&2; exit 7";
    assert_eq!(
        container.exec(&["sh", "-c", script]),
        ran(7, "hello\n", "no\n")
    );
    assert_eq!(container.exec(&["id", "-u"]), ran(0, "0\n", ""));
}

#[test]
fn a_container_has_its_name_labels_user_and_log_until_it_is_removed() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let name = unique();
    let spec = Spec::new(Image::Busybox, &name)
        .user("node")
        .label("com.docker.compose.service", "openclaw-gateway")
        .command(&["sh", "-c", "id -un; exec sleep 1000"]);
    let container = engine.container(spec);
    let inspected = container.inspect();
    assert_eq!(inspected["Name"], format!("/{name}"));
    let labels = &inspected["Config"]["Labels"];
    assert_eq!(labels["com.docker.compose.service"], "openclaw-gateway");
    container.stop();
    assert_eq!(container.inspect()["State"]["Running"], false);
    assert_eq!(container.log(), "node\n");
    let id = container.id().to_owned();
    drop(container);
    let left = engine.get("/containers/json?all=1").to_string();
    assert!(!left.contains(&id), "{left}");
}

#[test]
fn files_of_the_host_and_of_a_named_volume_are_there() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let dir = TempDir::new();
    dir.write("shown", "by the host");
    let (name, volume) = (unique(), unique());
    let spec = Spec::new(Image::Busybox, &name)
        .user("node")
        .bind(dir.path(), "/shown")
        .volume(&volume, "/home/node");
    let container = engine.container(spec);
    assert_eq!(
        container.exec(&["cat", "/shown/shown"]),
        ran(0, "by the host", "")
    );
    // A new volume takes over the owner of the directory it hides.
    let write = "echo kept > /home/node/file && cat /home/node/file";
    assert_eq!(container.exec(&["sh", "-c", write]), ran(0, "kept\n", ""));
    let volumes = engine.get("/volumes");
    let all = volumes["Volumes"].as_array().unwrap();
    let ours = all.iter().find(|it| it["Name"] == volume.as_str()).unwrap();
    let file = Path::new(ours["Mountpoint"].as_str().unwrap()).join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "kept\n");
    drop(container);
    let left = engine.get("/volumes").to_string();
    assert!(!left.contains(&volume), "{left}");
}

#[test]
fn a_container_reaches_a_port_of_the_host_on_every_network() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let port = port_of_the_host();
    let own = Network::New(format!("{}-net", unique()));
    for network in [own, Network::Bridge] {
        let spec = Spec::new(Image::Busybox, unique())
            .network(network)
            .extra_host("host.docker.internal:host-gateway");
        let container = engine.container(spec);
        for host in [&container.gateway(), "host.docker.internal"] {
            fetches(&container, &format!("http://{host}:{port}/"));
        }
    }
    let container = engine.container(Spec::new(Image::Busybox, unique()).network(Network::Host));
    fetches(&container, &format!("http://127.0.0.1:{port}/"));
}

#[track_caller]
fn fetches(container: &Container, url: &str) {
    let fetched = container.exec(&["wget", "-q", "-O", "-", url]);
    assert_eq!(fetched, ran(0, "the host", ""), "{url}");
}

/// Served on all of the host's addresses, for as long as this process lives.
fn port_of_the_host() -> u16 {
    let server = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serve = move || {
        for stream in server.incoming().flatten() {
            // Another test may have meant somebody else who had this port, and say nothing.
            thread::spawn(|| answer_as_host(stream));
        }
    };
    let named = thread::Builder::new().name("host".to_owned());
    named.spawn(serve).unwrap();
    port
}

fn answer_as_host(mut stream: TcpStream) {
    // The answer comes after the request, or closing would reset the connection.
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nthe host");
}

#[test]
fn openclaw_runs_in_a_container() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let container = engine.container(Spec::new(Image::OpenClaw, unique()));
    let version = container.exec(&["openclaw", "--version"]);
    assert_eq!(version.code, 0, "{version:?}");
    assert!(version.stdout.contains("2026.9.6"), "{version:?}");
    assert_eq!(container.exec(&["id", "-un"]), ran(0, "node\n", ""));
}

#[test]
fn nothing_is_left_of_an_engine_that_ended() {
    let Some(engine) = Engine::own() else { return };
    let spec = Spec::new(Image::Busybox, "left").network(Network::New("left-net".to_owned()));
    // Not removed by its handle: the engine's end has to do.
    std::mem::forget(engine.container(spec));
    let (pid, tag) = (engine.pid(), engine.tag().to_owned());
    let dir = engine.socket().parent().unwrap().to_owned();
    let mark = dir.to_str().unwrap().to_owned();
    assert!(is_alive(pid) && !processes_with_cmdline(&mark).is_empty());
    drop(engine);
    assert!(!is_alive(pid));
    assert_eq!(processes_with_cmdline(&mark), Vec::<u32>::new());
    assert!(!dir.exists());
    let interfaces = fs::read_dir("/sys/class/net").unwrap().flatten();
    let mut names = interfaces.map(|it| it.file_name().into_string().unwrap());
    assert_eq!(names.find(|name| name.starts_with(&tag)), None);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&mark), "{mounts}");
    let cgroups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let ours = |it: &fs::DirEntry| it.path().join(&tag).exists() || it.file_name() == *tag;
    let left: Vec<_> = cgroups.filter(ours).collect();
    assert!(left.is_empty(), "{left:?}");
}
