//! The Claude Code CLI as a child process: what starts it, what it says, what stands in for it.

pub(crate) mod keeper;
pub(crate) mod stand_in;
