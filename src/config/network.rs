//! An address, or all addresses that begin alike. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::problems::shown;

/// IPv4 addresses in it are as such, however they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    start: IpAddr,
    bits: u32,
}

impl Network {
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let (start, bits) = as_v6(self.start, self.bits);
        let (address, _) = as_v6(address.to_canonical(), 0);
        // A shift by all of them is the one that Rust does not do.
        (start ^ address).checked_shr(128 - bits).unwrap_or(0) == 0
    }
}

/// An address as 128 bits, and how many of these are the network's.
fn as_v6(address: IpAddr, bits: u32) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), bits + 96),
        IpAddr::V6(v6) => (v6.to_bits(), bits),
    }
}

/// `ADDRESS`, `localhost` or `ADDRESS/BITS`.
pub(super) fn parse(text: &str) -> Result<Network, String> {
    let wrong = |why: &str| {
        let shown = shown(text);
        format!("{shown} {why}, write an address such as 10.0.0.5 or a network such as 10.1.0.0/16")
    };
    if text.eq_ignore_ascii_case("localhost") {
        let start = Ipv4Addr::LOCALHOST.into();
        return Ok(Network { start, bits: 32 });
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(start) = address.parse::<IpAddr>() else {
        return Err(wrong("is no IP address"));
    };
    if start != start.to_canonical() {
        return Err(wrong("is an IPv4 address in IPv6's clothes"));
    }
    let all = if start.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => all,
        Some(bits) => super::value::number(bits, 0..=all)
            .map_err(|_| wrong("has no number of bits that fits behind its slash"))?,
    };
    let network = Network { start, bits };
    // 10.1.2.3/8 is most likely a slip, and it is not to be guessed which.
    let (start, bits) = as_v6(start, bits);
    match start.checked_shl(bits).unwrap_or(0) {
        0 => Ok(network),
        _ => Err(wrong("has bits of an address behind those of the network")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network = parse(network).unwrap();
        for (addresses, expect) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(
                    network.contains(address.parse().unwrap()),
                    expect,
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn networks_contain_what_begins_alike() {
        check("10.0.0.5", &["10.0.0.5", "::ffff:10.0.0.5"], &["10.0.0.4"]);
        check("localhost", &["127.0.0.1"], &["127.0.0.2", "::1"]);
        check(
            "10.0.0.0/8",
            &["10.255.0.1", "::ffff:10.0.0.5"],
            &["11.0.0.1", "::a00:1"],
        );
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check("::/0", &["::1", "1.2.3.4"], &[]);
        check(
            "2001:db8::/32",
            &["2001:db8:9::1"],
            &["2001:db9::", "1.2.3.4"],
        );
        check("::1", &["::1"], &["::2"]);
    }

    #[track_caller]
    fn check_refused(text: &str, expect: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        check_refused("haproxy", "`haproxy` is no IP address");
        check_refused("10.0.0.0/33", "has no number of bits");
        check_refused("10.0.0.0/", "has no number of bits");
        check_refused("10.0.0.0/08", "has no number of bits");
        check_refused("10.1.2.3/8", "has bits of an address");
        check_refused("::ffff:10.0.0.1", "in IPv6's clothes");
        check_refused("/8", "is no IP address");
        check_refused("10.0.0.0/8/8", "has no number of bits");
    }
}
