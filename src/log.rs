//! One line per event on stderr, as text or JSON: the daemon's only way to speak while it serves.
//!
//! Values are written as given, so callers never pass a key, a prompt or a tenant's environment.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, bounded};

/// How lines look: `LOG_FORMAT=json` in the environment chooses [`Format::Json`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// One `key=value` of a line.
pub(crate) type Field<'a> = (&'a str, &'a dyn Display);

/// Chooses the format for the life of the process; the first call wins.
pub(crate) fn init(format: Format) {
    // A second call changes nothing, by intent: lines must not change shape midway.
    let _ = FORMAT.set(format);
}

pub(crate) fn info(message: &str, fields: &[Field<'_>]) {
    write(Level::Info, message, fields);
}

pub(crate) fn warn(message: &str, fields: &[Field<'_>]) {
    write(Level::Warn, message, fields);
}

pub(crate) fn error(message: &str, fields: &[Field<'_>]) {
    write(Level::Error, message, fields);
}

/// Gives the writing to a thread of its own, so that nobody who logs ever waits for whoever reads
/// stderr. Until then, and when no thread can be had, each caller writes for itself.
pub(crate) fn start() {
    let (sender, messages) = bounded(LINES_MAX);
    let writer = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&messages));
    if writer.is_ok() {
        // A second start changes nothing.
        let _ = WRITER.set(sender);
    }
}

/// Waits until what was logged is written, but not for a reader that does not read.
pub(crate) fn finish() {
    let (done, written) = bounded(1);
    if let Some(writer) = WRITER.get()
        && writer
            .send_timeout(Message::Flush(done), FLUSH_WAIT)
            .is_ok()
    {
        // Nothing can be done for the lines that are left.
        let _ = written.recv_timeout(FLUSH_WAIT);
    }
}

/// A kind of line that strangers can cause as often as they like: at most [`SPARING_MAX`] are
/// written in a second, and the next one tells how many were left out.
pub(crate) struct Sparing(Mutex<Spared>);

struct Spared {
    second: u64,
    written: u32,
    left_out: u64,
}

const SPARING_MAX: u32 = 10;

impl Sparing {
    pub(crate) const fn new() -> Self {
        Sparing(Mutex::new(Spared {
            second: 0,
            written: 0,
            left_out: 0,
        }))
    }

    pub(crate) fn info(&self, message: &str, fields: &[Field<'_>]) {
        self.write(Level::Info, message, fields);
    }

    pub(crate) fn warn(&self, message: &str, fields: &[Field<'_>]) {
        self.write(Level::Warn, message, fields);
    }

    fn write(&self, level: Level, message: &str, fields: &[Field<'_>]) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |it| it.as_secs());
        if let Some(left_out) = self.take(now) {
            if left_out > 0 {
                let message = &format!("more lines like the next were left out ({message})");
                write(level, message, &[("lines", &left_out)]);
            }
            write(level, message, fields);
        }
    }

    /// Whether a line may be written in this second, and how many were not since the last one.
    fn take(&self, second: u64) -> Option<u64> {
        let mut spared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spared.second != second {
            spared.second = second;
            spared.written = 0;
        }
        if spared.written >= SPARING_MAX {
            spared.left_out += 1;
            return None;
        }
        spared.written += 1;
        Some(std::mem::take(&mut spared.left_out))
    }
}

/// Lines that wait for stderr; beyond that they are counted and lost.
const LINES_MAX: usize = 1024;

const FLUSH_WAIT: Duration = Duration::from_secs(1);

static FORMAT: OnceLock<Format> = OnceLock::new();
static WRITER: OnceLock<Sender<Message>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

enum Message {
    Line(String),
    Flush(Sender<()>),
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Line(line) => {
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    put(&line_now(
                        Level::Warn,
                        "log lines were lost; stderr is not read",
                        &[("lines", &lost)],
                    ));
                }
                put(&line);
            }
            // The asker may have given up.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

fn write(level: Level, message: &str, fields: &[Field<'_>]) {
    let line = line_now(level, message, fields);
    match WRITER.get() {
        None => put(&line),
        Some(writer) => {
            if writer.try_send(Message::Line(line)).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn put(line: &str) {
    // One write per line keeps lines whole; a closed stderr has nobody to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn line_now(level: Level, message: &str, fields: &[Field<'_>]) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let format = FORMAT.get().copied().unwrap_or(Format::Text);
    render(format, now, level, message, fields)
}

fn render(
    format: Format,
    unix_ms: u128,
    level: Level,
    message: &str,
    fields: &[Field<'_>],
) -> String {
    let mut line = String::with_capacity(160);
    let time = Timestamp(unix_ms);
    match format {
        Format::Text => {
            let level = match level {
                Level::Info => "INFO",
                Level::Warn => "WARN",
                Level::Error => "ERROR",
            };
            // Writing to a String cannot fail.
            let _ = write!(line, "{time} {level:5} {}", Clean(message));
            for (key, value) in fields {
                let value = value.to_string();
                let quoted = value.is_empty() || value.contains([' ', '"', '=']);
                let _ = match quoted {
                    true => write!(line, " {key}={:?}", Clean(&value).to_string()),
                    false => write!(line, " {key}={}", Clean(&value)),
                };
            }
        }
        Format::Json => {
            let level = match level {
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            };
            let _ = write!(
                line,
                r#"{{"time":"{time}","level":"{level}","message":{}"#,
                json(message)
            );
            for (key, value) in fields {
                let _ = write!(line, ",{}:{}", json(key), json(&value.to_string()));
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Text with control characters escaped, so that no value can forge a line or move a terminal.
struct Clean<'a>(&'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub(crate) struct Timestamp(pub(crate) u128);

impl Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0 / 1000;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        let millis = self.0 % 1000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Days since 1970-01-01 to a Gregorian date, counting years from March so that the leap day is last.
fn civil(days: u128) -> (u128, u128, u128) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + u128::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: Format, message: &str, fields: &[Field<'_>], expect: &str) {
        assert_eq!(
            render(format, 951_782_400_123, Level::Warn, message, fields),
            expect
        );
    }

    #[test]
    fn text_lines_are_one_line_whatever_the_value() {
        check(
            Format::Text,
            "odd",
            &[("a", &1), ("b", &"x y"), ("c", &"line\nforged\x1b[2J")],
            "2000-02-29T00:00:00.123Z WARN  odd a=1 b=\"x y\" c=line\\nforged\\u{1b}[2J\n",
        );
    }

    #[test]
    fn json_lines_are_valid_json() {
        check(
            Format::Json,
            "say \"hi\"",
            &[("n", &2)],
            "{\"time\":\"2000-02-29T00:00:00.123Z\",\"level\":\"warn\",\"message\":\"say \\\"hi\\\"\",\"n\":\"2\"}\n",
        );
    }

    #[test]
    fn lines_beyond_the_number_are_counted_until_the_next_second() {
        let sparing = Sparing::new();
        for _ in 0..SPARING_MAX {
            assert_eq!(sparing.take(7), Some(0));
        }
        assert_eq!(sparing.take(7), None);
        assert_eq!(sparing.take(7), None);
        assert_eq!(sparing.take(8), Some(2));
        assert_eq!(sparing.take(8), Some(0));
    }

    #[test]
    fn dates_are_gregorian() {
        for (ms, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_416_398_194, "2026-11-23T06:46:38.194Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), expect);
        }
    }
}
