//! Who is at the other end, as far as the kernel knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process of this machine, by its user id (`SO_PEERCRED`).
    Unix(u32),
}

/// What connections are counted by: all ports of one address are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An address, IPv4-mapped IPv6 as IPv4.
    Ip(IpAddr),
    /// A local user.
    Uid(u32),
}

impl Peer {
    /// What limits by address count this peer under.
    pub fn origin(&self) -> Origin {
        match self {
            Peer::Tcp(address) => Origin::Ip(address.ip().to_canonical()),
            Peer::Unix(uid) => Origin::Uid(*uid),
        }
    }

    /// Whether nothing can listen in between: loopback or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self.origin() {
            Origin::Ip(ip) => ip.is_loopback(),
            Origin::Uid(_) => true,
        }
    }

    /// Whether others can read on the way what it sends: not where that is `within_tls`, nor on one machine.
    pub fn is_exposed(&self, within_tls: bool) -> bool {
        !within_tls && !self.is_local()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix(uid) => write!(f, "uid:{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_another_machine_is_exposed_unless_it_is_within_tls() {
        for (address, exposed) in [
            ("127.0.0.2:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("192.0.2.1:1", true),
            ("[::ffff:192.0.2.1]:1", true),
            ("[fe80::1]:1", true),
        ] {
            let peer = Peer::Tcp(address.parse().unwrap());
            assert_eq!((peer.is_exposed(false), peer.is_exposed(true)), (exposed, false), "{address}");
        }
        assert!(!Peer::Unix(5).is_exposed(false));
    }
}
