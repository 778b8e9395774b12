//! The way out of a sandbox that has a network of its own (`ccgw forward -- PROGRAM ...`): starts a process that
//! listens on loopback, where programs look for a proxy, and becomes the run. What comes there is handed over to the
//! daemon's socket as it is; the daemon alone decides what becomes of it.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{ENTRY, WAY_OUT, enter::failed};
use crate::egress::{PORT, Pair, SCRATCH};

/// More than the daemon takes of one tenant. It ends who only waits, so that there is room for those who do not.
const PAIRS_MAX: usize = 256;

/// The hidden command `forward`. Without words it is the process that was started.
pub(crate) fn main(argv: &[OsString]) -> ExitCode {
    let done = match argv {
        [] => forward(),
        [dashes, program, args @ ..] if dashes == "--" => start().and_then(|()| {
            let error = Command::new(program).args(args).exec();
            Err(io::Error::other(format!("{}: {error}", program.display())))
        }),
        _ => Err(io::Error::other("this command is for ccgw itself")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("the way out of the run: {error}")),
    }
}

/// It ends with the namespace, as everything in there does, and holds none of the run's pipes.
fn start() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    listener.set_nonblocking(true)?;
    Command::new(ENTRY)
        .arg("forward")
        .env_clear()
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

fn forward() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut scratch = vec![0; SCRATCH];
    loop {
        let mut fds = Vec::with_capacity(1 + 2 * pairs.len());
        let mut whose = Vec::with_capacity(fds.capacity());
        if pairs.len() < PAIRS_MAX {
            fds.push(PollFd::new(&listener, PollFlags::IN));
            whose.push(None);
        }
        for (at, pair) in pairs.iter().enumerate() {
            for (end, fd, flags) in pair.interests() {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                whose.push(Some((at, end)));
            }
        }
        // An interrupted one finds nothing ready.
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let now = Instant::now();
        for (whose, flags) in whose
            .into_iter()
            .zip(flags)
            .filter(|(_, it)| !it.is_empty())
        {
            match whose {
                Some((at, end)) => {
                    pairs[at].heard(end, flags);
                    pairs[at].advance(&mut scratch, now);
                }
                None => pairs.extend(accepted(&listener, now)),
            }
        }
        pairs.retain(|it| !it.is_over());
    }
}

/// A connection that cannot be handed over is closed.
fn accepted(listener: &TcpListener, now: Instant) -> Option<Pair> {
    let (client, _) = listener.accept().ok()?;
    // Without it an answer comes later, and no harm is done.
    let _ = TcpStream::set_nodelay(&client, true);
    let daemon = UnixStream::connect(WAY_OUT).ok()?;
    let ends: [OwnedFd; 2] = [client.into(), daemon.into()];
    Some(Pair::new(ends, [Vec::new(), Vec::new()], now))
}
