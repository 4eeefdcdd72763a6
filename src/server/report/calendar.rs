//! The course of an account in steps for people: not too many, and of lengths that they know.

use super::account::Account;
use super::when::SECOND;
use std::collections::BTreeMap;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Lengths that a step or the way between two marks may have, in seconds.
const LENGTHS: [i64; 18] = [
    60,
    300,
    900,
    1800,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    3 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    91 * DAY,
    182 * DAY,
    364 * DAY,
];

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What happened in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Sum {
    pub up: u64,
    pub down: u64,
    pub failed: u64,
    pub refused: u64,
    pub turned: u64,
}

/// The course in steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// When the first begins, in seconds by the clocks of the report.
    pub begins: i64,
    /// Seconds of each.
    pub step: i64,
    /// All of them, also those in which nothing happened.
    pub sums: Vec<Sum>,
}

impl Calendar {
    /// The course of `account` in so many steps at most.
    pub fn new(account: &Account, most: i64) -> Option<Self> {
        let mut zone = account.zone.clone();
        let mut local = BTreeMap::new();
        for step in &account.course {
            let seconds = step.time.0.div_euclid(SECOND);
            let sum: &mut Sum = local.entry(seconds + zone.ahead(seconds)).or_default();
            sum.up = sum.up.saturating_add(step.up);
            sum.down = sum.down.saturating_add(step.down);
            sum.failed += step.failed;
            sum.refused += step.refused_logins;
            sum.turned += step.turned_away;
        }
        let (first, last) = (*local.first_key_value()?.0, *local.last_key_value()?.0);
        let step = length(first, last, most, account.step_seconds);
        let number = |at: i64| at.div_euclid(step);
        let count = usize::try_from(number(last) - number(first) + 1).ok()?;
        let mut sums = vec![Sum::default(); count];
        for (at, sum) in local {
            let Some(into) = usize::try_from(number(at) - number(first)).ok().and_then(|n| sums.get_mut(n)) else {
                continue;
            };
            into.up = into.up.saturating_add(sum.up);
            into.down = into.down.saturating_add(sum.down);
            into.failed += sum.failed;
            into.refused += sum.refused;
            into.turned += sum.turned;
        }
        Some(Calendar { begins: number(first) * step, step, sums })
    }

    /// When a step begins.
    pub fn at(&self, n: usize) -> i64 {
        self.begins.saturating_add(self.step.saturating_mul(n as i64))
    }

    /// Where it ends.
    pub fn ends(&self) -> i64 {
        self.at(self.sums.len())
    }

    /// What a step is: `hour`, `3 hours`.
    pub fn step_name(&self) -> String {
        let (number, unit) = match self.step {
            s if s % (7 * DAY) == 0 => (s / (7 * DAY), "week"),
            s if s % DAY == 0 => (s / DAY, "day"),
            s if s % HOUR == 0 => (s / HOUR, "hour"),
            s => (s / 60, "minute"),
        };
        if number == 1 { unit.into() } else { format!("{number} {unit}s") }
    }

    /// Times worth a mark, so many at most, and what is written there.
    pub fn marks(&self, most: i64) -> Vec<(i64, String)> {
        let between = length(self.begins, self.ends(), most, self.step.min(DAY));
        let days = self.ends() - self.begins > DAY;
        let first = self.begins.div_euclid(between) + i64::from(self.begins.rem_euclid(between) != 0);
        let marks = (first..).map(|n| n.saturating_mul(between)).take_while(|at| *at <= self.ends()).take(64);
        marks.map(|at| (at, if at.rem_euclid(DAY) == 0 && days { day(at, between) } else { clock(at) })).collect()
    }

    /// When a step begins, for a row of a table.
    pub fn row_name(&self, n: usize) -> String {
        let at = self.at(n);
        let date =
            time::OffsetDateTime::from_unix_timestamp(at).map(|time| time.date().to_string()).unwrap_or_default();
        if self.step < DAY { format!("{date} {}", clock(at)) } else { date }
    }
}

/// The shortest of the lengths that divides a time into so many parts at most, and is no shorter than `least`.
fn length(first: i64, last: i64, most: i64, least: i64) -> i64 {
    let fits = |length: &i64| *length >= least && last.div_euclid(*length) - first.div_euclid(*length) < most;
    let found = LENGTHS.into_iter().find(fits);
    // Thousands of years, as lines with a wrong date make them.
    found.unwrap_or_else(|| (1..).map(|n| n * 10 * 364 * DAY).find(fits).unwrap_or(i64::MAX))
}

fn day(at: i64, between: i64) -> String {
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp(at) else { return String::new() };
    let month = MONTHS.get(usize::from(u8::from(time.month())) - 1).unwrap_or(&"");
    match between {
        b if b >= 364 * DAY => time.year().to_string(),
        b if b >= 91 * DAY => format!("{month} {}", time.year()),
        _ => format!("{month} {}", time.day()),
    }
}

fn clock(at: i64) -> String {
    format!("{:02}:{:02}", at.rem_euclid(DAY) / HOUR, at.rem_euclid(HOUR) / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_marks_are_few_and_of_known_lengths() {
        for (span, step) in [(0, 60), (3600, 60), (86_400, 900), (21 * DAY, 6 * HOUR), (400 * DAY, 7 * DAY)] {
            let found = length(0, span, 120, 60);
            assert_eq!(found, step, "{span}");
        }
        assert!(length(-62_135_596_800, 253_402_300_799, 120, 60) < i64::MAX);
        let calendar = Calendar { begins: 18 * HOUR, step: HOUR, sums: vec![Sum::default(); 40] };
        let marks: Vec<_> = calendar.marks(6).into_iter().map(|(_, text)| text).collect();
        assert_eq!(marks, ["Jan 2", "12:00", "Jan 3"]);
    }
}
