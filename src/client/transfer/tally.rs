//! What became of the files of one command, counted by several threads.

use crate::client::failure::{Exit, Failure};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How a command with many files ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Files that are whole under their names.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that this command sent or received for them.
    pub moved: u64,
    /// Files that failed.
    pub failed: u64,
    /// Files that were left alone, as their names were taken.
    pub kept: u64,
    /// How long it took.
    pub took: Duration,
    /// What to exit with: `Partial` if some of several failed, the common reason if all failed for one.
    pub exit: Exit,
}

impl Outcome {
    /// This and what came after it, as one.
    pub fn and(self, later: Outcome) -> Outcome {
        let exit = match (self.exit, later.exit) {
            (one, other) if one == other => one,
            _ if self.files + later.files > 0 => Exit::Partial,
            (Exit::Ok, exit) | (exit, Exit::Ok) => exit,
            _ => Exit::Partial,
        };
        Outcome {
            files: self.files + later.files,
            bytes: self.bytes + later.bytes,
            moved: self.moved + later.moved,
            failed: self.failed + later.failed,
            kept: self.kept + later.kept,
            took: self.took + later.took,
            exit,
        }
    }
}

/// Counts.
pub struct Tally {
    began: Instant,
    counts: Mutex<Outcome>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { began: Instant::now(), counts: Mutex::new(Outcome::default()) }
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

    /// A file was left alone on purpose.
    pub fn kept(&self) {
        self.count(|counts| counts.kept += 1);
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
    fn two_parts_of_a_command_end_as_one_would() {
        let part = |files: u64, failures: &[Exit]| {
            let tally = Tally::default();
            (0..files).for_each(|_| tally.finished(1, 1));
            failures.iter().for_each(|exit| tally.failed(&Failure::new(*exit, "")));
            tally.outcome()
        };
        let (good, bad, worse) = (part(1, &[]), part(0, &[Exit::NotFound]), part(0, &[Exit::Denied]));
        assert_eq!((good.and(good).exit, good.and(good).files), (Exit::Ok, 2));
        assert_eq!(
            (good.and(bad).exit, bad.and(good).exit, bad.and(worse).exit),
            (Exit::Partial, Exit::Partial, Exit::Partial)
        );
        assert_eq!((bad.and(bad).exit, part(0, &[]).and(bad).exit), (Exit::NotFound, Exit::NotFound));
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
