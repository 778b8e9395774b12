//! Which `openclaw` commands a run may give its instance: a list, with every flag that a command may have. What is not in it
//! is refused. Pure.

use super::settings;

/// The list.
const COMMANDS: &str = include_str!("commands.txt");

/// Flags that say nothing about whom a command reaches, and may stand anywhere.
const HARMLESS: [&str; 5] = ["--json", "--no-color", "--help", "-h", "--verbose"];

/// OpenClaw looks for these in all words, also where another flag's value stands.
const LEAD_ELSEWHERE: [&str; 4] = ["--profile", "--dev", "--container", "--log-level"];

/// Commands have at most so many words of their own.
const WORDS_MAX: usize = 3;

/// A command that may be run, by its name in the list: that is for the log, where its arguments, which may be
/// anything, do not belong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed<'w> {
    pub(super) command: &'static str,
    /// What it names of the machine that the instance is on.
    pub(super) files: Vec<File<'w>>,
}

/// The value of a flag that names a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File<'w> {
    pub(super) flag: &'static str,
    pub(super) value: &'w str,
    /// A URL would do as well.
    pub(super) is_media: bool,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    Nothing,
    Value,
    File,
    Media,
}

/// An entry of the list.
struct Entry {
    name: &'static str,
    flags: &'static str,
}

/// The names of all categories: the first words of all commands.
pub(crate) fn categories() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    entries()
        .map(|it| it.category())
        .filter(move |it| std::mem::replace(&mut last, it) != *it)
}

/// Whether these words may be given to an instance, where these categories are allowed.
///
/// # Errors
/// Why not, for the model to read.
pub(super) fn check<'w>(words: &'w [String], allowed: &[String]) -> Result<Allowed<'w>, String> {
    let name = |word: &'w String| word.split('=').next().unwrap_or_default();
    if let Some(flag) = words
        .iter()
        .map(name)
        .find(|it| LEAD_ELSEWHERE.contains(it))
    {
        return Err(format!(
            "{flag} is not for runs: commands go to your own instance, as it is"
        ));
    }
    let words_as_str = words.iter().map(String::as_str);
    let mut rest: Vec<&str> = words_as_str
        .skip_while(|it| HARMLESS.contains(it))
        .collect();
    if let Some(first) = rest.first_mut().filter(|it| **it == "automations") {
        *first = "cron";
    }
    let asks_for_help = words.iter().any(|it| it == "--help" || it == "-h");
    let entry = match entry_of(&rest, allowed) {
        Ok(entry) => entry,
        // It says what there is, and does nothing.
        Err(_) if asks_for_help && is_group(&rest, allowed) => {
            return Ok(Allowed {
                command: "--help",
                files: Vec::new(),
            });
        }
        Err(why) => return Err(why),
    };
    let mut arguments = Arguments::default();
    arguments.take(&entry, &rest[entry.words().count()..])?;
    match entry.name {
        "config set" | "config unset" if asks_for_help && arguments.others.is_empty() => {}
        "config set" => settings::check(&arguments.others)?,
        "config unset" => settings::check_path(&arguments.others)?,
        _ => {}
    }
    Ok(Allowed {
        command: entry.name,
        files: arguments.files,
    })
}

/// What follows the words of a command.
#[derive(Default)]
struct Arguments<'w> {
    files: Vec<File<'w>>,
    /// What is neither a flag nor the value of one.
    others: Vec<&'w str>,
}

impl<'w> Arguments<'w> {
    /// As OpenClaw's parser (commander) takes them: a flag's value is the next word, whatever that is.
    fn take(&mut self, entry: &Entry, words: &[&'w str]) -> Result<(), String> {
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if HARMLESS.contains(&word) {
                continue;
            }
            if !word.starts_with('-') || word == "-" {
                self.others.push(word);
                continue;
            }
            let (flag, joined) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
                _ => (word, None),
            };
            let (flag, follows) = entry.flag(flag).ok_or_else(|| entry.refusal(flag))?;
            let value = match (follows, joined) {
                (Follows::Nothing, None) => continue,
                (Follows::Nothing, Some(_)) => return Err(format!("{flag} takes no value")),
                (_, Some(value)) => value,
                (_, None) => words
                    .next()
                    .ok_or_else(|| format!("{flag} needs a value"))?,
            };
            if follows != Follows::Value {
                self.files.push(File {
                    flag,
                    value,
                    is_media: follows == Follows::Media,
                });
            }
        }
        Ok(())
    }
}

