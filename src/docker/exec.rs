//! A command in a container: its stdin and both outputs share one connection, taken over from HTTP.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use serde_json::json;

use super::{
    Address, DockerError, Engine,
    engine::{ANSWER_TIMEOUT, encoded, refused},
};

/// What to run. No shell is between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command<'a> {
    pub(crate) argv: &'a [&'a str],
    /// `NAME=value` each, beside what the container's own processes have.
    pub(crate) env: &'a [&'a str],
    /// `name`, `uid` or `uid:gid`; the container's own when `None`.
    pub(crate) user: Option<&'a str>,
    /// At most [`STDIN_MAX`] bytes, so that it fits the socket before anything is read.
    pub(crate) stdin: &'a [u8],
    pub(crate) timeout: Duration,
    /// The other end of who asked for it; when that hangs up nobody waits any more.
    pub(crate) caller: Option<BorrowedFd<'a>>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) code: i64,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Which output a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

/// Takes what a command says; an error ends the listening.
pub(crate) type Sink<'a> = dyn FnMut(Channel, &[u8]) -> io::Result<()> + 'a;

pub(crate) const STDIN_MAX: usize = 64 << 10;

/// Of each output; what is longer is cut.
const OUTPUT_MAX: usize = 4 << 20;

/// A second in all.
const NOTED_TRIES: usize = 50;
const NOTED_AFTER: Duration = Duration::from_millis(20);

const HEAD_MAX: usize = 16 << 10;

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Engine {
    /// Runs a command and waits for it. One that takes too long is left behind in its container: the
    /// engine has no way to end it.
    ///
    /// # Errors
    /// As any request, and when the time is over.
    pub(crate) fn exec(
        &self,
        container: &str,
        command: &Command<'_>,
    ) -> Result<Output, DockerError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = self.exec_to(container, command, &mut |channel, bytes| {
            let out = match channel {
                Channel::Stdout => &mut stdout,
                Channel::Stderr => &mut stderr,
            };
            let room = OUTPUT_MAX.saturating_sub(out.len());
            out.extend_from_slice(&bytes[..bytes.len().min(room)]);
            Ok(())
        })?;
        Ok(Output {
            code,
            stdout,
            stderr,
        })
    }

    /// As [`Engine::exec`], with what the command says given to `sink` as it comes.
    ///
    /// # Errors
    /// As [`Engine::exec`], and what `sink` says.
    pub(crate) fn exec_to(
        &self,
        container: &str,
        command: &Command<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<i64, DockerError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Ended {
            exit_code: Option<i64>,
            #[serde(default)]
            running: bool,
        }
        let what = "run a command in a container";
        let body = json!({
            "AttachStdin": !command.stdin.is_empty(), "AttachStdout": true, "AttachStderr": true,
            "Tty": false, "Cmd": command.argv, "Env": command.env, "User": command.user.unwrap_or_default(),
        });
        let path = format!("/containers/{}/exec", encoded(container));
        let Created { id } = self.post(what, &path, &body)?;
        let mut taken = Taken::over(self, &id, command)?;
        taken.send(command.stdin)?;
        taken.outputs(sink)?;
        let path = format!("/exec/{}/json", encoded(&id));
        let mut ended: Ended = self.get(what, &path)?;
        // The outputs may end a moment before the engine has noted how it ended.
        for _ in 0..NOTED_TRIES {
            if !ended.running {
                break;
            }
            std::thread::sleep(NOTED_AFTER);
            ended = self.get(what, &path)?;
        }
        Ok(ended.exit_code.unwrap_or(-1))
    }
}

