//! What of this machine is inside of a sandbox, and where: a list that bubblewrap works off in its order.
//!
//! No place of a mount lies in a directory that a run, or an instance, writes to: bubblewrap makes what is missing
//! there, outside too, and would follow a link that was put in the way.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::Features;

/// One thing inside. Each `from` leads over no link, so that nobody has to resolve it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mount {
    /// The system's.
    System {
        from: PathBuf,
        to: PathBuf,
    },
    ReadOnly {
        from: PathBuf,
        to: PathBuf,
    },
    Writable {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        target: PathBuf,
        at: PathBuf,
    },
    /// An empty directory to write in, of so many bytes of memory, that is gone with the run.
    Scratch {
        at: PathBuf,
        size: u64,
    },
    /// A directory with nothing in it but what is mounted there.
    Empty {
        at: PathBuf,
    },
    /// An empty file.
    Nothing {
        at: PathBuf,
    },
    Proc,
    Dev,
}

/// What a run may keep in memory as files: archives and builds are unpacked in /tmp; browsers and Python's processes
/// share memory; the CLI notes what it does in its config directory.
const TMP_MAX: u64 = 256 << 20;
const SHM_MAX: u64 = 64 << 20;
const CONFIG_MAX: u64 = 64 << 20;

/// Another name for /tmp, unless something lies in it.
const VAR_TMP: &str = "/var/tmp";

/// The system's directories of programs; on most distributions some of them are links.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
];

/// Where nothing of a run's can be.
const SPECIAL: [&str; 6] = ["/proc", "/dev", "/sys", "/etc", "/run", "/boot"];

/// What of /proc concerns the machine and not the run.
const PROC_HIDDEN: [&str; 5] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
];
const PROC_EMPTY: [&str; 3] = ["/proc/acpi", "/proc/asound", "/proc/scsi"];

/// What all sandboxes of this machine have.
pub(super) fn system() -> Vec<Mount> {
    let mut mounts: Vec<Mount> = SYSTEM.iter().filter_map(|it| existing(it)).collect();
    mounts.extend([Mount::Proc, Mount::Dev]);
    let exists = |path: &&&str| fs::symlink_metadata(path).is_ok();
    let hidden = PROC_HIDDEN.iter().filter(exists);
    mounts.extend(hidden.map(|at| Mount::Nothing { at: at.into() }));
    let empty = PROC_EMPTY.iter().filter(exists);
    mounts.extend(empty.map(|at| Mount::Empty { at: at.into() }));
    let scratch = [("/dev/shm", SHM_MAX), ("/tmp", TMP_MAX)];
    mounts.extend(scratch.map(|(at, size)| Mount::Scratch {
        at: at.into(),
        size,
    }));
    mounts
}

fn existing(path: &str) -> Option<Mount> {
    let at = PathBuf::from(path);
    let metadata = fs::symlink_metadata(&at).ok()?;
    Some(match metadata.is_symlink() {
        true => Mount::Link {
            target: fs::read_link(&at).ok()?,
            at,
        },
        false => Mount::System {
            from: fs::canonicalize(&at).ok()?,
            to: at,
        },
    })
}

/// What one sandbox has.
pub(super) struct Mounts {
    list: Vec<Mount>,
}

impl Mounts {
    pub(super) fn new(system: &[Mount]) -> Mounts {
        Mounts {
            list: system.to_vec(),
        }
    }

    /// What is not there is not inside either.
    ///
    /// # Errors
    /// When its place is in a directory of another mount's, or is the system's.
    pub(super) fn read_only(&mut self, path: &Path) -> Result<(), String> {
        self.read_only_at(path, path.to_owned())
    }

    /// # Errors
    /// As [`Mounts::read_only`].
    pub(super) fn read_only_at(&mut self, from: &Path, to: PathBuf) -> Result<(), String> {
        let Ok(real) = fs::canonicalize(from) else {
            return Ok(());
        };
        if !self.is_inside_already(&real, &to) {
            self.ensure_free(from, &to)?;
            self.list.push(Mount::ReadOnly { from: real, to });
        }
        Ok(())
    }

    /// A directory to write in.
    ///
    /// # Errors
    /// As [`Mounts::read_only`], when the system itself lies in it, or it is not there.
    pub(super) fn writable(&mut self, path: &Path) -> Result<(), String> {
        self.writable_at(path, path.to_owned())
    }

