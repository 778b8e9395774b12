//! The images, made of the machine's own files: nothing is pulled.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    api::{Body, quoted},
    engine::Engine,
    parts::find,
};
use crate::{openclaw, temp::TempDir};

/// Where the modules of OpenClaw are bound into its containers.
const MODULES: &str = "/usr/local/lib/node_modules";

/// The user of the containers.
const NODE: u32 = 1000;

/// What a container is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Image {
    /// busybox, a user `node` (uid 1000) and nothing else; runs as root.
    Busybox,
    /// The same with OpenClaw in /app and on the path, as in the vendor's image; runs as `node`.
    /// Node and the modules are not copied: every container has them bound, read-only.
    OpenClaw,
}

impl Image {
    pub(super) const COUNT: usize = 2;

    pub(super) fn name(self) -> &'static str {
        match self {
            Image::Busybox => "busybox:local",
            Image::OpenClaw => "openclaw:local",
        }
    }

    /// Imports the image on first use.
    #[track_caller]
    pub(super) fn import(self, engine: &Engine) {
        engine.images[self as usize].get_or_init(|| {
            let root = Root::new();
            if matches!(self, Image::OpenClaw) {
                root.add_openclaw();
            }
            let mut path = format!("/images/create?fromSrc=-&repo={}", quoted(self.name()));
            for line in self.configuration() {
                path += &format!("&changes={}", quoted(line));
            }
            let reply = engine.request(("POST", &path), Body::Tar(&root.tar()));
            assert!(!reply.text().contains("\"error\""), "{}", reply.text());
        });
    }

    /// What every container of this image shows of the host.
    pub(super) fn mount(self) -> Option<Value> {
        let modules = openclaw::modules();
        let modules =
            json!({"Type": "bind", "Source": modules, "Target": MODULES, "ReadOnly": true});
        matches!(self, Image::OpenClaw).then_some(modules)
    }

    fn configuration(self) -> &'static [&'static str] {
        const PATH: &str = "ENV PATH=/usr/local/bin:/usr/bin:/bin";
        match self {
            Image::Busybox => &[PATH],
            Image::OpenClaw => &[PATH, "ENV HOME=/home/node", "USER node", "WORKDIR /app"],
        }
    }
}

/// An image's files.
struct Root(TempDir);

impl Root {
    /// What both images have.
    fn new() -> Root {
        let root = Root(TempDir::new());
        root.0.write(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n",
        );
        root.0.write("etc/group", "root:x:0:\nnode:x:1000:\n");
        let tmp = root.0.create_dir("tmp");
        fs::set_permissions(tmp, fs::Permissions::from_mode(0o1777)).unwrap();
        chown(root.0.create_dir("home/node"), Some(NODE), Some(NODE)).unwrap();
        let busybox = find("busybox").expect("installed before");
        root.add_program(&busybox, "bin/busybox");
        let list = Command::new(busybox).arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout).unwrap().lines() {
            if name != "busybox" {
                symlink("busybox", root.path("bin").join(name)).unwrap();
            }
        }
        root
    }

    fn add_openclaw(&self) {
        openclaw::install();
        self.add_libraries(&openclaw::node());
        let launcher = "#!/bin/sh\nexec node /app/openclaw.mjs \"$@\"\n";
        let launcher = self.0.write("usr/local/bin/openclaw", launcher);
        fs::set_permissions(launcher, fs::Permissions::from_mode(0o755)).unwrap();
        let node = openclaw::node();
        let node = node.strip_prefix(openclaw::modules()).unwrap();
        let modules = Path::new(MODULES);
        symlink(modules.join(node), self.path("usr/local/bin/node")).unwrap();
        symlink(modules.join("openclaw"), self.path("app")).unwrap();
        self.0.create_dir(&MODULES[1..]);
    }

    fn add_program(&self, program: &Path, to: &str) {
        self.copy(program, Path::new(to));
        self.add_libraries(program);
    }

    /// The shared libraries of a program, where the program looks for them. A static one has none.
    fn add_libraries(&self, program: &Path) {
        let output = Command::new("ldd").arg(program).output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let paths = list.split_whitespace().filter(|word| word.starts_with('/'));
        for library in paths {
            self.copy(Path::new(library), Path::new(&library[1..]));
        }
    }

    fn copy(&self, from: &Path, to: &Path) {
        let to = self.0.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tar(&self) -> Vec<u8> {
        let output = Command::new("tar")
            .arg("-C")
            .arg(self.0.path())
            .args(["--numeric-owner", "-cf", "-", "."])
            .output()
            .unwrap();
        assert!(output.status.success(), "tar: {output:?}");
        output.stdout
    }
}
