//! `ccgw-manage list`: all tenants, a line for each.

use std::path::Path;

use argh::{ArgsInfo, FromArgs};

use super::{
    Command,
    look::{self, Look},
    output, report,
};
use crate::manage::{
    doctor::Output,
    say::must_line,
    table::{table, terminal_width},
};

/// List the tenants.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "list",
    help_triggers("-h", "--help"),
    example = "All names, one a line, for a script:
  $ ccgw-manage list --names"
)]
pub(crate) struct ListArguments {
    /// print the names only
    #[argh(switch)]
    names: bool,

    /// print a JSON array
    #[argh(switch)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    what: What,
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Names,
    All,
}

impl ListArguments {
    pub(crate) fn command(self) -> Result<Command, String> {
        let what = match self.names {
            true => What::Names,
            false => What::All,
        };
        Ok(Command::List(Options {
            what,
            output: output(self.json),
        }))
    }
}

pub(super) fn run(config: &Path, options: &Options) -> Result<bool, String> {
    let config = look::load(config)?;
    let all: Vec<Look> = config.tenants.iter().map(Look::at).collect();
    let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
    match (options.output, options.what) {
        (Output::Json, What::Names) => report::json(&names)?,
        (Output::Json, What::All) => report::json(&all)?,
        (Output::Text, What::Names) => {
            for name in names {
                must_line(name)?;
            }
        }
        (Output::Text, What::All) if all.is_empty() => {
            must_line("no tenants; `ccgw-manage add NAME` adds one")?;
        }
        (Output::Text, What::All) => {
            for line in table(&rows(&all), terminal_width()) {
                must_line(&line)?;
            }
        }
    }
    Ok(true)
}

fn rows(all: &[Look]) -> Vec<Vec<String>> {
    let head = [
        "NAME",
        "KEY",
        "PREVIOUS KEY",
        "VARIABLES",
        "CONTAINER",
        "WORKING DIR",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(row));
    rows
}

fn row(it: &Look) -> Vec<String> {
    let previous = match &it.previous_key {
        None => "-".to_owned(),
        Some(previous) if previous.expired => "over".to_owned(),
        Some(previous) => format!("until {}", previous.until),
    };
    let or = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
    vec![
        it.name.clone(),
        it.key(),
        previous,
        it.env.len().to_string(),
        or(&it.container, "-"),
        or(&it.working_dir, "private"),
    ]
}
