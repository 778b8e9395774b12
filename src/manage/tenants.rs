//! The tenants of config.yaml from the command line: listed, shown, added, removed, given other keys and
//! variables. A gateway that runs takes each change over by itself.

use std::{
    io::{self, BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    apply::EnvFiles,
    apply_command,
    args::{Apply, Direction},
    connect::new_key,
    found::Found,
    identities::Identities,
    say::{Say, plain, prompt},
    setup::state_dir,
    store::Store,
    table::{table, terminal_width},
    tenant_args::{Add, Command, Env, EnvAction, GenKey, List, Remove, Rotate, Show},
};
use crate::{
    config::{
        self, Config, ConfigDir, Secret, Tenant, TenantKey,
        edit::{Change, Field, NewTenant, edited, new_file},
        is_variable_name, parse_key, parse_name, written_digest,
    },
    gateway::unix_now,
    log::Timestamp,
};

/// Does it; true when all of it went well.
///
/// # Errors
/// Why nothing was changed, with the way out.
pub(crate) fn run(file: &Path, command: &Command) -> Result<bool, String> {
    match command {
        Command::List(options) => list(file, options),
        Command::Show(options) => show(file, options),
        Command::Add(options) => add(file, options),
        Command::Remove(options) => remove(file, options),
        Command::Rotate(options) => rotate(file, options),
        Command::Env(options) => env(file, options),
        Command::GenKey(options) => gen_key(options),
    }
}

fn load(file: &Path) -> Result<Config, String> {
    let env = |name: &str| std::env::var(name).ok();
    let loaded = config::load(file, &env).map_err(|it| it.to_string())?;
    Ok(loaded.config)
}

/// # Errors
/// When there is none of this name, with those that there are.
pub(super) fn tenant<'c>(config: &'c Config, name: &str) -> Result<&'c Tenant, String> {
    let found = config.tenants.iter().find(|it| it.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = config.tenants.iter().map(|it| it.name.as_str()).collect();
        match names.is_empty() {
            true => format!("no tenant is called `{}`; there are none yet", plain(name)),
            false => format!(
                "no tenant is called `{}`; there are: {}",
                plain(name),
                names.join(", ")
            ),
        }
    })
}

/// What a script may know of a tenant: nothing secret.
#[derive(Serialize)]
struct Card<'a> {
    name: &'a str,
    /// The last four characters, as long as they say little about the whole.
    key_ends: Option<String>,
    /// Whether config.yaml has the key's hash only.
    hashed: bool,
    /// Until when the key before is still taken.
    previous_key_until: Option<String>,
    working_dir: Option<&'a Path>,
    config_dir: String,
    env: Vec<&'a str>,
    skills_dir: PathBuf,
}

