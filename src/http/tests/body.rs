//! What the body decoder takes and refuses, whole and in pieces.

use super::*;

const MAX: u64 = 1000;

/// `Ok`: the bytes used, the body and whether it is complete. `Err`: the status and the message.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(usize, String, bool), (u16, String)> {
    let refused = |refusal: Refusal| (refusal.status, refusal.message.into_owned());
    let mut decoder = Decoder::new(framing, MAX).map_err(refused)?;
    let mut body = Vec::new();
    let mut total = 0;
    for piece in pieces {
        let fed = decoder.feed(piece, &mut body).map_err(refused)?;
        total += fed.used;
        if fed.progress == Progress::Complete {
            return Ok((total, String::from_utf8(body).unwrap(), true));
        }
        assert_eq!(fed.used, piece.len(), "an incomplete body uses everything");
    }
    Ok((total, String::from_utf8(body).unwrap(), false))
}

#[track_caller]
fn decode_every_way(
    framing: Framing,
    input: &[u8],
) -> Result<(usize, String, bool), (u16, String)> {
    let whole = decode(framing, &[input]);
    for at in 0..input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(decode(framing, &[a, b]), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(framing, &bytes), whole, "byte by byte");
    whole
}

#[track_caller]
fn check(framing: Framing, input: &str, body: &str, rest: &str) {
    let expect = (input.len() - rest.len(), body.to_owned(), true);
    assert_eq!(decode_every_way(framing, input.as_bytes()), Ok(expect));
}

#[track_caller]
fn check_refused(input: &str, status: u16, message: &str) {
    match decode_every_way(Framing::Chunked, input.as_bytes()) {
        Err(refusal) => {
            assert_eq!(refusal.0, status, "{}", refusal.1);
            assert!(refusal.1.contains(message), "{}", refusal.1);
        }
        other => panic!("{input:?} gave {other:?}"),
    }
}

#[test]
fn declared_length_ends_the_body() {
    check(Framing::Length(3), "abc", "abc", "");
    check(Framing::Length(3), "abcGET /", "abc", "GET /");
    let partial = decode_every_way(Framing::Length(5), b"abc");
    assert_eq!(partial, Ok((3, "abc".to_owned(), false)));
}

#[test]
fn declared_length_beyond_the_limit_is_refused_before_any_byte() {
    let refused = |length| Decoder::new(Framing::Length(length), MAX).map_err(|r| r.status);
    assert_eq!(refused(MAX + 1).unwrap_err(), 413);
    assert_eq!(refused(100_000_000_000).unwrap_err(), 413);
    assert_eq!(refused(u64::MAX).unwrap_err(), 413);
    assert!(refused(MAX).is_ok());
}

#[test]
fn chunks_are_joined() {
    check(Framing::Chunked, "0\r\n\r\n", "", "");
    check(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\n", "abc", "");
    check(
        Framing::Chunked,
        "3\r\nabc\r\n2\r\nde\r\n000\r\n\r\nGET",
        "abcde",
        "GET",
    );
    check(
        Framing::Chunked,
        "00000000000000A\r\n0123456789\r\n0\r\n\r\n",
        "0123456789",
        "",
    );
    check(
        Framing::Chunked,
        "a\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n0\r\n",
        "",
    );
}

#[test]
fn extensions_and_trailers_are_dropped() {
    check(Framing::Chunked, "3;a=b\r\nabc\r\n0;c\r\n\r\n", "abc", "");
    check(
        Framing::Chunked,
        "3;a=\"b c\";d\r\nabc\r\n0\r\nX-T: 1\r\nY: 2\r\n\r\nGET",
        "abc",
        "GET",
    );
}

#[test]
fn bad_chunks_are_refused() {
    for size in [
        "zz", "", " 3", "3 ", "+3", "-3", "0x3", "3,", "\u{663}", "\t3", ";a",
    ] {
        check_refused(&format!("{size}\r\nabc\r\n0\r\n\r\n"), 400, "hexadecimal");
    }
    check_refused("3\nabc\r\n0\r\n\r\n", 400, "hexadecimal");
    check_refused("3\rabc\r\n0\r\n\r\n", 400, "CRLF expected");
    check_refused("3\r\nabcd\r\n0\r\n\r\n", 400, "CRLF expected");
    check_refused("3\r\nabc\n0\r\n\r\n", 400, "CRLF expected");
    check_refused("3\r\nabc0\r\n\r\n", 400, "CRLF expected");
    check_refused("3\r\nabc\r0\r\n\r\n", 400, "CRLF expected");
    check_refused("0\r\n\rX", 400, "CRLF expected");
    check_refused("0\r\nX: 1\n\r\n", 400, "control character");
    check_refused("0\r\nX: 1\rY", 400, "CRLF expected");
    check_refused("0\r\nX: \0\r\n\r\n", 400, "control character");
    check_refused("3;a\nabc\r\n", 400, "control character");
    check_refused("3;a\0\r\nabc\r\n", 400, "control character");
}

#[test]
fn chunk_sizes_are_limited() {
    check_refused("3e9\r\n", 413, "1000 bytes");
    check_refused("ffffffffffffffff\r\n", 413, "1000 bytes");
    check_refused("fffffffffffffffff\r\n", 400, "digits");
    check_refused("00000000000000003\r\nabc", 400, "digits");
    let full = "x".repeat(1000);
    check_refused(&format!("3e8\r\n{full}\r\n1\r\n"), 413, "1000 bytes");
    check(
        Framing::Chunked,
        &format!("3e8\r\n{full}\r\n0\r\n\r\n"),
        &full,
        "",
    );
}

#[test]
fn extensions_and_trailers_are_limited_over_the_whole_body() {
    let status = |input: String| decode(Framing::Chunked, &[input.as_bytes()]).map_err(|r| r.0);
    let fits = "a".repeat(MAX_EXTRA_BYTES - 1);
    assert!(status(format!("0;{fits}\r\n\r\n")).is_ok());
    assert_eq!(status(format!("0;{fits}a\r\n\r\n")), Err(400));
    assert!(status(format!("0\r\na{fits}\r\n\r\n")).is_ok());
    assert_eq!(status(format!("0\r\na{fits}b\r\n\r\n")), Err(400));
    assert_eq!(status("1;ab\r\nx\r\n".repeat(6000)), Err(413));
    assert_eq!(
        status("1;".to_owned() + &"a".repeat(40) + "\r\nx\r\n").map(|ok| ok.2),
        Ok(false)
    );
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(40));
    assert_eq!(status(chunk.repeat(500)), Err(400));
}

#[test]
fn memory_follows_what_has_come_and_not_what_was_announced() {
    let mut decoder = Decoder::new(Framing::Length(1 << 30), 1 << 30).unwrap();
    let mut body = Vec::new();
    decoder.feed(&[0; 1000], &mut body).unwrap();
    assert!(body.capacity() <= 2000, "{}", body.capacity());
    let mut decoder = Decoder::new(Framing::Length(1500), 1 << 30).unwrap();
    let mut body = Vec::new();
    decoder.feed(&[0; 1000], &mut body).unwrap();
    decoder.feed(&[0; 500], &mut body).unwrap();
    assert_eq!(body.capacity(), 1500);
}
