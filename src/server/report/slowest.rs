//! The few transfers that stand out.

use super::line::Line;
use super::top::clipped;
use crate::proto::limits;

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Slow {
    pub at: i64,
    pub user: String,
    pub peer: String,
    pub path: String,
    pub up: bool,
    pub bytes: u64,
    pub micros: u64,
    pub rate: Option<u64>,
}

impl Slow {
    /// The transfer of a line.
    pub fn new(line: &Line) -> Self {
        let name = |text| clipped(text, limits::REPORT_NAME).to_owned();
        Slow {
            at: line.at,
            user: name(&line.user),
            peer: name(&line.peer),
            path: clipped(&line.path, limits::REPORT_PATH).to_owned(),
            up: line.verb == "UPLOAD",
            bytes: line.bytes,
            micros: line.micros(),
            rate: line.rate(),
        }
    }
}

/// The transfers of the lowest values, the lowest first.
#[derive(Debug, Clone)]
pub struct Slowest {
    rows: Vec<(u64, Slow)>,
    most: usize,
}

impl Slowest {
    /// Of so many at most.
    pub fn new(most: usize) -> Self {
        Slowest { rows: Vec::new(), most }
    }

    /// Takes one if it is among the lowest; which of two equal ones stays does not depend on their order.
    pub fn offer(&mut self, value: u64, slow: impl FnOnce() -> Slow) {
        if self.rows.len() >= self.most && self.rows.last().is_some_and(|(highest, _)| value > *highest) {
            return;
        }
        let row = (value, slow());
        let at = self.rows.partition_point(|known| *known < row);
        self.rows.insert(at, row);
        self.rows.truncate(self.most);
    }

    /// Those that were taken.
    pub fn rows(self) -> Vec<Slow> {
        self.rows.into_iter().map(|(_, slow)| slow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_stay_whatever_the_order() {
        let slow = |n: u64| Slow::new(&Line { bytes: n, ..Line::default() });
        let values = [5, 1, 9, 3, 3, 7, 1, 8];
        let mut forth = Slowest::new(3);
        values.iter().enumerate().for_each(|(n, value)| forth.offer(*value, || slow(n as u64)));
        let mut back = Slowest::new(3);
        values.iter().enumerate().rev().for_each(|(n, value)| back.offer(*value, || slow(n as u64)));
        assert_eq!(forth.rows, back.rows);
        assert_eq!(forth.rows().iter().map(|slow| slow.bytes).collect::<Vec<_>>(), [1, 6, 3]);
    }
}