impl<'a> Card<'a> {
    fn of(config: &Config, tenant: &'a Tenant) -> Card<'a> {
        Card {
            name: &tenant.name,
            key_ends: tenant.key.plain.as_ref().map(ending),
            hashed: tenant.key.plain.is_none(),
            previous_key_until: previous(&tenant.key),
            working_dir: tenant.working_dir.as_deref(),
            config_dir: match &tenant.config_dir {
                ConfigDir::Shared => "shared".to_owned(),
                ConfigDir::Private => "private".to_owned(),
                ConfigDir::Path(path) => path.display().to_string(),
            },
            env: tenant.env.iter().map(|(name, _)| name.as_str()).collect(),
            skills_dir: config.skills.dir.join(&tenant.name),
        }
    }

    fn key(&self) -> String {
        match &self.key_ends {
            Some(ends) => format!("…{ends}"),
            None => "by its hash".to_owned(),
        }
    }
}

/// Shorter keys have too little else.
const SHOWN_KEY_MIN: usize = 16;

fn ending(key: &Secret) -> String {
    let key = key.expose();
    match key.len() >= SHOWN_KEY_MIN {
        // Keys are ASCII.
        true => key[key.len() - 4..].to_owned(),
        false => String::new(),
    }
}

/// Only while it counts.
fn previous(key: &TenantKey) -> Option<String> {
    let previous = key.previous.as_ref()?;
    (previous.until > unix_now()).then(|| moment(previous.until))
}

/// As config.yaml writes it.
fn moment(seconds: u64) -> String {
    Timestamp(u128::from(seconds) * 1000)
        .to_string()
        .replace(".000Z", "Z")
}

fn list(file: &Path, options: &List) -> Result<bool, String> {
    let config = load(file)?;
    let say = Say::new();
    let cards: Vec<Card<'_>> = config
        .tenants
        .iter()
        .map(|it| Card::of(&config, it))
        .collect();
    if options.names {
        cards.iter().for_each(|it| say.line(it.name));
    } else if options.json {
        say.json(&cards);
    } else if cards.is_empty() {
        say.line("no tenants yet: `ccgw --setup` finds OpenClaw instances, `ccgw-manage add NAME` adds one");
    } else {
        let mut rows = vec![
            ["TENANT", "KEY", "VARIABLES", "WORKING DIR"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for card in &cards {
            let dir = card.working_dir.map(|it| it.display().to_string());
            rows.push(vec![
                card.name.to_owned(),
                card.key(),
                card.env.len().to_string(),
                dir.unwrap_or_else(|| "its own".to_owned()),
            ]);
        }
        table(&rows, terminal_width())
            .iter()
            .for_each(|it| say.line(it));
    }
    Ok(true)
}

fn show(file: &Path, options: &Show) -> Result<bool, String> {
    let config = load(file)?;
    let card = Card::of(&config, tenant(&config, &options.name)?);
    let say = Say::new();
    if options.json {
        say.json(&card);
        return Ok(true);
    }
    let none = || "none".to_owned();
    let instance = state_dir().and_then(|dir| Identities::load(&dir));
    let instance = instance
        .ok()
        .and_then(|it| it.of(card.name).map(str::to_owned));
    let dir = card.working_dir.map(|it| it.display().to_string());
    let lines = [
        ("tenant", card.name.to_owned()),
        ("key", card.key()),
        (
            "previous key until",
            card.previous_key_until.clone().unwrap_or_else(none),
        ),
        (
            "working dir",
            dir.unwrap_or_else(|| "its own, in the state directory".to_owned()),
        ),
        ("CLI config dir", card.config_dir.clone()),
        (
            "variables",
            match card.env.is_empty() {
                true => none(),
                false => card.env.join(", "),
            },
        ),
        ("skills", card.skills_dir.display().to_string()),
        (
            "instance",
            instance.unwrap_or_else(|| "none was connected".to_owned()),
        ),
    ];
    for (what, text) in lines {
        say.line(&format!("{what:18}  {}", plain(&text)));
    }
    Ok(true)
}

/// What a script gets of a new key.
#[derive(Serialize)]
struct NewKey<'a> {
    tenant: &'a str,
    api_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_key_until: Option<String>,
}

fn add(file: &Path, options: &Add) -> Result<bool, String> {
    let name = parse_name(&options.name)?;
    let (key, is_new) = match &options.key {
        Some(given) => (given_key(given)?, false),
        None => (new_key()?, true),
    };
    let mut new = NewTenant {
        name: name.clone(),
        api_key: key.clone(),
        working_dir: options.working_dir.as_deref().map(absolute).transpose()?,
        env: Vec::new(),
    };
    if let Some(container) = &options.docker {
        of_container(container, &mut new)?;
    }
    change(file, |text| {
        let text = match text {
            Some(text) => text.to_owned(),
            None => new_file(&[]).map_err(|it| it.to_string())?,
        };
        edited(&text, &[Change::AddTenant(new)]).map_err(|it| it.to_string())
    })?;
    let say = Say::new();
    if options.json {
        say.json(&NewKey {
            tenant: &name,
            api_key: key.expose(),
            previous_key_until: None,
        });
    } else {
        say.ok(&format!(
            "tenant {name} is added; a gateway that runs knows it within a second"
        ));
        if is_new {
            say.line("  Its key, which is not shown again:");
            say.line(key.expose());
        }
    }
    match options.apply {
        true => point(file, (&name, &key)),
        false => Ok(true),
    }
}

/// The variables and the workspace of a running container, and the note of whose it is.
fn of_container(container: &str, new: &mut NewTenant) -> Result<(), String> {
    let found = Found::search();
    let instance = found.instances.iter().find(|it| {
        it.container()
            .is_some_and(|it| it.plain_name() == container)
    });
    let Some(instance) = instance else {
        let names: Vec<&str> = found
            .instances
            .iter()
            .filter_map(|it| it.container().map(|it| it.plain_name()))
            .collect();
        return Err(format!(
            "no running container `{}` is an OpenClaw; there are: {}",
            plain(container),
            plain(&names.join(", "))
        ));
    };
    let own = super::connect::needs(&found.access(instance))?;
    new.env = own.env;
    new.working_dir = new.working_dir.take().or(own.working_dir);
    Identities::hand_over(&state_dir()?, &new.name, instance)
}

fn remove(file: &Path, options: &Remove) -> Result<bool, String> {
    let config = load(file)?;
    let name = &tenant(&config, &options.name)?.name;
    let say = Say::new();
    if !options.yes
        && !agreed(&format!(
            "Remove tenant {name}? Its key stops working at once."
        ))?
    {
        say.line("Nothing was changed.");
        return Ok(false);
    }
    let change_of = [Change::RemoveTenant(name.clone())];
    let backup = edit(file, &change_of)?;
    say.ok(&format!("tenant {name} is removed; before: {backup}"));
    if let Ok(dir) = state_dir() {
        // A tenant that comes later by this name is of whatever instance it is given to.
        Identities::forget(&dir, name)?;
    }
    say.line("  Its skills, its workspace and its instance's settings stay as they are.");
    Ok(true)
}

/// Longer than any restart of an instance, shorter than a forgotten key.
const GRACE_MAX: Duration = Duration::from_secs(90 * 86_400);

fn rotate(file: &Path, options: &Rotate) -> Result<bool, String> {
    let config = load(file)?;
    let tenant = tenant(&config, &options.name)?;
    let name = &tenant.name;
    let grace = duration(&options.grace)?;
    let key = match &options.key {
        Some(given) => given_key(given)?,
        None => new_key()?,
    };
    let until = unix_now() + grace.as_secs();
    let set = |field, value| Change::SetField {
        tenant: name.clone(),
        field,
        value,
    };
    let unset = |field| Change::UnsetField {
        tenant: name.clone(),
        field,
    };
    // Who keeps only hashes in the file goes on so.
    let mut changes = vec![match tenant.key.plain {
        Some(_) => set(Field::ApiKey, key.clone()),
        None => {
            let sha256 = written_digest(&config::digest(key.expose()));
            set(Field::ApiKeySha256, Secret::new(sha256))
        }
    }];
    match grace.is_zero() {
        true => changes.extend([
            unset(Field::PreviousKeySha256),
            unset(Field::PreviousKeyUntil),
        ]),
        false => changes.extend([
            set(
                Field::PreviousKeySha256,
                Secret::new(written_digest(&tenant.key.sha256)),
            ),
            set(Field::PreviousKeyUntil, Secret::new(moment(until))),
        ]),
    }
    edit(file, &changes)?;
    let say = Say::new();
    let previous_key_until = (!grace.is_zero()).then(|| moment(until));
    if options.json {
        say.json(&NewKey {
            tenant: name,
            api_key: key.expose(),
            previous_key_until,
        });
    } else {
        match &previous_key_until {
            Some(until) => say.ok(&format!(
                "{name} has a new key; the one before is taken until {until}"
            )),
            None => say.ok(&format!(
                "{name} has a new key; the one before is not taken any more"
            )),
        }
        if options.key.is_none() {
            say.line("  The key, which is not shown again:");
            say.line(key.expose());
        }
        if !options.apply {
            say.line(&format!(
                "  `ccgw-manage apply {name}` gives it to the instance."
            ));
        }
    }
    match options.apply {
        true => point(file, (name, &key)),
        false => Ok(true),
    }
}

fn env(file: &Path, options: &Env) -> Result<bool, String> {
    let config = load(file)?;
    let tenant = tenant(&config, &options.name)?;
    let say = Say::new();
    let changes = match &options.action {
        EnvAction::List(list) => {
            show_env(say, tenant, (list.json, list.show_values));
            return Ok(true);
        }
        EnvAction::Set(set) => set
            .variables
            .iter()
            .map(|it| variable(&tenant.name, it))
            .collect::<Result<Vec<_>, _>>()?,
        EnvAction::Unset(unset) => unset
            .names
            .iter()
            .map(|name| Change::UnsetEnv {
                tenant: tenant.name.clone(),
                name: name.clone(),
            })
            .collect(),
    };
    if changes.is_empty() {
        return Err("name at least one variable".to_owned());
    }
    let backup = edit(file, &changes)?;
    say.ok(&format!(
        "{}: {} changed; before: {backup}",
        tenant.name,
        changes.len()
    ));
    Ok(true)
}

fn show_env(say: Say, tenant: &Tenant, (json, values): (bool, bool)) {
    let shown = |secret: &Secret| values.then(|| secret.expose().to_owned());
    if json {
        let map: serde_json::Map<String, serde_json::Value> = tenant
            .env
            .iter()
            .map(|(name, value)| (name.clone(), shown(value).into()))
            .collect();
        return say.json(&map);
    }
    for (name, value) in &tenant.env {
        match shown(value) {
            Some(value) => say.line(&format!("{name}={}", plain(&value))),
            None => say.line(name),
        }
    }
}

/// `NAME=VALUE`, or `NAME` with the value on standard input, where no process list shows it.
fn variable(tenant: &str, text: &str) -> Result<Change, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (text, line_of_stdin(&format!("value of {}", plain(text)))?),
    };
    if !is_variable_name(name) {
        return Err(format!(
            "`{}` is not a variable name, write letters, digits and _, not starting with a digit",
            plain(name)
        ));
    }
    Ok(Change::SetEnv {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        value: Secret::new(value),
    })
}

