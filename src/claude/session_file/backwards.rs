//! The lines of a file from its last one to its first, with little of it in memory.

use std::{fs::File, io, os::unix::fs::FileExt};

/// A line repeats at most an answer, or a tool's result with images; the API takes no more than 32 MB at once.
const LINE_MAX: usize = 40 << 20;

/// What is read at once, as long as lines are not longer.
const PIECE: usize = 64 << 10;

/// A file that is read from its end.
pub(super) struct Backwards {
    file: File,
    /// What is before this is not read yet.
    unread: u64,
    /// What was read and not handed out.
    rest: Vec<u8>,
    /// Ends of lines are only in the first so many bytes of it.
    unsearched: usize,
}

impl Backwards {
    pub(super) fn of(file: File, length: u64) -> Backwards {
        Backwards {
            file,
            unread: length,
            rest: Vec::new(),
            unsearched: 0,
        }
    }

    /// The line before the one that was handed out last, without the end of it.
    ///
    /// # Errors
    /// When the file cannot be read, has become shorter, or the line is longer than any.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let within = &self.rest[..self.unsearched];
            if let Some(at) = memchr::memrchr(b'\n', within) {
                let line = self.rest.split_off(at + 1);
                self.rest.truncate(at);
                self.unsearched = at;
                return Ok(Some(line));
            }
            self.unsearched = 0;
            if self.unread == 0 {
                let line = std::mem::take(&mut self.rest);
                return Ok((!line.is_empty()).then_some(line));
            }
            self.read_more()?;
        }
    }

    /// As much again as there is, so that a long line is not copied more often than twice for each of its bytes.
    fn read_more(&mut self) -> io::Result<()> {
        if self.rest.len() > LINE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let wanted = self.rest.len().max(PIECE);
        let wanted = wanted.min(usize::try_from(self.unread).unwrap_or(usize::MAX));
        let mut piece = Vec::with_capacity(wanted + self.rest.len());
        piece.resize(wanted, 0);
        self.unread -= wanted as u64;
        self.file.read_exact_at(&mut piece, self.unread)?;
        piece.append(&mut self.rest);
        self.rest = piece;
        self.unsearched = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str) {
        let name = format!("ccgw-backwards-{}", crate::ids::random_hex::<8>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut lines = Backwards::of(file, content.len() as u64);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        let mut expect: Vec<&str> = content.split('\n').rev().collect();
        // Nothing stands before the first line of a file that begins with the end of one.
        if expect.last() == Some(&"") {
            expect.pop();
        }
        assert!(found == expect, "{} lines of {}", found.len(), expect.len());
    }

    #[test]
    fn lines_come_from_the_last_to_the_first_however_long_they_are() {
        check("");
        check("\n");
        check("one");
        check("one\n");
        check("one\ntwo\n\nthree");
        let long = |length: usize| "x".repeat(length);
        for length in [PIECE - 2, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
            check(&format!("{}\n{}\nshort\n", long(length), long(length)));
            check(&format!("short\n{}\nshort\n{}", long(length), long(length)));
        }
    }

    #[test]
    fn a_file_that_became_shorter_has_no_lines() {
        let path = std::env::temp_dir().join(format!("ccgw-backwards-{}", std::process::id()));
        std::fs::write(&path, "short\n").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Backwards::of(file, 100).next_line().is_err());
    }
}
