//! Lines to the system log, in the format of RFC 3164, one datagram each. Never blocks, and finds syslogd again after a restart: what
//! is said meanwhile waits, as far as there is room for it.

use super::Topic;
use crate::proto::limits;
use crate::server::level::Level;
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use syslog::{Facility, Formatter3164, LogFormat, Severity};

/// Where syslogd listens.
const SOCKETS: &[&str] = &["/dev/log", "/var/run/syslog"];

/// A connection to syslogd, made anew when it breaks.
pub struct SyslogOutput {
    places: Vec<PathBuf>,
    socket: Option<UnixDatagram>,
    waiting: VecDeque<Vec<u8>>,
    /// Lines that had no room among those.
    lost: u64,
}

impl SyslogOutput {
    /// Connects, now or at the first line: to the socket named, or to where syslogd usually listens.
    pub fn new(socket: Option<PathBuf>) -> Self {
        let places = socket.map_or_else(|| SOCKETS.iter().map(PathBuf::from).collect(), |path| vec![path]);
        let mut new = SyslogOutput { places, socket: None, waiting: VecDeque::new(), lost: 0 };
        new.socket = new.connect();
        new
    }

    /// Writes a line under the pid of the process that it is from.
    pub fn write(&mut self, sender: Pid, topic: Topic, level: Level, text: &str) {
        let line = format(sender, topic, level, text);
        self.flush();
        if self.waiting.is_empty() && self.send(&line) {
            return;
        }
        if self.waiting.len() < limits::SYSLOG_WAITING {
            self.waiting.push_back(line);
        } else {
            self.lost += 1;
        }
    }

    /// Sends what waits, and behind it how much is missing there.
    pub fn flush(&mut self) {
        while let Some(line) = self.waiting.pop_front() {
            if !self.send(&line) {
                self.waiting.push_front(line);
                return;
            }
        }
        if self.lost > 0 {
            let confession = format!("{} lines were lost while syslog was away", self.lost);
            if self.send(&format(Pid::this(), Topic::House, Level::Warning, &confession)) {
                self.lost = 0;
            }
        }
    }

    /// Whether something waits.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty() || self.lost > 0
    }

    fn send(&mut self, line: &[u8]) -> bool {
        match self.socket.as_ref().map(|socket| socket.send(line)) {
            Some(Ok(_)) => return true,
            // It is there and stands still: another connection would find the same queue full.
            Some(Err(why)) if why.kind() == std::io::ErrorKind::WouldBlock => return false,
            _ => {}
        }
        self.socket = self.connect();
        self.socket.as_ref().is_some_and(|socket| socket.send(line).is_ok())
    }

    fn connect(&self) -> Option<UnixDatagram> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        self.places.iter().any(|path| socket.connect(path).is_ok()).then_some(socket)
    }
}

/// The severity that a level is to syslog and to the journal.
pub fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug => Severity::LOG_DEBUG,
    }
}

fn format(sender: Pid, topic: Topic, level: Level, text: &str) -> Vec<u8> {
    let formatter = Formatter3164 {
        facility: match topic {
            Topic::House => Facility::LOG_DAEMON,
            Topic::Logins => Facility::LOG_AUTH,
        },
        hostname: None,
        process: "dfos-forkd".into(),
        pid: sender.as_raw().unsigned_abs(),
    };
    let mut line = Vec::new();
    if formatter.format(&mut line, severity(level), text).is_err() {
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
        for (topic, priority) in [(Topic::House, "<28>"), (Topic::Logins, "<36>")] {
            let line = String::from_utf8(format(Pid::from_raw(42), topic, Level::Warning, "hello")).unwrap();
            assert!(line.starts_with(priority), "{line}"); // facility 3 or 4, severity 4
            assert!(line.ends_with("dfos-forkd[42]: hello"), "{line}");
        }
    }

    #[test]
    fn what_is_said_while_syslogd_is_away_comes_later_as_far_as_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut output = SyslogOutput::new(Some(path.clone()));
        let many = limits::SYSLOG_WAITING + 5;
        (0..many).for_each(|n| output.write(Pid::this(), Topic::House, Level::Info, &format!("line {n}")));
        assert!(output.is_behind());
        let syslogd = UnixDatagram::bind(&path).unwrap();
        syslogd.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        while output.is_behind() {
            output.flush();
            let mut buffer = [0; 1000];
            while let Ok(length) = syslogd.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        assert_eq!(heard.len(), limits::SYSLOG_WAITING + 1);
        assert!(heard[0].ends_with(": line 0") && heard[limits::SYSLOG_WAITING].contains(": 5 lines were lost"));
    }
}
