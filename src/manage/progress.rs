//! One line on the terminal that says what takes so long, after a second, and is gone before anything else is
//! written. It has no colour and no escape sequence, and there is none where stderr is no terminal.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::say::plain;

/// What takes less needs no word.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Where the terminal does not tell its width.
const WIDTH: usize = 80;

/// A narrower one shows nothing that could be read.
const WIDTH_MIN: usize = 20;

/// There is one terminal, whoever of the threads says something.
static LINE: Mutex<Line> = Mutex::new(Line::OFF);
static CHANGED: Condvar = Condvar::new();

struct Line {
    /// Since when the command runs; `None` where nothing is shown.
    since: Option<Instant>,
    /// What is being done; the newest is shown.
    steps: Vec<(u64, String)>,
    next: u64,
    /// What stands on the terminal.
    shown: String,
    has_thread: bool,
}

/// Lets the line be shown for the rest of the process's life, where stderr is a terminal.
pub(crate) fn enable() {
    if io::stderr().is_terminal() {
        lock().since = Some(Instant::now());
    }
}

/// The opposite, for `--quiet`.
pub(super) fn disable() {
    let mut line = lock();
    line.erase();
    line.since = None;
}

/// Something that may take a while; it is over when this is dropped.
#[must_use = "it is over when it is dropped"]
pub(super) struct Step(u64);

/// Begins something that may take a while. Names in its text may be somebody else's.
pub(super) fn step(what: &str) -> Step {
    let mut line = lock();
    let id = line.next;
    line.next += 1;
    if line.since.is_some() {
        line.steps.push((id, plain(what)));
        line.draw();
        if !line.has_thread {
            // Without one there is only less to see.
            let ticking = thread::Builder::new()
                .name("progress".to_owned())
                .spawn(tick);
            line.has_thread = ticking.is_ok();
        }
        CHANGED.notify_one();
    }
    Step(id)
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut line = lock();
        line.steps.retain(|(id, _)| *id != self.0);
        match line.steps.is_empty() {
            true => line.erase(),
            false => line.draw(),
        }
    }
}

/// Makes room for something else on the terminal.
pub(super) fn erase() {
    lock().erase();
}

/// Keeps the line away for as long as this lives: somebody is asked something.
#[must_use = "it is over when it is dropped"]
pub(super) struct Pause(Vec<(u64, String)>);

pub(super) fn pause() -> Pause {
    let mut line = lock();
    line.erase();
    Pause(std::mem::take(&mut line.steps))
}

impl Drop for Pause {
    fn drop(&mut self) {
        lock().steps.append(&mut self.0);
    }
}

/// Draws the line again while there is one, with the seconds.
fn tick() {
    let mut line = lock();
    loop {
        line = match line.steps.is_empty() {
            true => CHANGED.wait(line).unwrap_or_else(PoisonError::into_inner),
            false => {
                line.draw();
                let waited = CHANGED.wait_timeout(line, TICK);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn lock() -> MutexGuard<'static, Line> {
    // A thread that panicked has left nothing half-done that matters here.
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    const OFF: Line = Line {
        since: None,
        steps: Vec::new(),
        next: 0,
        shown: String::new(),
        has_thread: false,
    };

    fn draw(&mut self) {
        let (Some(since), Some((_, what))) = (self.since, self.steps.last()) else {
            return;
        };
        let elapsed = since.elapsed();
        if elapsed < SILENT_FOR {
            return;
        }
        let text = fitting(what, elapsed.as_secs(), width());
        if text != self.shown {
            self.put(text);
        }
    }

    fn erase(&mut self) {
        if !self.shown.is_empty() {
            self.put(String::new());
        }
    }

    /// Over what stands there, whose rest is blanked.
    fn put(&mut self, text: String) {
        let blanks = self
            .shown
            .chars()
            .count()
            .saturating_sub(text.chars().count());
        let line = match text.is_empty() {
            true => format!("\r{}\r", " ".repeat(blanks)),
            false => format!("\r{text}{}{}", " ".repeat(blanks), "\u{8}".repeat(blanks)),
        };
        // A terminal that is gone has nobody who waits for this.
        let mut stderr = io::stderr().lock();
        let _ = stderr
            .write_all(line.as_bytes())
            .and_then(|()| stderr.flush());
        self.shown = text;
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map_or(0, |it| it.ws_col);
    if columns == 0 { WIDTH } else { columns.into() }
}

/// The text, cut so that it stays one line: the last column is left free, where some terminals wrap.
fn fitting(what: &str, seconds: u64, width: usize) -> String {
    if width < WIDTH_MIN {
        return String::new();
    }
    let end = format!("… {seconds} s");
    let room = width - 1 - end.chars().count();
    let cut: String = what.chars().take(room).collect();
    cut + &end
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn line_fits_into_every_width() {
        let what = "reading the skills of a tenant with a name of some length";
        for width in 20..200 {
            let length = fitting(what, 12, width).chars().count();
            assert!(
                length < width && length > width.min(60) - 2,
                "{width}: {length}"
            );
        }
        assert_eq!(fitting(what, 1, 19), "");
        assert_eq!(fitting("reading", 3, 40), "reading… 3 s");
    }
}
