//! Whether a body moves. Only the time counts that is spent waiting for the other end: work of one's own, however long, is nobody
//! else's fault.

use crate::proto::limits::{LEAST_MOVED, STALL};
use std::time::Duration;

/// One direction of a connection: [`LEAST_MOVED`] bytes are due for each [`STALL`] of waiting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    moved: u64,
    waited: Duration,
    excused: Duration,
}

impl Pace {
    /// Notes bytes that have moved.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.moved >= LEAST_MOVED {
            *self = Pace::default();
        }
    }

    /// Notes time spent waiting.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Notes that the other end says it is there and not ready; that counts for nothing once it has excused itself for `patience`
    /// without moving anything.
    pub fn excused(&mut self, patience: Duration) {
        if self.excused < patience {
            self.excused += std::mem::take(&mut self.waited);
        }
    }

    /// How long may be waited still; zero when too little has moved.
    pub fn left(&self) -> Duration {
        STALL.saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds somebody lives who moves `bytes` every `every` seconds; an hour for ever.
    fn lives(bytes: usize, every: u32) -> u32 {
        let mut pace = Pace::default();
        for second in 1..=3600 {
            pace.waited(SECOND);
            if second % every == 0 {
                pace.moved(bytes);
            }
            if pace.left().is_zero() {
                return second;
            }
        }
        3600
    }

    #[test]
    fn a_trickle_ends_and_slow_but_moving_lives() {
        assert_eq!(lives(0, 1), 60, "silence");
        assert_eq!(lives(1, 50), 60, "one byte every 50 seconds");
        assert_eq!(lives(10, 1), 60, "ten bytes a second");
        assert_eq!(lives(100, 1), 3600, "a hundred bytes a second");
        assert_eq!(lives(4096, 59), 3600, "a page a minute");
    }

    #[test]
    fn excuses_are_heard_for_so_long_and_no_longer() {
        let (mut pace, patience) = (Pace::default(), 10 * STALL);
        let mut lived = 0;
        while !pace.left().is_zero() {
            pace.waited(5 * SECOND);
            pace.excused(patience);
            pace.moved(1); // hardly anything
            lived += 5;
        }
        assert_eq!(lived, 660, "the patience, and one more stall");
        pace.moved(4096);
        assert_eq!(pace.left(), STALL, "what moves is forgiven all");
    }
}
