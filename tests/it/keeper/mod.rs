//! The keeper process from outside: its socket's protocol, spoken by hand, and a way to find what
//! is left of the programs that it ran. The tests are in the modules.

use std::fs;
use std::io::{self, IoSlice, PipeReader, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Pid;

mod ending;
mod starting;

const START: u8 = 1;
const INTERRUPT: u8 = 3;
const END: u8 = 4;

const STARTED: u32 = 1;
const FAILED: u32 = 2;
const EXIT_CODE: u32 = 3;
const EXIT_SIGNAL: u32 = 4;
const CLEAN: u32 = 6;

const PATH: [(&str, &str); 1] = [("PATH", "/usr/bin:/bin")];

/// A keeper and the daemon's end of its socket. Every program it runs carries `mark` in its
/// environment, so that what survives can be found wherever it went.
struct Keeper {
    socket: UnixStream,
    process: Child,
    mark: String,
}

struct Run {
    stdin: io::PipeWriter,
    stdout: PipeReader,
}

impl Keeper {
    fn start() -> Keeper {
        Keeper::start_with(Command::new(env!("CARGO_BIN_EXE_ccgw")).arg("keeper"))
    }

    fn start_with(command: &mut Command) -> Keeper {
        static STARTED_SO_FAR: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED_SO_FAR.fetch_add(1, Ordering::Relaxed);
        let mark = format!("CCGW_KEEPER_TEST={}-{number}", std::process::id());
        let (socket, theirs) = UnixStream::pair().unwrap();
        // Longer than anything here may take: a keeper that hangs fails its test.
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let process = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Keeper {
            socket,
            process,
            mark,
        }
    }

    fn send(&mut self, tag: u8) {
        self.socket.write_all(&frame(&[tag])).unwrap();
    }

    fn news(&mut self) -> (u32, i32) {
        let mut record = [0; 8];
        self.socket.read_exact(&mut record).unwrap();
        let (tag, value) = record.split_at(4);
        (
            u32::from_le_bytes(tag.try_into().unwrap()),
            i32::from_le_bytes(value.try_into().unwrap()),
        )
    }

    fn order(&mut self, program: &str, args: &[&str], more_env: &[(&str, &str)], cwd: &str) -> Run {
        let (their_stdin, stdin) = io::pipe().unwrap();
        let (stdout, their_stdout) = io::pipe().unwrap();
        let stderr = io::stderr();
        let mut env = vec![self.mark.split_once('=').unwrap()];
        env.extend(more_env);
        let frame = start(program, args, &env, cwd);
        let fds = [their_stdin.as_fd(), their_stdout.as_fd(), stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let data = [IoSlice::new(&frame)];
        let sent = sendmsg(&self.socket, &data, &mut control, SendFlags::NOSIGNAL).unwrap();
        self.socket.write_all(&frame[sent..]).unwrap();
        Run { stdin, stdout }
    }

    #[track_caller]
    fn run(&mut self, program: &str, args: &[&str], env: &[(&str, &str)]) -> (Run, i32) {
        let run = self.order(program, args, env, "/");
        let (tag, pid) = self.news();
        assert_eq!(tag, STARTED, "{program}: {pid}");
        (run, pid)
    }

    #[track_caller]
    fn sh(&mut self, script: &str) -> Run {
        self.run("/bin/sh", &["-c", script], &PATH).0
    }

    /// Ends the run and returns what was reported until then.
    #[track_caller]
    fn end(&mut self) -> Vec<(u32, i32)> {
        self.send(END);
        let mut all = Vec::new();
        while all.last().is_none_or(|(tag, _)| *tag != CLEAN) {
            all.push(self.news());
        }
        assert_eq!(all.last(), Some(&(CLEAN, 0)));
        assert_eq!(self.survivors(), Vec::<String>::new());
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        assert_eq!(children, "", "zombies");
        all
    }

    /// The command lines of all processes that carry our mark. A zombie carries nothing.
    fn survivors(&self) -> Vec<String> {
        let mut survivors = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let environ = fs::read(path.join("environ")).unwrap_or_default();
            if environ
                .split(|byte| *byte == 0)
                .any(|variable| variable == self.mark.as_bytes())
            {
                let cmdline = fs::read(path.join("cmdline")).unwrap_or_default();
                survivors.push(String::from_utf8_lossy(&cmdline).replace('\0', " "));
            }
        }
        survivors
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }
}

/// Without the daemon, a keeper is to be gone soon; here nobody needs to check it again.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Both).ok();
        self.process.wait().ok();
    }
}

impl Run {
    /// Blocks until the program has said so much.
    #[track_caller]
    fn await_line(&mut self, expect: &str) {
        let mut line = vec![0; expect.len() + 1];
        self.stdout.read_exact(&mut line).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), format!("{expect}\n"));
    }

    /// All output, up to the end of the last program that holds the pipe.
    fn output(mut self) -> String {
        drop(self.stdin);
        let mut output = String::new();
        self.stdout.read_to_string(&mut output).unwrap();
        output
    }
}

fn start(program: &str, args: &[&str], env: &[(&str, &str)], cwd: &str) -> Vec<u8> {
    let mut body = vec![START];
    let put = |body: &mut Vec<u8>, text: &str| {
        body.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        body.extend(text.as_bytes());
    };
    put(&mut body, program);
    put(&mut body, cwd);
    body.extend(u32::try_from(args.len()).unwrap().to_le_bytes());
    args.iter().for_each(|arg| put(&mut body, arg));
    body.extend(u32::try_from(env.len()).unwrap().to_le_bytes());
    for (name, value) in env {
        put(&mut body, name);
        put(&mut body, value);
    }
    frame(&body)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(body);
    frame
}
