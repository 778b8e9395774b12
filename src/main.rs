//! ccgw: a gateway from OpenClaw instances to the Claude Code CLI.

mod api;
mod args;
mod config;

fn main() {}
