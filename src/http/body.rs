//! The request body: incremental decoding of both framings. Pure, and no byte is looked at twice.

use super::fields::Framing;
use super::head::Refusal;

/// Chunk extensions and trailers of a whole body together; both are read and dropped.
pub(super) const MAX_EXTRA_BYTES: usize = 16 * 1024;
/// Sixteen hexadecimal digits fill a `u64`; leading zeros count.
const MAX_SIZE_DIGITS: u8 = 16;

/// Turns the bytes after a head into the body's own bytes.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    max: u64,
    /// The sizes of all chunks announced so far.
    total: u64,
    extra: usize,
}

/// How far one call came: `used` bytes of its input belong to this body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fed {
    pub(super) used: usize,
    pub(super) progress: Progress,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body of known length.
    Plain {
        left: u64,
    },
    /// Chunked, by what the next byte belongs to.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Complete,
}

impl Decoder {
    /// A decoder for this framing; a declared length above `max` is refused here with 413.
    pub(super) fn new(framing: Framing, max: u64) -> Result<Decoder, Refusal> {
        let state = match framing {
            Framing::Empty => State::Complete,
            Framing::Length(length) if length > max => return Err(too_large(max)),
            Framing::Length(left) => State::Plain { left },
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(Decoder {
            state,
            max,
            total: 0,
            extra: 0,
        })
    }

    /// Appends to `body` what `input` holds of it.
    pub(super) fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<Fed, Refusal> {
        let mut used = 0;
        while used < input.len() && self.state != State::Complete {
            let rest = &input[used..];
            used += match self.state {
                State::Plain { left } => self.copy(rest, left, body),
                State::Data { left } => self.copy(rest, left, body),
                _ => {
                    self.state = self.step(rest[0])?;
                    1
                }
            };
        }
        let progress = match self.state {
            State::Complete => Progress::Complete,
            _ => Progress::More,
        };
        Ok(Fed { used, progress })
    }

    /// Moves at most `left` bytes over and says how many.
    fn copy(&mut self, input: &[u8], left: u64, body: &mut Vec<u8>) -> usize {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - count as u64;
        let plain = matches!(self.state, State::Plain { .. });
        if plain {
            reserve_within(body, count, left);
        }
        body.extend_from_slice(&input[..count]);
        self.state = match (plain, left) {
            (true, 0) => State::Complete,
            (true, _) => State::Plain { left },
            (false, 0) => State::DataCr,
            (false, _) => State::Data { left },
        };
        count
    }

    /// The state after one byte of chunk syntax.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) => self.size_byte(size, digits, byte),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size }, _) => self.drop_byte(byte, State::Extension { size }),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerStart | State::Trailer, _) => self.drop_byte(byte, State::Trailer),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Complete),
            _ => Err(Refusal::bad("malformed chunk: CRLF expected")),
        }
    }

    fn size_byte(&mut self, size: u64, digits: u8, byte: u8) -> Result<State, Refusal> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (digit, byte) {
            (Some(_), _) if digits == MAX_SIZE_DIGITS => {
                Err(Refusal::bad("chunk size has too many digits"))
            }
            (Some(digit), _) => Ok(State::Size {
                size: size << 4 | digit,
                digits: digits + 1,
            }),
            (None, b'\r' | b';') if digits > 0 => {
                self.total = self.total.saturating_add(size);
                match byte {
                    _ if self.total > self.max => Err(too_large(self.max)),
                    b'\r' => Ok(State::SizeLf { size }),
                    _ => self.drop_byte(byte, State::Extension { size }),
                }
            }
            _ => Err(Refusal::bad("chunk size is not a hexadecimal number")),
        }
    }

    /// Reads past a byte of an extension or a trailer.
    fn drop_byte(&mut self, byte: u8, next: State) -> Result<State, Refusal> {
        if byte.is_ascii_control() && byte != b'\t' {
            return Err(Refusal::bad(
                "control character in a chunk extension or trailer",
            ));
        }
        self.extra += 1;
        match self.extra > MAX_EXTRA_BYTES {
            false => Ok(next),
            true => Err(Refusal::bad(format!(
                "chunk extensions and trailers are longer than {MAX_EXTRA_BYTES} bytes"
            ))),
        }
    }
}

/// Makes room for `count` bytes: doubling as `Vec` does, but never beyond the declared length,
/// and never ahead of what has come, so that a peer pays in bytes for the memory it takes.
fn reserve_within(body: &mut Vec<u8>, count: usize, left: u64) {
    let needed = body.len() + count;
    if needed > body.capacity() {
        let declared = needed.saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
        let target = (2 * needed).min(declared);
        body.reserve_exact(target - body.len());
    }
}

fn too_large(max: u64) -> Refusal {
    if max == 0 {
        return Refusal::new(413, "a request of this method must not have a body");
    }
    Refusal::new(413, format!("request body is larger than {max} bytes"))
}

#[cfg(test)]
#[path = "tests/body.rs"]
mod tests;
