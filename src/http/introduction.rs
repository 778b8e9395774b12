//! What a trusted proxy says first: for whom it connects. The PROXY protocol, versions 1 and 2, read strictly. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Introduction {
    /// It is longer than what has come.
    More,
    /// So many bytes of what has come, and whose connection it is; `None` for one of the proxy's own, or
    /// where the proxy does not know.
    Whole(usize, Option<SocketAddr>),
}

/// It is not the PROXY protocol: what speaks here is no proxy, or not set up as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotIntroduced;

type Read = Result<Introduction, NotIntroduced>;

/// What somebody hears who does not begin so, from an address that has to.
pub(crate) const MISSING: &str = "connections from there must begin with the PROXY protocol";

const LINE_START: &[u8] = b"PROXY ";
/// The longest line that version 1 allows, with its end.
const LINE_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, and the length of the rest.
const FIXED: usize = 16;
/// Addresses and extensions; extensions of a proxy before plain HTTP are some bytes.
const REST_MAX: usize = 2048;

/// Reads the beginning of a connection.
///
/// # Errors
/// With the first byte that cannot belong to an introduction.
pub(super) fn read(bytes: &[u8]) -> Read {
    let shared = |start: &[u8]| {
        let length = bytes.len().min(start.len());
        bytes[..length] == start[..length]
    };
    if shared(LINE_START) {
        return read_line(bytes);
    }
    match shared(SIGNATURE) {
        true => read_binary(bytes),
        false => Err(NotIntroduced),
    }
}

/// `PROXY TCP4 SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`, or `PROXY UNKNOWN` and anything.
fn read_line(bytes: &[u8]) -> Read {
    let window = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = window.windows(2).position(|it| it == b"\r\n") else {
        return match bytes.len() < LINE_MAX {
            true => Ok(Introduction::More),
            false => Err(NotIntroduced),
        };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| NotIntroduced)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            let _: Ipv4Addr = to.parse().map_err(|_| NotIntroduced)?;
            let from: Ipv4Addr = from.parse().map_err(|_| NotIntroduced)?;
            port(to_port)?;
            Some(SocketAddr::new(from.into(), port(from_port)?))
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            let _: Ipv6Addr = to.parse().map_err(|_| NotIntroduced)?;
            let from: Ipv6Addr = from.parse().map_err(|_| NotIntroduced)?;
            port(to_port)?;
            Some(SocketAddr::new(from.into(), port(from_port)?))
        }
        _ => return Err(NotIntroduced),
    };
    Ok(Introduction::Whole(end + 2, client))
}

/// Plain digits: `u16` alone would take a sign and zeros in front as well.
fn port(text: &str) -> Result<u16, NotIntroduced> {
    let plain =
        text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = text.parse().ok().filter(|_| plain);
    port.ok_or(NotIntroduced)
}

fn read_binary(bytes: &[u8]) -> Read {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Introduction::More);
    };
    let [.., version, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_MAX {
        return Err(NotIntroduced);
    }
    // What cannot become right is not waited for.
    let read_client: fn(&[u8]) -> Option<SocketAddr> = match (version, family, length) {
        // The proxy's own connection: a health check.
        (0x20, _, _) => |_| None,
        (0x21, 0x11, 12..) => v4,
        (0x21, 0x21, 36..) => v6,
        // Unspecified, and Unix sockets: no address of a network.
        (0x21, 0x00, _) | (0x21, 0x31, 216..) => |_| None,
        _ => return Err(NotIntroduced),
    };
    match bytes.get(FIXED..FIXED + length) {
        Some(rest) => Ok(Introduction::Whole(FIXED + length, read_client(rest))),
        None => Ok(Introduction::More),
    }
}

/// Source, destination, and their ports; extensions may follow.
fn v4(rest: &[u8]) -> Option<SocketAddr> {
    let address = IpAddr::from(*rest.first_chunk::<4>()?);
    let port = u16::from_be_bytes(*rest.get(8..)?.first_chunk()?);
    Some(SocketAddr::new(address, port))
}

