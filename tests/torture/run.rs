//! What a part is asked to do, and what it has to say at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// What a part is asked to do.
pub struct Run {
    /// Of all that is random in it.
    pub seed: u64,
    /// How often: each part says of what.
    pub times: u64,
    /// Whether this is the long run.
    pub full: bool,
}

impl Run {
    /// Chance for the worker, or the round, of this number: the same in each run of this seed.
    pub fn chance(&self, number: u64) -> Chance {
        Chance(mixed(self.seed ^ mixed(number.wrapping_add(1))))
    }
}

/// A seed that nobody has chosen.
pub fn any_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    mixed(now.as_nanos() as u64) % 1_000_000
}

/// Chance that can be repeated (splitmix64).
pub struct Chance(u64);

fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Chance {
    /// What is always the same for these two numbers.
    pub fn of_numbers(one: u64, other: u64) -> Chance {
        Chance(mixed(mixed(one) ^ other))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// Chance for somebody else.
    pub fn split(&mut self) -> Chance {
        Chance(self.next())
    }

    /// One of 0 to `below - 1`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    /// Whether something happens that does so in one of so many cases.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// What a part has counted, and what it has found lost.
#[derive(Default)]
pub struct Account {
    counts: BTreeMap<String, u64>,
    losses: Vec<String>,
}

impl Account {
    /// So many more of these.
    pub fn count(&mut self, what: &str, more: u64) {
        *self.counts.entry(what.to_owned()).or_default() += more;
    }

    /// Something was lost, torn, wrongly told, or left behind: in a sentence that names it.
    pub fn lost(&mut self, what: String) {
        println!("  LOST: {what}"); // at once: what follows may hang
        self.losses.push(what);
    }

    /// Takes over what another account has counted and found.
    pub fn add(&mut self, other: Account) {
        other.counts.iter().for_each(|(what, count)| self.count(what, *count));
        self.losses.extend(other.losses);
    }

    /// What was lost.
    pub fn losses(&self) -> &[String] {
        &self.losses
    }

    /// How much of this was counted.
    pub fn counted(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// The counts, for a person.
    pub fn counts(&self) -> String {
        let mut text = String::new();
        for (what, count) in &self.counts {
            let _ = write!(text, "{}{count} {what}", if text.is_empty() { "" } else { ", " });
        }
        text
    }

    /// Appends a line of JSON to a file, for the table of a full run.
    pub fn record(&self, file: &str, part: &str, run: &Run, seconds: f64) {
        let line = serde_json::json!({
            "part": part, "seed": run.seed, "times": run.times, "full": run.full, "seconds": seconds.round(),
            "counts": self.counts, "lost": self.losses,
        });
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
