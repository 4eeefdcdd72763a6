//! A session's side of the conversation: answers go out, and whoever waits hears that work goes on.

use crate::net::{Cut, Until, Wire};
use crate::proto::{Answer, Code, limits};
use crate::store::Pulse;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// How often long work looks whether it should break off.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection that the session speaks over.
pub struct Talk {
    /// The connection.
    pub wire: Wire,
    /// Whether a login was refused on it.
    pub guessed: bool,
    /// When something was last sent.
    spoke: Instant,
    /// When long work last looked up.
    looked: Instant,
    /// Why nobody hears us any more.
    cut: Option<Cut>,
}

impl Talk {
    /// Speaks over `wire`.
    pub fn new(wire: Wire) -> Self {
        let now = Instant::now();
        Talk { wire, guessed: false, spoke: now, looked: now, cut: None }
    }

    /// Queues a line, and sends when many have gathered.
    pub fn say(&mut self, line: impl Display) -> Result<(), Cut> {
        self.wire.queue_line(line);
        if self.wire.queued() >= limits::OUTPUT { self.flush() } else { Ok(()) }
    }

    /// Sends all that is queued.
    pub fn flush(&mut self) -> Result<(), Cut> {
        if self.wire.queued() > 0 {
            self.spoke = Instant::now();
        }
        self.wire.flush(Until::silent_for(limits::STALL))
    }

    /// Why work was broken off, when the pulse said so.
    pub fn interruption(&mut self) -> Cut {
        self.cut.take().unwrap_or(Cut::Stopping)
    }

    /// Says why the connection ends, as far as it can still be said, and closes.
    pub fn farewell(&mut self, code: Code, text: &str) {
        self.wire.queue_line(Answer::Err(code, text.into()));
        self.wire.goodbye();
    }

    /// Marks the beginning of work that the client waits for.
    pub fn work_begins(&mut self) {
        self.spoke = Instant::now();
    }
}

impl Pulse for Talk {
    fn beat(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_EVERY {
            return self.cut.is_none();
        }
        self.looked = Instant::now();
        if self.cut.is_none() && self.wire.waiter.must_stop() {
            self.cut = Some(Cut::Stopping);
        }
        if self.cut.is_none() && self.spoke.elapsed() >= limits::WAIT_EVERY {
            self.wire.queue_line(Answer::Wait);
            self.cut = self.flush().err();
        }
        self.cut.is_none()
    }
}
