//! What travels to the scribe: one record a datagram, over sockets on which the kernel names the sender. No session can speak for
//! another; who is who only the listener says, over a socket of its own, which no session can fill.

use crate::auth::UserName;
use crate::proto::Code;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use std::cell::Cell;
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    /// Of the listener: this child serves this peer. With a line for the log.
    Opened(Pid, String, String),
    /// Of the listener: this child's user has logged in. The line for the log is the scribe's.
    User(Pid, String),
    /// Of the listener: this child has been reaped. With a line for the log.
    Closed(Pid, Level, String),
    /// Of the listener: what it has said of its children is void. Those that there are follow.
    Forget,
    /// Of the listener: this child serves this peer, and this user once that is known, and has done so for a while.
    Known(Pid, String, Option<String>),
    /// Of the listener: nothing more will come.
    End,
    /// Of the listener: another scribe takes over and reads what comes from now on.
    Leave,
    /// Of anybody: a line for the log.
    Line(Level, String),
    /// Of a session after its login: a line for the log, which waits until the listener has said who the user is.
    OfUser(Level, String),
}

impl Record {
    /// As it travels to the scribe.
    pub fn encode(&self) -> String {
        match self {
            Record::Opened(pid, peer, text) => format!("O{pid} {peer} {text}"),
            Record::Closed(pid, level, text) => format!("C{pid} {}{text}", *level as u8),
            Record::User(pid, name) => format!("U{pid} {name}"),
            Record::Forget => "F".into(),
            Record::Known(pid, peer, user) => format!("K{pid} {peer} {}", user.as_deref().unwrap_or_default()),
            Record::End => "E".into(),
            Record::Leave => "X".into(),
            Record::Line(level, text) => format!("{}{text}", *level as u8),
            Record::OfUser(level, text) => format!("L{}{text}", *level as u8),
        }
    }

    /// Reads a record; `None` for what is none, since a session that was taken over can send anything.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (kind, rest) = (*bytes.first()?, text.get(1..)?);
        match kind {
            b'O' => {
                let (pid, rest) = of_child(rest)?;
                let (peer, text) = rest.split_once(' ')?;
                Some(Record::Opened(pid, peer.into(), text.into()))
            }
            b'U' => {
                let (pid, name) = of_child(rest)?;
                Some(Record::User(pid, user(name)?))
            }
            b'C' => {
                let (pid, line) = of_child(rest)?;
                let (level, text) = levelled(line)?;
                Some(Record::Closed(pid, level, text))
            }
            b'F' => Some(Record::Forget),
            b'K' => {
                let (pid, rest) = of_child(rest)?;
                let (peer, name) = rest.split_once(' ')?;
                let user = if name.is_empty() { None } else { Some(user(name)?) };
                Some(Record::Known(pid, peer.into(), user))
            }
            b'E' => Some(Record::End),
            b'X' => Some(Record::Leave),
            b'L' => levelled(rest).map(|(level, text)| Record::OfUser(level, text)),
            _ => levelled(text).map(|(level, text)| Record::Line(level, text)),
        }
    }
}

/// A process, and what is said of it.
fn of_child(text: &str) -> Option<(Pid, &str)> {
    let (pid, rest) = text.split_once(' ')?;
    Some((Pid::from_raw(pid.parse().ok()?), rest))
}

/// A user's name. It stands in every line of the session from then on: what is none could forge others.
fn user(name: &str) -> Option<String> {
    name.parse::<UserName>().ok().map(|_| name.into())
}

fn levelled(text: &str) -> Option<(Level, String)> {
    Some((Level::from_byte(*text.as_bytes().first()?)?, text.get(1..)?.into()))
}

/// Bytes of a record: a line with two paths of the greatest length.
pub const LARGEST: usize = 32 * 1024;

/// How long a record may wait for a scribe that is behind. After that it is dropped and counted: no log stalls a session.
const PATIENCE: Duration = Duration::from_millis(100);

/// A way to the scribe: the sending end of a socket, and whether what goes there is said in a user's name.
pub struct Way {
    socket: OwnedFd,
    of_user: AtomicBool,
}

