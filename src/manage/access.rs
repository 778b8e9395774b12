//! The inside of one instance: its files and its `openclaw` command, on this machine or through the engine.
//!
//! Whatever an instance can write is hostile here: no link is followed, sizes are bounded, and a
//! container's files go through the engine, which never leaves the container.

mod command;
mod file;
mod tree;

pub(crate) use self::command::Ran;

use crate::{
    docker::Engine,
    openclaw::instance::{Instance, Place},
};

/// An instance, and the engine that holds it when it is a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) instance: &'a Instance,
    engine: Option<&'a Engine>,
}

impl<'a> Access<'a> {
    pub(crate) fn new(instance: &'a Instance, engine: Option<&'a Engine>) -> Self {
        Access { instance, engine }
    }

    /// The engine that holds it, for a container.
    pub(crate) fn engine(&self) -> Option<&'a Engine> {
        self.engine
    }

    fn container(&self) -> Result<Option<(&'a Engine, &'a str)>, String> {
        match (&self.instance.place, self.engine) {
            (Place::Local, _) => Ok(None),
            (Place::Docker(container), Some(engine)) => Ok(Some((engine, &container.id))),
            (Place::Docker(_), None) => Err("the Docker Engine is out of reach".to_owned()),
        }
    }
}
