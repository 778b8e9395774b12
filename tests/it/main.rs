//! Black-box tests: the real binary over real sockets and pipes.
//!
//! The kit comes first (what a test is built from), then the tests by subject. Every test does all
//! of its own set-up: its own temporary directory, its own daemon, its own scripted API.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole crate is tests; clippy only knows functions marked #[test] as such"
)]

mod api;
mod attempts;
mod cli;
mod client;
mod docker;
mod exchanged;
mod fake_cli;
mod gateway;
mod process;
mod random_cli;
mod schema;
mod sdk;
mod sessions;
mod setup;
mod sse;
mod temp;

mod api_with_real_cli;
mod architecture;
mod config_check;
mod control;
mod control_groups;
mod full_disk;
mod haproxy;
mod http_connection;
mod http_input;
mod instances;
mod keeper;
mod kit;
mod manifests;
mod manuals;
mod network;
mod openclaw;
mod operation;
mod own_user;
mod packaging;
mod proxied;
mod random;
mod readme;
mod real_cli;
mod real_cli_count;
mod real_cli_isolation;
mod real_cli_parameters;
mod real_cli_prompt;
mod relay;
mod reload;
mod repeats;
mod responses;
mod routes;
mod sandbox;
mod stand_in;
mod systemd;
mod tenants;
mod upstream;
mod with_fake_cli;
