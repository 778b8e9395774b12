//! `ccgw-manage completions`: scripts that complete its words and those of ccgw in shells, made from the commands
//! themselves.

mod bash;
mod fish;
mod zsh;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgValue, FromArgs, Optionality};

use super::{args, say::must_line};

/// Print a script that completes the words of ccgw-manage and ccgw.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    example = "For bash, from its next start on:
  $ ccgw-manage completions bash > ~/.local/share/bash-completion/completions/ccgw-manage",
    example = "For zsh, into a directory of $fpath:
  $ ccgw-manage completions zsh > ~/.zfunc/_ccgw-manage",
    example = "For fish:
  $ ccgw-manage completions fish > ~/.config/fish/completions/ccgw-manage.fish"
)]
pub(crate) struct CompletionsArguments {
    /// which shell
    #[argh(positional, arg_name = "bash|zsh|fish")]
    pub(crate) shell: Shell,
}

/// Whose words are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromArgValue)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn run(shell: Shell) -> Result<bool, String> {
    let spots = of_both();
    let script = match shell {
        Shell::Bash => bash::script(&spots),
        Shell::Zsh => zsh::script(&spots),
        Shell::Fish => fish::script(&spots),
    };
    must_line(script.trim_end())?;
    Ok(true)
}

/// What may follow some commands.
struct Spot {
    /// `skills list`; empty for the program itself.
    commands_before: String,
    commands: Vec<Word>,
    switches: Vec<Word>,
    options: Vec<(Word, Kind)>,
    places: Vec<Kind>,
    /// Whether the last of the places may be filled again and again.
    goes_on: bool,
}

/// A word of the command line, and what it means.
struct Word {
    text: &'static str,
    about: &'static str,
}

/// What a value is, by the name that the help has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Tenant,
    /// One of these, with `|` between them.
    Words(&'static str),
    /// Nobody but the operator knows.
    Free,
}

impl Kind {
    fn of(name: &'static str) -> Kind {
        match name {
            "FILE" => Kind::File,
            // Of ccgw, which has no other.
            "CONFIG" => Kind::File,
            "DIR" => Kind::Directory,
            "TENANT" => Kind::Tenant,
            words if words.contains('|') => Kind::Words(words),
            _ => Kind::Free,
        }
    }

    /// As the scripts tell them apart: a word without spaces.
    fn in_script(self) -> &'static str {
        match self {
            Kind::File => "FILE",
            Kind::Directory => "DIR",
            Kind::Tenant => "TENANT",
            Kind::Words(words) => words,
            Kind::Free => "-",
        }
    }
}

/// Where the words of ccgw begin, which no command of ccgw-manage can be. The scripts have it, too.
const CCGW: &str = "@ccgw";

fn of_both() -> Vec<Spot> {
    let mut spots = Vec::new();
    walk(&args::table(), String::new(), &mut spots);
    walk(&crate::args::table(), CCGW.to_owned(), &mut spots);
    spots
}

fn walk(command: &CommandInfoWithArgs, before: String, spots: &mut Vec<Spot>) {
    let mut spot = Spot {
        commands_before: before,
        commands: Vec::new(),
        switches: Vec::new(),
        options: Vec::new(),
        places: command
            .positionals
            .iter()
            .map(|it| Kind::of(it.name))
            .collect(),
        goes_on: command.positionals.last().is_some_and(|it| {
            matches!(it.optionality, Optionality::Repeating | Optionality::Greedy)
        }),
    };
    for flag in command.flags.iter().filter(|it| !it.hidden) {
        let word = Word {
            text: flag.long,
            about: flag.description,
        };
        match &flag.kind {
            FlagInfoKind::Switch => spot.switches.push(word),
            FlagInfoKind::Option { arg_name } => spot.options.push((word, Kind::of(arg_name))),
        }
    }
    for inner in &command.commands {
        spot.commands.push(Word {
            text: inner.name,
            about: inner.command.description,
        });
    }
    let before = spot.commands_before.clone();
    spots.push(spot);
    for inner in &command.commands {
        let path = format!("{before} {}", inner.name).trim_start().to_owned();
        walk(&inner.command, path, spots);
    }
}

/// Words with spaces between them.
fn joined(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// In single quotes, where only the quote itself means anything; `escape` is how a shell writes it.
fn quoted(text: &str, escape: &str) -> String {
    format!("'{}'", text.replace('\'', escape))
}

#[cfg(test)]
mod tests;
