//! What the daemon and a keeper say to each other over their socket, byte for byte.
//!
//! Orders go down as frames: a `u32` length, then a tag byte and the fields; three file descriptors
//! travel with the first bytes of a start. News comes back as records of eight bytes, so that the
//! daemon can read it without ever waiting for the rest of one. Integers are little-endian. Both
//! ends are the same binary, so there is no version and no compatibility to keep.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{Exit, Launch, Limits};

/// The longest order. The kernel takes 2 MiB of arguments and environment at its default stack
/// limit, so whatever is longer could not be executed either.
pub(super) const ORDER_MAX: usize = 8 << 20;

/// stdin, stdout and stderr.
const STDIO: usize = 3;

/// What one read takes in; a usual order is a few kilobytes.
const READ_SIZE: usize = 16 << 10;

const START: u8 = 1;
const INTERRUPT: u8 = 3;
const END: u8 = 4;

const STARTED: u32 = 1;
const FAILED: u32 = 2;
const EXIT_CODE: u32 = 3;
const EXIT_SIGNAL: u32 = 4;
const EXIT_UNKNOWN: u32 = 5;
const CLEAN: u32 = 6;

/// What the daemon asks for.
#[derive(Debug)]
pub(super) enum Order {
    Start(Box<Start>),
    Interrupt,
    /// Kill every descendant, reap it, and answer [`News::Clean`].
    End,
}

#[derive(Debug)]
pub(super) struct Start {
    pub(super) launch: Launch,
    pub(super) stdio: [OwnedFd; STDIO],
}

/// What a keeper reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The CLI runs; its pid.
    Started(i32),
    /// It could not be started; the errno of the attempt.
    Failed(i32),
    /// The CLI process itself ended. Its descendants may live.
    Exited(Exit),
    /// The answer to an end: how many descendants are still there.
    Clean(i32),
}

/// The frame of a start, without its file descriptors.
///
/// # Errors
/// [`Errno::TOOBIG`] when the frame would be longer than [`ORDER_MAX`], [`Errno::INVAL`] when a
/// string has a NUL byte, which no argument or variable can carry.
pub(super) fn start_frame(launch: &Launch) -> Result<Vec<u8>, Errno> {
    let mut body = vec![START];
    put(&mut body, launch.program.as_os_str().as_bytes())?;
    put(&mut body, launch.cwd.as_os_str().as_bytes())?;
    put_count(&mut body, launch.args.len())?;
    for arg in &launch.args {
        put(&mut body, arg.as_bytes())?;
    }
    put_count(&mut body, launch.env.len())?;
    for (name, value) in &launch.env {
        put(&mut body, name.as_bytes())?;
        put(&mut body, value.as_bytes())?;
    }
    frame(&body)
}

pub(super) fn interrupt_frame() -> [u8; 5] {
    bare_frame(INTERRUPT)
}

pub(super) fn end_frame() -> [u8; 5] {
    bare_frame(END)
}

