//! A container of a test: what it is made from, what runs in it, and its removal.

use std::{collections::BTreeMap, path::Path, thread};

use serde_json::{Value, json};

use super::{api::Body, engine::Engine, image::Image};

/// A container that does not run yet.
pub(crate) struct Spec {
    name: String,
    image: Image,
    command: Vec<String>,
    user: Option<String>,
    labels: BTreeMap<String, String>,
    env: Vec<String>,
    mounts: Vec<Value>,
    volumes: Vec<String>,
    network: Network,
    extra_hosts: Vec<String>,
}

/// What network a container has.
#[derive(Debug, Clone)]
pub(crate) enum Network {
    /// The engine's default bridge.
    Bridge,
    /// The host's own.
    Host,
    /// A new bridge of this name, removed with the container.
    New(String),
}

impl Spec {
    /// A container that sleeps on the default bridge. Names are the engine's: where tests share one,
    /// each needs names of its own.
    pub(crate) fn new(image: Image, name: impl Into<String>) -> Spec {
        Spec {
            name: name.into(),
            image,
            command: Vec::new(),
            user: None,
            labels: BTreeMap::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            volumes: Vec::new(),
            network: Network::Bridge,
            extra_hosts: Vec::new(),
        }
        .command(&["sleep", "100000"])
    }

    pub(crate) fn command(mut self, command: &[&str]) -> Spec {
        self.command = command.iter().map(|&it| it.to_owned()).collect();
        self
    }

    /// Another user than the image's.
    pub(crate) fn user(mut self, user: &str) -> Spec {
        self.user = Some(user.to_owned());
        self
    }

    pub(crate) fn label(mut self, name: &str, value: &str) -> Spec {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Spec {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Shows a directory or a file of the host.
    pub(crate) fn bind(mut self, from: &Path, to: &str) -> Spec {
        self.mounts
            .push(json!({"Type": "bind", "Source": from, "Target": to}));
        self
    }

    /// Mounts a volume with this name, removed with the container.
    pub(crate) fn volume(mut self, name: &str, to: &str) -> Spec {
        self.mounts
            .push(json!({"Type": "volume", "Source": name, "Target": to}));
        self.volumes.push(name.to_owned());
        self
    }

    pub(crate) fn network(mut self, network: Network) -> Spec {
        self.network = network;
        self
    }

    /// An entry of /etc/hosts, such as `host.docker.internal:host-gateway`.
    pub(crate) fn extra_host(mut self, entry: &str) -> Spec {
        self.extra_hosts.push(entry.to_owned());
        self
    }

    /// The document that the engine takes.
    fn document(mut self) -> Value {
        self.mounts.extend(self.image.mount());
        let mut document = json!({
            "Image": self.image.name(), "Cmd": self.command, "Labels": self.labels, "Env": self.env,
            "HostConfig": {
                "NetworkMode": self.network.mode(), "Mounts": self.mounts,
                "ExtraHosts": self.extra_hosts,
                // As in OpenClaw's compose file: the first process passes the polite signal on.
                "Init": true,
            },
        });
        if let Some(user) = self.user {
            document["User"] = user.into();
        }
        document
    }
}

impl Network {
    fn mode(&self) -> &str {
        match self {
            Network::Bridge => "bridge",
            Network::Host => "host",
            Network::New(name) => name,
        }
    }
}

/// A container; dropping it removes it with its network and its volumes.
pub(crate) struct Container<'a> {
    engine: &'a Engine,
    id: String,
    network: Option<String>,
    volumes: Vec<String>,
}

/// What a program in a container did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Engine {
    /// Starts a container, and imports its image on first use.
    #[track_caller]
    pub(crate) fn container(&self, spec: Spec) -> Container<'_> {
        spec.image.import(self);
        let network = match &spec.network {
            Network::New(name) => Some(self.create_network(name)),
            Network::Bridge | Network::Host => None,
        };
        let (name, volumes) = (spec.name.clone(), spec.volumes.clone());
        let path = format!("/containers/create?name={name}");
        let created = self.request(("POST", &path), Body::Json(&spec.document()));
        // Made before the start, so that a container that does not start is removed as well.
        let container = Container {
            engine: self,
            id: created.json()["Id"].as_str().unwrap().to_owned(),
            network,
            volumes,
        };
        container.post("start");
        container
    }

    #[track_caller]
    fn create_network(&self, name: &str) -> String {
        let interface = self.interface();
        let network = json!({
            "Name": name, "Driver": "bridge", "CheckDuplicate": true,
            "Options": {"com.docker.network.bridge.name": interface},
        });
        self.request(("POST", "/networks/create"), Body::Json(&network));
        name.to_owned()
    }
}

impl Container<'_> {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Runs a program in the container to its end.
    #[track_caller]
    pub(crate) fn exec(&self, command: &[&str]) -> Ran {
        let exec = json!({"AttachStdout": true, "AttachStderr": true, "Cmd": command});
        let path = format!("/containers/{}/exec", self.id);
        let created = self.engine.request(("POST", &path), Body::Json(&exec));
        let exec = created.json()["Id"].as_str().unwrap().to_owned();
        let start = json!({"Detach": false, "Tty": false});
        let path = format!("/exec/{exec}/start");
        let [stdout, stderr] = self
            .engine
            .request(("POST", &path), Body::Json(&start))
            .streams();
        let ended = self.engine.get(&format!("/exec/{exec}/json"));
        let code = ended["ExitCode"].as_i64();
        Ran {
            code: code.unwrap_or_else(|| panic!("{command:?} has not ended: {ended:#}")),
            stdout,
            stderr,
        }
    }

    /// Stops the container and leaves it there.
    #[track_caller]
    pub(crate) fn stop(&self) {
        // An OpenClaw that is killed would not start again on the same files for a while.
        self.post("stop?t=30");
    }

    /// Calls it otherwise, while it runs.
    #[track_caller]
    pub(crate) fn rename(&self, name: &str) {
        self.post(&format!("rename?name={name}"));
    }

    /// What the engine says about the container.
    #[track_caller]
    pub(crate) fn inspect(&self) -> Value {
        self.engine.get(&format!("/containers/{}/json", self.id))
    }

    /// The host's address in the container's first network; empty in the host's own.
    #[track_caller]
    pub(crate) fn gateway(&self) -> String {
        let inspected = self.inspect();
        let networks = inspected["NetworkSettings"]["Networks"].as_object();
        let first = networks.and_then(|it| it.values().next());
        let address = first.and_then(|it| it["Gateway"].as_str());
        address.unwrap_or_default().to_owned()
    }

    /// What the container's first process printed, on both streams.
    pub(crate) fn log(&self) -> String {
        let path = format!("/containers/{}/logs?stdout=1&stderr=1", self.id);
        let reply = self.engine.try_request(("GET", &path), Body::Nothing);
        reply.map(|it| it.streams().concat()).unwrap_or_default()
    }

    #[track_caller]
    fn post(&self, action: &str) {
        let path = format!("/containers/{}/{action}", self.id);
        self.engine.request(("POST", &path), Body::Nothing);
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of container {}:\n{}", self.id, self.log());
        }
        // What cannot be removed now goes with the engine.
        let delete = |path: String| {
            let _ = self.engine.try_request(("DELETE", &path), Body::Nothing);
        };
        delete(format!("/containers/{}?force=1&v=1", self.id));
        for volume in &self.volumes {
            delete(format!("/volumes/{volume}"));
        }
        if let Some(network) = &self.network {
            delete(format!("/networks/{network}"));
        }
    }
}
