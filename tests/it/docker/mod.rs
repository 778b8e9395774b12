//! A real Docker Engine for tests: an engine of the test process's own, images made of what is on
//! the machine, and containers that are removed on drop. Needs root; see `Engine::shared`.

mod api;
mod container;
mod engine;
mod image;
mod parts;
mod tests;

pub(crate) use container::{Container, Network, Ran, Spec};
pub(crate) use engine::Engine;
pub(crate) use image::Image;