fn gen_key(options: &GenKey) -> Result<bool, String> {
    let key = new_key()?;
    let sha256 = written_digest(&config::digest(key.expose()));
    let say = Say::new();
    match options.json {
        true => say.json(&serde_json::json!({"api_key": key.expose(), "api_key_sha256": sha256})),
        false => say.line(key.expose()),
    }
    Ok(true)
}

fn edit(file: &Path, changes: &[Change]) -> Result<String, String> {
    let backup = change(file, |text| {
        let text = text.ok_or_else(|| format!("there is no {}", file.display()))?;
        edited(text, changes).map_err(|it| format!("{}: {it}", file.display()))
    })?;
    Ok(backup.map_or_else(|| "nothing".to_owned(), |it| it.display().to_string()))
}

/// Under the lock: what another editor has just written is edited, not overwritten.
fn change(
    file: &Path,
    edit: impl FnOnce(Option<&str>) -> Result<String, String>,
) -> Result<Option<PathBuf>, String> {
    let store = Store::open(file)?;
    let text = edit(store.text())?;
    Ok(store.replace(&text)?.backup)
}

/// Points the tenant's instance at the gateway, which has to run.
fn point(file: &Path, (name, key): (&str, &Secret)) -> Result<bool, String> {
    apply_command::run(&Apply {
        config: file.to_owned(),
        tenant: Some(name.to_owned()),
        direction: Direction::Here,
        env_files: EnvFiles::Update,
        // The file may have its hash only.
        key: Some(key.expose().to_owned()),
    })
}

