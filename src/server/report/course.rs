//! What happened when, in steps whose number is bounded: where too many would be needed, each step grows, to the same length whatever the
//! order in which the lines come.

use super::when::SECOND;
use crate::proto::limits;
use std::collections::BTreeMap;

/// The lengths that a step may have, in seconds: a minute at first. Each is a multiple of the one before.
const LENGTHS: [i64; 9] = [60, 300, 900, 3600, 10_800, 43_200, 86_400, 7 * 86_400, 364 * 86_400];

/// Parts into which the bytes of one transfer are laid at most: a session that says that it took a year shall not cost more time than
/// others.
const PARTS: i64 = 256;

/// What happened in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes uploaded.
    pub up: u64,
    /// Bytes downloaded.
    pub down: u64,
    /// Whole files, both ways.
    pub files: u64,
    /// Requests that failed or broke off.
    pub failed: u64,
    /// Logins that were refused.
    pub refused: u64,
    /// Connections that were turned away.
    pub turned: u64,
}

impl Step {
    /// Both together.
    pub fn plus(self, other: Step) -> Step {
        Step {
            up: self.up.saturating_add(other.up),
            down: self.down.saturating_add(other.down),
            files: self.files + other.files,
            failed: self.failed + other.failed,
            refused: self.refused + other.refused,
            turned: self.turned + other.turned,
        }
    }
}

/// Steps by their number since 1970.
#[derive(Debug, Clone, Default)]
pub struct Course {
    steps: BTreeMap<i64, Step>,
    /// Which of the lengths a step has.
    length: usize,
}

impl Course {
    /// Seconds of a step.
    pub fn step(&self) -> i64 {
        LENGTHS.get(self.length).copied().unwrap_or(i64::MAX / SECOND)
    }

    /// The step of a time in microseconds.
    pub fn at(&mut self, at: i64) -> &mut Step {
        let number = at.div_euclid(self.step() * SECOND);
        if self.steps.len() >= limits::REPORT_STEPS && !self.steps.contains_key(&number) {
            self.coarsen();
            return self.at(at);
        }
        self.steps.entry(number).or_default()
    }

    /// Lays bytes over the time in which they were moved, which ended `at` and took `micros`.
    pub fn spread(&mut self, at: i64, micros: u64, bytes: u64, of: fn(&mut Step) -> &mut u64) {
        let micros = i64::try_from(micros).unwrap_or(i64::MAX).min(LENGTHS[8] * SECOND);
        let lengths = LENGTHS.into_iter().map(|seconds| seconds * SECOND);
        // A step for these bytes, by how long they took alone: the same whatever was counted before.
        let part = lengths.into_iter().find(|length| micros / length < PARTS).unwrap_or(i64::MAX);
        let begun = at.saturating_sub(micros);
        let (mut from, mut laid) = (begun, 0);
        while from < at {
            let to = (from.div_euclid(part) + 1).saturating_mul(part).min(at);
            let share = u128::from(bytes) * u128::from(to.abs_diff(begun)) / u128::from(micros.unsigned_abs().max(1));
            let share = u64::try_from(share).unwrap_or(u64::MAX).min(bytes);
            let sum = of(self.at(from));
            *sum = sum.saturating_add(share.saturating_sub(laid));
            (from, laid) = (to, share);
        }
        if laid < bytes {
            let sum = of(self.at(at));
            *sum = sum.saturating_add(bytes - laid);
        }
    }

    /// All steps in which something happened: when each began in seconds, and what.
    pub fn steps(&self) -> impl Iterator<Item = (i64, Step)> {
        self.steps.iter().map(|(number, step)| (number * self.step(), *step))
    }

    fn coarsen(&mut self) {
        let before = self.step();
        self.length += 1;
        let after = self.step();
        for (number, step) in std::mem::take(&mut self.steps) {
            let entry = self.steps.entry((number * before).div_euclid(after)).or_default();
            *entry = entry.plus(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(step: &mut Step) -> &mut u64 {
        &mut step.up
    }

    #[test]
    fn bytes_are_laid_where_they_moved() {
        let mut course = Course::default();
        course.spread(150 * SECOND, 90 * SECOND as u64, 900, up);
        let steps: Vec<_> = course.steps().map(|(at, step)| (at, step.up)).collect();
        assert_eq!(steps, [(60, 600), (120, 300)]);
        course.spread(150 * SECOND, 0, 7, up);
        assert_eq!(course.at(150 * SECOND).up, 307);
    }

    #[test]
    fn the_course_is_bounded_and_the_same_in_any_order() {
        let times: Vec<i64> = (0..20_000).map(|n| n * 61 * SECOND).collect();
        let mut forth = Course::default();
        let mut back = Course::default();
        for at in &times {
            forth.spread(*at, 5_000_000_000, 1001, up);
            assert!(forth.steps.len() <= limits::REPORT_STEPS);
        }
        for at in times.iter().rev() {
            back.spread(*at, 5_000_000_000, 1001, up);
        }
        assert_eq!(forth.steps, back.steps);
        assert_eq!(forth.steps().map(|(_, step)| step.up).sum::<u64>(), 20_000 * 1001);
    }

    #[test]
    fn no_time_and_no_length_is_too_far() {
        let mut course = Course::default();
        for at in [i64::MIN / 2, -1, 0, i64::MAX / 2] {
            course.spread(at, u64::MAX, u64::MAX, up);
        }
        assert!(course.steps.len() < 4 * 300, "{}", course.steps.len());
    }
}
