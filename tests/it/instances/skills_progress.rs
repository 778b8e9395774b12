//! The line that says what takes so long, on terminals of several widths, and where there is none.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    Host,
    skills::{host, skill},
};

/// What is slow: an engine that does not answer before it is told.
struct Slow {
    answer: Sender<()>,
}

impl Slow {
    fn engine(host: &mut Host) -> Slow {
        let socket = host.dir.path().join("slow-engine");
        let listener = UnixListener::bind(&socket).unwrap();
        host.engine = format!("unix://{}", socket.display());
        let (answer, told): (Sender<()>, Receiver<()>) = channel();
        // It ends with the process, at the latest.
        thread::spawn(move || {
            let mut held = Vec::new();
            let mut connections = listener.incoming().flatten();
            held.extend(connections.next());
            let _ = told.recv();
            drop(held);
            for connection in connections {
                drop(connection);
            }
        });
        Slow { answer }
    }
}

/// A terminal of a test, as the one who looks at it has it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    seen: Vec<u8>,
}

impl Terminal {
    fn new(columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(ptsname(&master, Vec::new()).unwrap().to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        Terminal {
            master: master.into(),
            slave: slave.into(),
            seen: Vec::new(),
        }
    }

    fn run(&self, host: &Host, words: &[&str]) -> Child {
        let program = host.dir.path().join("bin/ccgw-manage");
        let mut command = host.command(&program, words);
        let own = || Stdio::from(self.slave.try_clone().unwrap());
        command.stdin(own()).stdout(own()).stderr(own());
        command.env("NO_COLOR", "1").spawn().unwrap()
    }

    /// Reads until this has been written.
    fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let mut buffer = [0; 4096];
            let count = self.master.read(&mut buffer).unwrap();
            self.seen.extend(&buffer[..count]);
        }
    }

    /// All that was written, once nobody has the terminal any more.
    fn rest(mut self) -> String {
        drop(self.slave);
        // The end of a terminal is an error.
        let _ = self.master.read_to_end(&mut self.seen);
        String::from_utf8(self.seen).unwrap()
    }
}

/// What stands on the screen in the end.
fn screen(written: &str) -> String {
    let (mut lines, mut column) = (vec![Vec::new()], 0usize);
    for char in written.chars() {
        let line = lines.last_mut().unwrap();
        match char {
            '\n' => lines.push(Vec::new()),
            '\r' => column = 0,
            '\u{8}' => column = column.saturating_sub(1),
            char => {
                line.resize(line.len().max(column + 1), ' ');
                line[column] = char;
                column += 1;
            }
        }
    }
    let lines = lines.into_iter().map(String::from_iter);
    lines.map(|it| it.trim_end().to_owned() + "\n").collect()
}

const WHAT: &str = "looking for Open";

#[track_caller]
fn check(columns: u16) {
    let (mut host, _, there) = host();
    skill(&there, "one", "x");
    let slow = Slow::engine(&mut host);
    let mut terminal = Terminal::new(columns);
    let mut child = terminal.run(&host, &["skills", "pull"]);
    terminal.wait_for(WHAT);
    terminal.wait_for(" 2 s");
    slow.answer.send(()).unwrap();
    assert!(child.wait().unwrap().success());
    let written = terminal.rest();
    assert!(!written.contains('\u{1b}'), "{written:?}");
    for line in written.split(['\r', '\n']) {
        let line = line.trim_end_matches('\u{8}');
        let is_progress = line.contains(" s") && line.contains('…');
        assert!(
            !is_progress || line.chars().count() < columns.into(),
            "{line:?}"
        );
    }
    let screen = screen(&written);
    assert!(!screen.contains(WHAT), "{screen}");
    assert!(
        screen.starts_with("\nlocal\n  ok    pulled: 1 new"),
        "{screen}"
    );
}

#[test]
fn progress_fits_a_narrow_terminal_and_is_gone_afterwards() {
    check(40);
}

#[test]
fn progress_fits_a_wide_terminal_and_is_gone_afterwards() {
    check(200);
}

#[test]
fn who_is_quiet_or_no_terminal_shows_no_progress() {
    let (mut host, _, there) = host();
    skill(&there, "one", "x");
    let pull = ["skills", "pull", "--force", "--quiet"];
    for is_terminal in [true, false] {
        let slow = Slow::engine(&mut host);
        let terminal = Terminal::new(80);
        let words = if is_terminal { &pull[..] } else { &pull[..3] };
        let mut child = match is_terminal {
            true => terminal.run(&host, words),
            false => {
                let program = host.dir.path().join("bin/ccgw-manage");
                let mut command = host.command(&program, words);
                let err = Stdio::from(File::create(host.dir.path().join("err")).unwrap());
                command.stdout(Stdio::null()).stderr(err).spawn().unwrap()
            }
        };
        // Twice what the line waits for.
        let (_open, never) = channel::<()>();
        let _ = never.recv_timeout(Duration::from_secs(2));
        slow.answer.send(()).unwrap();
        assert!(child.wait().unwrap().success());
        std::fs::remove_file(host.dir.path().join("slow-engine")).unwrap();
        assert_eq!(terminal.rest(), "");
    }
    assert_eq!(std::fs::read(host.dir.path().join("err")).unwrap(), b"");
}

#[test]
fn quiet_commands_tell_what_is_not_right_and_of_whom() {
    let (host, here, there) = host();
    skill(&there, "one", "theirs");
    skill(&here, "one", "ours");
    skill(&here, "two", "ours");
    let said = host.manage(&["skills", "pull", "--quiet"]).good();
    assert!(
        said.stdout.starts_with("\nlocal\n  warn  left as they are"),
        "{said:?}"
    );
    let said = host
        .manage(&["skills", "push", "--force", "--quiet"])
        .good();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    let said = host.manage(&["doctor", "--quick", "--quiet"]).bad();
    assert!(
        said.stdout.contains("fail") && !said.stdout.contains("  ok  "),
        "{said:?}"
    );
    let said = host.setup(&["--dry-run", "--quiet"]).good();
    assert!(!said.stdout.contains("  ok  "), "{said:?}");
}
