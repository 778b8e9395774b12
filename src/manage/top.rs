//! `ccgw-manage top`: the gateway's state on a terminal, each second, until `q` or a signal.

use std::{
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    },
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::operator::Running;

/// Between two looks.
const EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The alternate screen without a cursor, and back (xterm's control sequences).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Shows it until it is ended; once, where stdout is no terminal.
///
/// # Errors
/// When the gateway does not answer, or the terminal cannot be set up.
pub(super) fn run(gateway: &Running) -> Result<bool, String> {
    let mut lines = look(gateway)?;
    if !io::stdout().is_terminal() {
        // A reader that left is no failure.
        let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
        return Ok(true);
    }
    let failed = |error: io::Error| format!("cannot set up the terminal: {error}");
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(failed)?;
    }
    let _screen = Screen::enter().map_err(failed)?;
    while !ended.load(Ordering::Relaxed) {
        draw(&lines).map_err(failed)?;
        if is_quit().map_err(failed)? {
            break;
        }
        // A gateway that restarts comes back.
        lines = look(gateway).unwrap_or_else(|why| vec![why]);
    }
    Ok(true)
}

fn look(gateway: &Running) -> Result<Vec<String>, String> {
    let mut lines = gateway.status()?;
    lines.push(String::new());
    lines.extend(gateway.runs()?);
    Ok(lines)
}

/// The terminal while it is ours; dropping it gives it back as it was.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> io::Result<Screen> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            // Keys come one by one and are not shown; signals stay.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            keys.special_codes[SpecialCodeIndex::VMIN] = 0;
            tcsetattr(&stdin, OptionalActions::Now, &keys)?;
        }
        let screen = Screen { before };
        io::stdout().write_all(ENTER.as_bytes())?;
        io::stdout().flush()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is nothing else to be done with a terminal that is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        let _ = io::stdout().write_all(LEAVE.as_bytes());
        let _ = io::stdout().flush();
    }
}

/// Everything in one write, each line cut at the edge and cleared behind, so that nothing flickers.
fn draw(lines: &[String]) -> io::Result<()> {
    let size = tcgetwinsize(io::stdout())?;
    let (rows, columns) = match (size.ws_row, size.ws_col) {
        // A terminal that does not know its size.
        (0, _) | (_, 0) => (24, 80),
        (rows, columns) => (usize::from(rows).max(2), usize::from(columns)),
    };
    let mut frame = String::from("\x1b[H");
    let shown = lines.iter().take(rows - 1);
    for line in shown {
        frame.extend(line.chars().take(columns));
        // At the edge it would take the last character away.
        if line.chars().count() < columns {
            frame += "\x1b[K";
        }
        frame += "\r\n";
    }
    frame += "\x1b[J\x1b[2mq ends this\x1b[0m";
    io::stdout().write_all(frame.as_bytes())?;
    io::stdout().flush()
}

/// Waits for a key or the next look.
fn is_quit() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    match poll(&mut fds, Some(&EVERY)) {
        // A signal, which the caller looks for.
        Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(false),
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let mut keys = [0; 64];
    let count = stdin.lock().read(&mut keys)?;
    // No keys at all: stdin is at its end.
    Ok(count == 0 || keys[..count].contains(&b'q'))
}
