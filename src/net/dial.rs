//! Connecting to an address, without TLS: that is the [`Wire`](super::Wire)'s. The socket never blocks, so that a signal and the limit are heard while the network is silent;
//! only looking a name up blocks, for as long as the system's resolver takes.

use super::Address;
use super::address::HostPort;
use super::wait::{Cut, Until, Waiter};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getsockopt, setsockopt,
    socket, sockopt,
};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to leave a Unix socket alone whose queue is full: nothing tells when there is room.
const FULL: Duration = Duration::from_millis(50);

/// Connects to `address` within `limit`. Each of a name's addresses gets its share of the time that is left, so that one
/// which never answers leaves some to the next.
pub fn dial(address: &Address, limit: Duration, waiter: &mut Waiter) -> Result<OwnedFd, Cut> {
    let end = Instant::now() + limit;
    match address {
        Address::Unix(path) => {
            let address = UnixAddr::new(path)?;
            reach(AddressFamily::Unix, &address, end, waiter)
        }
        Address::Tls(HostPort { host, port }) | Address::Tcp(HostPort { host, port }) => {
            let found: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs().map_err(Cut::Io)?.collect();
            let mut last = Cut::Io(io::Error::new(io::ErrorKind::NotFound, format!("'{host}' has no address")));
            for (at, candidate) in found.iter().enumerate() {
                let now = Instant::now();
                let share = end.saturating_duration_since(now) / u32::try_from(found.len() - at).unwrap_or(u32::MAX);
                match reach_tcp(*candidate, now + share, waiter) {
                    Err(Cut::Stopping) => return Err(Cut::Stopping),
                    Err(cut) => last = cut,
                    done => return done,
                }
            }
            Err(last)
        }
    }
}

fn reach_tcp(candidate: SocketAddr, end: Instant, waiter: &mut Waiter) -> Result<OwnedFd, Cut> {
    let family = if candidate.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = reach(family, &SockaddrStorage::from(candidate), end, waiter)?;
    setsockopt(&stream, sockopt::TcpNoDelay, &true)?;
    Ok(stream)
}

/// connect(2) without blocking.
fn reach(family: AddressFamily, address: &dyn SockaddrLike, end: Instant, waiter: &mut Waiter) -> Result<OwnedFd, Cut> {
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    loop {
        match connect(stream.as_raw_fd(), address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINPROGRESS | Errno::EINTR) => {
                waiter.wait(stream.as_fd(), PollFlags::POLLOUT, Until::busy(end))?;
                return match getsockopt(&stream, sockopt::SocketError)? {
                    0 => Ok(stream),
                    // Not Closed: nothing was open yet.
                    error => Err(Cut::Io(io::Error::from_raw_os_error(error))),
                };
            }
            // A Unix socket whose queue is full.
            Err(Errno::EAGAIN) if Instant::now() < end => waiter.sleep(FULL)?,
            Err(Errno::EAGAIN) => return Err(Cut::TimedOut),
            Err(error) => return Err(Cut::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, listen};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_whose_queue_is_full_is_given_up_when_the_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(8).unwrap()).unwrap(); // the usual 4096 are more than a process may have open
        let address = Address::Unix(path);
        let mut held = Vec::new();
        // Nobody accepts: sooner or later the queue is full, and a blocking connect would never return.
        let cut = loop {
            match dial(&address, Duration::from_millis(100), &mut Waiter::deaf()) {
                Ok(socket) => held.push(socket),
                Err(cut) => break cut,
            }
        };
        assert!(matches!(cut, Cut::TimedOut), "{cut}");
    }

    #[test]
    fn what_nobody_listens_at_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for address in
            [Address::Tcp(HostPort { host: "127.0.0.1".into(), port: free }), Address::Unix(dir.path().join("none"))]
        {
            let cut = dial(&address, Duration::from_secs(20), &mut Waiter::deaf()).unwrap_err();
            assert!(matches!(cut, Cut::Io(_)), "{cut}");
        }
    }
}
