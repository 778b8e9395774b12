//! The Claude Code CLI as a child process: what starts it, what goes in, what comes out, what it
//! means when it fails, and what stands in for it.

pub(crate) mod command;
pub(crate) mod count;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod input;
pub(crate) mod keeper;
pub(crate) mod pool;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod sandbox;
pub(crate) mod session_file;
pub(crate) mod stand_in;
pub(crate) mod transcript;
mod trial;
pub(crate) mod worker;