/// The connection, once it belongs to the command.
struct Taken<'a> {
    stream: Stream,
    caller: Option<BorrowedFd<'a>>,
    /// What came together with the head.
    early: Vec<u8>,
    deadline: Instant,
    timeout: Duration,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl<'a> Taken<'a> {
    fn over(engine: &Engine, exec: &str, command: &Command<'a>) -> Result<Self, DockerError> {
        let address = &engine.address;
        let stream = Stream::connect(address).map_err(|error| DockerError::Unreachable {
            address: address.to_string(),
            why: error.to_string(),
        })?;
        let mut taken = Taken {
            stream,
            caller: command.caller,
            early: Vec::new(),
            deadline: Instant::now() + command.timeout,
            timeout: command.timeout,
        };
        let host = match address {
            Address::Unix(_) => "docker",
            Address::Tcp(host) => host,
        };
        let body = r#"{"Detach":false,"Tty":false}"#;
        let request = format!(
            "POST {}/exec/{}/start HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n{body}",
            engine.version,
            encoded(exec),
            body.len()
        );
        taken.write(request.as_bytes())?;
        taken.head()?;
        Ok(taken)
    }

    /// Reads the answer's head; what follows belongs to the command.
    fn head(&mut self) -> Result<(), DockerError> {
        let mut head = Vec::new();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut fields);
            match answer.parse(&head) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = answer.code.unwrap_or(0);
                    self.early = head.split_off(length);
                    return match status {
                        101 | 200 => Ok(()),
                        _ => Err(self.refused(status)),
                    };
                }
                Ok(httparse::Status::Partial) if head.len() < HEAD_MAX => {}
                Ok(httparse::Status::Partial) => return Err(odd("its answer has no end")),
                Err(error) => return Err(odd(&error.to_string())),
            }
            if self.read_some(&mut head)? == 0 {
                return Err(odd("it closed the connection"));
            }
        }
    }

    fn refused(&mut self, status: u16) -> DockerError {
        let mut body = std::mem::take(&mut self.early);
        // The words may come in a second piece; without them the status says it.
        if body.is_empty() {
            let _ = self.read_some(&mut body);
        }
        refused(
            "run a command in a container",
            status,
            &String::from_utf8_lossy(&body),
        )
    }

    fn send(&mut self, stdin: &[u8]) -> Result<(), DockerError> {
        if stdin.is_empty() {
            return Ok(());
        }
        if stdin.len() > STDIN_MAX {
            return Err(odd("more input than one command may get"));
        }
        self.write(stdin)?;
        let closed = match &self.stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        };
        closed.map_err(|error| odd(&error.to_string()))
    }

    /// Everything up to the end: frames of 8 bytes (stream, three zeros, length) and their payload.
    fn outputs(&mut self, sink: &mut Sink<'_>) -> Result<(), DockerError> {
        while let Some(header) = self.frame_header()? {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let channel = match header[0] {
                0 | 1 => Channel::Stdout,
                2 => Channel::Stderr,
                kind => return Err(odd(&format!("a frame of unknown kind {kind}"))),
            };
            self.payload(length as usize, channel, sink)?;
        }
        Ok(())
    }

    fn frame_header(&mut self) -> Result<Option<[u8; 8]>, DockerError> {
        let mut bytes = std::mem::take(&mut self.early);
        while bytes.len() < 8 {
            if self.read_some(&mut bytes)? == 0 {
                return match bytes.is_empty() {
                    true => Ok(None),
                    false => Err(odd("a frame that breaks off")),
                };
            }
        }
        self.early = bytes.split_off(8);
        let mut header = [0; 8];
        header.copy_from_slice(&bytes);
        Ok(Some(header))
    }

    fn payload(
        &mut self,
        mut left: usize,
        channel: Channel,
        sink: &mut Sink<'_>,
    ) -> Result<(), DockerError> {
        while left > 0 {
            let mut bytes = std::mem::take(&mut self.early);
            if bytes.is_empty() && self.read_some(&mut bytes)? == 0 {
                return Err(odd("a frame that breaks off"));
            }
            let own = left.min(bytes.len());
            self.early = bytes.split_off(own);
            left -= own;
            sink(channel, &bytes).map_err(|error| odd(&error.to_string()))?;
        }
        Ok(())
    }

    fn read_some(&mut self, into: &mut Vec<u8>) -> Result<usize, DockerError> {
        let mut piece = [0; 16 << 10];
        let left = self.left()?;
        let read = loop {
            self.ensure_heard()?;
            let read = match &mut self.stream {
                Stream::Unix(stream) => {
                    let set = stream.set_read_timeout(Some(left));
                    set.and_then(|()| stream.read(&mut piece))
                }
                Stream::Tcp(stream) => {
                    let set = stream.set_read_timeout(Some(left));
                    set.and_then(|()| stream.read(&mut piece))
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| self.failed(&error))?,
            }
        };
        into.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// Waits for something to read, for as long as there is somebody to hear it.
    fn ensure_heard(&self) -> Result<(), DockerError> {
        let Some(caller) = self.caller else {
            return Ok(());
        };
        let mut fds = [
            PollFd::new(&self.stream, PollFlags::IN),
            // A hang-up is always told.
            PollFd::from_borrowed_fd(caller, PollFlags::empty()),
        ];
        let left = Timespec::try_from(self.left()?).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(odd(&error.to_string())),
        }
        match fds[1].revents().is_empty() {
            true => Ok(()),
            false => Err(odd("whoever asked for it has left")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DockerError> {
        let left = self.left()?.min(ANSWER_TIMEOUT);
        let written = match &mut self.stream {
            Stream::Unix(stream) => {
                let set = stream.set_write_timeout(Some(left));
                set.and_then(|()| stream.write_all(bytes))
            }
            Stream::Tcp(stream) => {
                let set = stream.set_write_timeout(Some(left));
                set.and_then(|()| stream.write_all(bytes))
            }
        };
        written.map_err(|error| self.failed(&error))
    }

    fn left(&self) -> Result<Duration, DockerError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(self.timeout()),
            false => Ok(left),
        }
    }

    fn failed(&self, error: &io::Error) -> DockerError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.timeout(),
            _ => odd(&error.to_string()),
        }
    }

    fn timeout(&self) -> DockerError {
        DockerError::Timeout {
            what: "finish a command in a container".to_owned(),
            after: self.timeout,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp(host) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in host.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
                        Ok(stream) => return Ok(Stream::Tcp(stream)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn odd(why: &str) -> DockerError {
    DockerError::Odd {
        what: "run a command in a container".to_owned(),
        why: why.to_owned(),
    }
}
