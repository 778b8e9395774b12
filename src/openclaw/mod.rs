//! OpenClaw instances: what their files say, and how they are pointed at the gateway.

#![allow(dead_code, unused_imports, reason = "setup is to come")]

pub(crate) mod env_file;
pub(crate) mod settings;
