//! How values are spread: percentiles to three digits, in memory that does not grow.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The highest value that is told apart: four days in microseconds, or 300 GiB a second. Higher ones count as this.
const HIGHEST: u64 = 1 << 38;

/// Values that were counted.
#[derive(Debug, Clone)]
pub struct Spread {
    values: Histogram<u64>,
    least: u64,
    most: u64,
}

/// What follows from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the fields are named for what they are
pub struct Quantiles {
    pub count: u64,
    pub min: f64,
    pub p1: f64,
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    /// Of nothing yet.
    pub fn new() -> Result<Self, String> {
        let values = Histogram::new_with_max(HIGHEST, 3).map_err(|why| format!("cannot count: {why}"))?;
        Ok(Spread { values, least: u64::MAX, most: 0 })
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.values.saturating_record(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// What follows from them, each value times `unit`.
    pub fn quantiles(&self, unit: f64) -> Quantiles {
        let count = self.values.len();
        if count == 0 {
            return Quantiles::default();
        }
        let at = |share: f64| self.values.value_at_quantile(share).clamp(self.least, self.most) as f64 * unit;
        let (min, max) = (self.least as f64 * unit, self.most as f64 * unit);
        let [p1, p10, p50, p90, p99] = [0.01, 0.1, 0.5, 0.9, 0.99].map(at);
        Quantiles { count, min, p1, p10, p50, p90, p99, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut spread = Spread::new().unwrap();
        assert_eq!(spread.quantiles(1.0), Quantiles::default());
        (1..=100).for_each(|n| spread.record(n * 10));
        let found = spread.quantiles(0.1);
        assert_eq!(
            (found.count, found.min, found.p50, found.p90, found.p99, found.max),
            (100, 1.0, 50.0, 90.0, 99.0, 100.0)
        );
        spread.record(u64::MAX);
        assert_eq!(spread.quantiles(1.0).max, u64::MAX as f64);
    }
}
