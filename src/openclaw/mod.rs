//! OpenClaw instances: where they are, how they are configured, and how they are pointed at the gateway.

pub(crate) mod discover;
pub(crate) mod env_file;
pub(crate) mod environment;
pub(crate) mod instance;
pub(crate) mod mounts;
pub(crate) mod settings;