/// Sends a start with the child's ends of its three pipes.
pub(super) fn send_start(
    socket: &UnixStream,
    frame: &[u8],
    stdio: [BorrowedFd<'_>; STDIO],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(STDIO))];
    let mut fds = SendAncillaryBuffer::new(&mut space);
    if !fds.push(SendAncillaryMessage::ScmRights(&stdio)) {
        // The space above is made for exactly these.
        return Err(Errno::NOBUFS.into());
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(
            socket,
            &[IoSlice::new(frame)],
            &mut fds,
            SendFlags::NOSIGNAL,
        )
    })?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

impl News {
    pub(super) fn to_record(self) -> [u8; 8] {
        let (tag, value) = match self {
            News::Started(pid) => (STARTED, pid),
            News::Failed(errno) => (FAILED, errno),
            News::Exited(Exit::Code(code)) => (EXIT_CODE, code),
            News::Exited(Exit::Signal(signal)) => (EXIT_SIGNAL, signal),
            News::Exited(Exit::Unknown) => (EXIT_UNKNOWN, 0),
            News::Clean(left) => (CLEAN, left),
        };
        let mut record = [0; 8];
        record[..4].copy_from_slice(&tag.to_le_bytes());
        record[4..].copy_from_slice(&value.to_le_bytes());
        record
    }

    /// `None` for a record that no keeper writes.
    pub(super) fn from_record(record: [u8; 8]) -> Option<News> {
        let [a, b, c, d, e, f, g, h] = record;
        let value = i32::from_le_bytes([e, f, g, h]);
        Some(match u32::from_le_bytes([a, b, c, d]) {
            STARTED => News::Started(value),
            FAILED => News::Failed(value),
            EXIT_CODE => News::Exited(Exit::Code(value)),
            EXIT_SIGNAL => News::Exited(Exit::Signal(value)),
            EXIT_UNKNOWN => News::Exited(Exit::Unknown),
            CLEAN => News::Clean(value),
            _ => return None,
        })
    }
}

/// The keeper's end of the socket: bytes and descriptors received, not yet a whole order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What one read found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Something,
    /// The daemon closed its end, or died.
    Eof,
}

/// An order that the daemon never sends: the two sides disagree, so nothing can be trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Inbox {
    /// Takes in what the socket holds now; call it when the socket is readable.
    pub(super) fn receive(&mut self, socket: impl AsFd) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(STDIO))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let old = self.bytes.len();
        self.bytes.resize(old + READ_SIZE, 0);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut self.bytes[old..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        self.bytes
            .truncate(old + received.as_ref().map_or(0, |message| message.bytes));
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        match received {
            Ok(message) if message.bytes == 0 => Ok(Received::Eof),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Something),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next whole order, if one has arrived.
    pub(super) fn next_order(&mut self) -> Result<Option<Order>, Malformed> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed)?;
        if length > ORDER_MAX {
            return Err(Malformed);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let order = read_order(body, &mut self.fds)?;
        self.bytes.drain(..4 + length);
        if self.bytes.is_empty() {
            // An environment of a megabyte is not worth keeping for the next run.
            self.bytes = Vec::new();
        }
        Ok(Some(order))
    }
}

fn read_order(body: &[u8], fds: &mut Vec<OwnedFd>) -> Result<Order, Malformed> {
    let (tag, mut fields) = body.split_first().ok_or(Malformed)?;
    match *tag {
        START => {
            let launch = take_launch(&mut fields)?;
            let stdio = std::mem::take(fds).try_into().map_err(|_| Malformed)?;
            Ok(Order::Start(Box::new(Start { launch, stdio })))
        }
        INTERRUPT => Ok(Order::Interrupt),
        END => Ok(Order::End),
        _ => Err(Malformed),
    }
}

fn take_launch(fields: &mut &[u8]) -> Result<Launch, Malformed> {
    let program = take(fields)?.into();
    let cwd = take(fields)?.into();
    // The counts are not trusted with an allocation: each round needs bytes that are really there.
    let args = (0..take_count(fields)?)
        .map(|_| take(fields))
        .collect::<Result<_, _>>()?;
    let env = (0..take_count(fields)?)
        .map(|_| Ok((take(fields)?, take(fields)?)))
        .collect::<Result<_, _>>()?;
    if fields.is_empty() {
        Ok(Launch {
            program,
            args,
            env,
            cwd,
            // The keeper counts nobody, and is limited already.
            wrapped_in: 0,
            limits: Limits::default(),
        })
    } else {
        Err(Malformed)
    }
}

fn take(fields: &mut &[u8]) -> Result<OsString, Malformed> {
    let length = take_count(fields)?;
    let (text, rest) = fields.split_at_checked(length).ok_or(Malformed)?;
    *fields = rest;
    Ok(OsString::from_vec(text.to_vec()))
}

