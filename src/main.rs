//! ccgw: a gateway from OpenClaw instances to the Claude Code CLI.

fn main() {}
