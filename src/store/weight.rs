//! What an account is charged: bytes, and files and directories.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// What something takes of an account. Sums stay at the greatest number rather than begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// Bytes of files.
    pub bytes: u64,
    /// Files and directories, links and whatever else an operator has put there: names.
    pub files: u64,
}

impl Weight {
    /// Nothing.
    pub const NONE: Weight = Weight { bytes: 0, files: 0 };

    /// One file, or directory, of so many bytes.
    pub fn one(bytes: u64) -> Weight {
        Weight { bytes, files: 1 }
    }

    /// Bytes alone.
    pub fn bytes(bytes: u64) -> Weight {
        Weight { bytes, files: 0 }
    }

    /// What is left without `other`; not less than nothing.
    pub fn without(self, other: Weight) -> Weight {
        Weight { bytes: self.bytes.saturating_sub(other.bytes), files: self.files.saturating_sub(other.files) }
    }
}

impl Add for Weight {
    type Output = Weight;
    fn add(self, other: Weight) -> Weight {
        Weight { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        *self = *self + other;
    }
}

impl Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(all: I) -> Weight {
        all.fold(Weight::NONE, Add::add)
    }
}