fn v6(rest: &[u8]) -> Option<SocketAddr> {
    let address = IpAddr::from(*rest.first_chunk::<16>()?);
    let port = u16::from_be_bytes(*rest.get(32..)?.first_chunk()?);
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces that it comes in: nothing is decided early, and nothing of what follows is used.
    #[track_caller]
    fn check(bytes: &[u8], client: Option<&str>) {
        let client = client.map(|it| it.parse().unwrap());
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(Introduction::More), "{end}");
        }
        let whole = Ok(Introduction::Whole(bytes.len(), client));
        assert_eq!(read(bytes), whole);
        assert_eq!(read(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat()), whole);
    }

    #[track_caller]
    fn check_refused(bytes: &[u8]) {
        assert_eq!(read(bytes), Err(NotIntroduced), "{}", bytes.escape_ascii());
    }

    fn binary(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version, family][..], &length, rest].concat()
    }

    const V4: &[u8] = &[10, 1, 2, 3, 10, 0, 0, 1, 0xC0, 0, 0x0D, 0x80];

    #[test]
    fn lines_tell_the_client() {
        check(
            b"PROXY TCP4 10.1.2.3 10.0.0.1 49152 3456\r\n",
            Some("10.1.2.3:49152"),
        );
        check(
            b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
            Some("[2001:db8::1]:1"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None);
    }

    #[test]
    fn binary_ones_tell_the_client() {
        check(&binary(0x21, 0x11, V4), Some("10.1.2.3:49152"));
        let extended = [V4, &[4, 0, 1, 0]].concat();
        check(&binary(0x21, 0x11, &extended), Some("10.1.2.3:49152"));
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[33]) = (0x20, 7, 9);
        check(&binary(0x21, 0x21, &v6), Some("[2000::7]:9"));
        check(&binary(0x20, 0x11, V4), None);
        check(&binary(0x20, 0, &[]), None);
        check(&binary(0x21, 0, &[]), None);
        check(&binary(0x21, 0x31, &[b'/'; 216]), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 10.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY  TCP4 10.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1 2 \r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 01 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 65536 2\r\n",
            "PROXY TCP4 10.1.2 10.0.0.1 1 2\r\n",
            "PROXY TCP4 010.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 10.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            check_refused(line.as_bytes());
        }
        check_refused(b"PROXY TCP4 10.1.2.3 10.0.0.1 1 \xFF\r\n");
        check_refused(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; LINE_MAX]].concat());
        check_refused(b"\r\n\r\nGET");
        // Version 1 in this form, unknown commands, datagrams, and addresses that are too short.
        for (version, family) in [(0x11, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x21)] {
            check_refused(&binary(version, family, V4));
        }
        check_refused(&binary(0x21, 0x11, &V4[..11]));
        check_refused(&binary(0x21, 0x31, V4));
        check_refused(&binary(0x20, 0, &[0; REST_MAX + 1]));
    }

    /// No bytes make it panic, wait for more than its bound, or use more than there is.
    #[test]
    fn random_bytes_are_read_within_bounds() {
        let starts: [&[u8]; 4] = [b"", b"PROXY TCP4 ", SIGNATURE, &binary(0x21, 0x11, V4)];
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..20_000_usize {
            let mut bytes = starts[round % starts.len()].to_vec();
            for _ in 0..round % 300 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                bytes.push(random as u8);
            }
            if let (Some(place), true) = (bytes.len().checked_sub(1), round % 3 == 0) {
                let place = random as usize % (place + 1);
                bytes[place] ^= 1 << (random >> 61);
            }
            match read(&bytes) {
                Ok(Introduction::More) => assert!(bytes.len() < FIXED + REST_MAX),
                Ok(Introduction::Whole(used, _)) => assert!((1..=bytes.len()).contains(&used)),
                Err(NotIntroduced) => {}
            }
        }
    }
}