impl Entry {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.name.split(' ')
    }

    fn category(&self) -> &'static str {
        self.words().next().unwrap_or_default()
    }

    fn flag(&self, wanted: &str) -> Option<(&'static str, Follows)> {
        let mut flags = self.flags.split_whitespace().map(|it| {
            let name = it.trim_end_matches(['=', '@', '~']);
            let follows = match &it[name.len()..] {
                "=" => Follows::Value,
                "@" => Follows::File,
                "~" => Follows::Media,
                _ => Follows::Nothing,
            };
            (name, follows)
        });
        flags.find(|(name, _)| *name == wanted)
    }

    fn refusal(&self, flag: &str) -> String {
        let flags = self.flags.split_whitespace();
        let names: Vec<&str> = flags
            .map(|it| it.trim_end_matches(['=', '@', '~']))
            .collect();
        let flag = shown(flag);
        match names.as_slice() {
            [] => format!("`{flag}` is not for runs with `{}`", self.name),
            names => format!(
                "`{flag}` is not for runs with `{}`; there are: {}",
                self.name,
                names.join(", ")
            ),
        }
    }
}

fn entries() -> impl Iterator<Item = Entry> {
    let lines = COMMANDS.lines().filter(|it| !it.starts_with('#'));
    lines
        .filter_map(|it| it.split_once(':'))
        .map(|(name, flags)| Entry { name, flags })
}

/// The command that the first words name: the longest that is in the list.
fn entry_of(words: &[&str], allowed: &[String]) -> Result<Entry, String> {
    let first = match words.first() {
        None => return Err(format!("which command? There are: {}", allowed.join(", "))),
        Some(&("agent" | "attach" | "chat" | "tui")) => {
            return Err(
                "it would ask the gateway while the gateway waits for you; answer yourself"
                    .to_owned(),
            );
        }
        Some(first) => *first,
    };
    if !allowed.iter().any(|it| it == first) {
        return Err(format!(
            "`{}` is not for runs; there are: {}",
            shown(first),
            allowed.join(", ")
        ));
    }
    let own = || entries().filter(|it| it.category() == first);
    let fits = |entry: &Entry| {
        let count = entry.words().count();
        words.len() >= count && entry.words().eq(words[..count].iter().copied())
    };
    let found = own().filter(fits).max_by_key(|it| it.words().count());
    // `sessions x` is not `sessions`: what OpenClaw knows by that word may not be in the list.
    let is_whole = |it: &Entry| {
        let next = words.get(it.words().count());
        it.words().count() > 1 || next.is_none_or(|it| it.starts_with('-'))
    };
    found.filter(is_whole).ok_or_else(|| {
        let names: Vec<&str> = own().map(|it| it.name).collect();
        let said = words
            .iter()
            .take(WORDS_MAX)
            .take_while(|it| !it.starts_with('-'));
        let said: Vec<String> = said.map(|it| shown(it)).collect();
        format!(
            "`{}` is not for runs; there are: {}",
            said.join(" "),
            names.join(", ")
        )
    })
}

/// Whether there are commands that begin with these words, and nothing but flags that change nothing follows.
fn is_group(words: &[&str], allowed: &[String]) -> bool {
    let count = words.iter().take_while(|it| !HARMLESS.contains(it)).count();
    let (group, flags) = words.split_at(count);
    let begins = |it: Entry| it.words().zip(group).all(|(own, word)| own == *word);
    group
        .first()
        .is_some_and(|first| allowed.iter().any(|it| it == first))
        && count < WORDS_MAX
        && flags.iter().all(|it| HARMLESS.contains(it))
        && entries().any(begins)
}

/// A word of the model's, short enough for a message.
pub(super) fn shown(word: &str) -> String {
    word.chars()
        .filter(|it| !it.is_control())
        .take(40)
        .collect()
}

#[cfg(test)]
mod tests;
