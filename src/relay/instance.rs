//! The instance of a tenant, and its own `openclaw` command: in its container, or on this machine.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags},
};

use super::{NAME, container::Container, frame::Piece, policy::File};
use crate::{
    claude::keeper::{self, Exit, Keeper, Launch, Running},
    config::Tenant,
    docker,
    manage::found::Found,
    no_links,
    openclaw::instance::Place,
};

/// Where a tenant's commands go. Finding it takes some requests to the engine, so it is kept for a while.
#[derive(Debug)]
pub(super) enum Whereabouts {
    Container(Container),
    Local {
        state_dir: PathBuf,
        config_path: PathBuf,
    },
}

pub(super) struct TookTooLong;

impl From<TookTooLong> for io::Error {
    fn from(_: TookTooLong) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, "it took too long and was ended")
    }
}

/// Of each output; what is longer is cut off, and the command ended.
const OUTPUT_MAX: usize = 4 << 20;

/// A run that has asked for a command, and takes what that says until it leaves.
pub(super) struct Caller<'a> {
    stream: &'a UnixStream,
    /// Whether it has taken anything, so that the command must not be done twice.
    pub(super) has_heard: bool,
}

impl<'a> Caller<'a> {
    pub(super) fn new(stream: &'a UnixStream) -> Self {
        Caller {
            stream,
            has_heard: false,
        }
    }

    /// The end of its connection, which lives as long as it listens.
    pub(super) fn as_fd(&self) -> BorrowedFd<'a> {
        self.stream.as_fd()
    }

    fn hear(&mut self, piece: &Piece) -> io::Result<()> {
        self.has_heard = true;
        piece.write(&mut &*self.stream)
    }
}

struct HasLeft;

impl From<HasLeft> for io::Error {
    fn from(_: HasLeft) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "its run has ended")
    }
}

impl Whereabouts {
    /// Looks for the tenant's instance.
    ///
    /// # Errors
    /// Why there is none, for the model and for the operator to read.
    pub(super) fn find(tenants: &[Tenant], name: &str) -> Result<Whereabouts, String> {
        let found = Found::search(tenants);
        let instance = found.own(name)?;
        let access = found.access(instance);
        match &instance.place {
            Place::Local => {
                let own = rustix::process::geteuid().as_raw();
                let owner = access.file(&instance.config_path)?.map(|it| it.uid);
                // What it writes would become ours, and the instance could not read it any more.
                if owner.is_some_and(|owner| owner != u64::from(own)) {
                    return Err(
                        "the instance belongs to another user than the gateway's".to_owned()
                    );
                }
                Ok(Whereabouts::Local {
                    state_dir: instance.state_dir.clone(),
                    config_path: instance.config_path.clone(),
                })
            }
            Place::Docker(container) => {
                let launcher = access
                    .launcher()?
                    .ok_or("the container has no `openclaw` command")?;
                let owner = access.file(&instance.config_path)?;
                let id = container.id.clone();
                let engine = found
                    .into_engine_of(&id)
                    .ok_or("the Docker Engine is out of reach")?;
                Ok(Whereabouts::Container(Container {
                    timer: Container::timer(&engine, &id),
                    engine,
                    id,
                    launcher,
                    user: owner.map(|it| format!("{}:{}", it.uid, it.gid)),
                }))
            }
        }
    }

    /// Whether it is not there any more: its container was ended or made anew.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Whereabouts::Container(it) => {
                !it.engine.inspect(&it.id).is_ok_and(|it| it.state.running)
            }
            Whereabouts::Local { .. } => false,
        }
    }

    /// Looks whether a command may name these files. In a container they are the tenant's own. On this machine the
    /// instance's command has the gateway's rights, and a run must not get at files through it that it does not see.
    ///
    /// # Errors
    /// Why not, for the model to read.
    pub(super) fn check_files(&self, tenant: &Tenant, files: &[File<'_>]) -> Result<(), String> {
        match self {
            Whereabouts::Container(_) => Ok(()),
            Whereabouts::Local { .. } => files.iter().try_for_each(|it| check_file(tenant, it)),
        }
    }

    /// Runs `openclaw` with these words. What it says goes to `caller` as it comes, and no longer than that is there.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(super) fn run(
        &self,
        words: &[String],
        limit: Duration,
        caller: &mut Caller<'_>,
    ) -> Result<i32, String> {
        match self {
            Whereabouts::Container(it) => it.run(words, limit, caller),
            Whereabouts::Local {
                state_dir,
                config_path,
            } => {
                let mut env: Vec<_> = ["PATH", "HOME", "USER", "LANG", "TZ"]
                    .into_iter()
                    .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
                    .collect();
                env.push(("OPENCLAW_STATE_DIR".into(), state_dir.into()));
                env.push(("OPENCLAW_CONFIG_PATH".into(), config_path.into()));
                let launch = Launch {
                    program: NAME.into(),
                    args: words.iter().map(Into::into).collect(),
                    env,
                    cwd: state_dir.clone(),
                    wrapped_in: 0,
                    limits: keeper::Limits::default(),
                };
                run_here(&launch, limit, &mut Bounded::new(caller))
            }
        }
    }
}

