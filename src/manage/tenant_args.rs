//! The words of the commands about tenants.

use std::path::PathBuf;

use argh::FromArgs;

/// List the tenants.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help"))]
pub(crate) struct List {
    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,

    /// print names only, one a line
    #[argh(switch)]
    pub(crate) names: bool,
}

/// Show one tenant, without its secrets.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
pub(crate) struct Show {
    /// the tenant
    #[argh(positional, arg_name = "NAME")]
    pub(crate) name: String,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Add a tenant and show its new key, once.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "add", help_triggers("-h", "--help"))]
pub(crate) struct Add {
    /// its name: a-z, 0-9, _ and -
    #[argh(positional, arg_name = "NAME")]
    pub(crate) name: String,

    /// take this key; `-` reads it from standard input, where no process list shows it
    #[argh(option, arg_name = "KEY")]
    pub(crate) key: Option<String>,

    /// where its runs work (default: a directory of its own)
    #[argh(option, arg_name = "DIR")]
    pub(crate) working_dir: Option<PathBuf>,

    /// make it the tenant of this running OpenClaw container
    #[argh(option, arg_name = "CONTAINER")]
    pub(crate) docker: Option<String>,

    /// point its instance at the gateway that runs
    #[argh(switch)]
    pub(crate) apply: bool,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Remove a tenant from config.yaml. Its files stay.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "remove", help_triggers("-h", "--help"))]
pub(crate) struct Remove {
    /// the tenant
    #[argh(positional, arg_name = "NAME")]
    pub(crate) name: String,

    /// do not ask
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
}

/// Give a tenant a new key; the one before is taken for a while.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "rotate", help_triggers("-h", "--help"))]
pub(crate) struct Rotate {
    /// the tenant
    #[argh(positional, arg_name = "NAME")]
    pub(crate) name: String,

    /// how long the key before is still taken: 0, 90s, 15m, 24h, 7d (default: 24h)
    #[argh(option, arg_name = "TIME", default = "\"24h\".to_owned()")]
    pub(crate) grace: String,

    /// take this key; `-` reads it from standard input, where no process list shows it
    #[argh(option, arg_name = "KEY")]
    pub(crate) key: Option<String>,

    /// give it to the instance, through the gateway that runs
    #[argh(switch)]
    pub(crate) apply: bool,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// The variables of a tenant's runs.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "env", help_triggers("-h", "--help"))]
pub(crate) struct Env {
    /// the tenant
    #[argh(positional, arg_name = "NAME")]
    pub(crate) name: String,

    #[argh(subcommand)]
    pub(crate) action: EnvAction,
}

#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(crate) enum EnvAction {
    List(EnvList),
    Set(EnvSet),
    Unset(EnvUnset),
}

/// List their names.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help"))]
pub(crate) struct EnvList {
    /// with their values, which may be secret
    #[argh(switch)]
    pub(crate) show_values: bool,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Set variables.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "set", help_triggers("-h", "--help"))]
pub(crate) struct EnvSet {
    /// NAME=VALUE; of a NAME alone the value is a line of standard input, where no process list shows it
    #[argh(positional, arg_name = "VARIABLE")]
    pub(crate) variables: Vec<String>,
}

/// Remove variables.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "unset", help_triggers("-h", "--help"))]
pub(crate) struct EnvUnset {
    /// the variables
    #[argh(positional, arg_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Print a new random key.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "gen-key", help_triggers("-h", "--help"))]
pub(crate) struct GenKey {
    /// print JSON, with the key's hash
    #[argh(switch)]
    pub(crate) json: bool,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    List(List),
    Show(Show),
    Add(Add),
    Remove(Remove),
    Rotate(Rotate),
    Env(Env),
    GenKey(GenKey),
}
