//! What the CLI writes, cut into lines.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipe {
    Open,
    Ended,
}

/// A line is longer than this gateway takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// The biggest line seen repeats a whole answer (1 MB for 1 MB of text); an answer of 128,000
/// tokens stays below 2 MB, a tool result with images can reach tens. Beyond this, something is wrong.
const LINE_MAX: usize = 64 << 20;

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;

/// Bytes into lines. Each byte is looked at once, however the pipe cuts it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Where the first line not yet handed out begins.
    start: usize,
    /// Up to where no newline was found.
    scanned: usize,
}

pub(super) enum Fill {
    More,
    Nothing,
    End,
}

impl Lines {
    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>) -> Fill {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.reserve(READ_SIZE);
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => Fill::End,
            Ok(_) => Fill::More,
            Err(Errno::AGAIN | Errno::INTR) => Fill::Nothing,
            Err(_) => Fill::End,
        }
    }

    /// Whether a call of `next` would hand something out.
    pub(super) fn has_any(&mut self) -> bool {
        self.newline().is_some() || self.buffer.len() - self.start > LINE_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    fn newline(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
        self.scanned = found.unwrap_or(self.buffer.len());
        found
    }

    pub(super) fn next(&mut self, pipe: Pipe) -> Result<Option<&[u8]>, LineTooLong> {
        let line = match self.newline() {
            Some(end) => {
                let line = self.start..end;
                self.start = end + 1;
                self.scanned = self.start;
                line
            }
            None if self.buffer.len() - self.start > LINE_MAX => return Err(LineTooLong),
            // Half a line at the end is handed out too: its reader decides what it is worth.
            None if pipe == Pipe::Ended && self.start < self.buffer.len() => {
                let line = self.start..self.buffer.len();
                self.start = self.buffer.len();
                line
            }
            None => return Ok(None),
        };
        Ok(Some(&self.buffer[line]))
    }

    /// Whether a whole line that is waiting satisfies this; takes lines as it goes.
    pub(super) fn any(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        while let Ok(Some(line)) = self.next(Pipe::Open) {
            if wanted(line) {
                return true;
            }
        }
        false
    }

    /// Forgets what nobody will read, a line without an end beyond reason included.
    pub(super) fn drop_whole_lines(&mut self) {
        while let Ok(Some(_)) = self.next(Pipe::Open) {}
        if self.buffer.len() - self.start > LINE_MAX {
            *self = Lines::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        os::fd::AsFd,
    };

    use super::*;

    /// Feeds `pieces` one read at a time and collects the lines.
    #[track_caller]
    fn check(pieces: &[&str], expect: &[&str]) {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for piece in pieces {
            writer.write_all(piece.as_bytes()).unwrap();
            assert!(matches!(lines.fill(reader.as_fd()), Fill::More));
            while let Some(line) = lines.next(Pipe::Open).unwrap() {
                got.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        drop(writer);
        assert!(matches!(lines.fill(reader.as_fd()), Fill::End));
        while let Some(line) = lines.next(Pipe::Ended).unwrap() {
            got.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(got, expect);
    }

    #[test]
    fn lines_are_the_same_wherever_the_pipe_cuts_them() {
        let whole = "one\ntwo\n\nfour";
        for cut in 0..=whole.len() {
            let (a, b) = whole.split_at(cut);
            let pieces: Vec<&str> = [a, b].into_iter().filter(|it| !it.is_empty()).collect();
            check(&pieces, &["one", "two", "", "four"]);
        }
    }
}