/// URLs, and what lies in the tenant's own folders; OpenClaw looks again when it reads (its media roots).
fn check_file(tenant: &Tenant, file: &File<'_>) -> Result<(), String> {
    let File {
        flag,
        value,
        is_media,
    } = file;
    if !is_media {
        return Err(format!(
            "{flag} names a file of the machine that the gateway runs on; it is only for instances in containers"
        ));
    }
    if ["http://", "https://"]
        .iter()
        .any(|it| value.starts_with(it))
    {
        return Ok(());
    }
    let path = Path::new(value);
    let mounted = tenant.mounts.iter().filter(|it| it.host == it.inside);
    let folders = tenant.working_dir.iter().chain(mounted.map(|it| &it.host));
    let is_there = |folder: &PathBuf| {
        path.strip_prefix(folder)
            .is_ok_and(|below| is_plain_file(folder, below))
    };
    match folders.into_iter().any(is_there) {
        true => Ok(()),
        false => Err(format!(
            "{flag} takes a URL, or the whole path of a file in your own folders with no link on the way"
        )),
    }
}

/// Over no link: a run makes its own.
fn is_plain_file(folder: &Path, below: &Path) -> bool {
    let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, dir, Mode::empty()).and_then(|folder| {
        let file = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        no_links::open_below(&folder, below, file)
    });
    let stat = file.and_then(|it| rustix::fs::fstat(&it));
    // Another name of a file from elsewhere would be a link as well.
    stat.is_ok_and(|it| {
        FileType::from_raw_mode(it.st_mode) == FileType::RegularFile && it.st_nlink == 1
    })
}

/// Passes on no more than there may be.
pub(super) struct Bounded<'s, 'a> {
    caller: &'s mut Caller<'a>,
    passed: usize,
}

impl<'s, 'a> Bounded<'s, 'a> {
    pub(super) fn new(caller: &'s mut Caller<'a>) -> Self {
        Bounded { caller, passed: 0 }
    }

    pub(super) fn pass(&mut self, channel: docker::Channel, bytes: Vec<u8>) -> io::Result<()> {
        self.passed += bytes.len();
        if self.passed > OUTPUT_MAX {
            return Err(io::Error::other("it says more than 4 MiB"));
        }
        self.caller.hear(&match channel {
            docker::Channel::Stdout => Piece::Stdout(bytes),
            docker::Channel::Stderr => Piece::Stderr(bytes),
        })
    }
}

/// Through a keeper: whatever the command starts ends with it.
fn run_here(launch: &Launch, limit: Duration, out: &mut Bounded<'_, '_>) -> Result<i32, String> {
    let keeper = Keeper::start().map_err(|it| it.to_string())?;
    let mut running = keeper.spawn(launch).map_err(|it| it.error.to_string())?;
    running.stdin = None;
    let said = pass_on(&mut running, Instant::now() + limit, out);
    let (ended, _) = running.end();
    match (said, ended.exit) {
        (Err(why), _) => Err(why.to_string()),
        (Ok(()), Exit::Code(code)) => Ok(code),
        // As shells say it.
        (Ok(()), Exit::Signal(signal)) => Ok(128 + signal),
        (Ok(()), Exit::Unknown) => Err("it was ended from outside".to_owned()),
    }
}

/// Until the program has ended; what it started may hold its output open for longer.
fn pass_on(running: &mut Running, until: Instant, out: &mut Bounded<'_, '_>) -> io::Result<()> {
    let mut open = [true, true];
    loop {
        let ended = running.try_exit().is_some();
        let read = [
            open[0].then(|| piece_of(&mut running.stdout)),
            open[1].then(|| piece_of(&mut running.stderr)),
        ];
        let mut is_quiet = true;
        for (index, read) in read.into_iter().enumerate() {
            match read.transpose()? {
                None | Some(None) => {}
                Some(Some(bytes)) if bytes.is_empty() => open[index] = false,
                Some(Some(bytes)) => {
                    is_quiet = false;
                    let channels = [docker::Channel::Stdout, docker::Channel::Stderr];
                    out.pass(channels[index], bytes)?;
                }
            }
        }
        if is_quiet && ended {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TookTooLong.into());
        }
        if is_quiet && wait(running, open, (out.caller.stream, left))? == Caught::HangUp {
            return Err(HasLeft.into());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caught {
    Anything,
    HangUp,
}

fn wait(
    running: &Running,
    open: [bool; 2],
    (caller, left): (&UnixStream, Duration),
) -> io::Result<Caught> {
    let outputs: [BorrowedFd<'_>; 2] = [running.stdout.as_fd(), running.stderr.as_fd()];
    // A hang-up is always told.
    let mut fds = vec![PollFd::new(caller, PollFlags::empty())];
    fds.push(PollFd::from_borrowed_fd(running.fd(), PollFlags::IN));
    let open = outputs.into_iter().zip(open).filter(|(_, open)| *open);
    fds.extend(open.map(|(fd, _)| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let left = Timespec::try_from(left).ok();
    match poll(&mut fds, left.as_ref()) {
        Ok(_) if !fds[0].revents().is_empty() => Ok(Caught::HangUp),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Caught::Anything),
        Err(error) => Err(error.into()),
    }
}

/// `None` when there is nothing now; empty at the end.
fn piece_of(pipe: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; 16 << 10];
    match pipe.read(&mut bytes) {
        Ok(count) => {
            bytes.truncate(count);
            Ok(Some(bytes))
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
