//! Listening on an address, and accepting from it.

use super::address::HostPort;
use super::{Address, Peer};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, UnixAddr, bind, getsockname,
    getsockopt, listen, setsockopt, socket, sockopt,
};
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connections that may wait to be accepted: a burst, while the listener forks for those before them.
const BACKLOG: i32 = 4096;

/// A socket that accepts connections.
pub struct Listener {
    pub(super) socket: OwnedFd,
    /// Where it really listens: port 0 has become a number.
    pub address: Address,
    /// Whether this server made it: the name of a Unix socket that a service manager passed is not the server's to remove.
    pub is_ours: bool,
}

/// Listens on every address that `address` names, but for those that `there` has already: a host name may have several.
pub fn listen_on(address: &Address, there: &[Listener]) -> io::Result<Vec<Listener>> {
    match address {
        Address::Unix(_) if there.iter().any(|socket| socket.address == *address) => Ok(Vec::new()),
        Address::Unix(path) => Ok(vec![listen_unix(path)?]),
        Address::Tls(at) => listen_tcp(at, Address::Tls, there),
        Address::Tcp(at) => listen_tcp(at, Address::Tcp, there),
    }
}

/// A socket for each address that the host has; `kind` says what is spoken there.
fn listen_tcp(at: &HostPort, kind: fn(HostPort) -> Address, there: &[Listener]) -> io::Result<Vec<Listener>> {
    let name = |at: &SocketAddr| kind(HostPort { host: at.ip().to_string(), port: at.port() });
    let addresses = (at.host.as_str(), at.port).to_socket_addrs()?;
    let missing = addresses.filter(|at| !there.iter().any(|socket| socket.address == name(at)));
    let sockets = missing.map(listen_at);
    let named = |(socket, host, port)| Listener { socket, address: kind(HostPort { host, port }), is_ours: true };
    sockets.map(|made| made.map(named)).collect()
}

/// A socket at one address, and where it really listens.
fn listen_at(at: SocketAddr) -> io::Result<(OwnedFd, String, u16)> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?; // a restart binds at once, old connections in TIME_WAIT or not
    match at {
        SocketAddr::V4(v4) => bind(socket.as_raw_fd(), &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?; // so that 0.0.0.0 and [::] can stand side by side
            bind(socket.as_raw_fd(), &SockaddrIn6::from(v6))?
        }
    }
    listen(&socket, Backlog::new(BACKLOG)?)?;
    let real = peer_of(getsockname::<SockaddrStorage>(socket.as_raw_fd())?).unwrap_or(at);
    Ok((socket, real.ip().to_string(), real.port()))
}

fn listen_unix(path: &Path) -> io::Result<Listener> {
    remove_stale(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?; // everybody may knock; the login decides
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(Listener { socket, address: Address::Unix(path.into()), is_ours: true })
}

/// Removes a socket that a killed server left behind; one that still answers, or anything else, is left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    match is_socket.then(|| UnixStream::connect(path)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

pub(super) fn peer_of(address: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

impl Listener {
    /// Accepts one connection, if one waits.
    pub fn accept(&self) -> io::Result<Option<(OwnedFd, Peer)>> {
        use nix::errno::Errno::*;
        let socket = match crate::sys::accept::accept(self.socket.as_fd()) {
            Ok(socket) => socket,
            // Errors of the connection that was being accepted, not of this socket (accept(2)).
            Err(EAGAIN | EINTR | ECONNABORTED | EPROTO | ENETDOWN | EHOSTDOWN | EHOSTUNREACH | ENETUNREACH) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let peer = match &self.address {
            Address::Unix(_) => Some(Peer::Unix(getsockopt(&socket, sockopt::PeerCredentials)?.uid())),
            Address::Tls(_) | Address::Tcp(_) => {
                setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
                setsockopt(&socket, sockopt::KeepAlive, &true)?;
                nix::sys::socket::getpeername::<SockaddrStorage>(socket.as_raw_fd())
                    .ok()
                    .and_then(peer_of)
                    .map(Peer::Tcp)
            }
        };
        Ok(peer.map(|peer| (socket, peer))) // a peer without a name has already gone
    }

    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        self.address.is_local()
    }

    /// Whether a session here begins with TLS. Where not, a line of text is understood from the first byte on.
    pub fn speaks_tls(&self) -> bool {
        matches!(self.address, Address::Tls(_))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_bound_again_and_all_else_is() {
        let first = listen_on(&"tcp://127.0.0.1:0".parse().unwrap(), &[]).unwrap();
        let same = first[0].address.clone();
        assert!(listen_on(&same, &first).unwrap().is_empty());
        assert!(listen_on(&same, &[]).is_err_and(|why| why.kind() == io::ErrorKind::AddrInUse));
        let Address::Tcp(at) = &same else { panic!("{same}") };
        assert!(listen_on(&Address::Tls(at.clone()), &first).is_err(), "another thing is spoken there");
        assert_eq!(listen_on(&"tcp://127.0.0.1:0".parse().unwrap(), &first).unwrap().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("s"));
        let unix = listen_on(&address, &first).unwrap();
        assert!(listen_on(&address, &unix).unwrap().is_empty());
    }
}
