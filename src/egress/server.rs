//! The daemon's end of the way out: a socket for each tenant whose runs have a network of their own, and one thread
//! that moves all bytes. Only names are looked up, and connections made, on threads beside it.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::event::{EventfdFlags, eventfd};

use super::{dial::Failure, policy::Policy};
use crate::{http, ids};

mod connections;
mod dials;

use self::{connections::Connections, dials::Dials};

/// What the thread may have open, for all tenants: two for each connection, and the sockets.
const FDS_MAX: usize = 2 * connections::TOTAL_MAX + 256;

/// The way out of a daemon. [`Egress::close`] ends it.
pub(crate) struct Egress {
    shared: Arc<Shared>,
    /// Started with the first socket.
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    dir: PathBuf,
    lines: Mutex<Vec<Arc<Line>>>,
    /// What became of connections that were to be made, by their numbers.
    dialled: Mutex<Vec<(u64, Result<std::net::TcpStream, Failure>)>>,
    /// Written to when there is a new line, a new connection, or the end.
    wake: OwnedFd,
    over: AtomicBool,
}

/// A tenant's.
struct Line {
    tenant: String,
    socket: PathBuf,
    listener: UnixListener,
    /// `None` when it may reach nothing any more.
    policy: Mutex<Option<Arc<Policy>>>,
    dials: Dials,
}

impl Egress {
    /// Begins with nothing. `dir` is this daemon's alone, and is there when the first socket is asked for.
    ///
    /// # Errors
    /// When the process is short of descriptors.
    pub(crate) fn new(dir: PathBuf) -> io::Result<Egress> {
        Ok(Egress {
            shared: Arc::new(Shared {
                dir,
                lines: Mutex::default(),
                dialled: Mutex::default(),
                wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                over: false.into(),
            }),
            thread: Mutex::default(),
        })
    }

    /// The socket for a tenant's runs, which reach what `policy` says from now on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn socket_of(&self, tenant: &str, policy: Policy) -> io::Result<PathBuf> {
        let mut lines = lock(&self.shared.lines);
        if let Some(line) = lines.iter().find(|it| it.tenant == tenant) {
            line.follow(Some(policy));
            return Ok(line.socket.clone());
        }
        self.ensure_started()?;
        let line = Line::open(&self.shared.dir, tenant, policy)?;
        let socket = line.socket.clone();
        lines.push(Arc::new(line));
        self.shared.wake();
        Ok(socket)
    }

    /// Goes by other policies from now on; what is connected stays so.
    pub(crate) fn follow(&self, policy_of: impl Fn(&str) -> Option<Policy>) {
        for line in lock(&self.shared.lines).iter() {
            line.follow(policy_of(&line.tenant));
        }
    }

    /// Cuts all connections.
    pub(crate) fn close(&self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there was already reported by its own thread.
            let _ = thread.join();
        }
        // The next one removes what stays.
        for line in lock(&self.shared.lines).iter() {
            let _ = std::fs::remove_file(&line.socket);
        }
    }

    fn ensure_started(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            http::make_room_for_files(FDS_MAX + 1024);
            let shared = Arc::clone(&self.shared);
            let serve = move || Connections::new(shared).serve();
            *thread = Some(
                thread::Builder::new()
                    .name("egress".to_owned())
                    .spawn(serve)?,
            );
        }
        Ok(())
    }
}

impl Line {
    /// A socket's path may have 107 bytes, and a tenant's name 63.
    fn open(dir: &Path, tenant: &str, policy: Policy) -> io::Result<Line> {
        let hash = hmac_sha256::Hash::hash(tenant.as_bytes());
        let socket = dir.join(format!("{}.out", ids::hex(&hash[..6])));
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        // A run of root's gateway is another user, who becomes its owner.
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        Ok(Line {
            tenant: tenant.to_owned(),
            socket,
            listener,
            policy: Mutex::new(Some(Arc::new(policy))),
            dials: Dials::default(),
        })
    }

    fn follow(&self, policy: Option<Policy>) {
        *lock(&self.policy) = policy.map(Arc::new);
    }

    fn policy(&self) -> Option<Arc<Policy>> {
        lock(&self.policy).clone()
    }

    fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Shared {
    fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is only ever replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
