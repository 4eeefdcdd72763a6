//! TLS at the beginning of a session. The key is read for this one handshake and wiped; what stays is this connection's own secrets.

use super::ending::Ending;
use super::level::Level;
use super::record::Log;
use crate::net::tls::{Tls, identity};
use crate::net::wait::Errand;
use crate::net::{Cut, Until, Wire};
use crate::proto::{Answer, Code};
use std::fs::File;
use std::time::Instant;

/// Shakes hands as the server that `sealed` holds the key of, until `by`. Never a part of its caller, who wipes the stack below itself
/// of the key.
#[inline(never)]
pub fn secure(wire: &mut Wire, sealed: File, by: Instant, log: &Log) -> Result<(), Ending> {
    let tls = identity::config(&sealed).map_err(Cut::from).and_then(Tls::server).map_err(|why| {
        log.line(Level::Error, format!("the certificate cannot be used: {why}"));
        Ending::Failed
    })?;
    drop(sealed);
    wire.start_tls(tls, Until::idle(by)).map_err(|cut| failed(wire, &cut, log))?;
    if wire.tls().is_some_and(Tls::speaks_dfos) {
        return Ok(());
    }
    // Whoever else speaks TLS may have been sent here by a third party (ALPACA, CVE-2021-3618).
    log.line(Level::Info, "the client did not name the protocol by ALPN");
    let text = "this is a DFOS server: name the protocol 'dfos/1' by ALPN (openssl s_client -alpn dfos/1)";
    wire.queue_line(Answer::Err(Code::BadRequest, text.into()));
    wire.goodbye();
    Err(Ending::Protocol)
}

/// What a handshake that failed says of the client.
fn failed(wire: &mut Wire, cut: &Cut, log: &Log) -> Ending {
    use rustls::{Error, InvalidMessage};
    match cut {
        Cut::Closed | Cut::Io(_) => Ending::Vanished,
        Cut::TimedOut => Ending::LoginTimedOut,
        Cut::Stopping if wire.waiter.errand() == Errand::MakeRoom => Ending::SentAway,
        Cut::Stopping if wire.waiter.errand() == Errand::Kicked => Ending::Kicked,
        Cut::Stopping => Ending::ShutDown,
        // It does not believe us: no fault of its own.
        Cut::Tls(Error::AlertReceived(alert)) => {
            log.line(Level::Info, format!("the client broke the TLS handshake off: {alert:?}"));
            Ending::Vanished
        }
        Cut::Tls(why) => {
            log.line(Level::Info, format!("no TLS handshake: {why}"));
            if matches!(why, Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
                wire.queue_line(Answer::Err(Code::BadRequest, "TLS is spoken here: connect with tls://".into()));
                wire.goodbye();
            }
            Ending::Protocol
        }
        Cut::Line(_) | Cut::Protocol => Ending::Protocol,
    }
}
