//! Numbers that only have to differ: which operation comes next, which size, which bytes. The first one comes from the kernel;
//! none of them is a secret.

use crate::client::failure::{Exit, Failure};

/// The generator splitmix64 (Steele, Lea, Flood 2014): each state gives one number, so that any of them can be had again.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// What the state grows by: an odd number without pattern.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// One that no other run has.
    pub fn new() -> Result<Self, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)
            .map_err(|why| Failure::new(Exit::Other, format!("the kernel gives no random bytes: {why}")))?;
        Ok(Random(u64::from_le_bytes(seed)))
    }

    /// The one that begins with `seed`.
    pub fn from_seed(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none. (The bias of the remainder does not matter here.)
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
