//! ccgw: a gateway from OpenClaw instances to the Claude Code CLI.

mod http;

fn main() {}
