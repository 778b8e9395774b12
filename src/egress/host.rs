//! Names of hosts: what a run asks for, and what it may ask for. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where a run wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: Name,
    pub(super) port: u16,
}

/// In small letters; an address is never a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Dns(String),
    Address(IpAddr),
}

/// An entry of `sandbox.hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(super) target: Target,
    pub(super) reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Itself,
    /// Every name that ends with it and a dot: `*.example.com`.
    Below,
}

/// RFC 1035, section 2.3.4.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

const HTTPS: u16 = 443;

impl Target {
    /// `HOST:PORT`, or where a port is taken for granted, `HOST`. An IPv6 address stands in brackets.
    ///
    /// # Errors
    /// What it is, as the end of a sentence.
    pub(super) fn parse(text: &str, usual: Option<u16>) -> Result<Target, &'static str> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or("has no end of its bracket")?;
                let address: Ipv6Addr = inner.parse().map_err(|_| "is no IPv6 address")?;
                let port = match after {
                    "" => None,
                    _ => Some(
                        after
                            .strip_prefix(':')
                            .ok_or("has more than a port behind it")?,
                    ),
                };
                (Name::Address(IpAddr::V6(address).to_canonical()), port)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (Name::parse(name)?, Some(port)),
                None => (Name::parse(text)?, None),
            },
        };
        let port = match port {
            Some(port) => parse_port(port)?,
            None => usual.ok_or("has no port")?,
        };
        Ok(Target { name, port })
    }
}

/// Digits only: `+443` and `0443` are numbers to some and not to others.
fn parse_port(text: &str) -> Result<u16, &'static str> {
    let plain = text.bytes().all(|it| it.is_ascii_digit()) && !text.starts_with('0');
    let port = text.parse().ok().filter(|_| plain);
    port.ok_or("has no port of 1 to 65535")
}

impl Name {
    fn parse(text: &str) -> Result<Name, &'static str> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Name::Address(address.into()));
        }
        let label = |it: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=LABEL_MAX).contains(&it.len()) && it.bytes().all(plain) && !it.starts_with('-')
        };
        if text.len() > NAME_MAX || !text.split('.').all(label) {
            return Err("is no name of a host");
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        // Resolvers read 127.1, 0x7f.1 and 2130706433 as addresses.
        match last.starts_with(|it: char| it.is_ascii_digit()) {
            true => Err("is no address, and its last part begins with a digit"),
            false => Ok(Name::Dns(text.to_ascii_lowercase())),
        }
    }
}

impl Host {
    /// `example.com`, `example.com:8443`, `*.example.com`, an address, or an IPv6 address in brackets; port 443 where there is none.
    ///
    /// # Errors
    /// What to write.
    pub(crate) fn parse(text: &str) -> Result<Host, String> {
        let (rest, reach) = match text.strip_prefix("*.") {
            Some(rest) => (rest, Reach::Below),
            None => (text, Reach::Itself),
        };
        let wrong = |why: &str| {
            let shown: String = text
                .chars()
                .filter(|it| !it.is_control())
                .take(60)
                .collect();
            format!(
                "`{shown}` {why}; write a host such as example.com, *.example.com or example.com:8443"
            )
        };
        let target = Target::parse(rest, Some(HTTPS)).map_err(wrong)?;
        match (reach, &target.name) {
            (Reach::Below, Name::Address(_)) => Err(wrong("is no name of a host")),
            _ => Ok(Host { target, reach }),
        }
    }

    /// As derived from a URL, which the caller has read.
    pub(super) fn itself(target: Target) -> Host {
        Host {
            target,
            reach: Reach::Itself,
        }
    }

    pub(super) fn covers(&self, target: &Target) -> bool {
        let same_name = match (&self.target.name, &target.name, self.reach) {
            (own, other, Reach::Itself) => own == other,
            (Name::Dns(own), Name::Dns(other), Reach::Below) => other
                .strip_suffix(own.as_str())
                .is_some_and(|it| it.len() > 1 && it.ends_with('.')),
            _ => false,
        };
        same_name && self.target.port == target.port
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Dns(name) => f.write_str(name),
            Name::Address(IpAddr::V6(it)) => write!(f, "[{it}]"),
            Name::Address(it) => it.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, covered: &[&str], not: &[&str]) {
        let host = Host::parse(host).unwrap();
        for (targets, expect) in [(covered, true), (not, false)] {
            for text in targets {
                let target = Target::parse(text, None).unwrap();
                assert_eq!(host.covers(&target), expect, "{text}");
            }
        }
    }

    #[test]
    fn hosts_cover_their_name_and_port_only() {
        check(
            "example.com",
            &["example.com:443", "EXAMPLE.com:443"],
            &[
                "example.com:80",
                "a.example.com:443",
                "example.com.evil:443",
                "xexample.com:443",
            ],
        );
        check(
            "Example.com:8443",
            &["example.com:8443"],
            &["example.com:443"],
        );
        check(
            "*.example.com",
            &["a.example.com:443", "a.b.example.com:443"],
            &[
                "example.com:443",
                "xexample.com:443",
                "a.example.com:80",
                "example.com.evil:443",
            ],
        );
        check(
            "10.0.0.5:80",
            &["10.0.0.5:80", "[::ffff:10.0.0.5]:80"],
            &["10.0.0.6:80"],
        );
        check("[::1]:80", &["[::1]:80"], &["127.0.0.1:80", "[::2]:80"]);
    }

    #[track_caller]
    fn check_refused(text: &str, expect: &str) {
        let error = Host::parse(text).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "*",
            "*.",
            "a.*.b",
            "-a.com",
            "user@host",
            "a/b",
            "é.com",
        ] {
            check_refused(text, "is no name of a host");
        }
        check_refused("https://example.com", "");
        check_refused("*.10.0.0.1", "is no name of a host");
        check_refused(&"a".repeat(64), "is no name of a host");
        check_refused(&"a.".repeat(200), "is no name of a host");
        for text in ["a:0", "a:", "a:65536", "a:+1", "a:01", "a:1:2", "[::1]:x"] {
            check_refused(text, "has no port");
        }
        check_refused("[::1", "has no end");
        check_refused("[::1]80", "more than a port");
        check_refused("[1.2.3.4]", "is no IPv6 address");
        for text in [
            "127.1",
            "0x7f.0x1",
            "2130706433",
            "127.0.0.1.",
            "1.2.3.4.5",
            "010.0.0.1",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
