//! Which CLI session continues which conversation.
//!
//! A client sends its whole history with each request, and no session id that could be trusted to be
//! one. So a conversation is known by what was said in it: a [lineage](lineage::Lineage) is a hash over the tenant, the
//! conversation's id where the client has one, and all messages. After an answer, [`Store`] remembers
//! under the lineage that the next request will begin with where the CLI keeps what it knows.
//!
//! A lineage begins with its tenant, so that none ever meets another's session. An edited or shortened
//! history has another lineage: it finds the branch that it goes on from, or nothing.

mod conversation;
mod lineage;
mod store;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

#[cfg(test)]
pub(crate) use self::lineage::Lineage;
pub(crate) use self::{
    conversation::{conversation_id, openclaw_session},
    lineage::{Lineages, RUNTIME_LINE, Said, newest_user_messages, without_time},
    store::{InUse, Place, Store, Turn},
};
use crate::ids;

/// How a request's history reached the model; the client hears it in `x-ccgw-session`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The process that gave the last answer gave this one too.
    Warm,
    /// A new process read the session that the last answer left.
    Resumed,
    /// The session was not to be had: the client's own history became a new one.
    Reseeded,
    /// There was no history.
    Fresh,
}

impl Continuity {
    pub(crate) const ALL: [Continuity; 4] = [
        Continuity::Warm,
        Continuity::Resumed,
        Continuity::Reseeded,
        Continuity::Fresh,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Continuity::Warm => "warm",
            Continuity::Resumed => "resumed",
            Continuity::Reseeded => "reseeded",
            Continuity::Fresh => "fresh",
        }
    }
}

/// The name of a CLI session or of one line of it (RFC 9562, as text with four dashes).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Uuid([u8; 16]);

impl Uuid {
    /// A random one (version 4).
    pub(crate) fn random() -> Uuid {
        let mut bytes = ids::random::<16>();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = ids::hex(&self.0);
        let (a, rest) = hex.split_at(8);
        write!(
            f,
            "{a}-{}-{}-{}-{}",
            &rest[..4],
            &rest[4..8],
            &rest[8..12],
            &rest[12..]
        )
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no UUID.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoUuid;

impl FromStr for Uuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Uuid, NoUuid> {
        let dashes = [8, 13, 18, 23];
        let at = |place: &usize| text.as_bytes().get(*place) == Some(&b'-');
        if text.len() != 36 || !dashes.iter().all(at) {
            return Err(NoUuid);
        }
        hexadecimal(&text.replace('-', "")).map(Uuid).ok_or(NoUuid)
    }
}

/// 16 bytes of 32 hexadecimal digits.
fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok())?;
    number.map(u128::to_be_bytes)
}

/// Under what a conversation's next request finds its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ids::hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hexadecimal(&text).ok_or_else(|| D::Error::custom("no key"))?;
        Ok(Key(bytes))
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|NoUuid| D::Error::custom("no UUID"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_it_is_written() {
        let uuid = Uuid::random();
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert_eq!(uuid.to_string().as_bytes()[14], b'4');
        let text = "c2d6f7a0-1234-4abc-8def-0123456789ab";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
        for bad in [
            "",
            "c2d6f7a012344abc8def0123456789ab",
            "c2d6f7a0-1234-4abc-8def-0123456789a",
            "c2d6f7a0-1234-4abc-8def-0123456789ag",
            "+2d6f7a0-1234-4abc-8def-0123456789ab",
            "../../../../../etc/passwd-----------",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(NoUuid), "{bad}");
        }
    }
}
