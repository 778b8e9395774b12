//! The `loop` thread: every connection that is idle or still sending, their deadlines, and the
//! hang-up notices for those being answered. It blocks in `epoll_wait` and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::accept::{Accepted, Acceptor, Full, MAX_TURNED_AWAY};
use super::conn::{Conn, Service};
use super::mailbox::{Inbox, Order};
use super::slab::{Key, Slab};
use super::socket::{Socket, timespec};

const LISTENER: u64 = u64::MAX;
const MAILBOX: u64 = u64::MAX - 1;
/// The one buffer that everything is read into; connections keep only what they must.
const BUFFER_BYTES: usize = 64 * 1024;
/// Events taken at a time; more wait in the kernel.
const MAX_EVENTS: usize = 256;
/// Connections accepted in one round, so that a flood of them does not starve the others.
const MAX_ACCEPTS: usize = 64;
/// Deadlines are looked at no more often than this, which bounds the cost of walking through all
/// connections; a deadline is met that much late at worst.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How often to look whether the last requests have arrived, once no more connections are taken.
const ARRIVAL_LOOK: Duration = Duration::from_millis(5);
/// How long accepting rests when there is no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct EventLoop {
    epoll: OwnedFd,
    /// `None` when no more connections are taken.
    acceptor: Option<Acceptor>,
    accept_again: Option<Instant>,
    conns: Slab<Conn>,
    service: Service,
    inbox: Inbox,
    buffer: Vec<u8>,
    /// No deadline comes before this.
    next_deadline: Option<Instant>,
    last_sweep: Instant,
    /// Goes when no request is on its way, or with a worker that has not passed it on.
    arriving: Option<Sender<()>>,
    /// When to end, whatever is left.
    end: Option<Instant>,
}

/// All connections that there can be at a time.
pub(super) fn max_places(max_connections: usize) -> usize {
    max_connections.saturating_add(MAX_TURNED_AWAY)
}