    /// # Errors
    /// As [`Mounts::writable`].
    pub(super) fn writable_at(&mut self, from: &Path, to: PathBuf) -> Result<(), String> {
        let shown = from.display();
        let real = fs::canonicalize(from).map_err(|it| format!("{shown}: {it}"))?;
        let holds = |it: &&str| Path::new(it).starts_with(&real);
        let lies_in = |it: &&str| real.starts_with(it);
        if SYSTEM
            .iter()
            .chain(&SPECIAL)
            .any(|it| holds(it) || lies_in(it))
        {
            return Err(format!(
                "{shown} is the system's own, which no run may write to; write another folder into config.yaml, or \
                 `isolation: none`"
            ));
        }
        let is_written = |it: &Mount| match it {
            Mount::Writable { from, to: own } => {
                visible_at((from, own), &real).as_ref() == Some(&to)
            }
            _ => false,
        };
        if !self.list.iter().any(is_written) {
            self.ensure_free(from, &to)?;
            self.list.push(Mount::Writable { from: real, to });
        }
        Ok(())
    }

    /// Another name for what is inside.
    pub(super) fn link(&mut self, target: &Path, at: PathBuf) {
        let target = target.to_owned();
        self.list.push(Mount::Link { target, at });
    }

    /// The CLI's config directory, which each run fills for itself.
    ///
    /// # Errors
    /// As [`Mounts::read_only`].
    pub(super) fn config_dir(&mut self, at: &Path) -> Result<(), String> {
        self.ensure_free(at, at)?;
        self.list.push(Mount::Scratch {
            at: at.to_owned(),
            size: CONFIG_MAX,
        });
        Ok(())
    }

    /// Makes sure that nothing of these is inside by now. What comes later may lie in them.
    ///
    /// # Errors
    /// When it lies in a directory that the tenant has.
    pub(super) fn hide(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        let mut covers: Vec<Mount> = Vec::new();
        for path in paths {
            let Ok(real) = fs::canonicalize(path) else {
                continue;
            };
            for mount in &self.list {
                match mount {
                    Mount::System { from, to } => {
                        let at = visible_at((from, to), &real);
                        covers.extend(at.map(|at| match real.is_dir() {
                            true => Mount::Empty { at },
                            false => Mount::Nothing { at },
                        }));
                    }
                    Mount::ReadOnly { from, to } | Mount::Writable { from, to }
                        if visible_at((from, to), &real).is_some() =>
                    {
                        return Err(format!(
                            "{} holds {}, which no run of this tenant may see; write another folder into \
                             config.yaml, or `isolation: none`",
                            from.display(),
                            path.display()
                        ));
                    }
                    _ => {}
                }
            }
        }
        self.list.extend(covers);
        Ok(())
    }

    /// Whether the same is at the same place already.
    fn is_inside_already(&self, real: &Path, to: &Path) -> bool {
        self.list.iter().any(|it| match it {
            Mount::System { from, to: own }
            | Mount::ReadOnly { from, to: own }
            | Mount::Writable { from, to: own } => {
                visible_at((from, own), real).as_deref() == Some(to)
            }
            _ => false,
        })
    }

    fn ensure_free(&self, from: &Path, to: &Path) -> Result<(), String> {
        let taken = self.list.iter().find_map(|it| match it {
            Mount::ReadOnly { to: own, .. } | Mount::Writable { to: own, .. } => {
                (to.starts_with(own) || own.starts_with(to)).then_some(own)
            }
            _ => None,
        });
        match taken {
            None => Ok(()),
            Some(own) => Err(format!(
                "{} and {} of its sandbox lie in each other; name only one of them, or folders apart",
                to.display(),
                own.display(),
            )),
        }
        .map_err(|it| match from == to {
            true => it,
            false => format!("{it} ({} is meant)", from.display()),
        })
    }

