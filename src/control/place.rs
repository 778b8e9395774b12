//! Where the operator's socket is, whose it is, and who may use it.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::geteuid,
};

use crate::state::StateDir;

/// In the directory that [`locate`] finds.
pub(crate) const NAME: &str = "ccgw.sock";

/// Connections that the kernel keeps until they are taken.
const BACKLOG: i32 = 128;

/// Where the socket of a daemon with this environment is: systemd's runtime directory, else the state directory.
pub(crate) fn locate(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let runtime = env("RUNTIME_DIRECTORY").filter(|it| !it.is_empty());
    // systemd joins several with colons; the first is ours.
    let runtime = runtime.and_then(|it| it.split(':').next().map(PathBuf::from));
    let dir = runtime.or_else(|| StateDir::locate(env))?;
    Some(dir.join(NAME))
}

/// A place for a socket that no other daemon has, for as long as this lives; dropping it removes the socket.
pub(super) struct Place {
    socket: PathBuf,
    /// Its lock goes with this descriptor, and so with the process, however that ends.
    _directory: OwnedFd,
}

impl Place {
    /// Takes the place for the socket at `path`, and listens there.
    ///
    /// # Errors
    /// When another daemon has it, or the socket cannot be made.
    pub(super) fn take(path: &Path) -> io::Result<(Place, UnixListener)> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let text = format!("another ccgw has {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
            }
            Err(error) => return Err(error.into()),
        }
        let listener = listen(path)?;
        let place = Place {
            socket: path.to_owned(),
            _directory: directory,
        };
        Ok((place, listener))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // While the lock is held it is ours; one that stays is replaced at the next start.
        let _ = fs::remove_file(&self.socket);
    }
}

/// With the lock: whoever left a socket here is gone.
fn listen(path: &Path) -> io::Result<UnixListener> {
    // Beside it first and then renamed, so that whoever connects finds a socket that listens.
    let aside = path.with_file_name(format!(".{NAME}.new"));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let bound = bind(&aside).and_then(|socket| fs::rename(&aside, path).map(|()| socket));
    if bound.is_err() {
        // The first error says more than one about cleaning up.
        let _ = fs::remove_file(&aside);
    }
    bound.map(UnixListener::from)
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux gives the file the socket's own mode, so there is no moment in which it is wider.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether a peer may give orders. The socket's mode keeps other users out already, until somebody changes it.
///
/// # Errors
/// The uid of one that may not; `None` where the kernel does not tell.
pub(super) fn permit(stream: impl AsFd) -> Result<(), Option<u32>> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|_| None)?;
    let (peer, own) = (peer.uid.as_raw(), geteuid().as_raw());
    may_order(peer, own).then_some(()).ok_or(Some(peer))
}

/// This user may, and root, who looks after everybody's gateway.
fn may_order(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_user_and_root_may_order() {
        for (peer, own, expect) in [
            (0, 0, true),
            (1000, 1000, true),
            (0, 1000, true),
            (1000, 0, false),
            (65534, 1000, false),
        ] {
            assert_eq!(may_order(peer, own), expect, "{peer} to {own}");
        }
    }
}
