//! What is counted while a load test runs, by all clients in one place: one short lock for each piece and each operation costs less
//! than a thousandth of what they take.
//!
//! Bytes count in the moment in which they pass, so that a long transfer shows as the steady stream that it is; operations count
//! when they end. What happens before the common start is not counted, but for failures and the times of logins.

use super::plan::Operation;
use crate::client::failure::{Exit, Failure};
use crate::client::report::Direction;
use crate::proto::Code;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How finely the course of the test is remembered.
pub const SLOT: Duration = Duration::from_millis(250);

/// The longest time that is told apart, in microseconds: an hour. Longer ones count as this.
const LONGEST: u64 = 3_600_000_000;

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connecting and logging in.
    Login,
    /// One of the operations.
    Operation(Operation),
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Kind; 4] = [
        Kind::Operation(Operation::Put),
        Kind::Operation(Operation::Get),
        Kind::Operation(Operation::List),
        Kind::Login,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Login => "login",
            Kind::Operation(operation) => operation.as_str(),
        }
    }
}

/// What one kind of operation took.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Of what.
    pub kind: Kind,
    /// The times of those that succeeded, in microseconds.
    pub times: Histogram<u64>,
    /// The bytes of the files of those.
    pub bytes: u64,
    /// Those that failed.
    pub failed: u64,
}

/// What passed in one slot of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Bytes to the server.
    pub up: u64,
    /// Bytes from it.
    pub down: u64,
    /// Operations that ended well.
    pub operations: u64,
    /// Operations that failed.
    pub failed: u64,
}

impl Slot {
    /// Both together.
    pub fn plus(self, other: Slot) -> Slot {
        Slot {
            up: self.up + other.up,
            down: self.down + other.down,
            operations: self.operations + other.operations,
            failed: self.failed + other.failed,
        }
    }
}

/// What one client did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Operations that ended well.
    pub operations: u64,
    /// Bytes of the files that it put.
    pub up: u64,
    /// Bytes of the files that it got.
    pub down: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Whether it got in and was ready at the common start.
    pub took_part: bool,
}

/// A kind of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How often.
    pub count: u64,
    /// What to exit with if nothing else happened.
    pub exit: Exit,
    /// What the first one said.
    pub text: String,
}

/// Everything that was counted.
#[derive(Debug, Clone)]
pub struct Figures {
    /// By kind, as in [`Kind::ALL`].
    pub timings: Vec<Timing>,
    /// The course of the test, from the common start.
    pub slots: Vec<Slot>,
    /// By client.
    pub shares: Vec<Share>,
    /// Failures, by the server's code or a word of our own.
    pub troubles: BTreeMap<&'static str, Trouble>,
    /// Bytes that were not what they should be: downloads, listings, uploads stored wrongly.
    pub damaged: u64,
    /// Connections for which the server had no room.
    pub refused: u64,
    begun: Option<Instant>,
}

impl Figures {
    /// Nothing yet, of so many clients.
    pub fn new(clients: usize) -> Result<Self, Failure> {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST, 3)
                .map_err(|why| Failure::new(Exit::Other, format!("cannot make a histogram: {why}")))
        };
        let timing = |kind| Ok(Timing { kind, times: histogram()?, bytes: 0, failed: 0 });
        Ok(Figures {
            timings: Kind::ALL.into_iter().map(timing).collect::<Result<_, Failure>>()?,
            slots: Vec::new(),
            shares: vec![Share::default(); clients],
            troubles: BTreeMap::new(),
            damaged: 0,
            refused: 0,
            begun: None,
        })
    }

    /// The times of all operations together, logins apart.
    pub fn all_times(&self) -> Option<Histogram<u64>> {
        let mut operations = self.timings.iter().filter(|timing| timing.kind != Kind::Login);
        let mut all = operations.next()?.times.clone();
        operations.try_for_each(|timing| all.add(&timing.times)).ok()?;
        Some(all)
    }

    fn timing(&mut self, kind: Kind) -> Option<&mut Timing> {
        self.timings.iter_mut().find(|timing| timing.kind == kind)
    }

    /// The slot of this moment; `None` before the common start.
    fn slot(&mut self) -> Option<&mut Slot> {
        let at = (self.begun?.elapsed().as_millis() / SLOT.as_millis()) as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::default());
        }
        self.slots.get_mut(at)
    }

    fn trouble(&mut self, failure: &Failure) {
        if failure.exit == Exit::Integrity {
            self.damaged += 1;
        }
        let (exit, text) = (failure.exit, failure.text.clone());
        self.troubles.entry(word(failure)).or_insert(Trouble { count: 0, exit, text }).count += 1;
    }
}

/// What a failure is called: the server's code, or a word for what happened at our end.
fn word(failure: &Failure) -> &'static str {
    match (failure.code, failure.exit) {
        (Some(code), _) => code.as_str(),
        (None, Exit::Integrity) => "damaged",
        (None, Exit::Connect) => "connection",
        (None, Exit::Timeout) => "no-answer",
        (None, Exit::Identity) => "identity",
        (None, Exit::Protocol) => "protocol",
        (None, _) => "other",
    }
}

/// Where all clients count.
pub struct Counter(Mutex<Figures>);

impl Counter {
    /// Counts on from `figures`.
    pub fn new(figures: Figures) -> Self {
        Counter(Mutex::new(figures))
    }

