//! Black-box tests: the real binary over real sockets and pipes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole crate is tests; clippy only knows functions marked #[test] as such"
)]

mod keeper;
mod stand_in;
