//! Records of sessions that wait for their sender's name: only the listener says who is who.

use crate::proto::limits;
use crate::server::record::Record;
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a record may wait for the listener's word of who its sender is: the child may be faster than its parent.
pub const HOLD: Duration = Duration::from_secs(1);

/// A record that waits for its sender's name.
pub struct Held {
    /// When it came.
    pub since: Instant,
    /// Where it stands in the sessions' queue, about: never behind that.
    pub place: u64,
    /// Whose it is.
    pub sender: Pid,
    /// What was said.
    pub record: Record,
}

impl Held {
    /// Whether it has waited for long enough.
    pub fn is_old(&self) -> bool {
        self.since.elapsed() > HOLD
    }
}

/// Those that wait, in the order in which they came.
#[derive(Default)]
pub struct Waiting {
    records: VecDeque<Held>,
    /// What they take.
    bytes: usize,
}

impl Waiting {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether one more may wait: no more are held than [`limits::LOG_HELD`] bytes.
    pub fn has_room_for(&self, record: &Record) -> bool {
        self.bytes + record.weight() <= limits::LOG_HELD
    }

    /// Has one wait.
    pub fn add(&mut self, held: Held) {
        self.bytes += held.record.weight();
        self.records.push_back(held);
    }

    /// All of them: none waits any more.
    pub fn take(&mut self) -> VecDeque<Held> {
        std::mem::take(self).records
    }

    /// Where the first of them stands in the sessions' queue.
    pub fn first_place(&self) -> Option<u64> {
        self.records.iter().map(|held| held.place).min()
    }
}

#[cfg(test)]
impl Waiting {
    pub fn count(&self) -> usize {
        self.records.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first has waited for long enough.
    pub fn make_old(&mut self) {
        self.records[0].since -= 2 * HOLD;
    }
}
