//! What the operator does with instances: setting up, pointing them at the gateway, looking after them.

pub(crate) mod apply_command;
pub(crate) mod args;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod operator;
pub(crate) mod setup;

mod access;
mod apply;
mod ask;
mod backups;
mod beacon;
mod cli_check;
pub(crate) mod companion;
mod connect;
pub(crate) mod found;
mod given_key;
mod host_file;
mod identities;
mod local_command;
pub(crate) mod progress;
mod prove;
mod question;
mod reach;
pub(crate) mod say;
pub(crate) mod skills;
mod stamp;
mod store;
mod table;
mod tenant_key;
pub(crate) mod tenants;
mod top;
