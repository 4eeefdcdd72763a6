//! The one notation for addresses, at both ends: `tls://HOST:PORT`, `tcp://HOST:PORT`, `unix:/PATH`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// The port when a TCP address names none.
pub const DEFAULT_PORT: u16 = 9000;

/// Where a server listens, or a client connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// TLS 1.3 over TCP: nobody on the way reads or changes anything.
    Tls(HostPort),
    /// TCP in plain text: for loopback and trusted networks.
    Tcp(HostPort),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// 0 lets the kernel choose when listening.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadAddress {
    /// Neither `tls://` nor `tcp://` nor `unix:`.
    #[error("an address is tls://HOST:PORT, tcp://HOST:PORT or unix:/PATH, not '{0}'")]
    Scheme(String),
    /// No host.
    #[error("'{0}' names no host")]
    Host(String),
    /// A port that is no number up to 65535.
    #[error("the port of '{0}' is not a number from 0 to 65535")]
    Port(String),
    /// A Unix socket needs an absolute path.
    #[error("'{0}': a Unix socket is named by an absolute path")]
    Path(String),
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/') && !path.contains('\0');
            return if absolute { Ok(Address::Unix(path.into())) } else { Err(BadAddress::Path(text.into())) };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| BadAddress::Scheme(text.into()))?;
        match scheme {
            "tls" => Ok(Address::Tls(host_port(text, rest)?)),
            "tcp" => Ok(Address::Tcp(host_port(text, rest)?)),
            _ => Err(BadAddress::Scheme(text.into())),
        }
    }
}

/// What stands behind the `://` of `text`.
fn host_port(text: &str, rest: &str) -> Result<HostPort, BadAddress> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, tail) = v6.split_once(']').ok_or_else(|| BadAddress::Host(text.into()))?;
            let port = if tail.is_empty() { None } else { Some(tail.strip_prefix(':').unwrap_or("?")) };
            (host, port)
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| "/@[]".contains(c) || c.is_whitespace() || c.is_control()) {
        return Err(BadAddress::Host(text.into()));
    }
    let port = match port {
        Some(port) => port.parse().map_err(|_| BadAddress::Port(text.into()))?,
        None => DEFAULT_PORT,
    };
    Ok(HostPort { host: host.into(), port })
}

impl Address {
    /// Whether only this machine can connect to it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tls(at) | Address::Tcp(at) => {
                at.host == "localhost" || at.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }

    /// Whether what is said there can be read on the way: plain text that leaves this machine.
    pub fn is_exposed(&self) -> bool {
        matches!(self, Address::Tcp(_)) && !self.is_local()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tls(at) => write!(f, "tls://{at}"),
            Address::Tcp(at) => write!(f, "tcp://{at}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for (text, printed) in [
            ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9000"),
            ("tcp://[::1]:0", "tcp://[::1]:0"),
            ("tcp://[::1]", "tcp://[::1]:9000"),
            ("tcp://files.example", "tcp://files.example:9000"),
            ("tls://files.example", "tls://files.example:9000"),
            ("tls://[::1]:7/", "tls://[::1]:7"),
            ("unix:/run/dfos.sock", "unix:/run/dfos.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), printed);
        }
        for bad in [
            "",
            "host",
            "host:1",
            "http://a",
            "TLS://a",
            "tls:a",
            "tcp://",
            "tcp://:1",
            "tcp://a:x",
            "tcp://a:65536",
            "tcp://a:1/b",
            "tcp://[::1",
            "tcp://[::1]x",
            "unix:rel",
            "unix:",
            "tcp://u@h:1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
