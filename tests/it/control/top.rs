//! `ccgw-manage top` on a pseudo-terminal: what it draws, and that the terminal is given back.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::gated;
use crate::{
    gateway::{Gateway, prompt},
    process::{signal, wait_until},
    setup::manage_command,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The alternate screen, and the way back from it.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// `top` on a terminal of its own, which this side of it sees.
struct Terminal {
    /// Where keys are pressed.
    keys: File,
    /// The program's side; kept open, so that its settings can be seen after the program's end.
    line: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    program: Child,
    before: String,
}

impl Terminal {
    fn with_top(gateway: &Gateway, columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let line = ioctl_tiocgptpeer(&master, flags).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&line, size).unwrap();
        let before = settings(&line);
        let program = manage_command(&gateway.dir, &["top"])
            .stdin(Stdio::from(line.try_clone().unwrap()))
            .stdout(Stdio::from(line.try_clone().unwrap()))
            .stderr(Stdio::from(line.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, collected) = (keys.try_clone().unwrap(), Arc::clone(&shown));
        // It ends when the terminal is closed.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                collected
                    .lock()
                    .unwrap()
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Terminal {
            keys,
            line,
            shown,
            program,
            before,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The lines of the first whole frame.
    #[track_caller]
    fn frame(&self) -> Vec<String> {
        wait_until(PATIENCE, "a frame", || self.text().contains("q ends this"));
        let text = self.text();
        assert!(text.starts_with(ENTER), "{text:?}");
        let frame = text.split("\x1b[H").nth(1).unwrap();
        let frame = frame.split("\x1b[J").next().unwrap();
        // The terminal makes `\r\n` of each `\n`.
        let lines = frame.split('\n').map(|it| it.trim_end_matches('\r'));
        let lines = lines.map(|it| it.strip_suffix("\x1b[K").unwrap_or(it).to_owned());
        lines.filter(|it| !it.is_empty()).collect()
    }

    /// Waits for the end, after which all must be as it was.
    #[track_caller]
    fn check_given_back(mut self) {
        let mut status = None;
        wait_until(PATIENCE, "the end of top", || {
            status = self.program.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", self.text());
        assert_eq!(settings(&self.line), self.before);
        wait_until(PATIENCE, "the other screen's end", || {
            self.text().ends_with(LEAVE)
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, unless its test failed.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn settings(line: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(line).unwrap())
}

#[test]
fn top_draws_within_the_terminals_width() {
    let (gateway, fake) = gated();
    let mut gate = fake.gate();
    let running = gateway.send("alpha", &prompt("x"));
    wait_until(PATIENCE, "a run", || fake.prompts().len() == 1);
    let waiting = gateway.send("beta", &prompt("x"));
    wait_until(PATIENCE, "a queue", || gateway.health()["queued"] == 1);
    for columns in [40, 80, 200] {
        let mut terminal = Terminal::with_top(&gateway, columns);
        let frame = terminal.frame();
        let shown = frame.join("\n");
        for line in &frame {
            assert!(line.chars().count() <= columns.into(), "{columns}: {shown}");
        }
        for part in ["TENANT", "alpha", "beta", "1 of 1 runs, 1 waiting"] {
            assert!(shown.contains(part), "{columns}: {part} is not in {shown}");
        }
        // A request's whole line needs some room.
        assert_eq!(
            shown.contains("claude-sonnet-4-6"),
            columns == 200,
            "{shown}"
        );
        terminal.keys.write_all(b"xq").unwrap();
        terminal.check_given_back();
    }
    gate.let_through(2);
    for connection in [running, waiting] {
        assert_eq!(connection.response().answer_text(), "hello");
    }
    gateway.stop();
}

#[test]
fn top_gives_the_terminal_back() {
    let (gateway, _fake) = gated();
    for end in ["q", "INT", "TERM", "HUP"] {
        let mut terminal = Terminal::with_top(&gateway, 80);
        terminal.frame();
        let while_it_runs = tcgetattr(&terminal.line).unwrap().local_modes;
        assert!(!while_it_runs.intersects(LocalModes::ICANON | LocalModes::ECHO));
        match end {
            "q" => terminal.keys.write_all(b"q").unwrap(),
            name => signal(terminal.program.id(), name),
        }
        terminal.check_given_back();
    }
    gateway.stop();
}

#[test]
fn top_outlives_the_gateway_and_says_so() {
    let (gateway, _fake) = gated();
    let mut terminal = Terminal::with_top(&gateway, 200);
    terminal.frame();
    signal(gateway.pid(), "KILL");
    wait_until(PATIENCE, "the news", || {
        terminal.text().contains("does not answer")
    });
    terminal.keys.write_all(b"q").unwrap();
    terminal.check_given_back();
}
