//! The `tenants` list: who may use the gateway, with which key and in which environment.

use std::collections::HashMap;
use std::path::PathBuf;

use super::isolation::{self, Isolation, Memory, Mount, Reaches};
use super::key::{Key, KeyHash, PreviousKey};
use super::keys;
use super::moment::Moment;
use super::problems::{Place, Problems, Reported, shown, shown_key};
use super::secret::Secret;
use super::section::{Reader, Section};
use super::tree::{Entry, Node, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// `[a-z0-9][a-z0-9_-]{0,62}`: safe as a file name and in a log line.
    pub(crate) name: String,
    pub(crate) key: Key,
    /// Taken as well, until its time is over.
    pub(crate) previous_key: Option<PreviousKey>,
    /// The container whose OpenClaw this tenant is of, by its name or id; `None` finds it by the tenant's name.
    pub(crate) container: Option<String>,
    /// Absolute; `None` means a private folder in the state directory.
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) config_dir: ConfigDir,
    /// `None` is what the gateway has for all.
    pub(crate) isolation: Option<Isolation>,
    /// What of this machine its sandboxed runs see beside their working directory, read-only.
    pub(crate) mounts: Vec<Mount>,
    /// What one of its runs may take; `None` is what the gateway has for all.
    pub(crate) memory_bytes: Option<Memory>,
    pub(crate) cpu_weight: Option<u64>,
    pub(crate) network: Option<Reaches>,
    /// What the tenant's CLI gets besides the fixed environment, in file order, without NUL.
    pub(crate) env: Vec<(String, Secret)>,
}

/// One who has its own credential in its environment shares nobody's login.
pub(crate) const CREDENTIALS: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
];

impl Tenant {
    /// What stands for its key, and for the one before it.
    pub(crate) fn key_prints(&self) -> Vec<String> {
        let previous = self.previous_key.iter().map(|it| it.hash);
        let keys = [self.key.hash()].into_iter().chain(previous);
        keys.map(|it| it.print()).collect()
    }

    /// Whether its runs use the login of the gateway's user.
    pub(crate) fn shares_the_login(&self) -> bool {
        let is_own = |name: &str| CREDENTIALS.contains(&name) || name == "CLAUDE_CONFIG_DIR";
        self.config_dir == ConfigDir::Shared && !self.env.iter().any(|(name, _)| is_own(name))
    }
}

/// Which login and settings the tenant's CLI uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigDir {
    /// The CLI's own default: the login of the user that runs the gateway.
    Shared,
    /// A folder of the tenant's own under the state directory.
    Private,
    /// Absolute.
    Path(PathBuf),
}

/// Every request's key is compared with all of these.
const TENANTS_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 63;
/// Shorter keys are guessed; longer ones do not fit a header that other programs also accept.
const KEY_BYTES_MIN: usize = 8;
pub(crate) const KEY_BYTES_MAX: usize = 512;
/// Longer than any name that people give.
const CONTAINER_BYTES_MAX: usize = 255;
/// `MAX_ARG_STRLEN`: Linux starts no program with a longer `NAME=value` (execve(2)).
const VARIABLE_BYTES_MAX: usize = 128 * 1024;

pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    node: Option<&'t Node>,
) -> Result<Vec<Tenant>, Reported> {
    let items = items(&mut reader.problems, node)?;
    let mut seen = Seen::default();
    // Every tenant is read before the first error ends the collecting.
    let tenants: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(index, node)| read_one(reader, (index, node), &mut seen))
        .collect();
    tenants.into_iter().collect()
}

fn items<'t>(problems: &mut Problems, node: Option<&'t Node>) -> Result<&'t [Node], Reported> {
    let Some(node) = node else { return Ok(&[]) };
    let text = match &node.value {
        Value::Null => return Ok(&[]),
        Value::List(items) if items.len() <= TENANTS_MAX => return Ok(items),
        Value::List(items) => format!("{} tenants, write at most {TENANTS_MAX}", items.len()),
        other => {
            let kind = other.kind();
            format!("expected a list, found {kind}; begin each tenant with `- name: ...`")
        }
    };
    Err(problems.add(Place::Line(node.line), format!("tenants: {text}")))
}

