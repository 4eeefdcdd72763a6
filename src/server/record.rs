//! What travels to the scribe: one record a datagram, over a socket on which the kernel names the sender. No session can
//! speak for another.

use crate::auth::UserName;
use crate::proto::Code;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;
use std::cell::Cell;
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that the operator must know of.
    Error,
    /// Something that the operator may want to change.
    Warning,
    /// What happened.
    Info,
    /// What else happened (`-v`).
    Debug,
}

impl Level {
    /// As it stands in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// How much it matters that a request failed with `code`.
    pub fn of(code: Code) -> Level {
        match code {
            Code::IoError | Code::Uncertain | Code::Internal => Level::Error,
            Code::NoSpace | Code::ReadOnly | Code::Busy => Level::Warning,
            _ => Level::Info,
        }
    }

    fn from_byte(byte: u8) -> Option<Level> {
        [Level::Error, Level::Warning, Level::Info, Level::Debug].into_iter().find(|level| *level as u8 + b'0' == byte)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Of the listener: this child serves this peer. With a line for the log, or none where it has been there for long.
    Opened(Pid, String, String),
    /// Of the listener: this child has been reaped. With a line for the log.
    Closed(Pid, Level, String),
    /// Of the listener: nothing more will come.
    End,
    /// Of a session: this user has logged in. The line for the log is the scribe's.
    User(String),
    /// Of anybody: a line for the log.
    Line(Level, String),
}

impl Record {
    /// As it travels to the scribe.
    pub fn encode(&self) -> String {
        match self {
            Record::Opened(pid, peer, text) => format!("O{pid} {peer} {text}"),
            Record::Closed(pid, level, text) => format!("C{pid} {}{text}", *level as u8),
            Record::End => "E".into(),
            Record::User(name) => format!("U{name}"),
            Record::Line(level, text) => format!("{}{text}", *level as u8),
        }
    }

    /// Reads a record; `None` for what is none, since a session that was taken over can send anything.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (kind, rest) = (*bytes.first()?, text.get(1..)?);
        match kind {
            b'O' => {
                let (pid, rest) = rest.split_once(' ')?;
                let (peer, text) = rest.split_once(' ')?;
                Some(Record::Opened(Pid::from_raw(pid.parse().ok()?), peer.into(), text.into()))
            }
            b'C' => {
                let (pid, rest) = rest.split_once(' ')?;
                let level = Level::from_byte(*rest.as_bytes().first()?)?;
                Some(Record::Closed(Pid::from_raw(pid.parse().ok()?), level, rest.get(1..)?.into()))
            }
            b'E' => Some(Record::End),
            // It stands in every line of the session from then on: what is no name of a user could forge others.
            b'U' => rest.parse::<UserName>().ok().map(|_| Record::User(rest.into())),
            _ => Some(Record::Line(Level::from_byte(kind)?, rest.into())),
        }
    }
}

/// Bytes of a record: a line with two paths of the greatest length.
pub const LARGEST: usize = 32 * 1024;

/// Milliseconds that a record may wait for a scribe that is behind. After that it is dropped and counted: no log stalls a session.
const PATIENCE: u8 = 100;

/// The sending end, inherited by every process of the server.
pub struct Log {
    socket: Arc<OwnedFd>,
    /// Lines that matter less are not sent at all: nobody would write them.
    level: Level,
    dropped: Cell<u64>,
}

impl Log {
    /// Sends over `socket` what matters as much as `level`.
    pub fn new(socket: impl Into<Arc<OwnedFd>>, level: Level) -> Self {
        Log { socket: socket.into(), level, dropped: Cell::new(0) }
    }

    /// The socket, for another [`Log`] of this process.
    pub fn sender(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// Sends a record, and first how many were dropped before it.
    pub fn send(&self, record: &Record) {
        let dropped = self.dropped.get();
        if dropped > 0 {
            let confession =
                Record::Line(Level::Warning, format!("{dropped} log lines were lost: the log was too slow"));
            if !self.deliver(&confession) {
                return self.dropped.set(dropped + 1);
            }
            self.dropped.set(0);
        }
        if !self.deliver(record) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Sends a line.
    pub fn line(&self, level: Level, text: impl Display) {
        if level <= self.level {
            self.send(&Record::Line(level, text.to_string()));
        }
    }

    /// Sends a record, waiting a moment where the log is behind; not again while it has not caught up.
    fn deliver(&self, record: &Record) -> bool {
        let text = record.encode();
        let bytes = text.get(..text.floor_char_boundary(LARGEST)).unwrap_or_default().as_bytes();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.socket.as_raw_fd(), bytes, flags) {
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.dropped.get() > 0 => return false,
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    if !matches!(poll(&mut fds, PollTimeout::from(PATIENCE)), Ok(1)) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way_and_rubbish_is_none() {
        for record in [
            Record::Opened(Pid::from_raw(7), "127.0.0.1:5".into(), "a line with spaces".into()),
            Record::Opened(Pid::from_raw(7), "uid:5".into(), String::new()),
            Record::Closed(Pid::from_raw(7), Level::Error, "a line".into()),
            Record::End,
            Record::User("alice".into()),
            Record::Line(Level::Debug, "text with spaces".into()),
        ] {
            assert_eq!(Record::decode(record.encode().as_bytes()), Some(record));
        }
        let forged = b"Ux\n2026-01-01T00:00:00.000000Z dfos-forkd[1] info bob";
        for rubbish in [
            &b""[..],
            b"O",
            b"Ox y z",
            b"O7 y",
            b"C",
            b"C7",
            b"C7 ",
            b"C7 9",
            b"Cx 2a",
            b"9x",
            b"\xff",
            "é".as_bytes(),
            b"U",
            forged,
            b"U\x1b[2J",
        ] {
            assert_eq!(Record::decode(rubbish), None, "{rubbish:?}");
        }
    }
}