impl EventLoop {
    pub(super) fn new(acceptor: Acceptor, service: Service, inbox: Inbox) -> io::Result<EventLoop> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &acceptor,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        epoll::add(
            &epoll,
            &*service.mailbox,
            EventData::new_u64(MAILBOX),
            EventFlags::IN,
        )?;
        Ok(EventLoop {
            epoll,
            acceptor: Some(acceptor),
            accept_again: None,
            conns: Slab::new(),
            last_sweep: service.now,
            service,
            inbox,
            buffer: vec![0; BUFFER_BYTES],
            next_deadline: None,
            arriving: None,
            end: None,
        })
    }

    /// Runs until it is told to close, or epoll itself fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let result = loop {
            if let Err(error) = self.wait(&mut events) {
                break Err(error);
            }
            self.service.now = Instant::now();
            for event in &events {
                self.on_event(*event);
            }
            self.take_returns();
            self.take_orders();
            self.sweep();
            self.resume_accepting();
            self.tell_of_arrival();
            if self.is_over() {
                break Ok(());
            }
        };
        self.end_all();
        result
    }

    fn wait(&self, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let sweep = self
            .next_deadline
            .map(|next| next.max(self.last_sweep + SWEEP_INTERVAL));
        // Workers tell nobody that they have passed a request on.
        let arrival = self
            .arriving
            .as_ref()
            .map(|_| Instant::now() + ARRIVAL_LOOK);
        let wake = [sweep, self.accept_again, self.end, arrival]
            .into_iter()
            .flatten()
            .min();
        let timeout = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(timespec);
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event.data.u64() {
            LISTENER => self.accept(),
            MAILBOX => self.service.mailbox.clear_wake(),
            key => {
                let key = Key::from_u64(key);
                let Some(conn) = self.conns.get_mut(key) else {
                    return;
                };
                conn.on_ready(event.flags, &mut self.buffer, &mut self.service);
                self.settle(key);
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..MAX_ACCEPTS {
            let Some(acceptor) = &self.acceptor else {
                return;
            };
            match acceptor.accept() {
                Accepted::Connection(socket, peer) => self.welcome(socket, peer),
                Accepted::Lost => {}
                Accepted::Empty => return,
                Accepted::Exhausted => return self.pause_accepting(),
            }
        }
    }

    fn welcome(&mut self, socket: Socket, peer: SocketAddr) {
        let service = &mut self.service;
        let seat = match (service.is_proxy)(peer.ip()) {
            true => service.seats.take_for_proxy(),
            false => service.seats.take(peer.ip()),
        };
        match seat {
            Ok(seat) => {
                let key = self
                    .conns
                    .insert(|key| Conn::new(key, (socket, peer), seat, service));
                self.settle(key);
            }
            Err(full) => self.turn_away(socket, peer, full),
        }
    }

    /// Says why there is no place. Beyond a number of such connections, not even that.
    fn turn_away(&mut self, socket: Socket, peer: SocketAddr, full: Full) {
        let Some(seat) = self.service.seats.turn_away() else {
            return;
        };
        let service = &mut self.service;
        let key = self
            .conns
            .insert(|key| Conn::new(key, (socket, peer), seat, service));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.refuse(&full.refusal(), None, service);
        }
        self.settle(key);
    }

    fn pause_accepting(&mut self) {
        let Some(acceptor) = &self.acceptor else {
            return;
        };
        // Fails only if it is not watched, which is what is wanted.
        let _ = epoll::delete(&self.epoll, acceptor);
        self.accept_again = Some(self.service.now + ACCEPT_PAUSE);
    }

    fn resume_accepting(&mut self) {
        let (Some(acceptor), Some(_)) = (&self.acceptor, self.accept_again) else {
            return;
        };
        if self
            .accept_again
            .is_some_and(|again| again > self.service.now)
        {
            return;
        }
        let data = EventData::new_u64(LISTENER);
        self.accept_again = match epoll::add(&self.epoll, acceptor, data, EventFlags::IN) {
            Ok(()) => None,
            // No memory for it now; so the pause goes on.
            Err(_) => Some(self.service.now + ACCEPT_PAUSE),
        };
    }

    /// Only as many as are there now: what they set off comes in the next round.
    fn take_returns(&mut self) {
        for _ in 0..self.inbox.returns.len() {
            let Ok(returned) = self.inbox.returns.try_recv() else {
                return;
            };
            if let Some(conn) = self.conns.get_mut(returned.key) {
                conn.on_return(returned.end, &mut self.service);
                self.settle(returned.key);
            }
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.inbox.orders.try_recv() {
            match order {
                Order::Limits(limits) => {
                    self.service.limits.tune(limits);
                    self.service.seats.tune(limits);
                    continue;
                }
                Order::Ping(sender) => {
                    drop(sender);
                    continue;
                }
                Order::Close(end) => self.end = Some(end),
                Order::StopAccepting(sender) => self.arriving = Some(sender),
            }
            self.drain();
        }
    }

    /// Takes no more connections, and closes those on which nothing is under way.
    fn drain(&mut self) {
        self.acceptor = None;
        self.accept_again = None;
        self.service.mailbox.start_draining();
        for key in self.keys(|_| true) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.on_drain(self.service.now);
                self.settle(key);
            }
        }
    }

    fn tell_of_arrival(&mut self) {
        let in_hand = Arc::strong_count(&self.service.in_hand) > 1;
        if !in_hand && !self.conns.iter().any(|(_, conn)| conn.is_sending()) {
            self.arriving = None;
        }
    }

    fn sweep(&mut self) {
        let now = self.service.now;
        let due = self.next_deadline.is_some_and(|next| next <= now);
        if !due || now < self.last_sweep + SWEEP_INTERVAL {
            return;
        }
        self.last_sweep = now;
        for key in self.keys(|conn| conn.deadline.is_some_and(|deadline| deadline <= now)) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.on_deadline(&mut self.service);
                self.settle(key);
            }
        }
        self.next_deadline = self
            .conns
            .iter()
            .filter_map(|(_, conn)| conn.deadline)
            .min();
    }

    /// Brings epoll, the deadlines and the limits in line with what a connection has become.
    fn settle(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let wanted = conn.interest();
        if wanted != conn.registered {
            let data = EventData::new_u64(key.to_u64());
            let result = match (conn.registered, wanted) {
                (None, Some(flags)) => epoll::add(&self.epoll, &*conn.socket, data, flags),
                (Some(_), Some(flags)) => epoll::modify(&self.epoll, &*conn.socket, data, flags),
                (_, None) => epoll::delete(&self.epoll, &*conn.socket),
            };
            conn.registered = wanted;
            if result.is_err() && wanted.is_some() {
                // No memory to watch it: nothing would ever happen on it again.
                conn.abandon();
                conn.registered = None;
            }
        }
        if conn.is_closed() {
            self.remove(key);
        } else if let Some(deadline) = conn.deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |d| d.min(deadline)));
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(conn) = self.conns.remove(key) {
            self.service.seats.leave(conn.seat);
        }
    }

    fn is_over(&self) -> bool {
        self.end
            .is_some_and(|end| self.conns.len() == 0 || end <= self.service.now)
    }

    /// Tells the runs whose clients are cut off now.
    fn end_all(&mut self) {
        for key in self.keys(|_| true) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.abandon();
                self.remove(key);
            }
        }
    }

    fn keys(&self, which: impl Fn(&Conn) -> bool) -> Vec<Key> {
        self.conns
            .iter()
            .filter(|(_, conn)| which(conn))
            .map(|(key, _)| key)
            .collect()
    }
}
