//! New connections: taking them from the kernel, and how many there may be.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};

use super::head::Refusal;
use super::socket::Socket;
use super::{Limits, Tunable};

/// A vanished client is noticed after 60 s of silence and four probes, while nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// Connections over a limit that get to read why, at the same time; others are just closed.
pub(super) const MAX_TURNED_AWAY: usize = 64;

/// Connections that wait in the kernel to be taken; it keeps no more than net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A listening socket whose connections are non-blocking, and closed on exec.
pub(super) struct Acceptor(TcpListener);

pub(super) enum Accepted {
    Connection(Socket, SocketAddr),
    /// This one was gone before it was taken; there may be more.
    Lost,
    /// None is waiting.
    Empty,
    /// The process or the system has no file descriptor or memory left. The connection stays in
    /// the kernel's queue, so polling on would spin.
    Exhausted,
}

impl Acceptor {
    /// Takes a socket that listens already.
    pub(super) fn new(socket: TcpListener, limits: &Limits) -> io::Result<Acceptor> {
        socket.set_nonblocking(true)?;
        // std asks for fewer, and while a restart takes its time nobody takes any.
        rustix::net::listen(&socket, BACKLOG)?;
        // On Linux an accepted socket inherits all of these, which saves four calls for each.
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        // What was sent and is not acknowledged in this time is as good as a write that stalls.
        let unacknowledged = limits
            .write_timeout
            .as_millis()
            .try_into()
            .unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&socket, unacknowledged)?;
        Ok(Acceptor(socket))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) fn accept(&self) -> Accepted {
        match acceptfrom_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((fd, peer)) => match peer.map(SocketAddr::try_from) {
                Some(Ok(peer)) => Accepted::Connection(Socket::new(fd), peer),
                _ => Accepted::Lost,
            },
            Err(Errno::AGAIN) => Accepted::Empty,
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM) => Accepted::Lost,
            Err(_) => Accepted::Exhausted,
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How many connections there are, in all and from each address.
pub(super) struct Seats {
    max: usize,
    max_per_address: usize,
    taken: usize,
    turned_away: usize,
    turned_away_max: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// What a connection holds of the limits; it is given back with [`Seats::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    Guest(IpAddr),
    /// A proxy's, for which no address is counted before it has said whose it is.
    Proxy,
    TurnedAway,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Address,
}

impl Full {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Full::Total => Refusal::new(503, "too many connections; try again in a moment"),
            Full::Address => Refusal::new(429, "too many connections from your address"),
        }
    }
}

impl Seats {
    /// At most `turned_away_max` connections beyond the limits get to read why.
    pub(super) fn new(limits: &Limits, turned_away_max: usize) -> Seats {
        Seats {
            max: limits.max_connections,
            max_per_address: limits.max_connections_per_ip,
            taken: 0,
            turned_away: 0,
            turned_away_max,
            per_address: HashMap::new(),
        }
    }

    pub(super) fn tune(&mut self, limits: Tunable) {
        self.max_per_address = limits.max_connections_per_ip;
    }

    pub(super) fn take(&mut self, peer: IpAddr) -> Result<Seat, Full> {
        let address = counted_as(peer);
        if self.taken >= self.max {
            return Err(Full::Total);
        }
        self.count(address)?;
        self.taken += 1;
        Ok(Seat::Guest(address))
    }

    pub(super) fn take_for_proxy(&mut self) -> Result<Seat, Full> {
        if self.taken >= self.max {
            return Err(Full::Total);
        }
        self.taken += 1;
        Ok(Seat::Proxy)
    }

    /// Counts a proxy's connection under the address that it is for.
    pub(super) fn introduce(&mut self, seat: &mut Seat, client: IpAddr) -> Result<(), Full> {
        let address = counted_as(client);
        self.count(address)?;
        *seat = Seat::Guest(address);
        Ok(())
    }

    fn count(&mut self, address: IpAddr) -> Result<(), Full> {
        let count = self.per_address.get(&address).copied().unwrap_or(0);
        if count >= self.max_per_address {
            return Err(Full::Address);
        }
        self.per_address.insert(address, count + 1);
        Ok(())
    }

    /// A place for a connection that only gets to know that there is none.
    pub(super) fn turn_away(&mut self) -> Option<Seat> {
        let free = self.turned_away < self.turned_away_max;
        self.turned_away += usize::from(free);
        free.then_some(Seat::TurnedAway)
    }

    pub(super) fn leave(&mut self, seat: Seat) {
        let address = match seat {
            Seat::TurnedAway => {
                self.turned_away -= 1;
                return;
            }
            Seat::Proxy => None,
            Seat::Guest(address) => Some(address),
        };
        self.taken -= 1;
        let Some(address) = address else { return };
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

/// The address that a peer is counted under: one IPv6 customer owns at least a /64, and could
/// otherwise come from as many addresses as it likes.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(max: usize, max_per_address: usize) -> Seats {
        let limits = Limits {
            max_connections: max,
            max_connections_per_ip: max_per_address,
            ..Limits::default()
        };
        Seats::new(&limits, 3)
    }

    #[test]
    fn seats_given_back_can_be_taken_again() {
        let mut seats = seats(2, 1);
        let (a, b, c) = (
            [1, 1, 1, 1].into(),
            [2, 2, 2, 2].into(),
            [3, 3, 3, 3].into(),
        );
        let first = seats.take(a).unwrap();
        assert_eq!(seats.take(a), Err(Full::Address));
        let second = seats.take(b).unwrap();
        assert_eq!(seats.take(c), Err(Full::Total));
        seats.leave(first);
        assert_eq!(seats.take(c), Ok(Seat::Guest(c)));
        seats.leave(second);
        assert_eq!(seats.per_address.len(), 1);
    }

    #[test]
    fn seats_of_proxies_count_for_whom_they_are() {
        let mut seats = seats(3, 1);
        let client = [1, 1, 1, 1].into();
        let (mut first, mut second) = (
            seats.take_for_proxy().unwrap(),
            seats.take_for_proxy().unwrap(),
        );
        assert_eq!(seats.introduce(&mut first, client), Ok(()));
        assert_eq!(seats.introduce(&mut second, client), Err(Full::Address));
        assert_eq!((first, second), (Seat::Guest(client), Seat::Proxy));
        assert_eq!(seats.take(client), Err(Full::Address));
        seats.leave(first);
        assert_eq!(seats.introduce(&mut second, client), Ok(()));
        seats.leave(second);
        assert_eq!((seats.taken, seats.per_address.len()), (0, 0));
        seats.max = 0;
        assert_eq!(seats.take_for_proxy(), Err(Full::Total));
    }

    #[test]
    fn turned_away_connections_are_bounded() {
        let mut seats = seats(0, 0);
        for _ in 0..3 {
            assert_eq!(seats.turn_away(), Some(Seat::TurnedAway));
        }
        assert_eq!(seats.turn_away(), None);
        seats.leave(Seat::TurnedAway);
        assert_eq!(seats.turn_away(), Some(Seat::TurnedAway));
    }

    #[track_caller]
    fn check_counted(peer: &str, expect: &str) {
        assert_eq!(
            counted_as(peer.parse().unwrap()),
            expect.parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn ipv6_is_counted_by_its_network_and_mapped_ipv4_as_ipv4() {
        check_counted("10.1.2.3", "10.1.2.3");
        check_counted("::ffff:10.1.2.3", "10.1.2.3");
        check_counted("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }
}
