//! Listening sockets that another process made: a service manager (sd_listen_fds(3)), or this server before it was exchanged.
//!
//! What such a socket speaks its name says (`FileDescriptorName=` of systemd.socket(5)): `tcp` plain text, and `tls` or any other name
//! TLS. A Unix socket speaks what Unix sockets speak here, whatever its name.

use super::Address;
use super::address::HostPort;
use super::listen::{Listener, peer_of};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, UnixAddr, getsockname, getsockopt, sockopt,
};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use thiserror::Error;

/// Why a descriptor is no socket to listen on.
#[derive(Debug, Error)]
pub enum Unusable {
    /// Not even asked about: no socket.
    #[error("it is no socket ({0})")]
    NoSocket(io::Error),
    /// A datagram socket, or one of connections that have been made.
    #[error("it does not accept connections: with systemd, ListenStream= and Accept=no make one that does")]
    NotListening,
    /// Neither IPv4 nor IPv6 nor Unix.
    #[error("it is neither of IPv4 nor of IPv6 nor a Unix socket with a name")]
    Family,
}

impl From<nix::Error> for Unusable {
    fn from(error: nix::Error) -> Self {
        Unusable::NoSocket(error.into())
    }
}

/// Takes a socket that was passed under `name`. It is checked, and made not to block; its address is what the kernel says it is.
pub fn adopt(socket: OwnedFd, name: &str) -> Result<Listener, Unusable> {
    if getsockopt(&socket, sockopt::SockType)? != SockType::Stream || !getsockopt(&socket, sockopt::AcceptConn)? {
        return Err(Unusable::NotListening);
    }
    let address = address_of(&socket, name)?;
    let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
    fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(Listener { socket, address, is_ours: false })
}

fn address_of(socket: &OwnedFd, name: &str) -> Result<Address, Unusable> {
    let found = getsockname::<SockaddrStorage>(socket.as_raw_fd())?;
    match found.family() {
        Some(AddressFamily::Unix) => unix_name(socket).map(Address::Unix),
        Some(AddressFamily::Inet | AddressFamily::Inet6) => {
            let at = peer_of(found).ok_or(Unusable::Family)?;
            let at = HostPort { host: at.ip().to_string(), port: at.port() };
            Ok(if name == "tcp" { Address::Tcp(at) } else { Address::Tls(at) })
        }
        _ => Err(Unusable::Family),
    }
}

/// The name of a Unix socket; an abstract one begins with `@`, as systemd and ss(8) write it.
fn unix_name(socket: &OwnedFd) -> Result<PathBuf, Unusable> {
    let address = getsockname::<UnixAddr>(socket.as_raw_fd())?;
    match (address.path(), address.as_abstract()) {
        (Some(path), _) => Ok(path.into()),
        (None, Some(name)) => Ok(OsStr::from_bytes(&[b"@", name].concat()).into()),
        (None, None) => Err(Unusable::Family),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn adopted(socket: impl Into<OwnedFd>, name: &str) -> Result<String, Unusable> {
        adopt(socket.into(), name).map(|listener| listener.address.to_string())
    }

    #[test]
    fn the_name_says_what_is_spoken_and_the_kernel_where() {
        for (name, scheme) in [("tcp", "tcp"), ("tls", "tls"), ("dfos-forkd.socket", "tls"), ("unknown", "tls")] {
            for host in ["127.0.0.1:0", "[::1]:0"] {
                let Ok(socket) = TcpListener::bind(host) else { continue }; // a machine without IPv6
                let at = socket.local_addr().unwrap();
                assert_eq!(adopted(socket, name).unwrap(), format!("{scheme}://{at}"));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for name in ["tcp", "tls", "unknown"] {
            let _ = std::fs::remove_file(&path);
            let socket = UnixListener::bind(&path).unwrap();
            assert_eq!(adopted(socket, name).unwrap(), format!("unix:{}", path.display()));
        }
    }

    #[test]
    fn what_accepts_no_connection_is_refused() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        assert!(matches!(adopted(connected, "tls"), Err(Unusable::NotListening)));
        assert!(matches!(adopted(UdpSocket::bind("127.0.0.1:0").unwrap(), "tls"), Err(Unusable::NotListening)));
        assert!(matches!(adopted(UnixStream::pair().unwrap().0, "tls"), Err(Unusable::NotListening)));
        assert!(matches!(adopted(tempfile::tempfile().unwrap(), "tls"), Err(Unusable::NoSocket(_))));
    }

    #[test]
    fn to_accept_from_it_never_blocks() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(adopt(socket.into(), "tcp").unwrap().accept().unwrap().is_none());
    }
}
