//! Completions for shells: one table of what the command line understands, held to the real one by a test,
//! and a short script for each shell.

use argh::FromArgs;

/// Print completions for a shell: bash, zsh or fish.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    example = "For bash, in ~/.bashrc:
  eval \"$(ccgw-manage completions bash)\"",
    example = "For zsh, in ~/.zshrc, below compinit:
  eval \"$(ccgw-manage completions zsh)\"",
    example = "For fish:
  ccgw-manage completions fish > ~/.config/fish/completions/ccgw-manage.fish"
)]
pub(crate) struct Completions {
    /// bash, zsh or fish
    #[argh(positional, arg_name = "SHELL")]
    pub(crate) shell: String,
}

/// What follows a command's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Tenant,
    Shell,
}

struct Entry {
    name: &'static str,
    takes: Takes,
    options: &'static [&'static str],
    /// For shells that show one.
    about: &'static str,
}

const fn entry(
    name: &'static str,
    takes: Takes,
    options: &'static [&'static str],
    about: &'static str,
) -> Entry {
    Entry {
        name,
        takes,
        options,
        about,
    }
}

const TABLE: &[Entry] = &[
    entry(
        "doctor",
        Takes::Tenant,
        &["--quick", "--json"],
        "check everything",
    ),
    entry(
        "apply",
        Takes::Tenant,
        &["--revert", "--no-env-file", "--key"],
        "point instances at the gateway",
    ),
    entry(
        "list",
        Takes::Nothing,
        &["--json", "--names"],
        "list the tenants",
    ),
    entry("show", Takes::Tenant, &["--json"], "show one tenant"),
    entry(
        "add",
        Takes::Nothing,
        &["--key", "--working-dir", "--docker", "--apply", "--json"],
        "add a tenant",
    ),
    entry("remove", Takes::Tenant, &["--yes"], "remove a tenant"),
    entry(
        "rotate",
        Takes::Tenant,
        &["--grace", "--key", "--apply", "--json"],
        "give a tenant a new key",
    ),
    entry("env", Takes::Tenant, &[], "variables of a tenant's runs"),
    entry(
        "gen-key",
        Takes::Nothing,
        &["--json"],
        "print a new random key",
    ),
    entry("skills", Takes::Nothing, &[], "skills of instances"),
    entry("status", Takes::Nothing, &["--json"], "how the gateway is"),
    entry("ps", Takes::Nothing, &["--json"], "list requests"),
    entry("cancel", Takes::Nothing, &[], "end a request"),
    entry("reload", Takes::Nothing, &[], "read config.yaml again"),
    entry("drain", Takes::Nothing, &[], "finish and end"),
    entry("top", Takes::Nothing, &[], "watch the gateway"),
    entry("completions", Takes::Shell, &[], "print completions"),
];

const SHELLS: &str = "bash zsh fish";

/// The script.
///
/// # Errors
/// For a shell that has none.
pub(crate) fn script(shell: &str) -> Result<String, String> {
    match shell {
        "bash" => Ok(bash()),
        "zsh" => Ok(format!(
            "autoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        )),
        "fish" => Ok(fish()),
        other => Err(format!(
            "there are no completions for `{}`; there are: {SHELLS}",
            super::say::plain(other)
        )),
    }
}

fn names(takes: Takes) -> Vec<&'static str> {
    let all = TABLE.iter().filter(|it| it.takes == takes);
    all.map(|it| it.name).collect()
}

/// zsh reads it too, by its bashcompinit.
fn bash() -> String {
    let commands: Vec<&str> = TABLE.iter().map(|it| it.name).collect();
    let mut options = String::new();
    for it in TABLE.iter().filter(|it| !it.options.is_empty()) {
        options += &format!("    {}) words='{}' ;;\n", it.name, it.options.join(" "));
    }
    format!(
        "_ccgw_manage() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=''
  if [ \"$COMP_CWORD\" -eq 1 ]; then
    words='{commands} --config --version --help'
  else
    case $command in
{options}    esac
    if [ \"$COMP_CWORD\" -eq 2 ]; then
      case $command in
        {tenants}) words=\"$words $(\"${{COMP_WORDS[0]}}\" list --names 2>/dev/null)\" ;;
        completions) words='{SHELLS}' ;;
        skills) words='list diff pull push bisync clean' ;;
      esac
    elif [ \"$command\" = env ] && [ \"$COMP_CWORD\" -eq 3 ]; then
      words='list set unset'
    elif [ \"$command\" = skills ] && [ \"$COMP_CWORD\" -eq 3 ]; then
      words=\"$(\"${{COMP_WORDS[0]}}\" list --names 2>/dev/null)\"
    fi
  fi
  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))
}}
complete -F _ccgw_manage ccgw-manage
",
        commands = commands.join(" "),
        tenants = names(Takes::Tenant).join("|"),
    )
}

fn fish() -> String {
    let mut lines = vec!["complete -c ccgw-manage -f".to_owned()];
    for it in TABLE {
        lines.push(format!(
            "complete -c ccgw-manage -n __fish_use_subcommand -a {} -d '{}'",
            it.name,
            it.about.replace('\'', "\\'")
        ));
        for option in it.options {
            lines.push(format!(
                "complete -c ccgw-manage -n '__fish_seen_subcommand_from {}' -l {}",
                it.name,
                option.trim_start_matches('-')
            ));
        }
    }
    lines.push(format!(
        "complete -c ccgw-manage -n '__fish_seen_subcommand_from {}' -a '(ccgw-manage list --names 2>/dev/null)'",
        names(Takes::Tenant).join(" ")
    ));
    lines.push(
        "complete -c ccgw-manage -n '__fish_seen_subcommand_from env' -a 'list set unset'"
            .to_owned(),
    );
    lines.push("complete -c ccgw-manage -n '__fish_seen_subcommand_from skills' -a 'list diff pull push bisync clean'".to_owned());
    lines.push(format!(
        "complete -c ccgw-manage -n '__fish_seen_subcommand_from completions' -a '{SHELLS}'"
    ));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::args;

    fn help(words: &[&str]) -> String {
        let argv: Vec<_> = words.iter().map(Into::into).collect();
        match args::parse(&argv) {
            Ok(args::Command::Help(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// The first words of the lines below a heading.
    fn listed<'h>(help: &'h str, heading: &str) -> Vec<&'h str> {
        let below = help.split(heading).nth(1).unwrap_or_default();
        let lines = below.lines().skip(1).take_while(|it| !it.is_empty());
        lines
            .filter(|it| it.starts_with("  ") && !it.starts_with("   "))
            .filter_map(|it| it.split_whitespace().next())
            .collect()
    }

    #[test]
    fn table_is_what_the_command_line_understands() {
        let mut commands = listed(&help(&["--help"]), "Commands:")
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let mut table: Vec<String> = TABLE.iter().map(|it| it.name.to_owned()).collect();
        commands.sort();
        table.sort();
        assert_eq!(commands, table);
        for it in TABLE {
            let help = help(&[it.name, "--help"]);
            let mut options: Vec<&str> = help
                .split(|it: char| it.is_whitespace() || it == ',' || it == '[' || it == ']')
                .filter(|it| it.starts_with("--") && it.len() > 2)
                .filter(|it| !matches!(*it, "--help"))
                .collect();
            options.sort_unstable();
            options.dedup();
            let mut own: Vec<&str> = it.options.to_vec();
            own.sort_unstable();
            assert_eq!(options, own, "{}: {help}", it.name);
        }
    }
}
