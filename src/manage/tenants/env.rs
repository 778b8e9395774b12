//! `ccgw-manage env`: the variables that a tenant's runs get. Their values are secrets.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{
    Command,
    edit::{Missing, TAKEN_OVER, edit},
    look, output,
    report::{self, Lines},
};
use crate::{
    config::{self, Secret, edit::Change},
    manage::{
        doctor::Output,
        given_key::{from_stdin, one_line},
        say::{Mark, escaped, must_line, prompt},
    },
};

/// List, set and remove the environment variables of a tenant's runs.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "env",
    help_triggers("-h", "--help"),
    example = "Set a secret, which no process list and no shell history shall have:
  $ ccgw-manage env alice set NOTION_TOKEN < token.txt",
    example = "Set some at once, and remove one:
  $ ccgw-manage env alice set TZ=Europe/Vienna LANG=de_AT.UTF-8
  $ ccgw-manage env alice unset LANG"
)]
pub(crate) struct EnvArguments {
    /// the tenant
    #[argh(positional, arg_name = "TENANT")]
    name: String,

    /// what to do
    #[argh(positional, arg_name = "set|unset|list")]
    verb: String,

    /// NAME=VALUE, or NAME with the value from stdin, for set; NAME for unset
    #[argh(positional, arg_name = "VARIABLE")]
    words: Vec<String>,

    /// with list: show the values too
    #[argh(switch)]
    show_values: bool,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    name: String,
    what: What,
    output: Output,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Set(Vec<(String, Value)>),
    Unset(Vec<String>),
    List(Values),
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Given(Secret),
    Stdin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Hide,
    Show,
}

impl EnvArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        if self.show_values && self.verb != "list" {
            return Err("--show-values means something with list only".to_owned());
        }
        let what = match (self.verb.as_str(), self.words.is_empty()) {
            ("set", false) => What::Set(assignments(&self.words)?),
            ("unset", false) => What::Unset(names(&self.words)?),
            ("list", true) if self.show_values => What::List(Values::Show),
            ("list", true) => What::List(Values::Hide),
            ("list", false) => return Err("list takes no variables".to_owned()),
            ("set" | "unset", true) => return Err(format!("{}: name a variable", self.verb)),
            (other, _) => {
                // It may be an assignment, whose value is a secret.
                let other = other.split_once('=').map_or(other, |(name, _)| name);
                return Err(format!(
                    "`{other}` is not something to do, write set, unset or list after the tenant"
                ));
            }
        };
        Ok(Command::Env(Options {
            name: self.name,
            what,
            output: output(self.json),
        }))
    }
}

fn assignments(words: &[String]) -> Result<Vec<(String, Value)>, String> {
    let mut set: Vec<(String, Value)> = Vec::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Value::Given(Secret::new(value.to_owned()))),
            None => (word.as_str(), Value::Stdin),
        };
        let name = variable(name)?;
        if set.iter().any(|(known, _)| *known == name) {
            return Err(format!("{name} is here twice"));
        }
        if value == Value::Stdin && set.iter().any(|(_, it)| *it == Value::Stdin) {
            return Err(format!("{name}: only one value can come from stdin"));
        }
        set.push((name, value));
    }
    Ok(set)
}

fn names(words: &[String]) -> Result<Vec<String>, String> {
    words.iter().map(|it| variable(it)).collect()
}

fn variable(name: &str) -> Result<String, String> {
    match config::is_variable_name(name) {
        true => Ok(name.to_owned()),
        // It may be a secret whose name was forgotten.
        false => Err(
            "a variable's name has letters, digits and _, and does not start with a digit"
                .to_owned(),
        ),
    }
}

pub(super) fn run(path: &Path, options: &Options) -> Result<bool, String> {
    match &options.what {
        What::List(values) => list(path, options, *values)?,
        What::Set(wanted) => {
            let wanted: Result<Vec<_>, String> = wanted.iter().map(value).collect();
            let wanted = wanted?;
            let change = |(name, value): &(String, Secret)| Change::SetEnv {
                tenant: options.name.clone(),
                name: name.clone(),
                value: value.clone(),
            };
            let names = wanted.iter().map(|(name, _)| name.as_str()).collect();
            change_all(
                path,
                options,
                ("set", names, wanted.iter().map(change).collect()),
            )?;
        }
        What::Unset(names) => {
            let change = |name: &String| Change::UnsetEnv {
                tenant: options.name.clone(),
                name: name.clone(),
            };
            let changes = names.iter().map(change).collect();
            let names = names.iter().map(String::as_str).collect();
            change_all(path, options, ("removed", names, changes))?;
        }
    }
    Ok(true)
}