/// The first line of each name, key and container.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Place>,
    keys: HashMap<KeyHash, Place>,
    containers: HashMap<String, Place>,
}

fn read_one<'t>(
    reader: &mut Reader<'t>,
    (index, node): (usize, &'t Node),
    seen: &mut Seen,
) -> Result<Tenant, Reported> {
    let path = format!("tenants[{index}]");
    if !matches!(node.value, Value::Map(_)) {
        let kind = node.value.kind();
        let text = format!("{path}: expected `name:` and `api_key:`, found {kind}");
        return Err(reader.problems.add(Place::Line(node.line), text));
    }
    let mut s = reader.section(Some(node), &keys::TENANT, path);
    let origin = s.origin();
    let name = read_name(&mut s, seen);
    let key = read_key(&mut s, seen);
    let previous_key = read_previous_key(&mut s, seen);
    let container = read_container(&mut s, seen);
    let working_dir = s.get("working_dir", None, |text| origin.path(text).map(Some));
    let config_dir = s.get("config_dir", ConfigDir::Shared, |text| match text {
        "shared" => Ok(ConfigDir::Shared),
        "private" => Ok(ConfigDir::Private),
        path => origin.path(path).map(ConfigDir::Path),
    });
    let isolation = s.get("isolation", None, |text| isolation::parse(text).map(Some));
    let mounts = isolation::read_mounts(&mut s);
    let memory_bytes = s.get("memory_bytes", None, |text| {
        isolation::parse_memory(text).map(Some)
    });
    let cpu_weight = s.get("cpu_weight", None, |text| {
        isolation::parse_weight(text).map(Some)
    });
    let network = s.get("network", None, |text| {
        isolation::parse_network(text).map(Some)
    });
    let env = read_env(&mut s);
    Ok(Tenant {
        name: name?,
        key: key?,
        previous_key: previous_key?,
        container: container?,
        working_dir: working_dir?,
        config_dir: config_dir?,
        isolation: isolation?,
        mounts: mounts?,
        memory_bytes: memory_bytes?,
        cpu_weight: cpu_weight?,
        network: network?,
        env: env?,
    })
}

fn read_name(s: &mut Section<'_, '_>, seen: &mut Seen) -> Result<String, Reported> {
    let advice = "write a name of a-z, 0-9, _ and -";
    let (name, place) = s.require("name", advice, parse_name)?;
    if let Some(Place::Line(line)) = seen.names.get(&name) {
        let text = format!("`{name}` is the tenant in line {line} already, write another name");
        return Err(s.problem("name", place, &text));
    }
    seen.names.insert(name.clone(), place);
    Ok(name)
}

pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    let starts_well = !text.starts_with(['_', '-']);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !starts_well || !text.bytes().all(is_inner)
    {
        return Err(format!(
            "{} is not a tenant name, write 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -, starting \
             with a letter or a digit",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

fn read_key(s: &mut Section<'_, '_>, seen: &mut Seen) -> Result<Key, Reported> {
    let plain = s.read("api_key", parse_key);
    let hashed = s.read("api_key_sha256", KeyHash::parse);
    let (key, name, place) = match (plain?, hashed?) {
        (Some(_), Some((_, place))) => {
            let text = "`api_key` is here too, keep one of the two";
            return Err(s.problem("api_key_sha256", place, text));
        }
        (None, Some((hash, place))) => (Key::Hashed(hash), "api_key_sha256", place),
        (Some((text, place)), None) => (Key::Plain(Secret::new(text)), "api_key", place),
        (None, None) => {
            let (text, place) = s.require("api_key", KEY_ADVICE, parse_key)?;
            (Key::Plain(Secret::new(text)), "api_key", place)
        }
    };
    see_key(s, seen, (key.hash(), name, place))?;
    Ok(key)
}

const KEY_ADVICE: &str = "write a long random text, for example from `openssl rand -hex 24`";

/// A key is one tenant's, and it is either the present one or a previous one.
fn see_key(
    s: &mut Section<'_, '_>,
    seen: &mut Seen,
    (hash, name, place): (KeyHash, &str, Place),
) -> Result<(), Reported> {
    if let Some(Place::Line(line)) = seen.keys.get(&hash) {
        let text = format!("the same key as in line {line}, {KEY_ADVICE}");
        return Err(s.problem(name, place, &text));
    }
    seen.keys.insert(hash, place);
    Ok(())
}

fn read_previous_key(
    s: &mut Section<'_, '_>,
    seen: &mut Seen,
) -> Result<Option<PreviousKey>, Reported> {
    const HASH: &str = "previous_key_sha256";
    const UNTIL: &str = "previous_key_until";
    let hash = s.read(HASH, KeyHash::parse);
    let until = s.read(UNTIL, Moment::parse);
    match (hash?, until?) {
        (None, None) => Ok(None),
        (Some((hash, place)), Some((until, _))) => {
            see_key(s, seen, (hash, HASH, place))?;
            Ok(Some(PreviousKey { hash, until }))
        }
        (Some((_, place)), None) => {
            let text = format!("`{UNTIL}` is missing, write both or none");
            Err(s.problem(HASH, place, &text))
        }
        (None, Some((_, place))) => {
            let text = format!("`{HASH}` is missing, write both or none");
            Err(s.problem(UNTIL, place, &text))
        }
    }
}

fn read_container(s: &mut Section<'_, '_>, seen: &mut Seen) -> Result<Option<String>, Reported> {
    let Some((name, place)) = s.read("container", parse_container)? else {
        return Ok(None);
    };
    if let Some(Place::Line(line)) = seen.containers.get(&name) {
        let text = format!(
            "`{name}` stands in line {line} already, and is one tenant's only; write another one"
        );
        return Err(s.problem("container", place, &text));
    }
    seen.containers.insert(name.clone(), place);
    Ok(Some(name))
}

/// As Docker names containers.
pub(crate) fn parse_container(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !starts_well || text.len() > CONTAINER_BYTES_MAX || !text.bytes().all(is_inner) {
        return Err(format!(
            "{} is not the name of a container, write it as `docker ps` does",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

/// Says nothing about the key but its length.
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

fn read_env(s: &mut Section<'_, '_>) -> Result<Vec<(String, Secret)>, Reported> {
    let variables: Vec<_> = s
        .map("env")
        .iter()
        .flat_map(variables_in)
        .map(|entry| read_variable(s, entry))
        .collect();
    variables.into_iter().collect()
}

/// `env` of openclaw.json has two maps among its variables, and files that were made by copying it have them too:
/// `vars`, with more variables, and `shellEnv`, which says something to OpenClaw alone.
fn variables_in(entry: &Entry) -> &[Entry] {
    match (entry.key.as_str(), &entry.node.value) {
        ("vars", Value::Map(entries)) => entries,
        ("shellEnv", Value::Map(_)) => &[],
        _ => std::slice::from_ref(entry),
    }
}

fn read_variable(s: &mut Section<'_, '_>, entry: &Entry) -> Result<(String, Secret), Reported> {
    let name = &entry.key;
    let place = Place::Line(entry.line);
    if !is_variable_name(name) {
        let text = format!(
            "{} is not a variable name, write letters, digits and _, not starting with a digit",
            shown_key(name)
        );
        return Err(s.problem("env", place, &text));
    }
    let text = match variable_text(&entry.node.value) {
        Ok(text) if name.len() + "=\0".len() + text.len() > VARIABLE_BYTES_MAX => {
            let length = text.len();
            format!("{length} bytes, but Linux takes {VARIABLE_BYTES_MAX}, the name included")
        }
        Ok(text) => return Ok((name.clone(), Secret::new(text.to_owned()))),
        Err(problem) => problem,
    };
    Err(s.problem(&format!("env.{name}"), place, &text))
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// The value, which no message may repeat.
fn variable_text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Null => Ok(""),
        Value::Scalar(text) if text.contains('\0') => {
            Err("has a NUL character, which no variable can hold, remove it".to_owned())
        }
        Value::Scalar(text) => Ok(text),
        other => Err(format!("expected a single value, found {}", other.kind())),
    }
}
