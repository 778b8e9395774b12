//! Who reads an answer: clients that leave, and those that come in their place.

use std::{io, sync::Arc, time::Instant};

use super::{Answer, Channel};
use crate::{
    gateway::flight::{Flight, Pilot},
    http::{HangUp, Limit},
};

impl Answer {
    /// Lets repeats of the request attach to it.
    pub(in crate::gateway) fn fly(&mut self, pilot: Pilot) {
        self.pilot = Some(pilot);
    }

    /// Whether a client that leaves may come back for it.
    pub(in crate::gateway) fn may_be_repeated(&self) -> bool {
        self.pilot.is_some()
    }

    /// Whether its client asks for something else by now, and will not come back.
    pub(in crate::gateway) fn is_superseded(&self) -> bool {
        self.pilot.as_ref().is_some_and(Pilot::is_superseded)
    }

    /// Whether nobody reads it now.
    pub(in crate::gateway) fn is_unread(&self) -> bool {
        self.hangup().is_none_or(HangUp::is_gone)
    }

    /// Goes on without a client.
    pub(in crate::gateway) fn detach(&mut self) {
        self.channel = Channel::Closed;
        if let Some(pilot) = &self.pilot {
            pilot.is_left();
        }
    }

    /// Gives up an answer that nobody reads; false when somebody has just come for it.
    pub(in crate::gateway) fn give_up(&self) -> bool {
        self.pilot.as_ref().is_none_or(Pilot::give_up)
    }

    /// What a repeat of the request may attach to.
    pub(in crate::gateway) fn flight(&self) -> Option<Arc<Flight>> {
        self.pilot.as_ref().map(Pilot::flight)
    }

    /// Takes the client of a repeat in the place of its own, and gives it all that it missed. False when there
    /// is none.
    ///
    /// # Errors
    /// When the new client is gone too.
    pub(in crate::gateway) fn adopt(&mut self, limit: Limit<'_>) -> io::Result<bool> {
        let Some((newcomers, said)) = self.pilot.as_ref().and_then(Pilot::newcomers) else {
            return Ok(false);
        };
        for newcomer in newcomers {
            self.refuse_place();
            self.channel = newcomer;
        }
        self.last_sent = Instant::now();
        if !said.is_empty() {
            self.open();
            if let Channel::Open(stream) = &mut self.channel {
                stream.write(&said, limit)?;
            }
        }
        Ok(true)
    }

    /// Hands its client to the run that answers the request already.
    pub(in crate::gateway) fn take_channel(&mut self) -> Channel {
        std::mem::replace(&mut self.channel, Channel::Closed)
    }

    /// Its client again.
    pub(in crate::gateway) fn give_channel(&mut self, channel: Channel) {
        self.channel = channel;
    }
}
