//! Connecting to an address.

use super::Address;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Connects to `address`, trying each of a name's addresses in turn for at most `limit`.
pub fn dial(address: &Address, limit: Duration) -> io::Result<OwnedFd> {
    match address {
        Address::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        Address::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, format!("'{host}' has no address"));
            for candidate in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&candidate, limit) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(stream.into());
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}
