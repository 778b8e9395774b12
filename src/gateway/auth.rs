//! Who is asking: keys against tenants.

use std::net::IpAddr;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{
    api::{ApiError, ErrorKind},
    config::{KEY_BYTES_MAX, KeyHash, Moment},
    http::Head,
    scheduler::TenantId,
};

/// How tenants are known.
pub(crate) enum Keys {
    /// There are none: whoever reaches the port is this one.
    Open(TenantId),
    /// By these keys; with none of them nobody is let in.
    Of(Vec<KnownKey>),
}

/// One way to know a tenant. Keys are kept as hashes, so that no copy of memory gives them away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownKey {
    pub(crate) hash: KeyHash,
    pub(crate) tenant: TenantId,
    /// `None` for ever.
    pub(crate) until: Option<Moment>,
}

impl Keys {
    /// Those who may ask.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        match self {
            Keys::Open(id) => vec![*id],
            Keys::Of(keys) => {
                let lasting = keys.iter().filter(|it| it.until.is_none());
                lasting.map(|it| it.tenant).collect()
            }
        }
    }

    /// Finds the tenant a request's key belongs to; without tenants everybody who may connect is
    /// the one, as long as the request cannot come from a web page.
    ///
    /// # Errors
    /// 401 for a missing, unknown or contradictory key; 403 for a web page.
    pub(crate) fn identify(&self, head: &Head) -> Result<TenantId, ApiError> {
        let keys = match self {
            Keys::Open(id) => return from_no_web_page(head).map(|()| *id),
            Keys::Of(keys) => keys,
        };
        let key = presented(head)?.ok_or_else(|| {
            unauthorized(
                "no key: send the tenant's key as `x-api-key: KEY` or `Authorization: Bearer KEY`",
            )
        })?;
        find(keys, key).ok_or_else(unknown_key)
    }
}

/// Of a key that no tenant has, or none any more.
pub(super) fn unknown_key() -> ApiError {
    unauthorized("invalid x-api-key: no tenant has this key")
}

/// Compares with every key and takes the same time whichever matches.
fn find(keys: &[KnownKey], key: &str) -> Option<TenantId> {
    // No tenant has a longer one, and to hash it would only cost time.
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let key = KeyHash::of(key);
    let mut found = u32::MAX;
    for (index, known) in (0u32..).zip(keys) {
        let same: Choice = known.hash.bytes().ct_eq(key.bytes());
        found = u32::conditional_select(&found, &index, same);
    }
    let known = keys.get(found as usize)?;
    let is_taken = known.until.is_none_or(|until| Moment::now() < until);
    is_taken.then_some(known.tenant)
}

/// Whether a request presents anything as a key.
pub(super) fn has_key(head: &Head) -> bool {
    let mut headers = ["x-api-key", "authorization"].into_iter();
    headers.any(|name| head.header(name).is_some())
}

/// The one key a request presents, wherever it stands.
fn presented(head: &Head) -> Result<Option<&str>, ApiError> {
    let bearer = |value: &str| -> Option<usize> {
        let (scheme, _) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(scheme.len() + 1)
    };
    let mut key: Option<&str> = None;
    for value in head.headers_named("x-api-key") {
        agree(&mut key, value.trim())?;
    }
    for value in head.headers_named("authorization") {
        let start = bearer(value)
            .ok_or_else(|| unauthorized("Authorization: only the Bearer scheme is understood"))?;
        agree(&mut key, value[start..].trim())?;
    }
    Ok(key)
}

fn agree<'a>(key: &mut Option<&'a str>, value: &'a str) -> Result<(), ApiError> {
    match key {
        Some(known) if !bool::from(known.as_bytes().ct_eq(value.as_bytes())) => Err(unauthorized(
            "two different keys: send one, as x-api-key or as Authorization: Bearer",
        )),
        _ => {
            *key = Some(value);
            Ok(())
        }
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(ErrorKind::Authentication, message)
}

/// Without keys, what keeps a web page in the operator's browser from running commands through
/// loopback is this: pages send `Origin`, and a rebound DNS name is not a loopback name.
pub(super) fn from_no_web_page(head: &Head) -> Result<(), ApiError> {
    let local = head.header("host").is_none_or(is_loopback_host);
    if head.header("origin").is_none() && local {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::Permission,
        "without tenants only local programs may ask, no web pages: add a tenant with an api_key to config.yaml",
    ))
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        let fields: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let host = if headers.iter().any(|(name, _)| *name == "host") {
            ""
        } else {
            "host: x\r\n"
        };
        Head::parse_for_tests(&format!("POST /v1/messages HTTP/1.1\r\n{host}{fields}\r\n"))
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], expect: Result<TenantId, &str>) {
        let known = |key, tenant, until| KnownKey {
            hash: KeyHash::of(key),
            tenant,
            until,
        };
        let keys = Keys::Of(vec![
            known("key-of-a", 0, None),
            known("key-of-a-before", 0, Some(Moment(u64::MAX))),
            known("key-of-a-long-ago", 0, Some(Moment(1))),
            known("key-of-b", 1, None),
        ]);
        assert_eq!(keys.tenants(), [0, 1]);
        match (keys.identify(&head(headers)), expect) {
            (Ok(id), Ok(expect)) => assert_eq!(id, expect),
            (Err(error), Err(expect)) => {
                assert_eq!(error.kind, ErrorKind::Authentication);
                assert!(error.message.contains(expect), "{}", error.message);
                assert!(!error.message.contains("key-of"), "{}", error.message);
            }
            (got, expect) => panic!("got {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn key_is_taken_from_either_header() {
        check(&[("x-api-key", "key-of-a")], Ok(0));
        check(&[("X-Api-Key", "key-of-b")], Ok(1));
        check(&[("authorization", "Bearer key-of-b")], Ok(1));
        check(&[("authorization", "bearer   key-of-b ")], Ok(1));
        check(&[("x-api-key", "key-of-a-before")], Ok(0));
        check(
            &[
                ("x-api-key", "key-of-a"),
                ("authorization", "Bearer key-of-a"),
            ],
            Ok(0),
        );
    }

    #[test]
    fn anything_else_is_unauthorized() {
        check(&[], Err("no key"));
        check(&[("x-api-key", "")], Err("invalid"));
        check(&[("x-api-key", "key-of-")], Err("invalid"));
        check(&[("x-api-key", "key-of-aa")], Err("invalid"));
        check(&[("x-api-key", "key-of-a-long-ago")], Err("invalid"));
        check(&[("x-api-key", &"k".repeat(4096))], Err("invalid"));
        check(&[("authorization", "Basic a2V5LW9mLWE=")], Err("Bearer"));
        check(
            &[
                ("x-api-key", "key-of-a"),
                ("authorization", "Bearer key-of-b"),
            ],
            Err("two different"),
        );
        check(
            &[("x-api-key", "key-of-a"), ("x-api-key", "key-of-b")],
            Err("two different"),
        );
    }

    #[test]
    fn without_tenants_web_pages_are_refused() {
        let keys = Keys::Open(0);
        for (headers, expect) in [
            (vec![("host", "127.0.0.1:3456")], true),
            (vec![("host", "localhost")], true),
            (vec![("host", "[::1]:3456")], true),
            (vec![("host", "rebound.example:3456")], false),
            (vec![("host", "127.0.0.1.example")], false),
            (
                vec![("host", "localhost:1"), ("origin", "https://page.example")],
                false,
            ),
            (vec![("host", "localhost:1"), ("origin", "null")], false),
        ] {
            assert_eq!(
                keys.identify(&head(&headers)).is_ok(),
                expect,
                "{headers:?}"
            );
        }
    }
}
