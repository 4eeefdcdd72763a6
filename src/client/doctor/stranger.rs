//! Who it is that listens there, if it is not a DFOS server of the kind that was expected.

use super::finding::{Chart, Step};
use crate::client::connection::secure;
use crate::client::display::escape::escape;
use crate::client::failure::{Exit, Failure};
use crate::client::limits::{DOCTOR, DOCTOR_LISTENS};
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::client::trust::Trusted;
use crate::net::dial::dial;
use crate::net::tls::verify::Authorities;
use crate::net::{Address, Side, Wire};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Somebody who is not who was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stranger {
    /// A DFOS server without TLS.
    Plain,
    /// One with TLS.
    Encrypted,
    /// A DFOS server that takes nobody at present, in its words.
    Busy(String),
    /// A web server.
    Web,
    /// Another service that says its name.
    Other(String),
}

/// Tells of a step that failed, and who it is that listens there if that can be found out.
pub fn explain(
    chart: &mut Chart,
    step: Step,
    target: &Target,
    peer: Option<SocketAddr>,
    failure: &Failure,
) -> Result<(), Failure> {
    let curious = matches!(failure.exit, Exit::Protocol | Exit::Timeout | Exit::Connect | Exit::Identity);
    let Some(stranger) = peer.filter(|_| curious && failure.code.is_none()).and_then(|peer| meet(target, peer)) else {
        let todo = match failure.exit {
            Exit::Connect if failure.code.is_some() => "wait a moment; if it stays so, tell the operator",
            Exit::Timeout => {
                "is it the right port? If so, the server hangs, or something on the way holds its answers back"
            }
            _ => "is it the right port? Ask the operator for the server's address",
        };
        return chart.failed(step, failure, todo);
    };
    let (who, todo) = match stranger {
        Stranger::Plain => (
            "a DFOS server that speaks plain text there".into(),
            format!("if that is meant, its address is {}", other(target, "tcp")),
        ),
        Stranger::Encrypted => {
            ("somebody speaks TLS there".into(), format!("its address is then {}", other(target, "tls")))
        }
        Stranger::Busy(text) => (format!("the server takes nobody at present: {text}"), "try again later".into()),
        Stranger::Web => {
            ("a web server listens there".into(), "ask for the port of the DFOS server; 9000 is the usual one".into())
        }
        Stranger::Other(text) => (
            format!("another service listens there, which says '{text}'"),
            "ask for the port of the DFOS server; 9000 is the usual one".into(),
        ),
    };
    chart.failed(step, &Failure { text: format!("{}: {who}", failure.text), ..failure.clone() }, &todo)
}

/// The same place by the other scheme.
fn other(target: &Target, scheme: &str) -> String {
    format!("{scheme}://{}", super::shown(&target.address))
}

/// Tries who listens at `peer`, by listening and then by asking.
fn meet(target: &Target, peer: SocketAddr) -> Option<Stranger> {
    let mut socket = TcpStream::connect_timeout(&peer, DOCTOR).ok()?;
    socket.set_read_timeout(Some(DOCTOR_LISTENS)).ok()?;
    let unasked = first_line(&mut socket);
    if unasked.starts_with("OK dfos/") {
        return Some(Stranger::Plain);
    }
    if let Some(words) = unasked.strip_prefix("ERR busy") {
        return Some(Stranger::Busy(words.trim().to_owned()));
    }
    if !unasked.is_empty() {
        return Some(Stranger::Other(unasked.chars().take(60).collect()));
    }
    if matches!(target.address, Address::Tcp(_)) && speaks_tls(target, peer) {
        return Some(Stranger::Encrypted);
    }
    socket.write_all(b"HEAD / HTTP/1.0\r\n\r\n").ok()?;
    first_line(&mut socket).starts_with("HTTP/").then_some(Stranger::Web)
}

/// What comes first, as far as it comes in time.
fn first_line(socket: &mut TcpStream) -> String {
    let mut bytes = [0; 256];
    let n = socket.read(&mut bytes).unwrap_or(0);
    let line = bytes.get(..n).unwrap_or_default().split(|b| *b == b'\n').next().unwrap_or_default();
    escape(line.trim_ascii_end())
}

/// Whether a handshake comes about there, whoever it is.
fn speaks_tls(target: &Target, peer: SocketAddr) -> bool {
    let Address::Tcp(at) = &target.address else { return false };
    let trusted = Trusted::new(Authorities::none(), None, None);
    let there = Target { address: Address::Tls(at.clone()), trusted, ..target.clone() };
    let shake = || {
        let place = crate::net::address::HostPort { host: peer.ip().to_string(), port: peer.port() };
        let socket = dial(&Address::Tcp(place), DOCTOR, &mut Stop::deaf().waiter().ok()?).ok()?;
        let mut wire = Wire::new(socket, Side::Client, Stop::deaf().waiter().ok()?).ok()?;
        let verifier = there.trusted.verifier(&there.address).ok()?;
        let _ = secure(&mut wire, &there, Some(&verifier)); // it counts that there was a certificate
        verifier.shown()
    };
    shake().is_some()
}
