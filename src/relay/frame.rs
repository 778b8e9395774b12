//! What a run's `openclaw` and the daemon say to each other: one request, then pieces of output, then an exit code.
//! Every length is told first and has a bound. Pure.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Words for the instance. No input is passed on: no command that is allowed reads any.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) words: Vec<String>,
}

/// One piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last one.
    Exit(i32),
}

/// Linux takes no longer argument (`MAX_ARG_STRLEN`), and a message to send is the longest that anybody has.
const CALL_MAX: u32 = 128 << 10;

/// More is several pieces.
pub(super) const PIECE_MAX: usize = 64 << 10;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;

impl Call {
    /// # Errors
    /// When it is too long, or cannot be written.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        let length = u32::try_from(body.len()).ok().filter(|it| *it <= CALL_MAX);
        let length = length.ok_or_else(|| odd("the command line is longer than 128 KiB"))?;
        let frame = [&length.to_be_bytes()[..], &body].concat();
        out.write_all(&frame)
    }

    /// # Errors
    /// When it is none, or too long.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Call> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > CALL_MAX {
            return Err(odd("a call longer than 128 KiB"));
        }
        let mut body = Vec::new();
        from.take(u64::from(length)).read_to_end(&mut body)?;
        if body.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Piece {
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let code;
        let (kind, bytes): (u8, &[u8]) = match self {
            Piece::Stdout(bytes) => (STDOUT, bytes),
            Piece::Stderr(bytes) => (STDERR, bytes),
            Piece::Exit(exit) => {
                code = exit.to_be_bytes();
                (EXIT, &code)
            }
        };
        // One of output may be longer than a piece may.
        let mut rest = bytes;
        loop {
            let (own, more) = rest.split_at(rest.len().min(PIECE_MAX));
            // It fits: a piece has at most 64 KiB.
            let length = (own.len() as u32).to_be_bytes();
            out.write_all(&[&[kind][..], &length, own].concat())?;
            rest = more;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// # Errors
    /// When it is none.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Piece> {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > PIECE_MAX {
            return Err(odd("a piece longer than 64 KiB"));
        }
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        match (head[0], bytes.first_chunk::<4>()) {
            (STDOUT, _) => Ok(Piece::Stdout(bytes)),
            (STDERR, _) => Ok(Piece::Stderr(bytes)),
            (EXIT, Some(code)) if bytes.len() == 4 => Ok(Piece::Exit(i32::from_be_bytes(*code))),
            _ => Err(odd("a piece of no known kind")),
        }
    }
}

fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_pieces_come_back_as_they_were() {
        let words = ["cron", "add", "é\n\0", ""].map(str::to_owned).to_vec();
        let mut bytes = Vec::new();
        Call {
            words: words.clone(),
        }
        .write(&mut bytes)
        .unwrap();
        assert_eq!(Call::read(&mut &bytes[..]).unwrap().words, words);
        let mut bytes = Vec::new();
        let long = vec![7; PIECE_MAX + 1];
        let pieces = [
            Piece::Stdout(long.clone()),
            Piece::Stderr(Vec::new()),
            Piece::Exit(-9),
        ];
        for piece in &pieces {
            piece.write(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        let mut read = || Piece::read(&mut rest).unwrap();
        assert_eq!(read(), Piece::Stdout(long[..PIECE_MAX].to_vec()));
        assert_eq!(read(), Piece::Stdout(vec![7]));
        assert_eq!(read(), Piece::Stderr(Vec::new()));
        assert_eq!(read(), Piece::Exit(-9));
        assert!(rest.is_empty());
    }

    #[test]
    fn garbage_is_refused_before_it_costs_anything() {
        let calls: [&[u8]; 6] = [
            b"",
            b"\0\0",
            b"\xff\xff\xff\xff",
            b"\0\x02\0\x01",
            b"\0\0\0\x05{}",
            b"\0\0\0\x02[]",
        ];
        for bytes in calls {
            assert!(Call::read(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let pieces: [&[u8]; 5] = [
            b"\x01\xff\xff\xff\xff",
            b"\x09\0\0\0\0",
            b"\x03\0\0\0\x03abc",
            b"\x03\0\0\0\x05abcde",
            b"\x01\0\0\0\x05ab",
        ];
        for bytes in pieces {
            assert!(Piece::read(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let long = Call {
            words: vec!["x".repeat(CALL_MAX as usize)],
        };
        assert!(long.write(&mut Vec::new()).is_err());
    }
}