/// The value as it is to be set; one from stdin without its last line end.
fn value((name, value): &(String, Value)) -> Result<(String, Secret), String> {
    let value = match value {
        Value::Given(value) => value.clone(),
        Value::Stdin => {
            if std::io::stdin().is_terminal() {
                prompt(&format!("The value of {name}, then Enter and Ctrl-D: "));
            }
            let text = from_stdin()?;
            if text.is_empty() {
                return Err(format!(
                    "nothing came from stdin for {name}; write {name}= for an empty value"
                ));
            }
            Secret::new(one_line(&text).to_owned())
        }
    };
    Ok((name.clone(), value))
}

#[derive(Serialize)]
struct Changed<'a> {
    name: &'a str,
    changed: Vec<&'a str>,
    config: &'a Path,
    backup: Option<PathBuf>,
    warnings: Vec<String>,
}

fn change_all(
    path: &Path,
    options: &Options,
    (what, names, changes): (&str, Vec<&str>, Vec<Change>),
) -> Result<(), String> {
    let edited = edit(path, Missing::Refuse, |before| {
        before.tenant(&options.name)?;
        Ok(changes)
    })?;
    let lines = Lines::new(options.output);
    lines.changed(
        &format!("{what} {} in", names.join(", ")),
        path,
        edited.backup.as_ref(),
    );
    lines.ok(TAKEN_OVER);
    edited
        .notes
        .iter()
        .for_each(|it| lines.mark(Mark::Warn, it));
    match options.output {
        Output::Text => Ok(()),
        Output::Json => report::json(&Changed {
            name: &options.name,
            changed: names,
            config: path,
            backup: edited.backup,
            warnings: edited.notes,
        }),
    }
}

#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    /// Null without `--show-values`.
    value: Option<&'a str>,
}

fn list(path: &Path, options: &Options, values: Values) -> Result<(), String> {
    let config = look::load(path)?;
    let tenant = config.tenant(&options.name)?;
    let variables: Vec<Variable<'_>> = tenant
        .env
        .iter()
        .map(|(name, value)| Variable {
            name,
            value: (values == Values::Show).then(|| value.expose()),
        })
        .collect();
    if options.output == Output::Json {
        return report::json(&variables);
    }
    for variable in variables {
        match variable.value {
            Some(value) => must_line(&format!("{}={}", variable.name, escaped(value)))?,
            None => must_line(variable.name)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Command, String> {
        let parsed = EnvArguments::from_args(&["env"], words);
        parsed.map_err(|it| it.output)?.command()
    }

    #[test]
    fn words_become_changes() {
        let secret = |text: &str| Value::Given(Secret::new(text.to_owned()));
        let Ok(Command::Env(options)) = words(&["a", "set", "A=1=2", "B=", "C"]) else {
            panic!("no command");
        };
        let expect = [("A", secret("1=2")), ("B", secret("")), ("C", Value::Stdin)];
        assert_eq!(
            options.what,
            What::Set(expect.map(|(name, value)| (name.to_owned(), value)).into())
        );
        // A tenant may be called like something to do.
        assert!(words(&["list", "list"]).is_ok());
        assert!(words(&["a", "list", "--show-values"]).is_ok());
    }

    #[test]
    fn wrong_words_are_told_without_values() {
        for wrong in [
            &["a"][..],
            &["a", "get"],
            &["a", "set"],
            &["a", "unset"],
            &["a", "list", "SECRET"],
            &["a", "set", "A=1", "--show-values"],
            &["a", "set", "A", "B"],
            &["a", "set", "A=SECRET", "A=SECRET"],
            &["a", "set", "sk-SECRET"],
            &["a", "set", "1A=SECRET"],
            &["a", "set", "=SECRET"],
            &["a", "unset", "A=SECRET"],
        ] {
            let error = words(wrong).unwrap_err();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
