//! The daemon's end of the relay: a socket for each tenant, one thread that takes connections, and one for each
//! command that runs.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
};

use super::{
    frame::{Call, Piece},
    instance::{Caller, Whereabouts},
    known::Known,
    policy,
};
use crate::{config::Config, ids, log};

/// Commands of one tenant at the same time.
const COMMANDS_MAX: usize = 4;

/// A program on this machine sends its call in one piece, and takes what it gets.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to leave the sockets alone when nothing can be accepted: the process is short of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Beside the sockets.
const COMMANDS: &str = "bin";

/// A model may try again and again.
static REFUSED: log::Sparing = log::Sparing::new();

/// The relay of a daemon. [`Relay::close`] ends it.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Where the sockets are.
    dir: PathBuf,
    config: Mutex<Arc<Config>>,
    lines: Mutex<Vec<Arc<Line>>>,
    /// Where instances were last found.
    known: Known,
    /// Written to when there is a new line, or the end.
    wake: OwnedFd,
    over: AtomicBool,
    /// Its lock goes with this descriptor, and so with the process, however that ends.
    _own: OwnedFd,
}

/// A tenant's.
struct Line {
    tenant: String,
    socket: PathBuf,
    listener: UnixListener,
    /// Commands that run.
    active: Arc<AtomicUsize>,
}

impl Relay {
    /// Begins with no socket. `dir` is made anew: what an earlier life left there is nobody's.
    ///
    /// # Errors
    /// When it cannot be made, or the thread not be started.
    pub(crate) fn start(dir: &Path, config: Arc<Config>) -> io::Result<Relay> {
        let own = taken(dir)?;
        let commands = dir.join(COMMANDS);
        fs::create_dir(&commands)?;
        std::os::unix::fs::symlink(std::env::current_exe()?, commands.join(super::NAME))?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            config: Mutex::new(config),
            lines: Mutex::default(),
            known: Known::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            over: false.into(),
            _own: own,
        });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || own.serve())?;
        Ok(Relay {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Goes by another configuration from now on.
    pub(crate) fn follow(&self, config: &Arc<Config>) {
        *lock(&self.shared.config) = Arc::clone(config);
        self.shared.known.forget();
    }

    /// Where the command is for runs without a sandbox.
    pub(crate) fn commands(&self) -> PathBuf {
        self.shared.dir.join(COMMANDS)
    }

    /// The socket for a tenant's runs; `None` when they have none.
    pub(crate) fn socket_of(&self, tenant: &str) -> Option<PathBuf> {
        let config = Arc::clone(&lock(&self.shared.config));
        if config.relay.is_none() || config.tenant(tenant).is_err() {
            return None;
        }
        let mut lines = lock(&self.shared.lines);
        if let Some(line) = lines.iter().find(|it| it.tenant == tenant) {
            return Some(line.socket.clone());
        }
        match Line::open(&self.shared.dir, tenant) {
            Ok(line) => {
                let socket = line.socket.clone();
                lines.push(Arc::new(line));
                self.shared.wake();
                Some(socket)
            }
            Err(error) => {
                REFUSED.info(
                    "no `openclaw` command for runs",
                    &[("tenant", &tenant), ("why", &error)],
                );
                None
            }
        }
    }

    /// Takes no more commands. Those that run end with their runs, and at the latest with the daemon.
    pub(crate) fn close(&self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there was already reported by its own thread.
            let _ = thread.join();
        }
        // The next one removes what stays.
        for line in lock(&self.shared.lines).iter() {
            let _ = fs::remove_file(&line.socket);
        }
    }
}

/// An empty directory for this user only, which no other daemon has.
fn taken(dir: &Path) -> io::Result<OwnedFd> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open(dir, flags, Mode::empty())?;
    flock(&own, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => {
            let text = format!("another ccgw has {}", dir.display());
            io::Error::new(io::ErrorKind::AddrInUse, text)
        }
        other => other.into(),
    })?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() && !path.is_symlink() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(own)
}

impl Line {
    /// A socket's path may have 107 bytes, and a tenant's name 63.
    fn open(dir: &Path, tenant: &str) -> io::Result<Line> {
        let hash = hmac_sha256::Hash::hash(tenant.as_bytes());
        let socket = dir.join(ids::hex(&hash[..6]));
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        // A run of root's gateway is another user, who becomes its owner.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        Ok(Line {
            tenant: tenant.to_owned(),
            socket,
            listener,
            active: Arc::default(),
        })
    }
}

