//! The sending end of the ways to the scribe: what a process has to say, and how long it waits for a scribe that is behind.

use super::action::Action;
use super::level::Level;
use super::record::Record;
use crate::proto::limits;
use crate::store::Pulse;
use crate::sys::notice::Sight;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::time::TimeSpec;
use std::cell::Cell;
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a record: a line with two paths of the greatest length.
pub const LARGEST: usize = 32 * 1024;

/// How long a record may wait for a scribe that is behind. After that it is dropped and counted: no log stalls a session.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often whoever waits for a record that must arrive is told that the session still lives.
const LOOK: Duration = Duration::from_millis(50);

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

/// Whether there is an audit.
pub enum Audit {
    /// There is none.
    Off,
    /// What is done is written down as far as that can be.
    BestEffort,
    /// What cannot be written down is not done; the number seen is 0 while it can.
    Required(Sight),
}

/// What a process has to say to the log.
pub struct Log {
    way: Arc<Way>,
    /// Lines that matter less are not sent at all: nobody would write them.
    level: Level,
    audit: Audit,
    dropped: Cell<u64>,
}

impl Log {
    /// Sends over `way` what matters as much as `level`.
    pub fn new(way: Arc<Way>, level: Level) -> Self {
        Log { way, level, audit: Audit::Off, dropped: Cell::new(0) }
    }

    /// The same, and what the audit wants.
    pub fn audited(self, audit: Audit) -> Self {
        Log { audit, ..self }
    }

    /// From now on only what matters as much as `level` is sent.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
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

    /// Whether there is an audit at all.
    pub fn is_audited(&self) -> bool {
        !matches!(self.audit, Audit::Off)
    }

    /// Whether anything may be done at all: `false` while an audit that must be written cannot be.
    pub fn may_act(&self) -> bool {
        !matches!(&self.audit, Audit::Required(sight) if sight.get() != 0)
    }

    /// Whether anybody wants to know of an action.
    pub fn wants(&self, action: &Action) -> bool {
        self.is_audited() || action.level() <= self.level
    }

    /// Tells of an action, if anybody wants to know of it. Where the audit is required it waits until the scribe has room for the record, as
    /// long as somebody waits for the answer; `false` where it never had, and nobody is to be told that it was done.
    #[must_use]
    pub fn action(&self, action: Action, pulse: &mut dyn Pulse) -> bool {
        if !self.wants(&action) {
            return true;
        }
        let record = Record::Action(Box::new(action));
        match self.audit {
            Audit::Required(_) => self.insist(&record, pulse),
            _ => {
                self.send(&record);
                true
            }
        }
    }

    /// Sends what must arrive.
    fn insist(&self, record: &Record, pulse: &mut dyn Pulse) -> bool {
        let until = Instant::now() + limits::AUDIT_PATIENCE;
        while Instant::now() < until {
            let slice = (Instant::now() + LOOK).min(until);
            match self.deliver(record, slice) {
                Delivery::Done => return true,
                Delivery::Impossible => return false,
                Delivery::TooLate if pulse.beat() => {}
                Delivery::TooLate => return false,
            }
        }
        false
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
            if !self.deliver(&Record::Lost(dropped, "the log was too slow".into()), until).is_done() {
                self.dropped.set(dropped + 1);
                return false;
            }
            self.dropped.set(0);
        }
        let delivered = self.deliver(record, until).is_done();
        self.dropped.set(u64::from(!delivered));
        delivered
    }

    /// How many records were dropped of which nobody has been told.
    pub fn unsaid(&self) -> u64 {
        self.dropped.get()
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

    fn deliver(&self, record: &Record, until: Instant) -> Delivery {
        let text = record.encode();
        let bytes = text.get(..text.floor_char_boundary(LARGEST)).unwrap_or_default().as_bytes();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.way.socket.as_raw_fd(), bytes, flags) {
                Ok(_) => return Delivery::Done,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.has_room(until) => {}
                Err(Errno::EAGAIN) => return Delivery::TooLate,
                Err(_) => return Delivery::Impossible,
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

/// What became of a record that was sent.
enum Delivery {
    Done,
    /// There was no room in time.
    TooLate,
    /// Nobody is there to take it.
    Impossible,
}

impl Delivery {
    fn is_done(&self) -> bool {
        matches!(self, Delivery::Done)
    }
}
