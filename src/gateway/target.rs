//! What a request target says beyond its path: percent-encoded ids and query parameters. Pure.

/// A piece of a target without its percent-encoding; what is not UTF-8 then becomes U+FFFD, so that
/// it matches no name.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let digits = [hex(*high), hex(*low)].map(Option::unwrap_or_default);
                bytes.push(digits[0] << 4 | digits[1]);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The parameters of a query in their order.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Forms write a blank as `+`; a path does not.
        (decoded(name), decoded(&value.replace('+', " ")))
    })
}

fn hex(digit: u8) -> Option<u8> {
    // A hexadecimal digit is less than 16.
    char::from(digit).to_digit(16).map(|it| it as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_once() {
        for (text, expect) in [
            ("opus", "opus"),
            ("a%2Fopus", "a/opus"),
            ("opus%5B1m%5d", "opus[1m]"),
            ("opus[1m]", "opus[1m]"),
            ("%252F", "%2F"),
            ("a+b", "a+b"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%C3%A9", "é"),
            ("%ff", "\u{FFFD}"),
        ] {
            assert_eq!(decoded(text), expect, "{text}");
        }
    }

    #[test]
    fn query_is_a_list_of_pairs() {
        let read = |query| parameters(query).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), []);
        assert_eq!(
            read("limit=2&&after_id=a%2Fb&x&y=1=2&z=a+b"),
            [
                pair("limit", "2"),
                pair("after_id", "a/b"),
                pair("x", ""),
                pair("y", "1=2"),
                pair("z", "a b")
            ]
        );
    }
}