impl Shared {
    fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn serve(self: Arc<Self>) {
        while !self.over.load(Ordering::Acquire) {
            let lines = lock(&self.lines).clone();
            let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
            fds.extend(
                lines
                    .iter()
                    .map(|it| PollFd::from_borrowed_fd(it.listener.as_fd(), PollFlags::IN)),
            );
            // An interrupted one finds nothing ready.
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|it| !it.revents().is_empty()).collect();
            let mut count = [0; 8];
            // It does not block, and what it says is known.
            let _ = rustix::io::read(&self.wake, &mut count);
            for (line, _) in lines.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                self.accept(line);
            }
        }
    }

    fn accept(self: &Arc<Self>, line: &Line) {
        let stream = match line.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return thread::sleep(PAUSE),
        };
        let active = Arc::clone(&line.active);
        if active.fetch_add(1, Ordering::AcqRel) >= COMMANDS_MAX {
            active.fetch_sub(1, Ordering::AcqRel);
            let _ = stream.set_nonblocking(true);
            return refuse(
                &stream,
                "too many commands at the same time; wait for the others",
            );
        }
        let (own, tenant) = (Arc::clone(self), line.tenant.clone());
        let place = Place(active);
        let answer = move || {
            let _place = place;
            own.answer(&stream, &tenant);
        };
        // Without a thread the connection is closed, and the run says so.
        let _ = thread::Builder::new()
            .name("openclaw".to_owned())
            .spawn(answer);
    }

    fn answer(&self, stream: &UnixStream, tenant: &str) {
        let started = Instant::now();
        let set = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        let call = set.and_then(|()| Call::read(&mut &*stream));
        let Ok(Call { words }) = call else {
            return refuse(stream, "this is no call of `openclaw`");
        };
        let config = Arc::clone(&lock(&self.config));
        let Some(relay) = &config.relay else {
            return refuse(
                stream,
                "the operator has switched this command off (relay: off)",
            );
        };
        // A run may outlive its tenant's entry.
        if let Err(why) = config.tenant(tenant) {
            return refuse(stream, &why);
        }
        let allowed = match policy::check(&words, &relay.allow) {
            Ok(allowed) => allowed,
            Err(why) => {
                REFUSED.info(
                    "an `openclaw` command was refused",
                    &[("tenant", &tenant), ("why", &why)],
                );
                return refuse(stream, &why);
            }
        };
        let mut caller = Caller::new(stream);
        let ran = self.run((&config, tenant), (&words, &allowed.files), &mut caller);
        let (took, code) = (
            started.elapsed().as_millis(),
            ran.as_ref().copied().unwrap_or(1),
        );
        log::info(
            "an `openclaw` command",
            &[
                ("tenant", &tenant),
                ("command", &allowed.command),
                ("exit", &code),
                ("ms", &took),
            ],
        );
        match ran {
            Ok(code) => {
                // Who has left hears nothing.
                let _ = Piece::Exit(code).write(&mut &*stream);
            }
            Err(why) => refuse(stream, &why),
        }
    }

    /// Where the instance was, and if it is not there any more, where it is.
    fn run(
        &self,
        (config, name): (&Arc<Config>, &str),
        (words, files): (&[String], &[policy::File<'_>]),
        caller: &mut Caller<'_>,
    ) -> Result<i32, String> {
        let tenant = config.tenant(name)?;
        let limit = config.relay.as_ref().map_or(PATIENCE, |it| it.timeout);
        if let Some(place) = self.known.get(name, config) {
            place.check_files(tenant, files)?;
            let ran = place.run(words, limit, caller);
            // It may have been made anew; but what has begun must not be done twice.
            if ran.is_ok() || caller.has_heard || !place.is_gone() {
                return ran;
            }
        }
        let place = Arc::new(Whereabouts::find(&config.tenants, name)?);
        self.known.note(name, config, &place);
        place.check_files(tenant, files)?;
        place.run(words, limit, caller)
    }
}

/// A command's place among those that may run at once.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn refuse(stream: &UnixStream, why: &str) {
    let text = format!("openclaw: {why}\n").into_bytes();
    let mut out = stream;
    // Who has left hears nothing.
    let _ = Piece::Stderr(text)
        .write(&mut out)
        .and_then(|()| Piece::Exit(1).write(&mut out));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is only ever replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