impl From<OwnedFd> for Way {
    fn from(socket: OwnedFd) -> Self {
        Way { socket, of_user: AtomicBool::new(false) }
    }
}

/// What a process has to say to the log.
pub struct Log {
    way: Arc<Way>,
    /// Lines that matter less are not sent at all: nobody would write them.
    level: Level,
    dropped: Cell<u64>,
}

impl Log {
    /// Sends over `way` what matters as much as `level`.
    pub fn new(way: Arc<Way>, level: Level) -> Self {
        Log { way, level, dropped: Cell::new(0) }
    }

    /// The socket, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.way.socket.as_fd()
    }

    /// The way, for another [`Log`] of this process.
    pub fn sender(&self) -> Arc<Way> {
        self.way.clone()
    }

    /// From now on this process speaks for a user. Who that is the listener says.
    pub fn has_user(&self) {
        self.way.of_user.store(true, Ordering::Relaxed);
    }

    /// Sends a record, and first how many were dropped before it. Waits a moment where the log is behind; not again while it has not caught
    /// up. `false` if the record was dropped.
    pub fn send(&self, record: &Record) -> bool {
        self.send_within(record, if self.dropped.get() > 0 { Duration::ZERO } else { PATIENCE })
    }

    /// The same for what matters more than to go on soon: waits for as long as `patience`.
    pub fn send_within(&self, record: &Record, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let dropped = self.dropped.get();
        if dropped > 0 {
            let confession = self.of(Level::Warning, format!("{dropped} log lines were lost: the log was too slow"));
            if !self.deliver(&confession, until) {
                self.dropped.set(dropped + 1);
                return false;
            }
            self.dropped.set(0);
        }
        let delivered = self.deliver(record, until);
        self.dropped.set(u64::from(!delivered));
        delivered
    }

    /// Sends a line.
    pub fn line(&self, level: Level, text: impl Display) {
        if level <= self.level {
            self.send(&self.of(level, text.to_string()));
        }
    }

    fn of(&self, level: Level, text: String) -> Record {
        match self.way.of_user.load(Ordering::Relaxed) {
            true => Record::OfUser(level, text),
            false => Record::Line(level, text),
        }
    }

    fn deliver(&self, record: &Record, until: Instant) -> bool {
        let text = record.encode();
        let bytes = text.get(..text.floor_char_boundary(LARGEST)).unwrap_or_default().as_bytes();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.way.socket.as_raw_fd(), bytes, flags) {
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.has_room(until) => {}
                Err(_) => return false,
            }
        }
    }

    /// Waits until there is room for a record; a signal, as of a child that has ended, is no reason to wait no longer.
    fn has_room(&self, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let mut fds = [PollFd::new(self.way.socket.as_fd(), PollFlags::POLLOUT)];
            match ppoll(&mut fds, Some(TimeSpec::from(left)), None) {
                Ok(0) | Err(Errno::EINTR) => {}
                other => return other.is_ok(),
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
            Record::User(Pid::from_raw(7), "alice".into()),
            Record::Closed(Pid::from_raw(7), Level::Error, "a line".into()),
            Record::Forget,
            Record::Known(Pid::from_raw(7), "uid:5".into(), None),
            Record::Known(Pid::from_raw(7), "uid:5".into(), Some("alice".into())),
            Record::End,
            Record::Line(Level::Debug, "text with spaces".into()),
            Record::OfUser(Level::Debug, "text with spaces".into()),
        ] {
            assert_eq!(Record::decode(record.encode().as_bytes()), Some(record));
        }
        let forged = b"U7 x\n2026-01-01T00:00:00.000000Z dfos-forkd[1] info bob";
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
            b"U7",
            b"U7 ",
            b"Ualice",
            forged,
            b"U7 \x1b[2J",
            b"K7",
            b"K7 y",
            b"K7 y \x1b[2J",
            b"L",
            b"L9x",
        ] {
            assert_eq!(Record::decode(rubbish), None, "{rubbish:?}");
        }
    }
}
