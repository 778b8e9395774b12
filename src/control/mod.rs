//! The operator's socket: a Unix socket that only this user and root can use, with a route table of its own.
//! No route of it exists on the public port, and nothing here is reachable over a network.
//!
//! It is no tiny_http: that one (0.12) gives a connection no time limit, counts none, hands a task to a thread
//! of its pool that is taken already (50 silent connections held up a request for minutes, measured), cannot tell
//! who the peer is, and a bad `Content-Length` can abort the process.

mod desk;
mod message;
mod place;
mod server;

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, bounded};
use rustix::event::{EventfdFlags, eventfd};

use self::{desk::Desk, place::Place, server::Server};
pub(crate) use self::{desk::Order, place::locate, server::FDS_MAX};
use crate::gateway::Gateway;

/// The socket while the daemon lives; dropping it removes it.
pub(crate) struct Control {
    _place: Place,
    stop: Arc<OwnedFd>,
    /// `None` once it is being waited for.
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the socket, in the place of one that a dead daemon left. `config` is the file that the gateway reads.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be made. The gateway serves without it too.
    pub(crate) fn start(
        path: &Path,
        (gateway, config): (&Arc<Gateway>, &Path),
    ) -> io::Result<(Control, Receiver<Order>)> {
        let (place, listener) = Place::take(path)?;
        // One order at a time: the main thread has one hand.
        let (orders_in, orders) = bounded(1);
        let desk = Desk {
            gateway: Arc::clone(gateway),
            orders: orders_in,
            // Who asks is elsewhere.
            config: std::path::absolute(config)?,
        };
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let server = Server::new(listener, Arc::clone(&stop), desk);
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || server.run())?;
        let control = Control {
            _place: place,
            stop,
            thread: Some(thread),
        };
        Ok((control, orders))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // An eventfd that nobody has written to takes one number.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic there was told by its own thread.
            let _ = thread.join();
        }
    }
}