/// A key from the command line; `-` is a line of standard input, which no process list shows.
///
/// # Errors
/// When no client could send it.
pub(super) fn given_key(text: &str) -> Result<Secret, String> {
    let text = match text {
        "-" => line_of_stdin("key")?,
        text => text.to_owned(),
    };
    parse_key(&text).map(Secret::new)
}

/// So much is read of standard input.
const LINE_MAX: u64 = 1 << 20;

fn line_of_stdin(what: &str) -> Result<String, String> {
    if io::stdin().is_terminal() {
        prompt(&format!("{what}: "));
    }
    let mut line = String::new();
    let read = io::stdin().lock().take(LINE_MAX).read_line(&mut line);
    read.map_err(|error| format!("cannot read the {what}: {error}"))?;
    let line = line.trim_end_matches(['\n', '\r']);
    match line.is_empty() {
        true => Err(format!("standard input has no {what}")),
        false => Ok(line.to_owned()),
    }
}

/// Asks a person.
///
/// # Errors
/// When nobody sits there.
fn agreed(question: &str) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err("nobody is here to ask; add --yes".to_owned());
    }
    prompt(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// As [`agreed`]; where nobody sits, it is no.
pub(super) fn agreed_or(question: &str) -> Result<bool, String> {
    match io::stdin().is_terminal() {
        true => agreed(question),
        false => Ok(false),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// `90s`, `15m`, `24h`, `7d`; `0` is none at all.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{}` is not a grace time, write 0, 90s, 15m, 24h or 7d, at most {}d",
            plain(text),
            GRACE_MAX.as_secs() / 86_400
        )
    };
    let digits = text.trim_end_matches(|it: char| it.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "" if number == 0 => 1,
        _ => return Err(wrong()),
    };
    let time = number.checked_mul(unit).map(Duration::from_secs);
    time.filter(|it| *it <= GRACE_MAX).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_times_have_units() {
        for (text, seconds) in [
            ("0", 0),
            ("90s", 90),
            ("15m", 900),
            ("24h", 86_400),
            ("7d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "24",
            "h",
            "1w",
            "-1h",
            "91d",
            "99999999999999999999s",
            "18446744073709551615d",
            "1 h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_show_their_end_only() {
        let ends = |key: &str| ending(&Secret::new(key.to_owned()));
        assert_eq!(ends("0123456789abcdef"), "cdef");
        assert_eq!(ends("0123456789abcde"), "");
    }
}
