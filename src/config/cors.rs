//! `server.cors_origins`: which web pages may read the gateway's answers.

use std::slice;

use super::problems::{Place, Reported, shown};
use super::section::Section;
use super::tenant::Tenant;
use super::tree::{Node, Value};

/// The origins whose pages a browser lets read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CorsOrigins {
    /// No page of another origin; browsers hold to that without being told.
    Nobody,
    /// `*`
    Anybody,
    /// Exactly as browsers write them in `Origin`.
    These(Vec<String>),
}

const KEY: &str = "cors_origins";

/// Every request's origin is compared with all of these.
const ORIGINS_MAX: usize = 100;

/// Reads the key. Without tenants it is a mistake: pages are refused for want of keys then.
pub(super) fn read(
    s: &mut Section<'_, '_>,
    tenants: &Result<Vec<Tenant>, Reported>,
) -> Result<CorsOrigins, Reported> {
    let Some(node) = s.node(KEY) else {
        return Ok(CorsOrigins::Nobody);
    };
    let items = items(s, node)?;
    let origins = s.each(KEY, items, "an origin", origin)?;
    let place = Place::Line(node.line);
    if origins.is_empty() {
        return Ok(CorsOrigins::Nobody);
    }
    if matches!(tenants, Ok(tenants) if tenants.is_empty()) {
        let text = "no tenants: without keys no web page is served, add a tenant or leave it out";
        return Err(s.problem(KEY, place, text));
    }
    match origins.iter().any(|origin| origin == "*") {
        false => Ok(CorsOrigins::These(origins)),
        true if origins.len() == 1 => Ok(CorsOrigins::Anybody),
        true => {
            let text = "`*` is every origin already, leave it or the others out";
            Err(s.problem(KEY, place, text))
        }
    }
}

/// The list, or the one text that stands for a list of one; an empty text means "not set".
fn items<'t>(s: &mut Section<'_, 't>, node: &'t Node) -> Result<&'t [Node], Reported> {
    let text = match &node.value {
        Value::Scalar(text) if text.is_empty() => return Ok(&[]),
        Value::Null => return Ok(&[]),
        Value::Scalar(_) => return Ok(slice::from_ref(node)),
        Value::List(items) if items.len() <= ORIGINS_MAX => return Ok(items),
        Value::List(items) => format!("{} origins, write at most {ORIGINS_MAX}", items.len()),
        Value::Map(_) => format!("expected a list, found {}", node.value.kind()),
    };
    Err(s.problem(KEY, Place::Line(node.line), &text))
}

/// An origin as RFC 6454 section 6.2 writes it, since it is compared letter by letter.
fn origin(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        let shown = shown(text);
        format!(
            "{shown} {why}, write scheme://host or scheme://host:port such as https://chat.example, or \"*\""
        )
    };
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text == "null" {
        return Err(wrong("is the origin of every sandboxed page"));
    }
    let Some((scheme, host)) = text.split_once("://") else {
        return Err(wrong("is not an origin"));
    };
    let in_scheme =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let in_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(in_scheme) {
        return Err(wrong("has no scheme in small letters"));
    }
    if host.ends_with('/') {
        return Err(wrong(
            "has a path or a slash at its end, which no origin has",
        ));
    }
    if host.is_empty() || !host.bytes().all(in_host) {
        return Err(wrong("has no host in small letters and nothing else"));
    }
    if matches!(
        (scheme, host.rsplit_once(':')),
        ("http", Some((_, "80"))) | ("https", Some((_, "443")))
    ) {
        return Err(wrong("has its scheme's own port, which browsers leave out"));
    }
    Ok(text.to_owned())
}
