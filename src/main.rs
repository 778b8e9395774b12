//! ccgw: a gateway from OpenClaw instances to the Claude Code CLI.

mod claude;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(command) if command == "keeper" => claude::keeper::main(),
        Some(command) if command == "stand-in" => claude::stand_in::main(args),
        _ => ExitCode::SUCCESS,
    }
}
