//! What became of the files of one command, counted by several threads.

use crate::client::failure::{Exit, Failure};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How a command with many files ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Files that are whole under their names.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that this command sent or received for them.
    pub moved: u64,
    /// Files that failed.
    pub failed: u64,
    /// How long it took.
    pub took: Duration,
    /// What to exit with: `Partial` if some of several failed, the common reason if all failed for one.
    pub exit: Exit,
}

/// Counts.
pub struct Tally {
    began: Instant,
    counts: Mutex<Outcome>,
}

impl Default for Tally {
    fn default() -> Self {
        let zero = Outcome { files: 0, bytes: 0, moved: 0, failed: 0, took: Duration::ZERO, exit: Exit::Ok };
        Tally { began: Instant::now(), counts: Mutex::new(zero) }
    }
}

impl Tally {
    /// A file is whole.
    pub fn finished(&self, bytes: u64, moved: u64) {
        self.count(|counts| {
            counts.files += 1;
            counts.bytes += bytes;
            counts.moved += moved;
        });
    }

    /// A file failed.
    pub fn failed(&self, failure: &Failure) {
        self.count(|counts| {
            let first = counts.failed == 0;
            counts.failed += 1;
            counts.exit = if first || counts.exit == failure.exit { failure.exit } else { Exit::Partial };
        });
    }

    fn count(&self, change: impl FnOnce(&mut Outcome)) {
        // A thread that panicked while it counted leaves numbers, not a broken state.
        change(&mut self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    /// The end of the command.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = *self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        outcome.took = self.began.elapsed();
        if outcome.failed > 0 && outcome.files > 0 {
            outcome.exit = Exit::Partial;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(files: u64, failures: &[Exit]) -> Exit {
        let tally = Tally::default();
        (0..files).for_each(|_| tally.finished(1, 1));
        failures.iter().for_each(|exit| tally.failed(&Failure::new(*exit, "")));
        tally.outcome().exit
    }

    #[test]
    fn the_exit_says_whether_all_or_some_failed_and_why() {
        assert_eq!(exit(2, &[]), Exit::Ok);
        assert_eq!(exit(0, &[Exit::NotFound]), Exit::NotFound);
        assert_eq!(exit(0, &[Exit::NotFound, Exit::NotFound]), Exit::NotFound);
        assert_eq!(exit(0, &[Exit::NotFound, Exit::Denied, Exit::NotFound]), Exit::Partial);
        assert_eq!(exit(1, &[Exit::NotFound]), Exit::Partial);
    }
}