    /// The common start is now.
    pub fn begin(&self) {
        self.lock().begun = Some(Instant::now());
    }

    /// This client takes part.
    pub fn takes_part(&self, client: usize) {
        if let Some(share) = self.lock().shares.get_mut(client) {
            share.took_part = true;
        }
    }

    /// A login took so long.
    pub fn login(&self, took: Duration) {
        if let Some(timing) = self.lock().timing(Kind::Login) {
            record(&mut timing.times, took);
        }
    }

    /// A client did not get in.
    pub fn no_login(&self, failure: &Failure) {
        let mut figures = self.lock();
        if failure.code == Some(Code::Busy) {
            figures.refused += 1;
        }
        if let Some(timing) = figures.timing(Kind::Login) {
            timing.failed += 1;
        }
        figures.trouble(failure);
    }

    /// So many bytes have passed.
    pub fn passed(&self, direction: Direction, bytes: u64) {
        if let Some(slot) = self.lock().slot() {
            match direction {
                Direction::Put => slot.up += bytes,
                Direction::Get => slot.down += bytes,
            }
        }
    }

    /// An operation with a file of so many bytes has succeeded.
    pub fn done(&self, client: usize, operation: Operation, bytes: u64, took: Duration) {
        let mut figures = self.lock();
        let Some(slot) = figures.slot() else { return };
        slot.operations += 1;
        if let Some(share) = figures.shares.get_mut(client) {
            share.operations += 1;
            match operation {
                Operation::Put => share.up += bytes,
                Operation::Get => share.down += bytes,
                Operation::List => {}
            }
        }
        if let Some(timing) = figures.timing(Kind::Operation(operation)) {
            timing.bytes += bytes;
            record(&mut timing.times, took);
        }
    }

    /// An operation has failed.
    pub fn failed(&self, client: usize, operation: Operation, failure: &Failure) {
        let mut figures = self.lock();
        figures.trouble(failure);
        if let Some(slot) = figures.slot() {
            slot.failed += 1;
        }
        if let Some(share) = figures.shares.get_mut(client) {
            share.failed += 1;
        }
        if let Some(timing) = figures.timing(Kind::Operation(operation)) {
            timing.failed += 1;
        }
    }

    /// Looks at the figures while they grow.
    pub fn look<T>(&self, look: impl FnOnce(&Figures) -> T) -> T {
        look(&self.lock())
    }

    /// The figures.
    pub fn end(self) -> Figures {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        // A thread that panicked while it counted leaves numbers, not a broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(figures: &Figures, kind: Kind) -> u64 {
        figures.timings.iter().find(|timing| timing.kind == kind).unwrap().times.len()
    }

    #[test]
    fn nothing_before_the_common_start_counts_but_logins_and_failures() {
        let counter = Counter::new(Figures::new(2).unwrap());
        counter.login(MS);
        counter.done(0, Operation::Put, 5, MS);
        counter.passed(Direction::Put, 5);
        counter.failed(1, Operation::Put, &Failure::refused(Code::OverQuota, "full"));
        counter.begin();
        counter.done(1, Operation::Get, 7, MS);
        counter.passed(Direction::Get, 7);
        let figures = counter.end();
        assert_eq!(times(&figures, Kind::Login), 1);
        assert_eq!(times(&figures, Kind::Operation(Operation::Put)), 0);
        assert_eq!(times(&figures, Kind::Operation(Operation::Get)), 1);
        let sum = figures.slots.iter().copied().fold(Slot::default(), Slot::plus);
        assert_eq!(sum, Slot { up: 0, down: 7, operations: 1, failed: 0 });
        assert_eq!(figures.shares[1], Share { operations: 1, down: 7, failed: 1, ..Share::default() });
        assert_eq!(figures.troubles["over-quota"].count, 1);
    }

    #[test]
    fn damage_and_refusals_are_counted_apart() {
        let counter = Counter::new(Figures::new(1).unwrap());
        counter.begin();
        counter.failed(0, Operation::Get, &Failure::new(Exit::Integrity, "first"));
        counter.failed(0, Operation::Get, &Failure::new(Exit::Integrity, "second"));
        counter.failed(0, Operation::Put, &Failure::refused(Code::ChecksumMismatch, "on the way"));
        counter.no_login(&Failure::refused(Code::Busy, "full house"));
        counter.no_login(&Failure::new(Exit::Connect, "gone"));
        let figures = counter.end();
        assert_eq!((figures.damaged, figures.refused), (3, 1));
        assert_eq!(figures.troubles["damaged"], Trouble { count: 2, exit: Exit::Integrity, text: "first".into() });
        assert_eq!(
            figures.troubles.keys().copied().collect::<Vec<_>>(),
            ["busy", "checksum-mismatch", "connection", "damaged"]
        );
    }

    #[test]
    fn the_percentiles_of_all_operations_leave_logins_out() {
        let counter = Counter::new(Figures::new(1).unwrap());
        counter.begin();
        counter.login(Duration::from_secs(5));
        counter.done(0, Operation::Put, 1, MS);
        counter.done(0, Operation::List, 0, 3 * MS);
        let all = counter.end().all_times().unwrap();
        assert_eq!(all.len(), 2);
        assert!((2990..3010).contains(&all.max()), "{}", all.max());
    }
}
