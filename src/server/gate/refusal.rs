//! Why a connection was turned away, in words and numbers, and how much of that the log takes.

use std::fmt;
use std::time::{Duration, Instant};

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its network may not connect.
    Denied,
    /// Its address has failed too often; for so long still.
    Banned(Duration),
    /// The server has as many clients as it takes.
    Full,
    /// As many clients are logging in as the server takes, or nearly, and the dice said no.
    Logins,
    /// Its address has as many clients as the server takes from one.
    Address,
    /// Its network has.
    Network,
    /// The machine has nothing left for another session.
    Short,
    /// The server takes nobody new: the operator has it run empty.
    Draining,
}

/// The words for each reason in the summary, by [`Refusal::index`].
const REASONS: [&str; 8] = [
    "not on the list",
    "for failures",
    "over the limit of clients",
    "over the limit of logins",
    "over the limit of an address",
    "over the limit of a network",
    "for want of resources",
    "while draining",
];

/// One word for each, for programs.
const NAMES: [&str; REASONS.len()] =
    ["denied", "penalty", "full", "logins", "address", "network", "resources", "draining"];

impl Refusal {
    fn index(self) -> usize {
        match self {
            Refusal::Denied => 0,
            Refusal::Banned(_) => 1,
            Refusal::Full => 2,
            Refusal::Logins => 3,
            Refusal::Address => 4,
            Refusal::Network => 5,
            Refusal::Short => 6,
            Refusal::Draining => 7,
        }
    }

    /// The word for it, for programs: in the audit, in metrics.
    pub fn word(self) -> &'static str {
        NAMES.get(self.index()).copied().unwrap_or_default()
    }

    /// What the client is told; nothing where it is denied.
    pub fn words(self) -> Option<String> {
        Some(match self {
            Refusal::Denied => return None,
            Refusal::Banned(left) => {
                let seconds = left.as_secs() + 1; // rounded up: a client that waits so long is let in
                format!("too many failures from your address; try again in {seconds} seconds")
            }
            Refusal::Full => "the server has as many clients as it takes; try again later".into(),
            Refusal::Logins => "too many clients are logging in; try again".into(),
            Refusal::Address => {
                "there are as many clients from your address as the server takes; try again later".into()
            }
            Refusal::Network => {
                "there are as many clients from your network as the server takes; try again later".into()
            }
            Refusal::Draining => "the server is being drained; try again later".into(),
            Refusal::Short => "the server cannot start another session; try again later".into(),
        })
    }
}

/// For the log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().unwrap_or_else(|| "its network may not connect".into()))
    }
}

/// How many were turned away, by reason.
#[derive(Debug, Default)]
pub struct Tally(pub [u64; REASONS.len()]);

impl Tally {
    /// The numbers that another program counted. Reasons that it did not know have none.
    pub fn of(counts: &[u64]) -> Self {
        let mut tally = Tally::default();
        tally.0.iter_mut().zip(counts).for_each(|(count, counted)| *count = *counted);
        tally
    }

    /// Counts one.
    pub fn count(&mut self, refusal: Refusal) {
        if let Some(count) = self.0.get_mut(refusal.index()) {
            *count += 1;
        }
    }

    /// How many there were for each reason, by its name.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0)
    }

    /// How many there were altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The reasons that occurred, separated by commas.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter().zip(REASONS).filter(|(count, _)| **count > 0);
        f.write_str(&told.map(|(count, reason)| format!("{count} {reason}")).collect::<Vec<_>>().join(", "))
    }
}

/// Lets some lines a second through and counts the others: a flood must not fill the disk.
#[derive(Debug)]
pub struct Throttle {
    most: u32,
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Throttle {
    /// Lets so many lines a second through.
    pub fn new(most: u32) -> Self {
        Throttle { most, since: None, lines: 0, unsaid: 0 }
    }

    /// How many were left unsaid since the last that was said.
    pub fn take_unsaid(&mut self) -> u64 {
        std::mem::take(&mut self.unsaid)
    }

    /// Whether a line may be said now; then also how many were left unsaid before it.
    pub fn may_say(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= self.most {
            self.unsaid += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_ten_lines_a_second_and_its_number() {
        let (mut throttle, start) = (Throttle::new(10), Instant::now());
        let said = |throttle: &mut Throttle, ms| throttle.may_say(start + Duration::from_millis(ms));
        let lines = (0..5_000).filter(|n| said(&mut throttle, n / 10).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(said(&mut throttle, 1_000), Some(4_990));
        assert_eq!(said(&mut throttle, 1_001), Some(0));
    }

    #[test]
    fn a_banned_client_is_told_a_time_after_which_it_is_let_in() {
        let words = Refusal::Banned(Duration::from_millis(14_200)).words().unwrap();
        assert_eq!(words, "too many failures from your address; try again in 15 seconds");
        assert_eq!(Refusal::Denied.words(), None);
    }
}
