//! A tenant's key: its text, or its SHA-256 alone.

use std::fmt;

use super::{moment::Moment, secret::Secret};
use crate::ids;

/// How a tenant's key stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// `api_key`.
    Plain(Secret),
    /// `api_key_sha256`: enough to know the key by, not to hand it to an instance.
    Hashed(KeyHash),
}

impl Key {
    pub(crate) fn hash(&self) -> KeyHash {
        match self {
            Key::Plain(secret) => KeyHash::of(secret.expose()),
            Key::Hashed(hash) => *hash,
        }
    }

    /// The key itself, where the file has it.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        match self {
            Key::Plain(secret) => Some(secret),
            Key::Hashed(_) => None,
        }
    }

    /// Its end, by which an operator tells keys apart.
    pub(crate) fn last_four(&self) -> Option<&str> {
        self.secret().map(|it| last_four(it.expose()))
    }
}

/// The end of a key, which is visible ASCII.
pub(crate) fn last_four(key: &str) -> &str {
    let from = key.len().saturating_sub(4);
    key.get(from..).unwrap_or_default()
}

/// The key that a tenant had before, and until when it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PreviousKey {
    pub(crate) hash: KeyHash,
    pub(crate) until: Moment,
}

/// The SHA-256 of a key. A weak key can be guessed from it, so it is not printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash([u8; BYTES]);

const BYTES: usize = 32;

impl KeyHash {
    pub(crate) fn of(key: &str) -> KeyHash {
        KeyHash(hmac_sha256::Hash::hash(key.as_bytes()))
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong, without the text: a key may have been written in its place.
    pub(super) fn parse(text: &str) -> Result<KeyHash, String> {
        let wrong = || {
            "is not a SHA-256, write its 64 hexadecimal digits, for example from `printf %s KEY | \
             sha256sum`"
                .to_owned()
        };
        if text.len() != 2 * BYTES {
            return Err(wrong());
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(wrong());
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(KeyHash(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    pub(crate) fn hex(&self) -> String {
        ids::hex(&self.0)
    }
}

impl KeyHash {
    /// Stands for the key where it must be known again, and says nothing of it.
    pub(crate) fn print(self) -> String {
        let hash = hmac_sha256::Hash::hash(self.hex().as_bytes());
        ids::hex(&hash[..8])
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `abc`, from FIPS 180-4's examples.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_are_read_and_written() {
        let hash = KeyHash::of("abc");
        assert_eq!(hash.hex(), ABC);
        assert_eq!(KeyHash::parse(ABC), Ok(hash));
        assert_eq!(KeyHash::parse(&ABC.to_uppercase()), Ok(hash));
        for wrong in [
            "",
            "abc",
            &ABC[1..],
            &format!("{}é", &ABC[2..]),
            &format!("+{}", &ABC[1..]),
        ] {
            let error = KeyHash::parse(wrong).unwrap_err();
            assert!(error.starts_with("is not a SHA-256"), "{error}");
        }
        assert!(!format!("{hash:?}").contains("ba78"));
    }

    #[test]
    fn only_a_plain_key_has_an_end() {
        let plain = Key::Plain(Secret::new("key-1234".to_owned()));
        assert_eq!(plain.last_four(), Some("1234"));
        assert_eq!(Key::Hashed(plain.hash()).last_four(), None);
    }
}
