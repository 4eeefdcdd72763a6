//! The way to the server: its addresses, and which of them can be reached.

use super::finding::{Chart, Step, took};
use super::shown;
use crate::client::failure::{Exit, Failure};
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::net::address::HostPort;
use crate::net::dial::dial;
use crate::net::{Address, Cut};
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A connected socket, and the address where it ends if that is one of a network; `None` if none could be had.
pub fn lead(chart: &mut Chart, target: &Target) -> Result<Option<(OwnedFd, Option<SocketAddr>)>, Failure> {
    let at = match &target.address {
        Address::Tls(at) | Address::Tcp(at) => at,
        Address::Unix(_) => {
            let mut tried = vec![reach(target, &target.address, None)];
            return report(chart, &mut tried);
        }
    };
    let began = Instant::now();
    let found: Vec<SocketAddr> = match (at.host.as_str(), at.port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(why) => {
            let failure = Failure::new(Exit::Connect, format!("'{}' has no address: {why}", at.host));
            let todo =
                "look at the spelling; try another name or the address itself; is the network up, and its name server?";
            chart.failed(Step::Resolve, &failure, todo)?;
            return Ok(None);
        }
    };
    let list: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
    chart.fine(Step::Resolve, &format!("{} is {} ({})", at.host, list.join(", "), took(began)))?;
    let one = |address: &SocketAddr| {
        let at = HostPort { host: address.ip().to_string(), port: address.port() };
        reach(target, &Address::Tcp(at), Some(*address))
    };
    report(chart, &mut found.iter().map(one).collect())
}

/// What came of one address.
struct Tried {
    text: String,
    peer: Option<SocketAddr>,
    result: Result<OwnedFd, Cut>,
}

fn reach(target: &Target, address: &Address, peer: Option<SocketAddr>) -> Tried {
    let began = Instant::now();
    let result = match Stop::deaf().waiter() {
        Ok(mut waiter) => dial(address, target.connect, &mut waiter),
        Err(_) => Err(Cut::Stopping),
    };
    let text = match &result {
        Ok(_) => format!("{} answers after {}", shown(address), took(began)),
        Err(Cut::TimedOut) => {
            format!("{} does not answer within {:.0} s", shown(address), target.connect.as_secs_f64())
        }
        Err(cut) => format!("{}: {cut}", shown(address)),
    };
    Tried { text, peer, result }
}

/// One line for each. An address that fails is a warning as long as another one works: clients try it first and lose time.
fn report(chart: &mut Chart, tried: &mut Vec<Tried>) -> Result<Option<(OwnedFd, Option<SocketAddr>)>, Failure> {
    let works = tried.iter().any(|tried| tried.result.is_ok());
    let mut first = None;
    for Tried { text, peer, result } in tried.drain(..) {
        match result {
            Ok(socket) => {
                chart.fine(Step::Connect, &text)?;
                first.get_or_insert((socket, peer));
            }
            Err(cut) if works => chart.warning(Step::Connect, &text, remedy(&cut))?,
            Err(cut) => chart.failed(Step::Connect, &Failure::new(Exit::Connect, text), remedy(&cut))?,
        }
    }
    Ok(first)
}

fn remedy(cut: &Cut) -> &'static str {
    match cut {
        Cut::TimedOut => "a firewall throws away what is sent there, or the machine is off: ask its operator",
        Cut::Io(why) => match why.kind() {
            ErrorKind::ConnectionRefused => {
                "nobody listens there: is the port right, and does the server run ('systemctl status dfos-forkd' on its machine)?"
            }
            ErrorKind::NotFound => "there is no such socket: is the path right, and does the server run?",
            ErrorKind::PermissionDenied => "ask the operator for the right to use this socket",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                "no way leads there: is the network up, and the VPN if it takes one?"
            }
            _ => "look at the address and the network",
        },
        _ => "try again",
    }
}
