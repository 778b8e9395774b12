//! Wrong keys, counted by address: whoever tries many is not listened to for a while, so that a short key cannot be
//! found by trying. An address from which a tenant has come already keeps that tenant's access, so that a neighbour
//! behind the same address cannot lock it out.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    api::{ApiError, ErrorKind},
    scheduler::TenantId,
};

/// Wrong keys from one address without a pause: a misconfigured client repeats some ten times.
const BURST: u32 = 100;

/// How soon another one is allowed.
const EACH: Duration = Duration::from_millis(100);

/// Addresses that are counted at the same time; each costs some 50 bytes.
const ADDRESSES_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Guesses(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    failing: HashMap<IpAddr, Bucket>,
    known: HashSet<(IpAddr, TenantId)>,
}

/// Wrong keys that are still allowed, as of a time.
struct Bucket {
    left: u32,
    at: Instant,
}

impl Bucket {
    fn refilled(&self, now: Instant) -> u32 {
        let gained = now.saturating_duration_since(self.at).as_millis() / EACH.as_millis();
        let gained = u32::try_from(gained).unwrap_or(BURST);
        self.left.saturating_add(gained).min(BURST)
    }
}

impl Guesses {
    /// What becomes of a request whose key was looked up.
    ///
    /// # Errors
    /// Those of the look-up, and 429 for an address with too many wrong keys.
    pub(super) fn checked(
        &self,
        peer: IpAddr,
        found: Result<TenantId, ApiError>,
        now: Instant,
    ) -> Result<TenantId, ApiError> {
        let peer = network(peer);
        // It is whole between any two of its statements.
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = inner
            .failing
            .get(&peer)
            .map_or(BURST, |it| it.refilled(now));
        match found {
            Ok(tenant) if inner.known.contains(&(peer, tenant)) => Ok(tenant),
            // A right one among so many may have been found by trying.
            _ if left == 0 => Err(too_many()),
            Ok(tenant) => {
                if inner.known.len() >= ADDRESSES_MAX {
                    inner.known.clear();
                }
                inner.known.insert((peer, tenant));
                Ok(tenant)
            }
            Err(error) => {
                if inner.failing.len() >= ADDRESSES_MAX {
                    inner.failing.retain(|_, it| it.refilled(now) < BURST);
                }
                if inner.failing.len() >= ADDRESSES_MAX {
                    inner.failing.clear();
                }
                let left = left - 1;
                inner.failing.insert(peer, Bucket { left, at: now });
                Err(error)
            }
        }
    }
}

/// One user's: of IPv6 everybody has 64 bits to choose from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(bits).into()
        }
        v4 => v4,
    }
}

fn too_many() -> ApiError {
    let text = "too many wrong keys came from this address, so no key that was not used from it before is looked at for a moment; repeat it, and see in the log whose key is wrong";
    ApiError::new(ErrorKind::RateLimited, text).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wrong_keys_close_the_door_for_newcomers_only() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let wrong = || Err(ApiError::new(ErrorKind::Authentication, "no"));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let neighbour = ip("10.0.0.1");
        let kind = |found: Result<TenantId, ApiError>| found.map_err(|it| it.kind);
        assert_eq!(kind(guesses.checked(neighbour, Ok(1), now)), Ok(1));
        for _ in 0..BURST {
            let refused = kind(guesses.checked(neighbour, wrong(), now));
            assert_eq!(refused, Err(ErrorKind::Authentication));
        }
        let limited = Err(ErrorKind::RateLimited);
        assert_eq!(kind(guesses.checked(neighbour, wrong(), now)), limited);
        // A key that was found by trying is not told to be right.
        assert_eq!(kind(guesses.checked(neighbour, Ok(2), now)), limited);
        assert_eq!(kind(guesses.checked(neighbour, Ok(1), now)), Ok(1));
        assert_eq!(kind(guesses.checked(ip("10.0.0.2"), Ok(2), now)), Ok(2));
        // One more after a while, and one only.
        let later = now + EACH;
        let refused = kind(guesses.checked(neighbour, wrong(), later));
        assert_eq!(refused, Err(ErrorKind::Authentication));
        assert_eq!(kind(guesses.checked(neighbour, wrong(), later)), limited);
        // Much later all is forgotten.
        let much_later = now + EACH * (BURST + 1);
        assert_eq!(kind(guesses.checked(neighbour, Ok(2), much_later)), Ok(2));
    }

    #[test]
    fn addresses_of_one_network_are_one_and_memory_is_bounded() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for number in 0..=2 * ADDRESSES_MAX as u32 {
            let wrong = Err(ApiError::new(ErrorKind::Authentication, "no"));
            let peer = IpAddr::from(number.to_be_bytes());
            let _ = guesses.checked(peer, wrong, now);
        }
        assert!(guesses.0.lock().unwrap().failing.len() <= ADDRESSES_MAX);
        let same = ["2001:db8::1", "2001:db8::2:3"].map(|it| network(it.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_eq!(
            network("::ffff:1.2.3.4".parse().unwrap()),
            IpAddr::from([1, 2, 3, 4])
        );
    }
}