    /// As bubblewrap's arguments.
    pub(super) fn args(&self, features: Features) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::with_capacity(4 * self.list.len() + 8);
        let mut closed = Vec::new();
        if !self.list.iter().any(|it| it.at().starts_with(VAR_TMP)) {
            three(
                &mut args,
                "--symlink",
                (Path::new("../tmp"), Path::new(VAR_TMP)),
            );
        }
        for mount in &self.list {
            match mount {
                Mount::System { from, to } | Mount::ReadOnly { from, to } => {
                    three(&mut args, "--ro-bind", (from, to));
                }
                Mount::Writable { from, to } => three(&mut args, "--bind", (from, to)),
                Mount::Link { target, at } => three(&mut args, "--symlink", (target, at)),
                Mount::Nothing { at } => {
                    three(&mut args, "--ro-bind", (Path::new("/dev/null"), at));
                }
                Mount::Scratch { at, size } => {
                    if features == Features::Modern {
                        args.extend(["--size".into(), size.to_string().into()]);
                    }
                    args.extend(["--tmpfs".into(), at.into()]);
                }
                Mount::Empty { at } => {
                    args.extend(["--tmpfs".into(), at.into()]);
                    closed.push(at.as_path());
                }
                Mount::Proc => args.extend(["--proc", "/proc"].map(OsString::from)),
                Mount::Dev => {
                    args.extend(["--dev", "/dev"].map(OsString::from));
                    closed.push(Path::new("/dev"));
                }
            }
        }
        // They are in memory too, and what holds the mounts is.
        for at in closed.into_iter().chain([Path::new("/")]) {
            args.extend(["--remount-ro".into(), at.into()]);
        }
        args
    }
}

impl Mount {
    /// Its place inside.
    fn at(&self) -> &Path {
        match self {
            Mount::System { to, .. } | Mount::ReadOnly { to, .. } | Mount::Writable { to, .. } => {
                to
            }
            Mount::Link { at, .. }
            | Mount::Scratch { at, .. }
            | Mount::Empty { at }
            | Mount::Nothing { at } => at,
            Mount::Proc => Path::new("/proc"),
            Mount::Dev => Path::new("/dev"),
        }
    }
}

/// Where a path of this machine is inside, by a mount; neither leads over a link.
fn visible_at((from, to): (&Path, &Path), real: &Path) -> Option<PathBuf> {
    let rest = real.strip_prefix(from).ok()?;
    Some(match rest.as_os_str().is_empty() {
        true => to.to_owned(),
        false => to.join(rest),
    })
}

fn three(args: &mut Vec<OsString>, option: &str, (from, to): (&Path, &Path)) {
    args.extend([option.into(), from.into(), to.into()]);
}

/// The CLI itself: one file, or where that is a script, its package and its interpreter.
///
/// # Errors
/// As [`Mounts::read_only`].
pub(super) fn program(
    mounts: &mut Mounts,
    program: &Path,
    path: Option<&OsStr>,
) -> Result<(), String> {
    if interpreter(program).is_none() {
        return mounts.read_only(program);
    }
    mounts.read_only(package(program).unwrap_or(program))?;
    let Some(found) = found_interpreter(program, path) else {
        return Ok(());
    };
    // The name that it is looked up by may be a link.
    let real = fs::canonicalize(&found).unwrap_or_else(|_| found.clone());
    mounts.read_only_at(&real, found)?;
    mounts.read_only(&real)
}

/// The file of a script's interpreter; `None` for what is no script, or where it is not found.
pub(super) fn found_interpreter(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let interpreter = interpreter(program)?;
    match interpreter.parent() {
        Some(parent) if parent != Path::new("") => Some(interpreter),
        _ => path.and_then(|path| {
            let candidates = std::env::split_paths(path).map(|dir| dir.join(&interpreter));
            candidates.into_iter().find(|it| it.is_file())
        }),
    }
}

/// The program of a script's first line, by its path, or by its name where `env` looks for it.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    let file = File::open(program).ok()?;
    file.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|it| *it == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    match Path::new(first).file_name() == Some(OsStr::new("env")) {
        true => words.find(|it| !it.starts_with('-')).map(PathBuf::from),
        false => Some(first.into()),
    }
}

/// The nearest directory above that is an npm package. A package.json in / or in somebody's home is not the CLI's.
fn package(program: &Path) -> Option<&Path> {
    let mut above = program.ancestors().skip(1);
    let package = above.find(|it| it.join("package.json").is_file())?;
    let modules = Component::Normal(OsStr::new("node_modules"));
    package
        .components()
        .any(|it| it == modules)
        .then_some(package)
}