fn take_count(fields: &mut &[u8]) -> Result<usize, Malformed> {
    let (count, rest) = fields.split_first_chunk::<4>().ok_or(Malformed)?;
    *fields = rest;
    usize::try_from(u32::from_le_bytes(*count)).map_err(|_| Malformed)
}

fn put(body: &mut Vec<u8>, text: &[u8]) -> Result<(), Errno> {
    if text.contains(&0) {
        return Err(Errno::INVAL);
    }
    put_count(body, text.len())?;
    body.extend_from_slice(text);
    Ok(())
}

fn put_count(body: &mut Vec<u8>, count: usize) -> Result<(), Errno> {
    let count = u32::try_from(count).map_err(|_| Errno::TOOBIG)?;
    body.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

fn frame(body: &[u8]) -> Result<Vec<u8>, Errno> {
    if body.len() > ORDER_MAX {
        return Err(Errno::TOOBIG);
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    put_count(&mut frame, body.len())?;
    frame.extend_from_slice(body);
    Ok(frame)
}

fn bare_frame(tag: u8) -> [u8; 5] {
    let [a, b, c, d] = 1_u32.to_le_bytes();
    [a, b, c, d, tag]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survives_its_record() {
        for news in [
            News::Started(4_194_304),
            News::Failed(Errno::TOOBIG.raw_os_error()),
            News::Exited(Exit::Code(0)),
            News::Exited(Exit::Code(255)),
            News::Exited(Exit::Signal(9)),
            News::Exited(Exit::Unknown),
            News::Clean(3),
        ] {
            assert_eq!(News::from_record(news.to_record()), Some(news));
        }
        assert_eq!(News::from_record([0; 8]), None);
        assert_eq!(News::from_record([0xff; 8]), None);
    }

    #[test]
    fn orders_arrive_however_the_socket_cuts_them() {
        let launch = Launch {
            program: "/p".into(),
            args: vec!["".into(), OsString::from_vec(vec![0xff, b'\n'])],
            env: vec![("A".into(), "x".repeat(3 * READ_SIZE).into())],
            cwd: "/c".into(),
            wrapped_in: 0,
            limits: Limits::default(),
        };
        let mut bytes = start_frame(&launch).unwrap();
        bytes.extend(interrupt_frame());
        bytes.extend(end_frame());
        for cut in [1, 4, 5, 1_000, READ_SIZE, bytes.len() - 1, bytes.len()] {
            let (daemon, keeper) = UnixStream::pair().unwrap();
            let mut inbox = Inbox::default();
            let mut orders = Vec::new();
            let (first, second) = bytes.split_at(cut);
            let stdio = [daemon.as_fd(), daemon.as_fd(), daemon.as_fd()];
            send_start(&daemon, first, stdio).unwrap();
            (&daemon).write_all(second).unwrap();
            while orders.len() < 3 {
                assert_eq!(inbox.receive(&keeper).unwrap(), Received::Something);
                while let Some(order) = inbox.next_order().unwrap() {
                    orders.push(order);
                }
            }
            let [Order::Start(start), Order::Interrupt, Order::End] = &orders[..] else {
                panic!("cut at {cut}: {orders:?}");
            };
            assert!(start.launch == launch, "cut at {cut}");
            assert_eq!(inbox.bytes.capacity(), 0, "cut at {cut}");
        }
    }

    #[track_caller]
    fn check_refused(args: &[&str], expect: Errno) {
        let args = args.iter().map(OsString::from).collect();
        let launch = Launch {
            program: "/p".into(),
            args,
            env: vec![],
            cwd: "/".into(),
            wrapped_in: 0,
            limits: Limits::default(),
        };
        assert_eq!(start_frame(&launch), Err(expect));
    }

    #[test]
    fn what_no_program_could_be_given_is_refused() {
        check_refused(&["a\0b"], Errno::INVAL);
        check_refused(&[&"x".repeat(ORDER_MAX)], Errno::TOOBIG);
    }
}
