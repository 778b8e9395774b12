//! How a tenant is known: by its key or the key's SHA-256, and for a while by the one before.

use super::problems::{Place, Reported};
use super::secret::Secret;
use super::section::Section;
use super::tenant::Seen;
use super::when;

/// A SHA-256 (FIPS 180-4). Keys are long random texts, so nothing slower is needed to hide them.
pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(key: &str) -> Digest {
    hmac_sha256::Hash::hash(key.as_bytes())
}

/// As the file writes it: 64 hexadecimal digits.
pub(crate) fn written(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantKey {
    pub(crate) sha256: Digest,
    /// `None` where the file has the hash only.
    pub(crate) plain: Option<Secret>,
    pub(crate) previous: Option<PreviousKey>,
}

/// A key that was replaced and is still taken for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviousKey {
    pub(crate) sha256: Digest,
    /// Seconds since 1970, UTC.
    pub(crate) until: u64,
}

/// Shorter keys are guessed; longer ones do not fit a header that other programs also accept.
const KEY_BYTES_MIN: usize = 8;
const KEY_BYTES_MAX: usize = 512;

const ADVICE: &str = "write a long random text, for example from `ccgw-manage gen-key`";

pub(super) fn read(s: &mut Section<'_, '_>, seen: &mut Seen) -> Result<TenantKey, Reported> {
    let own = read_own(s);
    let previous = read_previous(s);
    let ((sha256, plain, key, place), previous) = (own?, previous?);
    register(s, seen, (key, place, sha256))?;
    let previous = match previous {
        None => None,
        Some((previous, place)) => {
            register(s, seen, (PREVIOUS, place, previous.sha256))?;
            Some(previous)
        }
    };
    Ok(TenantKey {
        sha256,
        plain,
        previous,
    })
}

/// The digest, the text where it is known, and where it stands.
type Own = (Digest, Option<Secret>, &'static str, Place);

const KEY: &str = "api_key";
const HASH: &str = "api_key_sha256";
const PREVIOUS: &str = "previous_key_sha256";
const UNTIL: &str = "previous_key_until";

fn read_own(s: &mut Section<'_, '_>) -> Result<Own, Reported> {
    let hash = s.read(HASH, parse_digest)?;
    let Some((sha256, place)) = hash else {
        let (key, place) = s.require(KEY, ADVICE, parse_key)?;
        let sha256 = digest(&key);
        return Ok((sha256, Some(Secret::new(key)), KEY, place));
    };
    if s.node(KEY).is_some() {
        let text = "api_key is there too; write one of them";
        return Err(s.problem(HASH, place, text));
    }
    Ok((sha256, None, HASH, place))
}

fn read_previous(s: &mut Section<'_, '_>) -> Result<Option<(PreviousKey, Place)>, Reported> {
    let (sha256, until) = (s.read(PREVIOUS, parse_digest), s.read(UNTIL, when::parse));
    match (sha256?, until?) {
        (Some((sha256, place)), Some((until, _))) => {
            Ok(Some((PreviousKey { sha256, until }, place)))
        }
        (None, None) => Ok(None),
        (Some((_, place)), None) => {
            let text = "needs previous_key_until, the time at which it ends; or remove it";
            Err(s.problem(PREVIOUS, place, text))
        }
        (None, Some((_, place))) => {
            let text = "needs previous_key_sha256, the key that ends then; or remove it";
            Err(s.problem(UNTIL, place, text))
        }
    }
}

fn register(
    s: &mut Section<'_, '_>,
    seen: &mut Seen,
    (key, place, sha256): (&str, Place, Digest),
) -> Result<(), Reported> {
    if let Some(Place::Line(line)) = seen.keys.get(&sha256) {
        let text = format!("the same key as in line {line}, {ADVICE}");
        return Err(s.problem(key, place, &text));
    }
    seen.keys.insert(sha256, place);
    Ok(())
}

/// Says nothing about the key but its length.
///
/// # Errors
/// Why no client could send it.
pub(crate) fn parse_key(text: &str) -> Result<String, String> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "has a space, a line break, a control or a non-ASCII character, which HTTP headers do \
             not carry; write visible ASCII characters only"
                .to_owned(),
        );
    }
    let length = text.len();
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&length) {
        return Err(format!(
            "the key has {length} characters, write {KEY_BYTES_MIN} to {KEY_BYTES_MAX}"
        ));
    }
    Ok(text.to_owned())
}

/// What is no digest may be a key in the wrong place, so it is not shown.
fn parse_digest(text: &str) -> Result<Digest, String> {
    let wrong = || {
        let length = text.chars().count();
        format!(
            "expected 64 hexadecimal digits, found {length} characters; `printf %s KEY | sha256sum` prints them"
        )
    };
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        let digits = text.get(at..at + 2).filter(|it| !it.contains('+'));
        let value = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        *byte = value.ok_or_else(wrong)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        // FIPS 180-4's own example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(written(&digest("abc")), abc);
        assert_eq!(parse_digest(abc), Ok(digest("abc")));
        assert_eq!(parse_digest(&abc.to_uppercase()), Ok(digest("abc")));
        for wrong in [
            "",
            "secret-key",
            &abc[1..],
            &abc.replace('b', "g"),
            &abc.replace("ba", "+a"),
        ] {
            let error = parse_digest(wrong).unwrap_err();
            assert!(
                error.starts_with("expected 64") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
