//! What kind of address a name has led to, and whether a run may be connected with it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a host came to be among those that a run may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// By what the vendor calls it, or by a pattern: whoever answers for the name may say any address.
    Public,
    /// The operator wrote this name, which may be of this machine or its network.
    Named,
    /// The operator wrote the address itself.
    Literal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Public,
    /// Of a network that somebody has to themselves.
    Private,
    Loopback,
    /// Where clouds have what they tell their machines, credentials among it; and what leads to no single machine.
    Special,
}

impl Class {
    pub(super) fn of(address: IpAddr) -> Class {
        match address.to_canonical() {
            IpAddr::V4(it) => of_v4(it),
            IpAddr::V6(it) => of_v6(it),
        }
    }

    pub(super) fn is_open_to(self, trust: Trust) -> bool {
        match self {
            Class::Public => true,
            Class::Private | Class::Loopback => trust >= Trust::Named,
            Class::Special => trust == Trust::Literal,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Public => "public",
            Class::Private => "of a private network",
            Class::Loopback => "this machine's own",
            Class::Special => "link-local or reserved",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [127, ..] => Class::Loopback,
        // RFC 6890: shared (carriers'), protocol assignments, documentation, benchmarks.
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Class::Private,
        [0, ..] | [169, 254, ..] | [224..=255, ..] => Class::Special,
        _ => Class::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Class {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 =
        |high: u16, low: u16| of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0, 0) if (c, d, e, f, g, h) == (0, 0, 0, 0, 0, 1) => Class::Loopback,
        // Unspecified, and IPv4 addresses in a form that is long gone.
        (0, _) => Class::Special,
        // NAT64 (RFC 6052) and 6to4: the IPv4 address in there is the one that is reached.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
        (0x64, 0xff9b) => Class::Private,
        (0x2002, high) => v4(high, c),
        (0x2001, 0 | 0xdb8) => Class::Private,
        (0xfc00..=0xfdff, _) | (0xfec0..=0xfeff, _) => Class::Private,
        (0xfe80..=0xfebf, _) | (0xff00..=0xffff, _) => Class::Special,
        _ => Class::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(class: Class, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(Class::of(address.parse().unwrap()), class, "{address}");
        }
    }

    #[test]
    fn addresses_are_classed_by_what_they_reach() {
        check(
            Class::Public,
            &[
                "1.1.1.1",
                "8.8.8.8",
                "172.15.0.1",
                "172.32.0.1",
                "100.63.0.1",
                "2606:4700::1111",
                "64:ff9b::808:808",
                "2002:808:808::1",
            ],
        );
        check(
            Class::Private,
            &[
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "198.18.0.1",
                "fd00::1",
                "fc00::1",
                "fec0::1",
                "64:ff9b::a00:1",
                "::ffff:10.0.0.1",
                "2002:a00:1::",
                "64:ff9b:1::1",
                "2001:db8::1",
            ],
        );
        check(
            Class::Loopback,
            &[
                "127.0.0.1",
                "127.255.0.1",
                "::1",
                "::ffff:127.0.0.1",
                "64:ff9b::7f00:1",
                "2002:7f00:1::",
            ],
        );
        check(
            Class::Special,
            &[
                "0.0.0.0",
                "0.1.2.3",
                "169.254.169.254",
                "224.0.0.1",
                "255.255.255.255",
                "240.0.0.1",
                "::",
                "fe80::1",
                "ff02::1",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "::127.0.0.1",
            ],
        );
    }

    #[test]
    fn only_what_the_operator_wrote_leads_into_private_networks() {
        use Class::{Loopback, Private, Public, Special};
        for (class, expect) in [
            (Public, [true, true, true]),
            (Private, [false, true, true]),
            (Loopback, [false, true, true]),
            (Special, [false, false, true]),
        ] {
            let got = [Trust::Public, Trust::Named, Trust::Literal].map(|it| class.is_open_to(it));
            assert_eq!(got, expect, "{class:?}");
        }
    }
}
