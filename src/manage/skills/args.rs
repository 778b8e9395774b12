//! The words of the commands about skills.

use argh::{ArgsInfo, FromArgs};

use crate::manage::say::Volume;

/// Skills, between instances and skills/TENANT here.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "skills",
    help_triggers("-h", "--help"),
    example = "See what differs, then take what an instance has:
  ccgw-manage skills diff alice
  ccgw-manage skills pull alice"
)]
pub(crate) struct Skills {
    #[argh(subcommand)]
    pub(crate) action: Action,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(crate) enum Action {
    List(List),
    Diff(Diff),
    Pull(Pull),
    Push(Push),
    Bisync(Bisync),
    Clean(Clean),
}

/// List skills: where they are, what they need, and whether the model sees them.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help"))]
pub(crate) struct List {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// with those that OpenClaw ships
    #[argh(switch)]
    pub(crate) all: bool,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Compare by content: only here, only there, same, changed.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "diff", help_triggers("-h", "--help"))]
pub(crate) struct Diff {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// with those that OpenClaw ships
    #[argh(switch)]
    pub(crate) all: bool,

    /// print JSON
    #[argh(switch)]
    pub(crate) json: bool,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Take an instance's skills into skills/TENANT.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "pull", help_triggers("-h", "--help"))]
pub(crate) struct Pull {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// with those that OpenClaw ships
    #[argh(switch)]
    pub(crate) all: bool,

    /// replace those that differ, without asking; a backup is kept
    #[argh(switch)]
    pub(crate) force: bool,

    /// remove those that the instance does not have; a backup is kept
    #[argh(switch)]
    pub(crate) delete: bool,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Give skills/TENANT to the instance's workspace.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "push", help_triggers("-h", "--help"))]
pub(crate) struct Push {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// replace those that differ, without asking; a backup is kept
    #[argh(switch)]
    pub(crate) force: bool,

    /// remove those of its workspace that are not here; a backup is kept
    #[argh(switch)]
    pub(crate) delete: bool,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Both ways, new skills only: nothing is replaced or removed.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "bisync", help_triggers("-h", "--help"))]
pub(crate) struct Bisync {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// only from the instance to here
    #[argh(switch)]
    pub(crate) pull: bool,

    /// only from here to the instance
    #[argh(switch)]
    pub(crate) push: bool,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Remove what killed commands left, and name skills of tenants that are gone.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "clean", help_triggers("-h", "--help"))]
pub(crate) struct Clean {
    /// only this tenant
    #[argh(positional, arg_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// say only what is not right
    #[argh(switch)]
    pub(crate) quiet: bool,
}

impl Action {
    pub(super) fn volume(&self) -> Volume {
        Volume::of(match self {
            Action::List(it) => it.quiet,
            Action::Diff(it) => it.quiet,
            Action::Pull(it) => it.quiet,
            Action::Push(it) => it.quiet,
            Action::Bisync(it) => it.quiet,
            Action::Clean(it) => it.quiet,
        })
    }
}
