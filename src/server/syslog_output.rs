//! Lines to the system log, in the format of RFC 3164, one datagram each. Never blocks, and finds syslogd again after a
//! restart.

use super::record::Level;
use nix::unistd::Pid;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use syslog::{Facility, Formatter3164, LogFormat, Severity};

/// Where syslogd listens.
const SOCKETS: &[&str] = &["/dev/log", "/var/run/syslog"];

/// A connection to syslogd, made anew when it breaks.
pub struct SyslogOutput {
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl SyslogOutput {
    /// Connects, now or at the first line.
    pub fn new() -> Self {
        SyslogOutput { socket: connect(), lost: 0 }
    }

    /// Writes a line under the pid of the process that it is from.
    pub fn write(&mut self, sender: Pid, level: Level, text: &str) {
        let line = format(sender, level, text);
        if self.lost > 0 {
            let confession = format!("{} lines were lost while syslog was away", self.lost);
            if self.send(&format(Pid::this(), Level::Warning, &confession)) {
                self.lost = 0;
            }
        }
        if !self.send(&line) {
            self.lost += 1;
        }
    }

    fn send(&mut self, line: &[u8]) -> bool {
        let sent = |socket: &UnixDatagram| socket.send(line).is_ok();
        if self.socket.as_ref().is_some_and(sent) {
            return true;
        }
        self.socket = connect();
        self.socket.as_ref().is_some_and(sent)
    }
}

impl Default for SyslogOutput {
    fn default() -> Self {
        Self::new()
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    SOCKETS.iter().any(|path| socket.connect(path).is_ok()).then_some(socket)
}

fn format(sender: Pid, level: Level, text: &str) -> Vec<u8> {
    let severity = match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug => Severity::LOG_DEBUG,
    };
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "dfos-forkd".into(),
        pid: sender.as_raw().unsigned_abs(),
    };
    let mut line = Vec::new();
    if formatter.format(&mut line, severity, text).is_err() {
        line.clear();
        let _ = write!(line, "dfos-forkd[{sender}]: {text}"); // writing to a Vec cannot fail
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_priority_name_and_pid() {
        let line = String::from_utf8(format(Pid::from_raw(42), Level::Warning, "hello")).unwrap();
        assert!(line.starts_with("<28>"), "{line}"); // facility 3, severity 4
        assert!(line.ends_with("dfos-forkd[42]: hello"), "{line}");
    }
}
